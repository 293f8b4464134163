"""The addresses that obstore can be asked about, and where each provider's settings are."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["AZURE", "BUCKETS", "WEB", "Scheme", "scheme_of"]

AZURE: Final = ("az", "azure", "abfss")


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of address.

    Attributes:
        form: how such an address is written.
        endpoints: environment variables that name another server than the provider's; the first one counts.
        look: what to check when requests fail.
        container: what the first part of the address names.
    """

    form: str
    endpoints: tuple[str, ...] = ()
    look: str = "the server and the address"
    container: str = "folder"

    def allows_plain_http(self, url: str) -> bool:
        """Tell whether requests may go unencrypted: only where the user's own address says so."""
        address = next((value for name in self.endpoints if (value := os.environ.get(name))), url)
        return address.lower().startswith("http://")


_AZURE: Final = Scheme(
    "az://container/folder",
    ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "the server, the container, AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ENDPOINT and the credentials",
    "container",
)

BUCKETS: Final[Mapping[str, Scheme]] = MappingProxyType(
    {
        "s3": Scheme(
            "s3://bucket/folder",
            ("AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
            "the server, the bucket, AWS_ENDPOINT_URL and the credentials",
            "bucket",
        ),
        "gs": Scheme(
            "gs://bucket/folder",
            ("GOOGLE_BASE_URL",),
            "the server, the bucket and the credentials (GOOGLE_APPLICATION_CREDENTIALS)",
            "bucket",
        ),
    }
    | dict.fromkeys(AZURE, _AZURE)
)
"""What can be read and written."""

WEB: Final[Mapping[str, Scheme]] = MappingProxyType(
    {name: Scheme(f"{name}://host/folder") for name in ("http", "https")}
)
"""What can be read only."""


def scheme_of(url: str) -> Scheme | None:
    """Return what kind of address this is; None for one that obstore is not asked about.

    >>> scheme_of("GS://bucket/cache").form
    'gs://bucket/folder'
    """
    name = url.partition("://")[0].lower()
    return BUCKETS.get(name) or WEB.get(name)
