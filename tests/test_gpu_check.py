"""The GPU check's script and its report, without a GPU: what is left when nothing can run, and when steps fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu_targets import read_steps, report, targets

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPT = REPOSITORY / "bench" / "gpu_check.sh"
#: An interpreter on a machine with a GPU: what comes on standard input is well, tests fail, one benchmark leaves a report.
PRETENDED = """#!/bin/sh
case "$*" in
  -) cat >/dev/null ;;
  "-m pytest"*) echo "== 1 failed, 2 passed in 3.1s =="; exit 1 ;;
  *gpu_kernels.py*) echo '{{"groups": {{"fuse_parts": {{"share": 0.713}}}}}}' >"{out}/gpu_kernels.json" ;;
  *gpu_pipeline.py*) printf '{{"ways": {{' >"{out}/gpu_pipeline.json"; exit 3 ;;
  *) exec "{python}" "$@" ;;
esac
"""


def run(out: Path, python: Path | str) -> subprocess.CompletedProcess[str]:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    environment = {**os.environ, "PYTHON": str(python), "PATH": "/usr/bin:/bin"}
    return subprocess.run(["bash", str(SCRIPT), str(out)], env=environment, capture_output=True, text=True, timeout=300)


def test_limits_leave_every_step_its_time() -> None:
    """Under nine minutes: no step can take another one's time."""
    text = SCRIPT.read_text()
    limits = [int(n) for n in re.findall(r'^\s*step "[^"]+" (\d+) ', text, re.MULTILINE)]
    total = int(re.search(r"^total=(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]
    assert len(limits) == 9 and sum(limits) == total < 540


def test_steps_that_fail(tmp_path: Path) -> None:
    """The rest goes on, and what was measured before is kept."""
    python = tmp_path / "python"
    python.write_text(PRETENDED.format(out=tmp_path / "out", python=sys.executable))
    python.chmod(0o755)
    result = run(tmp_path / "out", python)
    assert result.returncode == 1, result.stderr
    data = json.loads((tmp_path / "out" / "gpu_check.json").read_text())
    results = {step["step"]: step["result"] for step in data["steps"]}
    assert results["what is here"] == results["build the kernels"] == results["benchmark of the kernels"] == "passed"
    assert results["kernels against their twins and the vectors"] == "FAILED (exit 1) (1 failed, 2 passed)"
    assert results["benchmark of the pipeline"] == "FAILED (exit 3)"
    measured = {row["what"].partition(",")[0]: row["measured"] for row in data["targets"]}
    assert measured["fuse_parts"] == "71%" and measured["warp_parts"] == "not run"
    assert measured["growth over 500 photos"].startswith("FAILED")
    text = (tmp_path / "out" / "gpu_check.md").read_text()
    assert "| benchmark of the pipeline | FAILED (exit 3) |" in text and re.search(r"^\d+ s in all\.$", text, re.MULTILINE)


def test_where_nothing_can_run(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$*" = - ] && echo "no GPU here" && exit 0\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    out = tmp_path / "out"
    out.mkdir()
    (out / "gpu_kernels.json").write_text('{"groups": {"fuse_parts": {"share": 0.7}}}')  # of another run
    assert run(out, python).returncode == 2
    data = json.loads((out / "gpu_check.json").read_text())
    assert data["absent"] == "no GPU here" and {step["result"] for step in data["steps"]} == {"not run"}
    assert {row["measured"] for row in data["targets"]} == {"not run"} and "Not run: no GPU here." in (
        out / "gpu_check.md"
    ).read_text()


def test_measured_targets(tmp_path: Path) -> None:
    way = {"replayed": {"p50": 21.34}, "device_mib": 1500.2}
    pipeline = {
        "machine": {"gpu": "NVIDIA H100"},
        "ways": {"full size, fp16": way},
        "published": {"p50": 812.0, "peak_mib_beyond_weights": 9000.0},
    }
    (tmp_path / "steps.tsv").write_text("pipeline against the CPU, graphs, 500 photos\tpassed (9 passed)\t60\n")
    kernels = {"groups": {name: {"share": 0.5} for name in ("fuse_parts", "warp_parts", "depth_to_mesh")}}
    rows = targets(read_steps(tmp_path / "steps.tsv"), kernels, pipeline)
    assert [row["measured"] for row in rows] == [
        "50%", "50%", "50%", "21.3 ms", "1500 MiB", "none", "812 ms, 9000 MiB beyond weights",
    ]  # fmt: skip
    assert "NVIDIA H100" in rows[3]["what"]
    (tmp_path / "gpu_pipeline.json").write_text('{"ways": {')  # cut off
    assert report(tmp_path, "")[1]["targets"][3]["measured"] == "not run"


def test_committed_report() -> None:
    """The report that is committed lists the steps of the script, and holds the same in both forms."""
    results = REPOSITORY / "bench" / "results"
    data = json.loads((results / "gpu_check.json").read_text())
    names = re.findall(r'^\s*step "([^"]+)" \d', SCRIPT.read_text(), re.MULTILINE)
    assert [step["step"] for step in data["steps"] if not step["step"].startswith("install")] == names[1:]
    text = (results / "gpu_check.md").read_text()
    for row in data["targets"]:
        assert f"| {row['what']} | {row['wanted']} | {row['measured']} |" in text
