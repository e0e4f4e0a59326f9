"""A folder behind HTTP, as a store gives it: whole files and parts of them; and connections that break."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder, *, n_cut, gives_parts):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.gives_parts = Path(folder), gives_parts
        self.n_left_to_cut = n_cut
        self.asked = []  # method, name and range of each request
        self.lock = threading.Lock()

    def handle_error(self, *_):
        """Stay silent about clients that hang up."""

    def is_cut(self, n_bytes):
        """Whether the answer is to break off; small ones, of which cards are, never do."""
        with self.lock:
            self.n_left_to_cut -= n_bytes > 4096
            return n_bytes > 4096 and self.n_left_to_cut >= 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, *, with_body):
        asked = self.headers.get("Range")
        self.server.asked.append((self.command, self.path.rpartition("/")[2], asked))
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "") if self.server.gives_parts else None
        first, last = (int(span[1]), int(span[2] or len(data) - 1)) if span else (0, len(data) - 1)
        part = data[first : last + 1]
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        if self.server.gives_parts:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if not with_body:
            return
        if self.server.is_cut(len(part)):
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.close_connection = True
        else:
            self.wfile.write(part)

    def log_message(self, *_):
        """Stay silent."""


@contextmanager
def http_store(folder, *, n_cut=0, gives_parts=True):
    """Serve a folder; give its address and the server, whose `asked` says what came.

    Args:
        folder: that is served.
        n_cut: answers, the first ones, that break off in their middle.
        gives_parts: whether ranges of bytes are given.
    """
    server = _Server(folder, n_cut=n_cut, gives_parts=gives_parts)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
