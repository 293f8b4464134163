"""Addresses of caches on a hub: ``hf://datasets/owner/name@revision/folder``."""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from kdcache.errors import ConfigError

__all__ = ["DEFAULT_BRANCH", "HubAddress"]

DEFAULT_BRANCH = "main"

_NAME = r"[A-Za-z0-9][\w.-]*"
_ADDRESS = re.compile(
    rf"hf://datasets/(?P<repo>{_NAME}/{_NAME})"
    r"(?:@(?P<revision>refs/(?:pr/[0-9]+|convert/[\w.-]+)|[^/@?#]+))?"
    r"(?:/(?P<folder>[^?#]*))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class HubAddress:
    """Where on a hub a cache is.

    Attributes:
        repo: ``owner/name`` of a dataset repository.
        revision: a branch, a tag or a commit.
        folder: of the cache in the repository; empty: its top.
    """

    repo: str
    revision: str = DEFAULT_BRANCH
    folder: str = ""

    @classmethod
    def parse(cls, url: str) -> "HubAddress":
        """Return the parts of an address.

        A slash in a revision is written as ``%2F``, but in those of pull requests.

        >>> HubAddress.parse("hf://datasets/ann/logits@v1.0/k50")
        HubAddress(repo='ann/logits', revision='v1.0', folder='k50')

        Raises:
            ConfigError: it is none.
        """
        found = _ADDRESS.fullmatch(url.rstrip("/"))
        parts = (found["folder"] or "").split("/") if found else []
        if found is None or (parts != [""] and not {"", ".", ".."}.isdisjoint(parts)):
            raise ConfigError(
                f"{url} is no address on a hub; write hf://datasets/owner/name, with @revision (a branch, a tag or a "
                "commit) and /folder behind it where they are needed"
            )
        return cls(found["repo"], unquote(found["revision"] or DEFAULT_BRANCH), "/".join(parts))

    def inside(self, path: str) -> str:
        """Return the path in the repository of a path in the cache."""
        return "/".join(part for part in (self.folder, path) if part)

    def outside(self, path: str) -> str:
        """Return the path in the cache of a path in the repository."""
        return path.removeprefix(f"{self.folder}/") if self.folder else path

    def api(self, what: str, revision: str, path: str = "") -> str:
        """Return the path of a request about a revision: ``revision``, ``tree`` or ``paths-info``."""
        text = f"/api/datasets/{self.repo}/{what}/{quote(revision, safe='')}"
        return f"{text}/{quote(path)}" if path else text

    def file(self, commit: str, path: str) -> str:
        """Return the path of a request for an object as it was in a commit."""
        return f"/datasets/{self.repo}/resolve/{quote(commit, safe='')}/{quote(self.inside(path))}"
