"""What this machine offers to h2k-rt. Needs only the standard library: it must work where nothing else does."""

from h2k_rt.doctor.report import Finding, examine

__all__ = ["Finding", "examine"]
