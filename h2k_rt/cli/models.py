"""``h2k-rt models``: which model bundles are there."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from h2k_rt.cli.common import Debug, reporting, tell


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """List the model bundles: method, licence, size, what each was trained on."""
    with reporting(debug):
        from h2k_rt.bundle import bundle_folders, list_bundles

        rows = [_row(found) for found in list_bundles()]
        if as_json:
            typer.echo(json.dumps(rows, indent=2))
            return
        if not rows:
            tell("no model bundles; looked in " + ", ".join(map(str, bundle_folders())))
        for row in rows:
            tell(row["name"])
            if row["problem"]:
                tell(f"  cannot be used: {row['problem']}")
            else:
                tell(f"  method      {row['method']}, width {row['width']:g}, {'/'.join(row['precisions'])}")
                tell(f"  licence     {row['licence']}")
                tell(f"  trained on  {row['trained_on']}")
                tell(f"  size        {row['size_bytes'] / 1e6:.1f} MB")
            tell(f"  path        {row['path']}")
            if row["card"]:
                tell(f"  card        {row['card']}")


def _row(found: Any) -> dict[str, Any]:
    from h2k_rt.bundle_files import CARD

    card = found.location / CARD
    row: dict[str, Any] = {"name": found.name, "path": str(found.location), "problem": found.problem}
    row["card"] = str(card) if card.is_file() else None  # in a .zip it is left alone
    bundle = found.bundle
    if bundle is not None:
        files = [file for network in bundle.networks.values() for file in network.files.values()]
        row |= {
            "method": bundle.method,
            "width": bundle.width,
            "licence": bundle.licence,
            "trained_on": bundle.trained_on,
            "precisions": sorted({precision for network in bundle.networks.values() for precision in network.files}),
            "size_bytes": sum(file.size for file in files),
        }
    return row
