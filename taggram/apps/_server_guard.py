"""What stands around every request: its id, its line in the log, the counts, and the token."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import re
import secrets
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from taggram.apps._server_errors import (
    ForbiddenError,
    NotReadyError,
    ServiceError,
    UnauthorizedError,
    fields_of,
    status_of,
)
from taggram.apps._server_log import log
from taggram.errors import printable

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from taggram.apps._server_metrics import Metrics

GOOD_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
OPEN_PATHS = ("/", "/healthz", "/docs", "/openapi.json")  # need no token: there is nothing secret in them
OPEN_BELOW = ("/static/", "/docs/")
OTHER = "other"  # route of what is none


class Guard:
    """Gives each request an id, writes a line about it, and counts it; an error that nobody caught is answered here.

    Args:
        app: what answers requests.
        metrics: where they are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        begun = time.monotonic()
        request_id = _request_id(scope)
        facts: dict[str, Any] = scope.setdefault("state", {}).setdefault("facts", {})
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope  # the server leaves the body out
        try:
            await self._app(inner, receive, send_on)
        except asyncio.CancelledError:  # the time for a graceful stop is over
            facts["error"] = NotReadyError.__name__
            if not status:
                await answer_error(NotReadyError("the service is stopping."), send_on)
        except Exception as error:
            facts["error"] = type(error).__name__
            if status_of(error) == HTTPStatus.INTERNAL_SERVER_ERROR:
                log("request failed", level=logging.ERROR, raised=error, id=request_id)
            if not status:
                await answer_error(error, send_on)
        finally:
            route = getattr(inner.get("route"), "path", OTHER)
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(time.monotonic() - begun)
            client = scope.get("client") or ("",)
            log(
                "request", id=request_id, client=client[0], method=scope["method"], route=route, status=status,
                seconds=round(time.monotonic() - begun, 4), **facts,
            )  # fmt: skip


class NameGate:
    """Lets requests pass that ask for this machine by a name of its own.

    A page from elsewhere may have a name that leads to 127.0.0.1, and browsers then take this service for its own.

    Args:
        app: what answers requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        name = _name_in(dict(scope["headers"]).get(b"host", b"").decode("latin-1"))
        if _is_of_this_machine(name):
            await self._app(scope, receive, send)
            return
        scope["state"]["facts"]["error"] = ForbiddenError.__name__
        error = ForbiddenError(
            f"this service answers to localhost alone, and was asked for as {printable(name)!r}; --host ADDRESS lets "
            "it answer to any name."
        )
        await answer_error(error, send)


class TokenGate:
    """Lets requests pass that bear the token.

    Args:
        app: what answers requests.
        token: the token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._wanted = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path in OPEN_PATHS or path.startswith(OPEN_BELOW) or self._is_right(scope):
            await self._app(scope, receive, send)
            return
        scope["state"]["facts"]["error"] = UnauthorizedError.__name__
        error = UnauthorizedError(
            "this service wants a token: send it as the header Authorization: Bearer TOKEN.",
            {"WWW-Authenticate": "Bearer"},
        )
        await answer_error(error, send)

    def _is_right(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, token = given.partition(b" ")
        is_same = hmac.compare_digest(token.strip(), self._wanted)  # in constant time
        return is_same and bool(scheme.lower() == b"bearer")


async def answer_error(error: BaseException, send: Send) -> None:
    """Answer with an error, as JSON.

    Args:
        error: what was raised.
        send: to the client.
    """
    headers = error.headers if isinstance(error, ServiceError) else {}
    body = json.dumps(fields_of(error)).encode()
    await send({
        "type": "http.response.start",
        "status": status_of(error),
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()),
        ],
    })  # fmt: skip
    await send({"type": "http.response.body", "body": body})


def _name_in(host: str) -> str:
    """Give the name in a header `Host`, without its port and without the brackets of an IPv6 address."""
    name, _, rest = host.rpartition(":")
    return (name if name and rest.isdecimal() else host).strip("[]").lower()


def _is_of_this_machine(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _request_id(scope: Scope) -> str:
    """Take the id that a request brings, or make one."""
    given: bytes = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode() if GOOD_ID.fullmatch(given) else secrets.token_hex(16)
