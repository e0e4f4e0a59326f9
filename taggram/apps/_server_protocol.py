"""What the web server leaves open: heads that never end, too many connections, and errors that are no JSON."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from taggram.apps._server_metrics import Metrics
    from taggram.apps._server_settings import ServiceSettings

PHRASES = {400: b"Bad Request", 408: b"Request Timeout", 429: b"Too Many Requests"}


def make_protocol(settings: ServiceSettings, metrics: Metrics) -> type[H11Protocol]:
    """Make the protocol of a connection, for uvicorn.

    uvicorn begins to count the time of a connection at its first answer and stops at its next byte, so a head that
    comes byte by byte holds a connection for ever. Here there is always a clock on a connection that has no request:
    until its head is whole, while the rest of a body is thrown away that was answered early, and while an answer is
    read.

    Args:
        settings: of the service.
        metrics: where closed connections are counted.

    Returns:
        The class.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class GuardedProtocol(H11Protocol):
        """HTTP/1.1 with a clock."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._clock: asyncio.TimerHandle | None = None
            self._unread: asyncio.TimerHandle | None = None  # runs while the client has not taken all of an answer
            self._n_unread = 0  # bytes that it had not taken when this was begun

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Begin, unless there are too many."""
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=0)  # so that `pause_writing` tells of all that is not taken at once
            if len(self.connections) > settings.max_connections:
                metrics.refused.labels("too many").inc()
                self._refuse(429, "BusyError", f"there are {settings.max_connections} connections already.")
                return
            self._wind_clock()

        def connection_lost(self, exc: Exception | None) -> None:
            """End."""
            self._stop_clock()
            self._stop_unread()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            """Take what comes in; the clock stands once the head of a request is whole."""
            super().data_received(data)
            if self._has_request():
                self._stop_clock()

        def on_response_complete(self) -> None:
            """Wait for the next request."""
            self._stop_clock()
            self._wind_clock()
            super().on_response_complete()
            if self._has_request():  # it had come already
                self._stop_clock()

        def pause_writing(self) -> None:
            """Wait for the client to take its answer."""
            super().pause_writing()
            self._watch_unread()

        def resume_writing(self) -> None:
            """Go on, as it has taken all of it."""
            self._stop_unread()
            super().resume_writing()

        def send_400_response(self, msg: str) -> None:
            """Refuse what is no HTTP."""
            metrics.refused.labels("no HTTP").inc()
            if self._has_request():
                self.transport.close()  # it is within a body, so there is an answer on its way, which is now cut
            else:
                self._refuse(400, "RequestError", f"this is no HTTP/1.1 request: {msg}")

        def _has_request(self) -> bool:
            cycle: Any = self.cycle
            return cycle is not None and not cycle.response_complete

        def _wind_clock(self) -> None:
            self._clock = self.loop.call_later(settings.header_s, self._end_slow)

        def _stop_clock(self) -> None:
            if self._clock is not None:
                self._clock.cancel()
                self._clock = None

        def _watch_unread(self) -> None:
            self._n_unread = self.transport.get_write_buffer_size()
            self._unread = self.loop.call_later(settings.send_s, self._end_unread)

        def _stop_unread(self) -> None:
            if self._unread is not None:
                self._unread.cancel()
                self._unread = None

        def _end_unread(self) -> None:
            n_wanted = settings.least_rate * settings.send_s
            if self.transport.get_write_buffer_size() <= self._n_unread - n_wanted:
                self._watch_unread()
                return
            metrics.refused.labels("unread").inc()
            self.transport.abort()  # to close it would wait for the client

        def _end_slow(self) -> None:
            if self._unread is not None:
                self._wind_clock()  # the other one counts
                return
            if self.transport.is_closing():
                return
            metrics.refused.labels("slow").inc()
            cycle: Any = self.cycle
            if cycle is None:
                self._refuse(408, "TooSlowError", f"the head of the request took longer than {settings.header_s:g} s.")
            else:
                self.transport.close()  # the client has had an answer before

        def _refuse(self, status: int, error: str, message: str) -> None:
            body = json.dumps({"error": error, "message": message}).encode()
            head = [
                b"HTTP/1.1 %d %s" % (status, PHRASES[status]),
                b"content-type: application/json",
                b"content-length: %d" % len(body),
                *([b"retry-after: 2"] if status == 429 else []),
                b"connection: close",
            ]
            self.transport.write(b"\r\n".join([*head, b"", body]))
            self.transport.close()

    return GuardedProtocol
