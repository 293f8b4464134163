"""How a teacher's targets are kept: which encoding, and how many classes."""

from collections.abc import Mapping
from typing import Literal

from kdcache.errors import ConfigError
from kdcache.store.manifest import Encoding

__all__ = ["CANDIDATES", "choose_encoding", "choose_top_k"]

CANDIDATES = (8, 16, 32, 64, 128)
KEPT_MASS = 0.90
_DENSE_UP_TO = 256

TopK = int | Literal["auto"]


def choose_encoding(
    num_classes: int, *, top_k: TopK, encoding: Encoding | None, where: str
) -> tuple[Encoding, TopK]:
    """Return the encoding, and K or ``auto`` where the pilot has to say.

    Raises:
        ConfigError: K exceeds the classes, or the encoding keeps another number of them.
    """
    if top_k != "auto" and top_k > num_classes:
        raise ConfigError(
            f"{where}: --top-k is {top_k}, but the teacher has {num_classes} classes; "
            f"use {num_classes} at most (all of them: --encoding dense8)"
        )
    if encoding is None:
        keeps_all = num_classes <= _DENSE_UP_TO if top_k == "auto" else top_k == num_classes
        encoding = "dense8" if keeps_all else "gap8"
    if encoding == "gap8":
        return ("dense8", num_classes) if top_k == num_classes else ("gap8", top_k)
    kept = 1 if encoding == "hard" else num_classes
    if top_k not in {"auto", kept}:
        raise ConfigError(
            f"{where}: encoding {encoding} keeps {kept} of {num_classes} classes, --top-k asks for {top_k}; "
            "leave --top-k out, or use --encoding gap8"
        )
    return encoding, kept


def choose_top_k(kept_mass: Mapping[int, float], num_classes: int) -> int:
    """Return the smallest candidate that keeps 90 % of the mass, else the largest that there is.

    Args:
        kept_mass: mean kept mass at T = 1 by K, for every candidate below ``num_classes``.
        num_classes: C.

    >>> choose_top_k({8: 0.7, 16: 0.91, 32: 0.95}, 40)
    16
    """
    enough = [k for k, mass in sorted(kept_mass.items()) if mass >= KEPT_MASS]
    if enough:
        return enough[0]
    return max(kept_mass, default=num_classes - 1)
