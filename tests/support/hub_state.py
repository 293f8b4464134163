"""What the stand-in for a hub holds."""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["READER", "WRITER", "Hub", "Repository", "StoredFile"]

WRITER, READER = "hf_writerwriterwriter", "hf_readerreaderreader"


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit."""

    data: bytes
    is_large: bool

    @property
    def sha256(self) -> str:
        """Return the id of a large file."""
        return hashlib.sha256(self.data).hexdigest()

    def facts(self, path: str) -> dict[str, Any]:
        """Return what a listing says."""
        git_id = hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()  # noqa: S324 - git's
        large = {"oid": self.sha256, "size": len(self.data), "pointerSize": 130}
        facts = {"type": "file", "path": path, "size": len(self.data), "oid": git_id}
        return facts | ({"lfs": large, "oid": "0" * 40} if self.is_large else {})


@dataclass
class Repository:
    """The commits of a repository, by id, and its branches."""

    private: bool = False
    commits: dict[str, dict[str, StoredFile]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, StoredFile]) -> str:
        """Make a commit of these files."""
        # Two commits of one second and one content are two.
        text = f"{branch}{len(self.commits)}{sorted(files)}{time.monotonic()}"
        sha = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - git's
        self.commits[sha], self.branches[branch] = files, sha
        return sha


@dataclass
class Hub:
    """The state of the stand-in; change it while it runs.

    Attributes:
        page: entries of a page of a listing.
        large: large files, by sha256, also of no commit yet.
        requests: (method, path) of all that came.
        before: called with (method, path) before a request is answered; what it returns, if anything, is the status
            of the answer instead.
        texts_are_large: every file is stored as a large one.
        part_bytes: larger files are sent in parts.
        ignored: a path that the repository's .gitignore leaves out.
    """

    endpoint: str = ""
    files_endpoint: str = ""
    page: int = 25
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str, str], int | None] = lambda _method, _path: None
    texts_are_large: bool = False
    part_bytes: int = 1 << 30
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    ignored: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def objects(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """Return the bytes of all files."""
        repository = self.repositories[repo]
        files = repository.commits[repository.branches.get(revision, revision)]
        return {path: file.data for path, file in files.items()}

    def count(self, method: str, part: str) -> int:
        """Return how many requests there were to paths with ``part`` in it."""
        return sum(one == method and part in path for one, path in self.requests)
