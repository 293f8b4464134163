"""Addresses without secrets: what may be kept, printed or logged of a URL."""

import re

from kdcache.errors import ConfigError

__all__ = ["demand_no_credentials", "public_text", "public_url"]

_URL = re.compile(
    r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^/\s?#'\"]*@)?(?P<rest>[^\s?#'\"]*)(?P<query>[?#][^\s'\"]*)?"
)


def demand_no_credentials(url: str) -> None:
    """Refuse a URL with a user name or password in it.

    It would be kept in checkpoints, logs and command histories. The message does not repeat it.

    Raises:
        ConfigError: there are some.
    """
    if any(found["user"] for found in _URL.finditer(url)):
        raise ConfigError(
            f"the address {public_url(url)} was given with a user name or password in it, which would end up in "
            "logs and checkpoints; leave them out, and give credentials in the environment or the provider's own "
            "files (docs/security.md says where they are looked for)"
        )


def public_url(url: str) -> str:
    """Return a URL without user name, password, query and fragment; signed URLs have their secrets in the query.

    >>> public_url("https://ann:pw@host/train-{0..3}.tar?token=1")
    'https://host/train-{0..3}.tar'
    >>> public_url("pipe:curl -H 'Authorization: Bearer 1' host")
    'pipe:...'
    """
    return "pipe:..." if url.startswith("pipe:") else public_text(url)


def public_text(text: str) -> str:
    """Return a text, say another library's error, with every URL in it as ``public_url`` gives it."""
    return _URL.sub(lambda found: f"{found['scheme']}{found['rest']}", text)
