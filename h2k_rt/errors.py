"""Every way a run can fail for a reason outside the code, as one named error with one clear sentence.

The command line prints the sentence and exits with ``exit_code``; a library user catches the class.
"""

from __future__ import annotations


class H2KError(Exception):
    """Base of all errors that h2k-rt raises on purpose. The message says what is wrong, with which file, and what to do."""

    exit_code = 1


class PhotoError(H2KError):
    """A photo cannot be read, is damaged, too large or too small."""

    exit_code = 3


class KeypointsError(H2KError):
    """A keypoint file is not OpenPose JSON, holds no person, or holds impossible numbers."""

    exit_code = 4


class MaskError(H2KError):
    """A mask picture cannot be read, does not fit the photo, or is empty."""

    exit_code = 4


class PersonError(H2KError):
    """No person, or not enough of a person, in the photo."""

    exit_code = 5


class BundleError(H2KError):
    """A model bundle is missing, malformed, of another method, or has a changed file."""

    exit_code = 6


class CheckpointError(H2KError):
    """A checkpoint is not the published model's, or cannot be read safely."""

    exit_code = 6


class EngineError(H2KError):
    """An inference engine cannot be started, or was fed the wrong tensors."""

    exit_code = 7


class OutputError(H2KError):
    """An output cannot be written: folder read-only, disk full."""

    exit_code = 8


class MissingPackageError(H2KError):
    """An optional package is needed for what was asked; the message holds the install command."""

    exit_code = 9


class DataError(H2KError):
    """A dataset, scan folder or asset folder is missing, malformed, or lacks files."""

    exit_code = 10


class TrainingError(H2KError):
    """Training cannot start or go on: a wrong configuration, a checkpoint that does not fit, a loss that is not a number."""

    exit_code = 11


class CameraError(H2KError):
    """A camera file is missing or malformed, or its cameras do not match the photos."""

    exit_code = 12
