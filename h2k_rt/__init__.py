"""h2k-rt: one photo of a person in, a closed, coloured 3D mesh out."""

__version__ = "0.1.0.dev0"
