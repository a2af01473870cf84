"""Errors of the export."""

from __future__ import annotations

from h2k_rt.errors import H2KError, MissingPackageError


class ExportError(H2KError):
    """A network cannot be exported, or its graph does not compute what PyTorch computes."""

    exit_code = 6


def missing(error: ImportError) -> MissingPackageError:
    """The error to raise where a package of the export is not installed."""
    return MissingPackageError(f'{error.name or error} is not installed; run: pip install "h2k-rt[export,cpu]"')
