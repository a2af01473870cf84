"""What can go wrong between the host and the GPU, told in one sentence."""

from __future__ import annotations


class DeviceFailure(RuntimeError):
    """The GPU path cannot be used, or a call to the driver failed. The message is one sentence for the user."""


class MissingDevicePackage(DeviceFailure):
    """A Python package that the GPU path needs is not installed; the message holds the install command."""
