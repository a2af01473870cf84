"""What can go wrong between the host and the GPU, told in one sentence."""

from __future__ import annotations


class DeviceFailure(RuntimeError):
    """The GPU path cannot be used, or a call to the driver failed. The message is one sentence for the user."""


class NoDriver(DeviceFailure):
    """There is no NVIDIA driver on this machine.

    Attributes:
        what: the message without what to do.
    """

    def __init__(self, library: str) -> None:
        self.what = f"there is no NVIDIA driver on this machine ({library} cannot be loaded)"
        super().__init__(f"{self.what}; install it, or run with --engine cpu")


class MissingDevicePackage(DeviceFailure):
    """A Python package that the GPU path needs is not installed; the message holds the install command."""
