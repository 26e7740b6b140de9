"""A small server on 127.0.0.1 that answers huggingface_hub like the Hub: repositories, commits, large files, downloads.

Everything is kept in memory. `fail` makes one kind of request fail, as an overloaded or a strict Hub would.
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

import yaml

LARGE = (".safetensors", ".onnx")


@dataclass
class Repository:
    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1]

    @property
    def sha(self) -> str:
        return f"{len(self.commits):040x}"


@dataclass
class State:
    """What the server holds and has heard.

    Attributes:
        fail: kind of request (create, preupload, batch, put, commit) → status it is answered with.
        tokens: every bearer token that came.
        requests: method and path of every request.
    """

    token: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    fail: dict[str, int] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(name: str) -> bool:
    return name.endswith(LARGE)


def remote_oid(name: str, content: bytes | None) -> str | None:
    if content is None:
        return None
    return hashlib.sha256(content).hexdigest() if is_large(name) else git_oid(content)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def log_message(self, format: str, *args: Any) -> None:
        return

    def answer(self, status: int, value: Any = None, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        if value is not None:
            body = json.dumps(value).encode()
        self.send_response(status)
        sized = {"Content-Length": str(len(body))} | (headers or {})
        for name, text in sized.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def refused(self, kind: str) -> bool:
        status = self.state.fail.get(kind)
        if status is not None:
            self.answer(status, {"error": f"this loopback Hub fails at {kind}"})
        return status is not None

    def allowed(self) -> bool:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token:
            self.state.tokens.add(token)
        return token == self.state.token

    def route(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.body()
        self.state.requests.append(f"{self.command} {path}")
        for pattern, method in ROUTES:
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                if method != "put" and not self.allowed():
                    self.answer(401, {"error": "Invalid credentials"}, {"X-Error-Message": "Invalid credentials"})
                elif not self.refused(method):
                    getattr(self, f"on_{method}")(body, *found.groups())
                return
        self.answer(404, {"error": f"nothing here: {self.command} {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = route

    def repository(self, repo: str) -> Repository | None:
        found = self.state.repositories.get(repo)
        if found is None:
            self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return found

    def on_create(self, body: bytes) -> None:
        asked = json.loads(body)
        repo = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        repo = f"spaces/{repo}" if asked.get("type") == "space" else repo
        address = f"http://{self.headers['Host']}/{repo}"
        if repo in self.state.repositories:
            self.answer(409, {"error": "You already created this model repo", "url": address})
            return
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.state.repositories[repo] = Repository(private)
        self.answer(200, {"url": address, "name": repo, "id": repo})

    def on_yaml(self, body: bytes) -> None:
        self.answer(200, {"errors": [], "warnings": []})

    def on_info(self, body: bytes, repo: str) -> None:
        if found := self.repository(repo):
            siblings = [{"rfilename": name} for name in found.files]
            card = found.files.get("README.md", b"").decode().split("---\n")
            header = yaml.safe_load(card[1]) if len(card) > 2 else None
            told = {"id": repo, "sha": found.sha, "private": found.private, "siblings": siblings, "cardData": header}
            self.answer(200, told)

    def on_tree(self, body: bytes, repo: str) -> None:
        if found := self.repository(repo):
            entries: list[dict[str, Any]] = []
            for name, content in found.files.items():
                entry = {"type": "file", "path": name, "size": len(content), "oid": git_oid(content)}
                if is_large(name):
                    oid = hashlib.sha256(content).hexdigest()
                    entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 130}
                entries.append(entry)
            self.answer(200, entries)

    def on_preupload(self, body: bytes, repo: str) -> None:
        if found := self.repository(repo):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                    "shouldIgnore": False,
                    "oid": remote_oid(file["path"], found.files.get(file["path"])),
                }
                for file in json.loads(body)["files"]
            ]
            self.answer(200, {"files": files})

    def on_batch(self, body: bytes, repo: str) -> None:
        objects = []
        for item in json.loads(body)["objects"]:
            entry = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.state.blobs:
                href = f"http://{self.headers['Host']}/blobs/{item['oid']}"
                entry["actions"] = {"upload": {"href": href, "header": {}}}
            objects.append(entry)
        self.answer(200, {"transfer": "basic", "objects": objects})

    def on_put(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self.answer(400, {"error": "another SHA-256"})
            return
        self.state.blobs[oid] = body
        self.answer(200)

    def on_commit(self, body: bytes, repo: str) -> None:
        found = self.repository(repo)
        if found is None:
            return
        files = dict(found.files)
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.state.blobs[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        found.commits.append(files)
        address = f"http://{self.headers['Host']}/{repo}/commit/{found.sha}"
        self.answer(200, {"commitUrl": address, "commitOid": found.sha})

    on_space_commit = on_commit

    def on_resolve(self, body: bytes, repo: str, name: str) -> None:
        found = self.repository(repo)
        if found is None:
            return
        content = found.files.get(name)
        if content is None:
            self.answer(
                404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": found.sha}
            )
            return
        headers = {"X-Repo-Commit": found.sha, "ETag": f'"{remote_oid(name, content)}"'}
        if is_large(name):
            headers |= {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(content))}
        self.answer(200, None, headers, content)


REPO = r"([^/ ]+/[^/ ]+)"
ROUTES = (
    (r"POST /api/repos/create", "create"),
    (r"POST /api/validate-yaml", "yaml"),
    (rf"GET /api/models/{REPO}/tree/.*", "tree"),
    (rf"GET /api/models/{REPO}(?:/revision/.*)?", "info"),
    (rf"POST /api/models/{REPO}/preupload/.*", "preupload"),
    (rf"POST /{REPO}\.git/info/lfs/objects/batch", "batch"),
    (r"PUT /blobs/([0-9a-f]+)", "put"),
    (rf"POST /api/models/{REPO}/commit/.*", "commit"),
    (rf"GET /api/(spaces/{REPO[1:]}(?:/revision/.*)?", "info"),
    (rf"POST /api/(spaces/{REPO[1:]}/preupload/.*", "preupload"),
    (rf"POST /api/(spaces/{REPO[1:]}/commit/.*", "space_commit"),
    (rf"(?:GET|HEAD) /{REPO}/resolve/[^/]+/(.+)", "resolve"),
)


class LoopbackHub:
    """The server while it runs; a context manager."""

    def __init__(self, token: str) -> None:
        self.state = State(token)
        handler = type("BoundHandler", (Handler,), {"state": self.state})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> LoopbackHub:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
