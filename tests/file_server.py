"""A small HTTP server of files under addresses, which misbehaves on demand."""

from collections import Counter

from local_server import LocalServer, QuietHandler


class FileServer(LocalServer):
    """Serves content by path.

    Attributes:
        files: content by path, such as ``/a/b.json``.
        failures: statuses, with headers, that the next requests are answered with.
        cut: paths of which the next answer breaks off half way.
        damaged: paths of which the next answer has a wrong byte.
        ranges: whether parts of a file can be asked for.
        requests: how often each path was asked for.
        resumed: where the answered parts began.
    """

    def __init__(self, files=()):
        self.files = dict(files)
        self.failures, self.cut, self.damaged = [], set(), set()
        self.ranges = True
        self.requests, self.resumed = Counter(), []
        super().__init__()

    def _handler(self):
        server = self

        class Handler(QuietHandler):
            def do_GET(self):
                server.requests[self.path] += 1
                if server.failures:
                    status, headers = server.failures.pop(0)
                    self.send(status, b"busy", headers)
                elif self.path not in server.files:
                    self.send(404, b"", {})
                else:
                    self.file(server.files[self.path])

            def file(self, content):
                status, headers, sent = 200, {}, None
                wanted = self.headers.get("Range")
                if wanted and server.ranges:
                    start = int(wanted.removeprefix("bytes=").split("-")[0])
                    if start >= len(content):
                        self.send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                        return
                    server.resumed.append(start)
                    headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                    status, content = 206, content[start:]
                if self.path in server.damaged:
                    server.damaged.discard(self.path)
                    content = content[:-1] + bytes([content[-1] ^ 1])
                if self.path in server.cut:
                    server.cut.discard(self.path)
                    sent = len(content) // 2
                self.send(status, content, headers, sent)

            def send(self, status, content, headers, sent=None):
                self.send_response(status)
                for key, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content[:sent])

        return Handler
