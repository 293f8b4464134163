"""The error tree: one class for each thing a caller would handle differently.

Every class takes exactly one string, because torch's DataLoader rebuilds a worker's error that way. A
message says what was found, what was expected, where, and the way out.
"""

from typing import ClassVar

__all__ = [
    "BadImageError",
    "CheckpointError",
    "ConfigError",
    "CorruptChunkError",
    "ImageTooLargeError",
    "InterruptedRunError",
    "KdcacheError",
    "ManifestMismatchError",
    "MissingViewError",
    "ShardError",
    "StoreError",
    "TeacherError",
    "ViewMismatchError",
]


class KdcacheError(Exception):
    """Anything that kdcache refuses; catch this to catch them all."""

    code: ClassVar[str] = "KD000"

    def __init__(self, message: str) -> None:
        super().__init__(message)


class ConfigError(KdcacheError):
    """A setting, a flag or a combination of them cannot be used."""

    code = "KD100"


class ShardError(KdcacheError):
    """A WebDataset shard cannot be read as it stands."""

    code = "KD200"


class BadImageError(ShardError):
    """The bytes of one sample are not an image that can be decoded."""

    code = "KD210"


class ImageTooLargeError(BadImageError):
    """An image has more pixels than the limit allows (a decompression bomb, perhaps)."""

    code = "KD211"


class TeacherError(KdcacheError):
    """A teacher cannot be built, or its outputs cannot be stored."""

    code = "KD300"


class CheckpointError(KdcacheError):
    """A checkpoint is damaged or belongs to another run."""

    code = "KD400"


class StoreError(KdcacheError):
    """A cache is missing, damaged, or of a format this version does not know."""

    code = "KD500"


class ManifestMismatchError(StoreError):
    """The cache was made with another teacher, policy, data set or class space."""

    code = "KD510"


class ViewMismatchError(StoreError):
    """A rendered view is not the one the teacher saw."""

    code = "KD520"


class MissingViewError(StoreError):
    """The cache does not hold the asked-for view."""

    code = "KD530"


class CorruptChunkError(StoreError):
    """An object of the cache fails its checksum or cannot be decoded."""

    code = "KD540"


class InterruptedRunError(KdcacheError):
    """A run was told to stop, or lost a process; what it committed stays, and it can go on from there."""

    code = "KD600"
