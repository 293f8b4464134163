"""Which addresses a cache may have, beside local folders, and what opens each."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from kdcache.store.hub_objects import HubObjects
from kdcache.store.object_store import ObjectStore
from kdcache.store.remote import SCHEMES, RemoteObjects
from kdcache.store.web import WEB_SCHEMES, WebObjects

__all__ = ["FORMS", "OPENERS", "demand_makeable"]

OPENERS: Final[Mapping[str, Callable[[str], ObjectStore]]] = MappingProxyType(
    {
        **dict.fromkeys(SCHEMES, RemoteObjects),
        **dict.fromkeys(WEB_SCHEMES, WebObjects),
        "hf": HubObjects,
    }
)
"""By the scheme of the address."""

FORMS: Final = (
    "s3://bucket/folder",
    "gs://bucket/folder",
    "az://container/folder",
    "http(s)://host/folder (to read only)",
    "hf://datasets/owner/name[@rev]",
)
"""How such addresses are written, for people."""


def demand_makeable(objects: ObjectStore) -> None:
    """Refuse a place where no cache is made object by object, before anything is done for it.

    Raises:
        ConfigError: it is one: a web server or a hub.
    """
    if isinstance(objects, WebObjects | HubObjects):
        objects.settle()
