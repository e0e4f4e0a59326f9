"""The service: an HTTP server around networks and decoders, from its start to its stop.

A request goes through `_server_protocol` (the connection), `_server_guard` (id, log, token), `_server_app` (routes),
`_server_uploads` (the body into a file), `_server_work` (the queue), `_server_decoding` (another process makes samples
of it), `_server_network` (one network for all), and `_server_answers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from taggram.apps._server_app import make_app
from taggram.apps._server_catalogue import ServedCatalogue
from taggram.apps._server_log import log, set_up_log
from taggram.apps._server_protocol import make_protocol
from taggram.apps._server_settings import Access, ServedModel, ServiceSettings
from taggram.apps._server_start import BACKLOG
from taggram.apps._server_work import Service

if TYPE_CHECKING:
    from types import FrameType

    import uvicorn

LONGEST_HEAD = 32_768  # bytes
KEEP_ALIVE_S = 5
CUT_S = 1.0  # for what is left to end, and to be told
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))


def run_service(
    models: Sequence[ServedModel],
    access: Access,
    settings: ServiceSettings,
    listener: socket.socket,
    *,
    device: str = "auto",
    spool: Path | None = None,
    collection: ServedCatalogue | None = None,
) -> None:
    """Serve until the process is told to stop; it ends with 1 if something that was taken could not be answered.

    Args:
        models: what is offered; the first is the default.
        access: who may ask, and where.
        settings: limits.
        listener: listens on the address already; it is closed at the end.
        device: as for `Tagger`.
        spool: a folder that uploads are kept in for a moment; None is the system's place for temporary files.
        collection: the catalogue that can be asked, or None.

    Raises:
        TaggramError: a model cannot be loaded, or no decoder can be started.
    """
    set_up_log()
    with listener, Service(models, settings, device=device, spool=spool, collection=collection) as service:
        address, port = listener.getsockname()[:2]
        place = f"[{address}]" if ":" in address else address
        log("listening", url=f"http://{place}:{port}/", port=port, models=list(service.models))
        if access.token is None and not ipaddress.ip_address(address).is_loopback:
            log("open to the network without a token", level=logging.WARNING)
        asyncio.run(_serve(service, access, listener))
        log("stopped", unanswered=0)


async def _serve(service: Service, access: Access, listener: socket.socket) -> None:
    """Load, serve, and stop."""
    cut: set[asyncio.Task[None]] = set()
    server = _make_server(service, access, cut)
    loading = asyncio.create_task(service.load())

    def tell(loading: asyncio.Task[None]) -> None:
        if loading.cancelled() or loading.exception():
            server.should_exit = True  # nothing will ever be answered
        else:
            log("ready", models=list(service.models))

    loading.add_done_callback(tell)
    await server.serve(sockets=[listener])
    if cut:
        await asyncio.wait(cut, timeout=CUT_S)  # they are told that the service stops
        service.close()
        log("stopped", unanswered=len(cut))
        sys.stderr.flush()
        os._exit(1)  # threads that still work would keep the process, or crash it on its way out
    if loading.done():
        await loading  # raises what went wrong
    loading.cancel()


def _make_server(service: Service, access: Access, cut: set[asyncio.Task[None]]) -> uvicorn.Server:
    """Make the HTTP server, which stops as told and ends well; `cut` takes the requests that it did not answer."""
    import uvicorn

    settings = service.settings

    class Server(uvicorn.Server):
        """One that does not raise the signal again that it was stopped by: it has done what was asked."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Stop at a signal, and at a second one at once."""
            before = {number: signal.signal(number, self.handle_exit) for number in STOP_SIGNALS}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (as in the class above)
            """Take a signal."""
            self.force_exit = self.should_exit
            self.should_exit = True

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Take nothing more, and finish what was taken."""
            log("stopping", waiting=service.n_jobs, uploads=service.uploads.n_coming, lessons=service.lessons.n_open)
            await super().shutdown(sockets)
            cut.update(self.server_state.tasks)

    return Server(
        uvicorn.Config(
            make_app(service, access),
            http=make_protocol(settings, service.metrics),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=settings.stop_s,  # type: ignore[arg-type]  # a part of a second is fine too
            h11_max_incomplete_event_size=LONGEST_HEAD,
        )
    )
