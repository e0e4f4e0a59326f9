"""`taggram serve` as a real process, and what tests ask it with."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from _sounds import encoded, tone
from conftest import COMMAND, wait_until

WITHIN_S = 120
START_S = 240  # torch may come from a slow disk, and others may keep the cores busy


@dataclass
class Served:
    """A service that runs.

    Attributes:
        process: it.
        spool: the folder that it keeps uploads in.
        log: what it wrote to standard error, an object a line.
    """

    process: subprocess.Popen[bytes]
    spool: Path
    log: list[dict[str, Any]] = field(default_factory=list)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Lines of the log about one kind of event."""
        return [line for line in self.log if line["event"] == name]

    @property
    def port(self) -> int:
        assert wait_until(lambda: self.events("listening") or self.process.poll() is not None)
        port = self.events("listening")[0]["port"]
        assert isinstance(port, int)
        return port

    @property
    def client(self) -> httpx.Client:
        """A client of this service; it looks at no proxy."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=WITHIN_S, trust_env=False)

    def ask(self, method: str, target: str, content: bytes | None = None, **options: Any) -> httpx.Response:
        with self.client as client:
            return client.request(method, target, content=content, **options)

    def post(self, target: str, content: bytes, **options: Any) -> httpx.Response:
        return self.ask("POST", target, content, **options)

    def metric(self, name: str) -> float:
        """Value of a line of /metrics."""
        lines = self.ask("GET", "/metrics").text.splitlines()
        return float(next((line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")), 0))

    def decoders(self) -> list[int]:
        """Processes that decode."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int(place.joinpath("stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid and b"_server_decoder" in place.joinpath("cmdline").read_bytes():
                    found.append(int(place.name))
        return found

    @contextlib.contextmanager
    def decoders_stand_still(self) -> Iterator[list[int]]:
        """Stop the decoders within the `with` statement, as if they had a lot to do."""
        stopped = self.decoders()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield stopped
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def send(self, data: bytes) -> socket.socket:
        """Open a connection and send bytes."""
        one = socket.create_connection(("127.0.0.1", self.port), timeout=WITHIN_S)
        one.sendall(data)
        return one


DOCUMENT = Path(__file__).parents[1] / "docs" / "service.md"
EXAMPLES = re.findall(r"^    (curl .+)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
"""Requests that the documentation shows."""
OF_CATALOGUES = [example for example in EXAMPLES if "/v1/find" in example or "/v1/similar" in example]


def run_example(example: str, service: Served, folder: Path) -> None:
    """Run a request of the documentation in a folder with a song.mp3; it must go well."""
    (folder / "song.mp3").write_bytes(encoded(tone(3.0, 44_100), 44_100, "MP3"))
    command = example.replace("curl", "curl --noproxy '*' -sSf", 1).replace(
        "localhost:8000", f"127.0.0.1:{service.port}"
    )
    subprocess.run(["bash", "-c", command], cwd=folder, check=True, capture_output=True)


@contextlib.contextmanager
def served(spool: Path, *arguments: str, **environment: str) -> Iterator[Served]:
    """Run `taggram serve` on a free port until the `with` statement ends.

    Args:
        spool: for uploads.
        *arguments: of the command.
        **environment: variables beside those of the test.

    Yields:
        The service, once it is ready.
    """
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--device", "cpu", "--spool", str(spool), *arguments],
        stderr=subprocess.PIPE, env={**os.environ, **environment}, start_new_session=True,
    )  # fmt: skip
    service = Served(process, spool)
    reader = threading.Thread(target=_read, args=(service,), daemon=True)
    reader.start()
    try:
        assert wait_until(lambda: service.events("ready") or process.poll() is not None, START_S), service.log
        assert process.poll() is None, service.log
        yield service
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


def _read(service: Served) -> None:
    assert service.process.stderr is not None
    for line in service.process.stderr:
        service.log.append(json.loads(line))


def answer_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Read an answer until the connection is closed: its status, 0 for none, and its object."""
    data = b""
    with connection, contextlib.suppress(OSError):
        while piece := connection.recv(65_536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return (int(head.split()[1]), json.loads(body)) if head else (0, {})


def request(body: bytes = b"", *, length: int | None = None, close: bool = True) -> bytes:
    """A POST to /v1/tag as bytes."""
    n_bytes = len(body) if length is None else length
    last = "Connection: close\r\n" if close else ""
    return f"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\nContent-Length: {n_bytes}\r\n{last}\r\n".encode() + body
