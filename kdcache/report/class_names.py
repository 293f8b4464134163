"""What classes are called: from a file with a name per line, or ImageNet's own."""

from pathlib import Path

from kdcache.errors import ConfigError

__all__ = ["ClassNames", "read_class_names"]

ClassNames = tuple[str, ...]

_IMAGENET = "imagenet"


def read_class_names(source: str) -> ClassNames:
    """Return the class names in class order: of ``imagenet``, or one a line of a text file.

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    if source == _IMAGENET:
        return _imagenet()
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read class names from {source}: {error}; give a text file with one name a line, or "
            f"{_IMAGENET!r}"
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ConfigError(f"{source} holds no class names; expected one a line, in class order")
    return names


def _imagenet() -> ClassNames:
    from timm.data.imagenet_info import ImageNetInfo  # noqa: PLC0415 - it brings torch along

    info = ImageNetInfo()
    return tuple(
        info.index_to_description(number, detailed=False).partition(",")[0]
        for number in range(info.num_classes())
    )
