"""Sets of people seen by several calibrated cameras, with closed meshes and occupancy, for the second method."""
