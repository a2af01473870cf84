"""The second method: several calibrated photos of a person to a watertight mesh by a multi-scale implicit function."""
