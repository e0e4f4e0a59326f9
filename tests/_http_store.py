"""A folder behind HTTP, as a store gives it: whole files and parts of them; and what may go wrong with one."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder, *, n_cut, gives_parts, status, stalls):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.gives_parts, self.status, self.stalls = Path(folder), gives_parts, status, stalls
        self.is_closed = threading.Event()
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
    disable_nagle_algorithm = True  # else small answers wait some 40 ms for nothing

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
        if path.suffix == ".arrow" and self.server.stalls:
            self.server.is_closed.wait()
            return
        if path.suffix == ".arrow" and self.server.status != 200:
            self.send_error(self.server.status)
            return
        n_bytes = path.stat().st_size
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "") if self.server.gives_parts else None
        first, last = (int(span[1]), int(span[2] or n_bytes - 1)) if span else (0, n_bytes - 1)
        with path.open("rb") as file:
            file.seek(first)
            part = file.read(last + 1 - first) if with_body else b""
        n_part = max(0, min(last + 1, n_bytes) - first)
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {first}-{first + n_part - 1}/{n_bytes}")
        if self.server.gives_parts:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(n_part))
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
def http_store(folder, *, n_cut=0, gives_parts=True, status=200, stalls=False):
    """Serve a folder; give its address and the server, whose `asked` says what came.

    Args:
        folder: that is served.
        n_cut: answers, the first ones, that break off in their middle.
        gives_parts: whether ranges of bytes are given.
        status: of the answer to who asks for an Arrow file; 200 gives it.
        stalls: whether who asks for an Arrow file is never answered.
    """
    server = _Server(folder, n_cut=n_cut, gives_parts=gives_parts, status=status, stalls=stalls)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server
    finally:
        server.is_closed.set()
        server.shutdown()
        server.server_close()
        thread.join()
