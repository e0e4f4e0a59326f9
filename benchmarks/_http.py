"""An HTTP/1.1 client on asyncio's streams.

It does as little as possible beside the server that is measured, and is as rude as the load asks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

CHUNK = 65_536


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: of the answer; 0 where the connection ended without one.
        headers: by name, in lower case.
        body: its bytes.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """Read the body as JSON."""
        return json.loads(self.body)


NO_REPLY = Reply(0)


class Connection:
    """One connection, opened when it is needed and kept as long as the server keeps it.

    Args:
        host: the server's.
        port: the server's.
    """

    def __init__(self, host: str, port: int) -> None:
        self.place = (host, port)
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open it unless it is open."""
        if self.reader is None or self.writer is None or self.writer.is_closing() or self.reader.at_eof():
            await self.close()
            self.reader, self.writer = await asyncio.open_connection(*self.place)
        return self.reader, self.writer

    async def close(self) -> None:
        """Close it, whatever it does."""
        if self.writer is not None:
            self.writer.close()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()
        self.reader = self.writer = None

    async def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Reply:
        """Send a request and read its answer; a kept connection that was just closed is opened once more.

        Args:
            method: GET or POST.
            target: path and query.
            body: the body.
            **headers: more headers, with _ for -.

        Returns:
            The answer.
        """
        fresh = self.writer is None
        reader, writer = await self.open()
        try:
            writer.write(head(method, target, {"Content-Length": str(len(body)), **headers}))
            for start in range(0, len(body), CHUNK):
                writer.write(body[start : start + CHUNK])
                await writer.drain()
        except OSError:
            pass  # it may have answered before it closed
        reply = await read_reply(reader)
        if reply.status == 0 or reply.headers.get("connection") == "close":
            await self.close()
        if reply.status == 0 and not fresh:
            return await self.ask(method, target, body, **headers)
        return reply


def head(method: str, target: str, headers: dict[str, str]) -> bytes:
    """Write the head of a request."""
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: localhost",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """Read an answer."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    except (OSError, EOFError, ValueError):
        return NO_REPLY
    return Reply(int(lines[0].split()[1]), headers, body)


@contextlib.asynccontextmanager
async def connection(host: str, port: int) -> AsyncIterator[Connection]:
    """Give a connection that is closed at the end."""
    one = Connection(host, port)
    try:
        yield one
    finally:
        await one.close()
