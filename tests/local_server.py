"""What the tests' HTTP servers share: a thread that serves on a free port while a block runs."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class QuietHandler(BaseHTTPRequestHandler):
    """A handler that prints nothing."""

    def log_message(self, *_):
        pass


class LocalServer:
    """Serves while it is entered; a subclass says by which handler.

    Attributes:
        address: of the server, without a path.
    """

    def __init__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _handler(self):
        """Return the class of the handler."""
        raise NotImplementedError
