"""Results of several people or meshes: summary, and files in JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from h2k_rt import __version__
from h2k_rt.errors import OutputError
from h2k_rt.output.atomic import replace_file

Row = Mapping[str, "float | str"]
STATISTICS: Mapping[str, Callable[[np.ndarray], Any]] = {"mean": np.mean, "median": np.median, "min": np.min, "max": np.max}


@dataclass(frozen=True)
class Table:
    """One row for each person or pair of meshes.

    Attributes:
        rows: "name" and the metrics, whose names end in their unit where they have one.
        settings: how they were made.
        failures: name -> sentence, of those that came to nothing.
    """

    rows: Sequence[Row]
    settings: Mapping[str, Any] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics in the order in which they first occur."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row if name != "name"))

    def values(self, metric: str) -> np.ndarray:
        """(R,) float64 of the rows that have the metric; a region that a person lacks (NaN) is left out."""
        found = [float(row[metric]) for row in self.rows if metric in row]
        return np.array([value for value in found if math.isfinite(value)])

    def summary(self) -> dict[str, dict[str, float]]:
        """metric -> mean, median, least and largest over the rows, and how many had it."""
        columns = {metric: self.values(metric) for metric in self.metrics}
        return {
            metric: {**{name: float(function(values)) for name, function in STATISTICS.items()}, "count": len(values)}
            for metric, values in columns.items()
            if len(values)
        }

    def to_json(self) -> str:
        rows = [{k: (None if isinstance(v, float) and not math.isfinite(v) else v) for k, v in row.items()} for row in self.rows]
        document = {
            "version": __version__,
            "settings": self.settings,
            "summary": self.summary(),
            "rows": rows,
            "failures": self.failures,
        }
        return json.dumps(document, indent=1) + "\n"

    def to_csv(self) -> str:
        """One line for each row; empty where a value is missing."""
        out = io.StringIO()
        writer = csv.DictWriter(out, ("name", *self.metrics), lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({k: (v if isinstance(v, str) else f"{v:.6g}" if math.isfinite(v) else "") for k, v in row.items()})
        return out.getvalue()

    def to_markdown(self) -> str:
        """The summary, one line for each metric."""
        lines = ["| metric | " + " | ".join(STATISTICS) + " | count |", "| --- |" + " ---: |" * (len(STATISTICS) + 1)]
        for metric, found in self.summary().items():
            numbers = " | ".join(number(found[name]) for name in STATISTICS)
            lines.append(f"| {metric} | {numbers} | {found['count']:.0f} |")
        lines += [f"\n- failed: {name}: {sentence}" for name, sentence in self.failures.items()]
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        """Write the table in the format that the suffix names.

        Raises:
            OutputError: another suffix, or the file cannot be written.
        """
        text = FORMATS[checked_suffix(path)](self)
        with replace_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


FORMATS: Mapping[str, Callable[[Table], str]] = {".json": Table.to_json, ".csv": Table.to_csv, ".md": Table.to_markdown}


def checked_suffix(path: Path) -> str:
    """The suffix of a table's file.

    Raises:
        OutputError: no table is written with it.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise OutputError(f"{path}: unknown table format {suffix or '(none)'}; use {', '.join(FORMATS)}")
    return suffix


def number(value: float) -> str:
    """Three significant digits, more before the point where there are more."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
