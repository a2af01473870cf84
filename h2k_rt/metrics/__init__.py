"""How far a reconstruction is from the truth: distances of meshes, errors of normals and depth, agreement of masks.

Definitions, formulas and units are in ``docs/metrics.md``. The map metrics need NumPy and OpenCV only, the mesh metrics the extra
``metrics`` (Open3D and trimesh).
"""
