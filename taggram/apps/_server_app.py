"""The routes of the service.

Annotations are no text in this file, since FastAPI reads those of the routes, whose types are known inside of functions
alone.
"""

from asyncio import to_thread
from typing import TYPE_CHECKING, Annotated, Any, cast

import taggram
from taggram.apps import _server_pages as pages
from taggram.apps._server_answers import JSON, NPZ, PNG, EmbedWish, TagWish, wants_picture
from taggram.apps._server_catalogue import add_collection
from taggram.apps._server_errors import NotReadyError, RequestError, ServiceError, fields_of, status_of
from taggram.apps._server_guard import Guard, NameGate, TokenGate
from taggram.apps._server_requests import answer_sound
from taggram.apps._server_settings import Access
from taggram.apps._server_teaching import ExampleWish, add_teaching
from taggram.apps._server_work import Service
from taggram.errors import ConfigError, TaggramError, printable

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp

Wish = TagWish | EmbedWish | ExampleWish

FILE = {"schema": {"type": "string", "format": "binary"}}
UPLOAD = {  # what FastAPI cannot tell of a body that is read piece by piece
    "requestBody": {
        "required": True,
        "description": "The bytes of a sound file of any kind, as the body or as the file of a form.",
        "content": {
            "application/octet-stream": FILE,
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": FILE["schema"]}, "required": ["file"]}
            },
        },
    }
}
ERROR = {
    "description": "What went wrong, and what to do.",
    "content": {
        JSON: {"example": {"error": "AudioError", "message": "no decoder knows what it is; is it sound at all?"}}
    },
}
ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 403, 408, 413, 422, 429), ERROR)
TAG_EXAMPLE = {
    "path": "song.mp3", "model": "musicnn.mtt", "duration_s": 29.2, "patch_s": 2.992, "hop_s": 2.992, "padded": False,
    "notes": ["resampled from 44100 Hz"], "tags": [{"tag": "guitar", "score": 0.57}],
}  # fmt: skip
EMBED_EXAMPLE = {
    "path": "song.mp3", "model": "musicnn.mtt", "layer": "penultimate", "duration_s": 5.1,
    "notes": [], "times_s": [0.0], "features": [[0.1, 0.7]],
}  # fmt: skip

TAGS = {"description": "The best tags.", "content": {JSON: {"example": TAG_EXAMPLE}, PNG: {}}}
LAYER = {"description": "The layer.", "content": {JSON: {"example": EMBED_EXAMPLE}, NPZ: {}}}


def make_app(service: Service, access: Access) -> "ASGIApp":
    """Make the application that answers requests.

    Args:
        service: does the work.
        access: who may ask.

    Returns:
        The application.
    """
    from fastapi import FastAPI

    app = FastAPI(
        title="taggram", version=taggram.__version__, summary="Tags music and sound.",
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False,
    )  # fmt: skip
    _answer_errors(app)
    _add_tagging(app, service)
    add_teaching(app, service, ERRORS)
    if service.collection is not None:
        add_collection(app, service, service.collection, ERRORS, UPLOAD)
    _add_lists(app, service)
    _add_state(app, service)
    _add_pages(app)
    outer: ASGIApp = app
    if access.token is not None:
        outer = TokenGate(outer, access.token)
    if access.cors:
        from starlette.middleware.cors import CORSMiddleware

        outer = CORSMiddleware(
            outer, allow_origins=access.cors, allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )  # fmt: skip
    if access.is_local:
        outer = NameGate(outer)
    return Guard(outer, service.metrics)


def _answer_errors(app: "FastAPI") -> None:
    """Let all errors be `{"error": ..., "message": ...}`."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response

    async def answer(request: Request, error: Exception) -> Response:
        request.state.facts["error"] = type(error).__name__
        headers = error.headers if isinstance(error, ServiceError) else None
        return JSONResponse(fields_of(error), status_of(error), headers)

    async def answer_invalid(request: Request, error: Exception) -> Response:
        faults = cast("RequestValidationError", error).errors()
        wrong = "; ".join(f"{printable(str(fault['loc'][-1]))}: {fault['msg']}" for fault in faults)
        return await answer(request, ConfigError(f"{wrong}."))

    async def answer_http(request: Request, error: Exception) -> Response:
        refusal = cast("HTTPException", error)
        kind = request.state.facts["error"] = RequestError.__name__
        if refusal.status_code == 404:
            message = f"there is nothing at this address; {request.base_url.path}docs lists what there is."
        else:
            message = f"{refusal.detail}: {request.method} is not for this address."
        return JSONResponse({"error": kind, "message": message}, refusal.status_code, refusal.headers)

    for kind in (TaggramError, Exception):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)


def _add_tagging(app: "FastAPI", service: Service) -> None:
    """Add what takes sound in."""
    from fastapi import Query
    from pydantic import BaseModel, ConfigDict, Field
    from starlette.requests import Request
    from starlette.responses import Response

    class Common(BaseModel):
        model_config = ConfigDict(extra="forbid")
        model: str | None = Field(None, description="One of those that /v1/models lists; the first is the default.")
        name: str | None = Field(None, description="What the file is called; it comes back.")

    class Hopping(Common):
        hop_s: float | None = Field(
            None, gt=0, allow_inf_nan=False, description="Step between patches in seconds (default: a patch)."
        )

    class TagQuery(Hopping):
        top: int | None = Field(None, ge=1, description="At most so many tags; 3, or all with a threshold.")
        threshold: float = Field(0, ge=0, le=1, description="Least score of a tag.")
        over_time: bool = Field(False, description="Give the scores of each patch too.")
        picture: bool = Field(False, description="Give the picture too, as a data URL; see also Accept: image/png.")

    class EmbedQuery(Hopping):
        layer: str | None = Field(None, description="A layer of the network; the last where it is left out.")
        mean: bool = Field(False, description="One row: the mean over all.")
        format: str = Field("json", pattern="^(json|npz)$", description="json or npz.")

    async def do(request: Request, query: Common, wish: Wish) -> Response:
        service.check_room()
        tagger = await service.tagger(query.model)
        if isinstance(wish, EmbedWish) and wish.layer is not None:
            tagger.model.check_layer(wish.layer)
        return await answer_sound(service, request, tagger, getattr(query, "hop_s", None), wish.answer)

    @app.post("/v1/examples", openapi_extra=UPLOAD, response_class=Response, responses=ERRORS)
    async def examples(request: Request, query: Annotated[Common, Query()]) -> Response:
        """Turn a sound into an example for /v1/teach; nothing of it is kept."""
        return await do(request, query, ExampleWish())

    @app.post(
        "/v1/tag",
        openapi_extra=UPLOAD,
        response_class=Response,
        responses={**ERRORS, 200: TAGS},
    )
    async def tag(request: Request, query: Annotated[TagQuery, Query()]) -> Response:
        """Tag a sound: the object of `taggram tag --format json`."""
        wish = TagWish(
            top=query.top, threshold=query.threshold, over_time=query.over_time, picture=query.picture,
            only_picture=wants_picture(request.headers.get("accept", "")),
        )  # fmt: skip
        return await do(request, query, wish)

    @app.post(
        "/v1/embed",
        openapi_extra=UPLOAD,
        response_class=Response,
        responses={**ERRORS, 200: LAYER},
    )
    async def embed(request: Request, query: Annotated[EmbedQuery, Query()]) -> Response:
        """Compute a layer of a network for a sound."""
        return await do(request, query, EmbedWish(layer=query.layer, mean=query.mean, as_npz=query.format == "npz"))


def _add_lists(app: "FastAPI", service: Service) -> None:
    """Add what says which models and tags there are."""
    from fastapi import Query
    from pydantic import BaseModel, ConfigDict, Field
    from starlette.responses import JSONResponse

    class ModelQuery(BaseModel):
        model_config = ConfigDict(extra="forbid")
        model: str | None = Field(None, description="One of those that /v1/models lists; the first is the default.")

    @app.get("/v1/models", response_class=JSONResponse)
    async def models() -> JSONResponse:
        """List the models of this service, the default first, its catalogue, and its limits."""
        settings = service.settings
        taggers = [(served, await service.tagger(name)) for name, served in service.models.items()]
        return JSONResponse({
            "models": [
                {
                    "name": served.name, "kit": served.is_kit, "task": tagger.task, "tags": tagger.tags,
                    "patch_s": round(tagger.patch_s, 6), "hop_s": round(tagger.hop_s, 6),
                    "sample_rate": tagger.model.frontend.sample_rate, "layers": tagger.model.layers(),
                }
                for served, tagger in taggers
            ],
            "catalogue": None if service.collection is None else service.collection.facts(),
            "limits": {
                "max_upload_mb": settings.max_upload_mb, "max_duration_s": settings.max_duration_s,
                "max_tracks": settings.max_tracks,
            },
        })  # fmt: skip

    @app.get("/v1/tags", response_class=JSONResponse, responses=ERRORS)
    async def tags(query: Annotated[ModelQuery, Query()]) -> JSONResponse:
        """List the tags of a model, in its order."""
        tagger = await service.tagger(query.model)
        return JSONResponse({"model": query.model or service.default, "task": tagger.task, "tags": tagger.tags})


def _add_state(app: "FastAPI", service: Service) -> None:
    """Add what says how the service is."""
    from starlette.responses import JSONResponse, Response

    @app.get("/healthz", response_class=JSONResponse)
    async def healthz() -> JSONResponse:
        """Say whether the networks are loaded and a decoder answers: 200, or 503."""
        if await service.is_ready():
            return JSONResponse({"status": "ready"})
        status = "no decoder answers" if service.is_loaded else "starting"
        return JSONResponse({"status": status, **fields_of(NotReadyError(f"{status}."))}, 503)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Give the counts, for Prometheus."""
        return Response(service.metrics.text(), headers={"Content-Type": service.metrics.content_type})

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(pages.readable_by_swagger(app.openapi()))


def _add_pages(app: "FastAPI") -> None:
    """Add what browsers show."""
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response

    def give(request: Request, file: pages.FixedFile | None) -> Response:
        if file is None:
            raise HTTPException(404)
        headers = {
            "ETag": file.tag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": pages.OWN_ONLY, "Referrer-Policy": "no-referrer",
        }  # fmt: skip
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers={**headers, "Content-Type": file.media_type})

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return give(request, pages.page())

    @app.get("/static/{name}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        return give(request, await to_thread(pages.static_file, name))  # the example takes seconds to be composed

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return give(request, pages.docs_page())

    @app.get("/docs/{name}", include_in_schema=False)
    async def docs_file(request: Request, name: str) -> Response:
        return give(request, pages.docs_file(name))
