"""What the service gives to browsers: the page, its files, and the documentation of the API.

All of them are a fixed list, read from this package and from those that it stands on; nothing of a request is ever part
of a path on the disk, and nothing is fetched from elsewhere.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from importlib import resources

HTML = "text/html; charset=utf-8"
SCRIPT = "text/javascript; charset=utf-8"
STYLE = "text/css; charset=utf-8"
PAGE = "index.html"
SCRIPTS = (
    "app.js", "collection.js", "dom.js", "figure.js", "service.js", "sound.js", "teaching.js", "view.js",
)  # fmt: skip
STATIC = {  # file in taggram/apps/page: its type
    "style.css": STYLE,
    **dict.fromkeys(SCRIPTS, SCRIPT),
}
PLOTLY = "plotly.min.js"
EXAMPLE = "example.flac"  # composed when it is first asked for
SWAGGER = {"swagger-ui.css": STYLE, "swagger-ui-bundle.js": SCRIPT}
OWN_ONLY = (  # what the page may load, and from where
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; font-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
DOCS_SCRIPT = "start.js"
DOCS_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>taggram: API</title><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="docs"></div><script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body>
</html>
"""
START_DOCS = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#docs", validatorUrl: null, deepLinking: true, tryItOutEnabled: true,
});
"""


@dataclass(frozen=True)
class FixedFile:
    """A file that is given as it is.

    Attributes:
        content: its bytes.
        media_type: its type.
    """

    content: bytes
    media_type: str

    @functools.cached_property
    def tag(self) -> str:
        """What a browser compares to know whether it has the file already."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


@functools.cache
def page() -> FixedFile:
    """Give the page."""
    return FixedFile(_own(PAGE), HTML)


def static_file(name: str) -> FixedFile | None:
    """Give a file of the page, or None where the list has none of that name."""
    return _static(name) if name in STATIC or name in (PLOTLY, EXAMPLE) else None


@functools.cache
def _static(name: str) -> FixedFile:
    if name == PLOTLY:
        return FixedFile(_of_package("plotly", "package_data", PLOTLY), SCRIPT)
    if name == EXAMPLE:
        from taggram.apps.demo_song import compose, encode

        return FixedFile(encode(compose(), "FLAC"), "audio/flac")
    return FixedFile(_own(name), STATIC[name])


@functools.cache
def docs_page() -> FixedFile:
    """Give the page that documents the API."""
    return FixedFile(DOCS_PAGE.encode(), HTML)


def docs_file(name: str) -> FixedFile | None:
    """Give a file of the documentation of the API, or None where the list has none of that name."""
    return _docs(name) if name in SWAGGER or name == DOCS_SCRIPT else None


@functools.cache
def _docs(name: str) -> FixedFile:
    if name == DOCS_SCRIPT:
        return FixedFile(START_DOCS.encode(), SCRIPT)
    import swagger_ui_bundle

    return FixedFile((swagger_ui_bundle.swagger_ui_path / name).read_bytes(), SWAGGER[name])


def readable_by_swagger(document: dict[str, object]) -> dict[str, object]:
    """Write an OpenAPI document of version 3.1 as one of 3.0, which the Swagger UI that comes with us can read.

    Args:
        document: as FastAPI makes it.

    Returns:
        The same, where what may be null, and what must be above something, says so as 3.0 does.
    """
    older: dict[str, object] = json.loads(json.dumps(document), object_hook=_older)
    return older | {"openapi": "3.0.3"}


def _older(part: dict[str, object]) -> dict[str, object]:
    if isinstance(part.get("exclusiveMinimum"), int | float):
        part |= {"minimum": part["exclusiveMinimum"], "exclusiveMinimum": True}
    choices = part.get("anyOf")
    if not isinstance(choices, list) or {"type": "null"} not in choices:
        return part
    others = [choice for choice in choices if choice != {"type": "null"}]
    rest = {name: value for name, value in part.items() if name != "anyOf"}
    return {**(others[0] if len(others) == 1 else {"anyOf": others}), **rest, "nullable": True}


def _own(name: str) -> bytes:
    return resources.files("taggram.apps").joinpath("page", name).read_bytes()


def _of_package(package: str, *place: str) -> bytes:
    return resources.files(package).joinpath(*place).read_bytes()
