"""The answers of the stand-in for a hub."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from tests.support.hub_state import READER, WRITER, Hub, Repository, StoredFile

__all__ = ["ApiHandler", "FilesHandler"]

_TEXTS = (".json", ".md", "SHA256SUMS", ".gitattributes")


class _RefusedError(Exception):
    def __init__(self, status: int, code: str = "", text: str = "") -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text


class ApiHandler(BaseHTTPRequestHandler):
    """Answers for the API, and sends small files."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        self.hub.requests.append((self.command, self.path))
        status = self.hub.before(self.command, self.path)
        if status is not None:
            self._answer(status, b"")
            return
        try:
            self._route(parts.path)
        except _RefusedError as error:
            named = {"X-Error-Code": error.code, "X-Error-Message": error.text}
            self._answer(error.status, b"", {name: text for name, text in named.items() if text})

    do_GET = do_PUT = do_HEAD = do_POST = _serve

    def _route(self, path: str) -> None:
        for method, pattern, serve in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method.split():
                serve(self, *(unquote(part) for part in found.groups(default="")))
                return
        raise _RefusedError(404)

    def create(self) -> None:
        """Make a repository."""
        self._demand_writer()
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}"
        with self.hub.lock:
            if repo in self.hub.repositories:
                raise _RefusedError(409, text="You already created this dataset repo")
            made = self.hub.repositories[repo] = Repository(asked.get("visibility") == "private")
            made.commit("main", {".gitattributes": StoredFile(b"*.bin filter=lfs\n", is_large=False)})
        self._json({"url": f"{self._self()}/datasets/{repo}"})

    def revision(self, repo: str, revision: str) -> None:
        """Tell the commit that a revision is."""
        sha, _ = self._commit_of(repo, revision or "main")
        self._json({"id": repo, "sha": sha, "private": self.hub.repositories[repo].private})

    def tree(self, repo: str, revision: str, folder: str) -> None:
        """List a page of a folder."""
        _, files = self._commit_of(repo, revision)
        below = f"{folder}/" if folder else ""
        paths = sorted(path for path in files if path.startswith(below))
        if folder and not paths:
            raise _RefusedError(404, "EntryNotFound", f"{folder} does not exist")
        first = int(self.query.get("cursor", ["0"])[0])
        last = first + self.hub.page
        folders = [
            {"type": "directory", "path": p.rpartition("/")[0], "oid": "0" * 40, "size": 0} for p in paths[:1]
        ]
        link = f"{self._self()}{urlsplit(self.path).path}?{urlencode({'cursor': last, 'recursive': 'true'})}"
        headers = {"Link": f'<{link}>; rel="next"'} if last < len(paths) else {}
        self._json([*folders, *(files[path].facts(path) for path in paths[first:last])], headers)

    def paths_info(self, repo: str, revision: str) -> None:
        """Tell about files by name."""
        _, files = self._commit_of(repo, revision)
        wanted = parse_qs(self.body.decode())["paths"]
        self._json([files[path].facts(path) for path in wanted if path in files])

    def resolve(self, repo: str, revision: str, path: str) -> None:
        """Give a file, or say where it lies."""
        sha, files = self._commit_of(repo, revision)
        if path not in files:
            raise _RefusedError(404, "EntryNotFound", "Entry not found")
        file, headers = files[path], {"X-Repo-Commit": sha}
        if not file.is_large:
            self._send_range(file.data, headers | {"ETag": f'"{file.facts(path)["oid"]}"'})
            return
        headers |= {"X-Linked-Size": str(len(file.data)), "X-Linked-Etag": f'"{file.sha256}"'}
        self._answer(
            302,
            b"",
            headers | {"Location": f"{self.hub.files_endpoint}/{file.sha256}?X-Amz-Signature=signed"},
        )

    def preupload(self, repo: str, revision: str) -> None:
        """Say which files are to be large ones."""
        self._demand_writer()
        _, there = self._commit_of(repo, revision)
        answers = [
            {
                "path": asked["path"],
                "uploadMode": "regular" if self._is_text(asked["path"]) else "lfs",
                "shouldIgnore": asked["path"] == self.hub.ignored,
                "oid": self._oid(there.get(asked["path"])),
            }
            for asked in json.loads(self.body)["files"]
        ]
        self._json({"files": answers})

    def batch(self, repo: str) -> None:
        """Say where large files are to be put; those that are there need not be."""
        self._demand_writer()
        asked = json.loads(self.body)
        assert "basic" in asked["transfers"], repo
        wanted = [
            one if one["oid"] in self.hub.large else one | {"actions": {"upload": self._upload(**one)}}
            for one in asked["objects"]
        ]
        self._json({"transfer": "basic", "objects": wanted})

    def _upload(self, oid: str, size: int) -> dict[str, Any]:
        href, part = f"{self._self()}/large/{oid}", self.hub.part_bytes
        if size <= part:
            return {"href": href, "header": {}}
        parts = {str(number + 1): f"{href}/{number + 1}" for number in range(-(-size // part))}
        return {"href": f"{href}/join", "header": {"chunk_size": str(part)} | parts}

    def put_part(self, oid: str, number: str) -> None:
        """Take a part of a large file."""
        self.hub.parts[oid, int(number)] = self.body
        self._answer(200, b"", {"ETag": f'"{number}"'})

    def join(self, oid: str) -> None:
        """Make a large file of its parts."""
        numbers = [part["partNumber"] for part in json.loads(self.body)["parts"]]
        self.body = b"".join(self.hub.parts.pop((oid, number)) for number in numbers)
        self.put_large(oid)

    def put_large(self, oid: str) -> None:
        """Take a large file."""
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _RefusedError(400, text="bad digest")
        self.hub.large[oid] = self.body
        self._answer(200, b"")

    def commit(self, repo: str, branch: str) -> None:
        """Make a commit."""
        self._demand_writer()
        lines = [json.loads(line) for line in self.body.splitlines()]
        with self.hub.lock:
            head, there = self._commit_of(repo, branch)
            if branch not in self.hub.repositories[repo].branches:
                raise _RefusedError(400, text="not a branch")
            if lines[0]["value"].get("parentCommit", head) != head:
                raise _RefusedError(412, text="A commit has happened since. Please refresh and try again.")
            new = {line["value"]["path"]: self._new_file(line) for line in lines[1:]}
            sha = self.hub.repositories[repo].commit(branch, there | new)
        url = f"{self._self()}/datasets/{repo}/commit/{sha}"
        self._json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def validate(self) -> None:
        """Find a card in order."""
        self._json({"errors": [], "warnings": []})

    def _new_file(self, line: dict[str, Any]) -> StoredFile:
        if line["key"] == "file":
            return StoredFile(base64.b64decode(line["value"]["content"]), is_large=False)
        data = self.hub.large.get(line["value"]["oid"])
        if line["key"] != "lfsFile" or data is None or len(data) != line["value"]["size"]:
            raise _RefusedError(400, text="a file of the commit was not uploaded")
        return StoredFile(data, is_large=True)

    def _is_text(self, path: str) -> bool:
        return path.endswith(_TEXTS) and not self.hub.texts_are_large

    def _oid(self, file: StoredFile | None) -> str | None:
        return None if file is None else file.sha256 if file.is_large else file.facts("")["oid"]

    def _commit_of(self, repo: str, revision: str) -> tuple[str, dict[str, StoredFile]]:
        token = self._token()
        repository = self.hub.repositories.get(repo)
        if repository is None or (repository.private and token is None):
            raise _RefusedError(404 if token else 401, "RepoNotFound", "Repository not found")
        sha = repository.branches.get(revision, revision)
        if sha not in repository.commits:
            raise _RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha, repository.commits[sha]

    def _token(self) -> str | None:
        given = self.headers.get("Authorization")
        if given is not None and given not in {f"Bearer {WRITER}", f"Bearer {READER}"}:
            raise _RefusedError(401, text="Invalid credentials in Authorization header")
        return given and given.removeprefix("Bearer ")

    def _demand_writer(self) -> None:
        token = self._token()
        if token != WRITER:
            raise _RefusedError(403 if token else 401, text="You don't have the rights to write here")

    def _self(self) -> str:
        return f"http://{self.headers['Host']}"

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def _send_range(self, data: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None:
            self._answer(200, data, headers)
        elif int(asked[1]) >= len(data):
            raise _RefusedError(416)
        else:
            self._answer(206, data[int(asked[1]) : int(asked[2]) + 1], headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class FilesHandler(ApiHandler):
    """Sends large files to whoever asks without a token."""

    def _serve(self) -> None:
        self.hub.requests.append((self.command, self.path))
        data = self.hub.large[urlsplit(self.path).path.strip("/")]
        if "Authorization" in self.headers:
            self._answer(400, b"only one way of authorization is allowed")
            return
        try:
            self._send_range(data, {})
        except _RefusedError as error:
            self._answer(error.status, b"")

    do_GET = do_HEAD = _serve


_REPO, _REV = r"/api/datasets/([^/]+/[^/]+)", r"([^/]+)"
_ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("POST", "/api/repos/create", ApiHandler.create),
    ("POST", "/api/validate-yaml", ApiHandler.validate),
    ("GET", rf"{_REPO}(?:/revision/{_REV})?", ApiHandler.revision),
    ("GET", rf"{_REPO}/tree/{_REV}(?:/(.+))?", ApiHandler.tree),
    ("POST", rf"{_REPO}/paths-info/{_REV}", ApiHandler.paths_info),
    ("POST", rf"{_REPO}/preupload/{_REV}", ApiHandler.preupload),
    ("POST", rf"{_REPO}/commit/{_REV}", ApiHandler.commit),
    ("POST", r"/datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch", ApiHandler.batch),
    ("PUT", "/large/([0-9a-f]{64})", ApiHandler.put_large),
    ("PUT", "/large/([0-9a-f]{64})/([0-9]+)", ApiHandler.put_part),
    ("POST", "/large/([0-9a-f]{64})/join", ApiHandler.join),
    ("GET HEAD", rf"/datasets/([^/]+/[^/]+)/resolve/{_REV}/(.+)", ApiHandler.resolve),
]
