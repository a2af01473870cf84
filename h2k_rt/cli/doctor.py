"""``h2k-rt doctor``: what this machine offers, what is missing, and the command that mends it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from h2k_rt import __version__
from h2k_rt.cli.common import Debug, reporting, tell
from h2k_rt.errors import EngineError

if TYPE_CHECKING:
    from h2k_rt.doctor import Finding
    from h2k_rt.doctor.report import Probe


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    self_test: Annotated[bool, typer.Option("--self-test/--no-self-test", help="Make a mesh of a built-in picture.")] = True,
    debug: Debug = False,
) -> None:
    """Tell what this machine offers to h2k-rt, and how to mend what is missing. Exits with 7 if something is broken."""
    with reporting(debug):
        from h2k_rt.doctor import examine

        findings = []
        for finding in examine(_probes()):
            findings.append(finding)
            if not as_json:
                _tell(finding)
        if self_test:
            on_gpu = all(_ok(findings, name) for name in ("GPU 0", "PyCUDA"))
            for finding in examine(_self_tests(on_gpu)):
                findings.append(finding)
                if not as_json:
                    _tell(finding)
        if not as_json and any("pip " in finding.mend for finding in findings):
            tell(f"pip above is: {sys.executable} -m pip")
        broken = [finding.name for finding in findings if finding.state == "problem"]
        if as_json:
            document = {"version": __version__, "ok": not broken, "findings": [asdict(finding) for finding in findings]}
            typer.echo(json.dumps(document, indent=2))
        if broken:
            raise EngineError(f"to be mended: {', '.join(broken)}")


def _probes() -> list[tuple[str, Probe]]:
    from h2k_rt.doctor import machine, own, packages

    return [
        ("Python", machine.python),
        ("system", machine.system),
        ("packages", packages.required),
        ("GPU", machine.gpus),
        ("CUDA compiler", machine.compilers),
        ("PyCUDA", packages.pycuda),
        ("ONNX Runtime", packages.onnxruntime),
        ("TensorRT", packages.tensorrt),
        ("TensorRT for RTX", packages.tensorrt_rtx),
        ("PyTorch", packages.torch),
        ("models", own.models),
        ("caches", own.caches),
        ("folders", own.places),
    ]


def _self_tests(on_gpu: bool) -> list[tuple[str, Probe]]:
    from h2k_rt.doctor import own

    tests: list[tuple[str, Probe]] = [("self-test on the CPU", own.self_test)]
    return [*tests, ("self-test on the GPU", lambda: own.self_test("cuda"))] if on_gpu else tests


def _ok(findings: list[Finding], name: str) -> bool:
    return any(finding.name == name and finding.state == "ok" for finding in findings)


def _tell(finding: Finding) -> None:
    tell(f"{finding.state:<8} {finding.name:<22} {finding.says}")
    if finding.mend:
        tell(f"{'':<8} {'':<22} to mend it: {finding.mend}")
