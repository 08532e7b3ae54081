"""A small HTTP server that imitates the hub's API, and misbehaves on demand."""

import hashlib
import json
from collections import Counter

from local_server import LocalServer, QuietHandler

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".parquet", ".zip")


class Hub(LocalServer):
    """One repository.

    Attributes:
        files: content by path.
        place: the repository, such as `owner/tiny`.
        kind: `models` or `datasets`.
        failures: statuses that the next requests are answered with, by the request's kind:
            ``info``, ``HEAD`` or ``GET`` of a file.
        cut: names of files whose next download breaks off half way.
        damaged: names of files whose next download has a wrong byte.
        requests: how many requests of each kind there were.
        ranges: what was asked for by downloads that were resumed.
        revisions: names of revisions that exist beside the usual ones.
    """

    def __init__(self, files, place="owner/tiny", kind="models"):
        self.files, self.place, self.kind = dict(files), place, kind
        self.failures = {"info": [], "HEAD": [], "GET": []}
        self.cut, self.damaged = set(), set()
        self.requests = Counter()
        self.ranges = []
        self.revisions = set()
        super().__init__()
        self.endpoint = self.address

    def _handler(self):
        hub = self

        class Handler(QuietHandler):
            def do_HEAD(self):
                self.answer()

            def do_GET(self):
                self.answer()

            def answer(self):
                place = self.path.split("?")[0]
                kind = "info" if place.startswith("/api/") else self.command
                prefix = "/datasets" if hub.kind == "datasets" else ""
                hub.requests[kind] += 1
                if hub.failures[kind]:
                    self.send(hub.failures[kind].pop(0), b"busy")
                elif place.startswith(f"/api/{hub.kind}/{hub.place}"):
                    self.info(place)
                elif place.startswith(files := f"{prefix}/{hub.place}/resolve/{COMMIT}/"):
                    self.file(place.removeprefix(files))
                else:
                    self.send(404, b"", {"X-Error-Code": "RepoNotFound"})

            def info(self, place):
                known = ("main", "v1", COMMIT, *hub.revisions)
                if "/revision/" in place and place.rsplit("/", 1)[1] not in known:
                    self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
                    return
                siblings = [{"rfilename": name} for name in [*hub.files, "README.md", "model.py"]]
                for file in siblings:
                    if file["rfilename"].endswith(LARGE) and "blobs=" in self.path:
                        content = hub.files[file["rfilename"]]
                        sha256 = hashlib.sha256(content).hexdigest()
                        file["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
                about = {"id": hub.place, "modelId": hub.place, "sha": COMMIT, "siblings": siblings}
                self.send(200, json.dumps(about).encode(), {"Content-Type": "application/json"})

            def file(self, name):
                if name not in hub.files:
                    self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
                    return
                content = hub.files[name]
                headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
                wanted = self.headers.get("Range")
                if wanted:
                    start = int(wanted.removeprefix("bytes=").split("-")[0])
                    hub.ranges.append((name, start))
                    headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                    self.send(206, content[start:], headers)
                elif self.command == "GET" and name in hub.cut:
                    hub.cut.discard(name)
                    self.send(200, content, headers, sent=len(content) // 2)
                elif self.command == "GET" and name in hub.damaged:
                    hub.damaged.discard(name)
                    self.send(200, content[:-1] + bytes([content[-1] ^ 1]), headers)
                else:
                    self.send(200, content, headers)

            def send(self, status, content, headers=None, sent=None):
                self.send_response(status)
                for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[:sent])

        return Handler
