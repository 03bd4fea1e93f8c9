"""The part of the Hugging Face hub's protocol that publishing and fetching use, on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from typing import Any

import stores_world

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(stores_world.Loopback):
    """Repositories in memory; only ``token`` may write."""

    def __init__(self, token: str) -> None:
        super().__init__(_Handler)
        self.token, self.commits = token, 0
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args: Any) -> None: ...

    def _say(self, value: Any, status: int = 200, **headers: str) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_POST(self) -> None:
        body, hub = self._body(), self.server
        if self.path == "/api/validate-yaml":
            self._say({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._say({"error": "who are you?"}, 401)
        elif self.path == "/api/repos/create":
            told = json.loads(body)
            name = "/".join(filter(None, (told.get("organization"), told["name"])))
            hub.repositories.setdefault(name, {})
            self._say({"url": f"{hub.url}/{name}"})
        elif "/preupload/" in self.path:
            found = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for f in json.loads(body)["files"]
            ]
            self._say({"files": found})
        elif self.path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            up = [
                {**o, "actions": {"upload": {"href": f"{hub.url}/lfs/{o['oid']}", "header": {}}}}
                for o in wanted
            ]
            self._say({"transfer": "basic", "objects": up})
        elif "/commit/" in self.path:
            name = self.path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                told = line["value"]
                if line["key"] == "file":
                    hub.repositories[name][told["path"]] = base64.b64decode(told["content"])
                elif line["key"] == "lfsFile":
                    hub.repositories[name][told["path"]] = hub.objects[told["oid"]]
            hub.commits += 1
            url = f"{hub.url}/{name}/commit/{COMMIT}"
            self._say({"commitUrl": url, "commitOid": COMMIT, "commitMessage": ""})
        else:
            self._say({}, 404)

    def do_PUT(self) -> None:
        body = self._body()
        self.server.objects[hashlib.sha256(body).hexdigest()] = body
        self._say(b"")

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            files = self.server.repositories.get("/".join(parts[2:4]))
            told = {
                "id": "/".join(parts[2:4]),
                "sha": COMMIT,
                "siblings": [{"rfilename": f} for f in files or ()],
            }
            self._say(told, 200 if files is not None else 404)
            return
        data = self.server.repositories.get("/".join(parts[:2]), {}).get("/".join(parts[4:]))
        if data is None:
            self._say(b"", 404, X_Error_Code="EntryNotFound")
            return
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        self._say(data, ETag=tag, X_Repo_Commit=COMMIT, X_Linked_Size=str(len(data)))

    do_HEAD = do_GET
