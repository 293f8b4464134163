"""Settings that add to a cache: what they leave open is as the cache has it."""

from typing import Any

from kdcache.config.precompute import PrecomputeConfig
from kdcache.config.terms import Terms
from kdcache.errors import ConfigError, StoreError
from kdcache.precompute.as_cached import as_cached
from kdcache.precompute.describe import existing_manifest
from kdcache.store.manifest import Identity

__all__ = ["extension_of", "terms_of"]

_FIXED = ("policy", "rows_per_block", "seeds_per_group")


def extension_of(settings: dict[str, Any], *, where: str) -> PrecomputeConfig:
    """Return the settings of a run that adds views, teachers or shards to the cache that they name.

    Args:
        settings: as of ``PrecomputeConfig``; policy, rows and seeds are the cache's, and so are the views if
            none are named, and a known teacher's preprocessing, precision, encoding and K.
        where: who asks, for messages.

    Raises:
        ConfigError: a setting is one that cannot change, or views are fewer or no multiple of a group.
        StoreError: there is no cache.
    """
    url = str(settings.get("cache") or "")
    if not url:
        raise ConfigError(f"{where}: --cache names the cache that grows")
    existing = existing_manifest(url)
    if existing is None:
        raise StoreError(f"there is no cache at {url} to extend; make one with kdcache precompute")
    identity = existing.identity
    fixed = [name for name in _FIXED if settings.get(name) is not None]
    if fixed:
        raise ConfigError(
            f"{where}: {fixed[0]} is fixed when a cache is made and cannot be given here; leave it out, or make a "
            "new cache"
        )
    config = PrecomputeConfig.parse(
        settings
        | {
            "views": _views(settings.get("views"), identity),
            "policy": identity.policy,
            "rows_per_block": identity.rows_per_block,
            "seeds_per_group": identity.seeds_per_group,
        },
        where=where,
    )
    teachers = tuple(
        as_cached(teacher, teacher.cache_name, identity.teachers[teacher.cache_name])
        if teacher.cache_name in identity.teachers
        else teacher
        for teacher in config.teachers
    )
    return config.model_copy(update={"teachers": teachers})


def terms_of(settings: dict[str, Any], *, where: str) -> Terms | None:
    """Return the licence and the contact if the settings name nothing else to change in the cache, else None.

    Raises:
        ConfigError: one of them is no line of text.
    """
    given = {name for name, value in settings.items() if value is not None} - {"cache"}
    if not given or not given <= Terms.model_fields.keys():
        return None
    return Terms.parse({name: settings[name] for name in given}, where=where)


def _views(wanted: Any, identity: Identity) -> int:
    if wanted is None:
        return identity.num_aug_seeds
    try:
        views = int(wanted)
    except ValueError as error:
        raise ConfigError(f"--views is {wanted!r}, expected a number") from error
    if views < identity.num_aug_seeds or views % identity.seeds_per_group:
        raise ConfigError(
            f"--views is {views}, expected {identity.num_aug_seeds} (what the cache has) or more, in whole groups of "
            f"{identity.seeds_per_group}"
        )
    return views
