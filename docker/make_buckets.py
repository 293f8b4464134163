"""Make buckets where there are none yet: ``python3 make_buckets.py NAME...``.

Server and credentials come from the environment, as kdcache's do. A bucket is made by a PUT of its own address;
obstore has no call for that, but signs the address.
"""  # noqa: INP001 - a script beside the compose file

import sys
import urllib.error
import urllib.request
from datetime import timedelta
from http import HTTPStatus
from typing import Final

import obstore
from obstore.store import S3Store

__all__ = ["main", "make_bucket"]

_MINUTE: Final = timedelta(minutes=1)


def make_bucket(name: str) -> None:
    """Make a bucket, unless there is one of this name.

    Raises:
        HTTPError: the server refuses.
        URLError: it does not answer.
    """
    address = obstore.sign(S3Store(name, client_options={"allow_http": True}), "PUT", "", _MINUTE)
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="PUT"), timeout=60).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.CONFLICT:
            raise


def main() -> None:
    """Make the buckets that are named."""
    for name in sys.argv[1:]:
        make_bucket(name)


if __name__ == "__main__":
    main()
