"""``h2k-rt infer``: photos to meshes."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from h2k_rt.cli.common import Debug, reporting


class MeshKind(str, Enum):
    """How the surface is made."""

    grid = "grid"
    poisson = "poisson"
    points = "points"


class MeshFormat(str, Enum):
    """File formats of a mesh."""

    glb = "glb"
    obj = "obj"
    ply = "ply"


class EngineKind(str, Enum):
    """What runs the networks."""

    auto = "auto"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"
    cuda = "cuda"
    cpu = "cpu"
    torch = "torch"
    onnxruntime = "onnxruntime"


class Device(str, Enum):
    """Where they run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(str, Enum):
    """Of the networks on a GPU."""

    auto = "auto"
    fp16 = "fp16"
    fp32 = "fp32"


Engine = Annotated[
    EngineKind, typer.Option("--engine", help="What runs the networks; auto is the best that is ready. See docs/engines.md.")
]
OnDevice = Annotated[
    Device, typer.Option("--device", help="Where they run; auto is the GPU if build-engines was run for it, else the CPU.")
]
Faces = Annotated[int | None, typer.Option("--faces", metavar="N", min=100, help="Simplify the mesh to about N triangles.")]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads; all cores if not given.")]


def _height(value: float) -> float:
    if not (math.isfinite(value) and 0.1 <= value <= 10):
        raise typer.BadParameter("a person's height is between 0.1 and 10 metres")
    return value


def infer(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Photos, and folders of photos.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")] = Path("out"),
    model: Annotated[str, typer.Option("--model", "-m", help="A bundle's name (see h2k-rt models) or path.")] = "small",
    keypoints: Annotated[
        Path | None,
        typer.Option("--keypoints", metavar="FILE", help="OpenPose JSON (BODY_25, hands), or a folder of <photo>_keypoints.json."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", metavar="FILE", help="The person's mask (grey value or alpha), or a folder of <photo>.png."),
    ] = None,
    person: Annotated[
        int | None,
        typer.Option("--person", metavar="N", min=1, help="Which person: 1 is the largest, or the first of the keypoint file."),
    ] = None,
    mesh: Annotated[MeshKind, typer.Option("--mesh", help="How the surface is made.")] = MeshKind.grid,
    formats: Annotated[
        list[MeshFormat] | None, typer.Option("--format", "-f", help="File format, glb if not given; may be given more than once.")
    ] = None,
    height: Annotated[
        float, typer.Option("--height", metavar="METRES", callback=_height, help="The person's height; it sets the scale.")
    ] = 1.70,
    faces: Faces = None,
    poisson_depth: Annotated[
        int, typer.Option("--poisson-depth", metavar="N", min=4, max=12, help="Octree depth of --mesh poisson.")
    ] = 10,
    seams: Annotated[
        bool, typer.Option("--seams", help="Add the published grey shells along the silhouette to --mesh points.")
    ] = False,
    preview: Annotated[bool, typer.Option("--preview/--no-preview", help="Write <photo>_preview.png.")] = True,
    save_maps: Annotated[bool, typer.Option("--save-maps", help="Also write normals, depth and mask as PNG.")] = False,
    engine: Engine = EngineKind.auto,
    device: OnDevice = Device.auto,
    precision: Annotated[
        Precision,
        typer.Option("--precision", help="Of the networks on a GPU; auto is fp16, but fp32 for the trunk."),
    ] = Precision.auto,
    threads: Threads = None,
    parity: Annotated[bool, typer.Option("--parity", help="Do exactly what the published program does, defects included.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results and timings per stage as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Make a 3D mesh of the person in each photo: <photo>.glb and <photo>_preview.png in the output folder."""
    with reporting(debug):
        from h2k_rt.cli.batch import Settings, make_jobs, run_batch

        settings = Settings(
            output=output,
            model=model,
            person=person,
            mesh=mesh.value,
            formats=tuple(dict.fromkeys(f.value for f in formats or [MeshFormat.glb])),
            height=height,
            faces=faces,
            poisson_depth=poisson_depth,
            seams=seams,
            preview=preview,
            save_maps=save_maps,
            engine=engine.value,
            device=device.value,
            precision=precision.value,
            threads=threads,
            parity=parity,
        )
        jobs = make_jobs(photos, keypoints, mask)
        code = run_batch(jobs, settings, as_json=as_json, debug=debug)
        if code:
            raise typer.Exit(code)
