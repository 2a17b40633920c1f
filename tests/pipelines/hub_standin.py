"""A hub in a thread: as much of the Hugging Face Hub's HTTP as huggingface_hub needs to share a dataset repository.

Repositories with branches and commits, large files by the LFS protocol, downloads with ranges, tokens. It notes every
request, and can be told to break a connection or to send a wrong byte.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_write"


@dataclass
class Repository:
    """Branches and tags point to commits; a commit is {path: sha256 of its contents}."""

    private: bool = False
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})
    commits: dict[str, dict[str, str]] = field(default_factory=lambda: {"0" * 40: {}})


class Hub:
    """The server and what it holds.

    Attributes:
        url: its endpoint.
        requests: "METHOD path" of each, with " Range: ..." where one was asked for.
        cut: {path in a repository: after how many bytes the connection breaks}, each once.
        wrong: paths whose contents are sent with one bit flipped.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.cut: dict[str, int] = {}
        self.wrong: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """What a branch or commit of a repository holds."""
        repository = self.repositories[name]
        commit = repository.commits[repository.branches.get(revision, revision)]
        return {path: self.blobs[digest] for path, digest in commit.items()}

    def keep(self, content: bytes) -> str:
        """Keeps contents; returns their sha256."""
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        wanted = self.headers.get("Range")
        self.hub.requests.append(f"{self.command} {unquote(path)}" + (f" Range: {wanted}" if wanted else ""))
        body = self._body()
        for pattern, answer in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and answer.__name__.split("_")[1] == {"HEAD": "get"}.get(self.command, self.command.lower()):
                answer(self, body, *map(unquote, match.groups()))
                return
        self._fail(404, "EntryNotFound")

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces = []
            while length := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(length))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)

    def _fail(self, status: int, code: str = "", message: str = "no") -> None:
        content = json.dumps({"error": message}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)

    def _may_write(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._fail(401, message="Invalid username or password.")
        return False

    def _repository(self, name: str) -> Repository | None:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            # As the Hub does: one that may not be seen looks like one that is not there.
            self._fail(404 if self.headers.get("Authorization") else 401, "RepoNotFound", "Repository not found")
            return None
        return repository

    def _commit(self, repository: Repository, revision: str) -> str | None:
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return commit

    def on_post_create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if not self._may_write():
            return
        if name in self.hub.repositories:
            self._send(
                {"error": "You already created this dataset repo", "url": f"{self.hub.url}/datasets/{name}"}, 409
            )
            return
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repositories[name] = Repository(private=private)
        self._send({"url": f"{self.hub.url}/datasets/{name}"})

    def on_get_info(self, _: bytes, name: str, revision: str | None = None) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        commit = self._commit(repository, revision or "main")
        if commit is not None:
            self._send({"id": name, "sha": commit, "private": repository.private, "siblings": []})

    def on_post_branch(self, _: bytes, name: str, branch: str) -> None:
        repository = self._repository(name) if self._may_write() else None
        if repository is None:
            return
        if branch in repository.branches:
            self._fail(409, message="Reference already exists")
            return
        repository.branches[branch] = repository.branches["main"]
        self._send({})

    def on_post_yaml(self, body: bytes) -> None:
        front = json.loads(body)["content"].split("---")[1]
        if "license: nonsense" in front:
            self._send({"errors": [{"message": '"license" must be one of [...]'}], "warnings": []}, 400)
        else:
            self._send({"errors": [], "warnings": []})

    def on_post_preupload(self, body: bytes, name: str, revision: str) -> None:
        if self._repository(name) is None:
            return
        files = json.loads(body)["files"]
        modes = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(".h5") else "regular", "shouldIgnore": False}
            for f in files
        ]
        self._send({"files": modes})

    def on_post_batch(self, body: bytes, name: str) -> None:
        if not self._may_write() or self._repository(name) is None:
            return
        objects = []
        for entry in json.loads(body)["objects"]:
            answer = {"oid": entry["oid"], "size": entry["size"]}
            if entry["oid"] not in self.hub.blobs:
                answer["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{entry['oid']}"}}
            objects.append(answer)
        self._send({"transfer": "basic", "objects": objects})

    def on_put_lfs(self, body: bytes, oid: str) -> None:
        if self.hub.keep(body) != oid:
            self._fail(400, message="the contents are not those that were announced")
            return
        self._send({})

    def on_post_commit(self, body: bytes, name: str, branch: str) -> None:
        repository = self._repository(name) if self._may_write() else None
        if repository is None:
            return
        files = dict(repository.commits[repository.branches[branch]])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = self.hub.keep(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                assert value["oid"] in self.hub.blobs
                files[value["path"]] = value["oid"]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = hashlib.sha1(json.dumps(files).encode()).hexdigest()
        repository.commits[commit] = files
        repository.branches[branch] = commit
        self._send({"commitUrl": f"{self.hub.url}/datasets/{name}/commit/{commit}", "commitOid": commit})

    def on_get_file(self, _: bytes, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        commit = self._commit(repository, revision) if repository is not None else None
        if repository is None or commit is None:
            return
        digest = repository.commits[commit].get(path)
        if digest is None:
            self._fail(404, "EntryNotFound", "Entry not found")
            return
        content = self.hub.blobs[digest]
        if path in self.hub.wrong:
            content = bytes([content[0] ^ 1]) + content[1:] if len(content) < 2000 else _flipped(content)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        first = int(wanted[1]) if wanted else 0
        rest = content[first:]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command == "HEAD":
            return
        if path in self.hub.cut:
            self.wfile.write(rest[: self.hub.cut.pop(path)])
            self.close_connection = True
            return
        self.wfile.write(rest)


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


_NAME = r"([^/]+/[^/]+)"
_ROUTES = [
    ("/api/repos/create", _Handler.on_post_create),
    ("/api/validate-yaml", _Handler.on_post_yaml),
    (f"/api/datasets/{_NAME}/revision/([^/]+)", _Handler.on_get_info),
    (f"/api/datasets/{_NAME}/branch/([^/]+)", _Handler.on_post_branch),
    (f"/api/datasets/{_NAME}/preupload/([^/]+)", _Handler.on_post_preupload),
    (f"/api/datasets/{_NAME}/commit/([^/]+)", _Handler.on_post_commit),
    (f"/api/datasets/{_NAME}", _Handler.on_get_info),
    (rf"/datasets/{_NAME}\.git/info/lfs/objects/batch", _Handler.on_post_batch),
    ("/lfs/([0-9a-f]{64})", _Handler.on_put_lfs),
    (f"/datasets/{_NAME}/resolve/([^/]+)/(.+)", _Handler.on_get_file),
]
