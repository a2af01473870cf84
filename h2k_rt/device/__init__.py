"""The pipeline on an NVIDIA GPU: photo bytes up, mesh arrays down, nothing in between on the host."""
