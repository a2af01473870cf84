"""Training of the second method, the implicit function of several photos, in the same loop as the first."""
