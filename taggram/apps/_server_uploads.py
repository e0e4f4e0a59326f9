"""Uploads: the body of a request, or the file in its form, into a capped file of our own.

No name or path of a request touches the disk: files are named by us, in a folder of our own, and what a client calls
its file is only echoed. Size and speed are counted while the body comes in, whatever its head claims.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from taggram.apps._server_errors import BusyError, CutError, RequestError, TooLargeError, TooSlowError
from taggram.apps._server_settings import MB
from taggram.errors import AudioError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from taggram.apps._server_settings import ServiceSettings

PIECE = 262_144  # bytes that wait in memory before they are written
FORM_ROOM = 65_536  # bytes of a form beside its file
LONGEST_NAME = 200  # characters of a name that are kept
LONGEST_HEADER = 4_096  # bytes of a header within a form
FORM = "multipart/form-data"
CLOSE = {"Connection": "close"}
RETRY = {"Retry-After": "2"}


@dataclass
class Upload:
    """A file that was taken in.

    Attributes:
        path: where it lies; it is removed with all that is named after it.
        name: what the client calls it, fit for one line, or "".
        most_bytes: the size that it may have.
        n_bytes: the size that it has.
    """

    path: Path
    name: str
    most_bytes: int
    n_bytes: int = 0


class Uploads:
    """Takes uploads in, so many at once and so large together as the settings allow.

    Args:
        settings: of the service.
        spool: the folder for the files, of which nobody else knows.
    """

    def __init__(self, settings: ServiceSettings, spool: Path) -> None:
        self._settings = settings
        self._spool = spool
        self._numbers = itertools.count()
        self.n_coming = 0
        self.n_bytes = 0  # on the disk

    @contextlib.asynccontextmanager
    async def take(self, request: Request, most_mb: float = math.inf) -> AsyncIterator[Upload]:
        """Take the file of a request in.

        Args:
            request: with the file as its body, or in a form.
            most_mb: largest file that is taken, in MB, where that is less than the settings allow.

        Yields:
            The file, which is removed at the end.

        Raises:
            BusyError: there are too many uploads, or no room.
            TooLargeError: it is larger than allowed.
            TooSlowError: it comes too slowly.
            RequestError: the form cannot be read, or has no file.
            AudioError: it is empty.
            CutError: the client went away.
        """
        place = self._spool / f"upload-{next(self._numbers)}"
        most_bytes = int(min(most_mb, self._settings.max_upload_mb) * MB)
        upload = Upload(place, _given_name(request.query_params), most_bytes)
        try:
            self._begin(request.headers, upload)
            try:
                await self._receive(request, upload)
            finally:
                self.n_coming -= 1
            if not upload.n_bytes:
                raise AudioError("it is empty")
            yield upload
        finally:
            self.n_bytes -= upload.n_bytes
            await asyncio.to_thread(_remove, upload.path)

    def _begin(self, headers: Mapping[str, str], upload: Upload) -> None:
        """Refuse what can be refused before the body is read."""
        settings = self._settings
        claimed = headers.get("content-length", "")
        if claimed.isdecimal() and int(claimed) > upload.most_bytes + (FORM_ROOM if _is_form(headers) else 0):
            raise _too_large(upload)
        if self.n_coming >= settings.max_uploads:
            raise BusyError(f"{settings.max_uploads} uploads are coming in; try again a little later.", RETRY)
        self.n_coming += 1

    async def _receive(self, request: Request, upload: Upload) -> None:
        """Write what comes in."""
        form = _FormFile(request.headers) if _is_form(request.headers) else None
        file = await asyncio.to_thread(upload.path.open, "wb", buffering=0)
        try:
            held = bytearray()
            async for chunk in self._chunks(request, upload):
                held += form.feed(chunk) if form else chunk
                if len(held) >= PIECE:
                    await self._write(file, bytes(held), upload)
                    held.clear()
            if form:
                form.finish()
                upload.name = upload.name or form.name
            if held:
                await self._write(file, bytes(held), upload)
        finally:
            file.close()

    async def _write(self, file: BinaryIO, data: bytes, upload: Upload) -> None:
        if upload.n_bytes + len(data) > upload.most_bytes:
            raise _too_large(upload)
        if self.n_bytes + len(data) > self._settings.max_spool_mb * MB:
            raise BusyError("there is no more room for uploads; try again a little later.", RETRY)
        upload.n_bytes += len(data)
        self.n_bytes += len(data)
        try:
            await asyncio.to_thread(file.write, data)
        except OSError as error:
            raise BusyError(f"an upload cannot be kept ({error.strerror}); try again later.", RETRY) from error

    async def _chunks(self, request: Request, upload: Upload) -> AsyncIterator[bytes]:
        """Give the body as it comes, as long as it comes quickly enough and is not too large."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        begun, n_bytes = loop.time(), 0
        most = upload.most_bytes + (FORM_ROOM if _is_form(request.headers) else 0)
        while True:
            allowed_s = min(settings.upload_s, settings.grace_s + n_bytes / settings.least_rate)
            try:
                async with asyncio.timeout_at(begun + allowed_s):
                    message = await request.receive()
            except TimeoutError as error:
                raise TooSlowError(
                    f"{n_bytes} bytes came in {allowed_s:.3g} s; at least {settings.least_rate:g} a second are wanted "
                    f"after {settings.grace_s:g} s, and all within {settings.upload_s:g} s.",
                    CLOSE,
                ) from error
            if message["type"] == "http.disconnect":
                raise CutError("the connection was cut while the upload came in.")
            n_bytes += len(message.get("body", b""))
            if n_bytes > most:
                raise _too_large(upload)
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return


class _FormFile:
    """Finds the first file in a form of the type multipart/form-data, piece by piece. To be read: its `name`.

    Args:
        headers: of the request.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.name = ""
        self._found = bytearray()
        self._header = (bytearray(), bytearray())  # name and value of the one that is read
        self._in_file = self._had_file = self._is_whole = False
        self._n_beside = 0  # bytes that are not of the file
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser, parse_options_header

        boundary = parse_options_header(headers["content-type"])[1].get(b"boundary")
        if not boundary:
            raise RequestError("the form has no boundary in its content type.")
        try:
            self._parser: Any = MultipartParser(
                boundary,
                {
                    "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
                    "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
                    "on_header_end": self._end_header,
                    "on_part_data": self._take,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise RequestError(f"the form cannot be read: {error}.") from error

    def feed(self, chunk: bytes) -> bytes:
        """Take the next piece of the form.

        Args:
            chunk: the piece.

        Returns:
            What of it belongs to the file.

        Raises:
            RequestError: it is no form, or has too much beside its file.
        """
        from python_multipart.exceptions import FormParserError

        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise RequestError(f"the form cannot be read: {error}") from error
        found = bytes(self._found)
        self._found.clear()
        self._n_beside += len(chunk) - len(found)
        if self._n_beside > FORM_ROOM:  # to read many small parts would keep the service busy
            raise RequestError(f"the form has more than {FORM_ROOM} bytes beside its file.")
        return found

    def finish(self) -> None:
        """End the form.

        Raises:
            RequestError: it is broken off, or there was no file in it.
        """
        if not self._is_whole:
            raise RequestError("the form is broken off: its last boundary is missing.")
        if not self._had_file:
            raise RequestError("there is no file in the form; curl -F file=@song.mp3 sends one.")

    def _add(self, which: int, data: bytes) -> None:
        if len(self._header[which]) + len(data) > LONGEST_HEADER:
            raise RequestError(f"a header in the form has more than {LONGEST_HEADER} bytes.")
        self._header[which].extend(data)

    def _end_header(self) -> None:
        from python_multipart.multipart import parse_options_header

        name, value = (bytes(part) for part in self._header)
        for part in self._header:
            part.clear()
        if name.lower() != b"content-disposition" or self._had_file:
            return
        given = parse_options_header(value)[1].get(b"filename")
        if given is not None:
            self._in_file = self._had_file = True
            self.name = _shown(given.decode("utf-8", "replace"))

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._found += data[start:end]

    def _end_part(self) -> None:
        self._in_file = False

    def _end(self) -> None:
        self._is_whole = True


def _too_large(upload: Upload) -> TooLargeError:
    return TooLargeError(f"the upload is larger than the {upload.most_bytes / MB:g} MB allowed.")


def _is_form(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").strip().lower().startswith(FORM)


def _given_name(query: Mapping[str, str]) -> str:
    return _shown(query.get("name", ""))


def _shown(name: str) -> str:
    """Make what a client calls its file fit for one line of UTF-8."""
    return printable(name[:LONGEST_NAME].encode("utf-8", "replace").decode("utf-8"))


def _remove(path: Path) -> None:
    """Remove an upload, and its samples."""
    for one in (path, Path(f"{path}.samples")):
        with contextlib.suppress(OSError):  # on Windows a decoder that is being ended may hold it still
            one.unlink(missing_ok=True)
