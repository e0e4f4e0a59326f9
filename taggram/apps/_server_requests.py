"""A request that brings sound, from its body to its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taggram.apps._server_work import Job

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from taggram.apps._server_answers import Answer
    from taggram.apps._server_network import ServedTagger
    from taggram.apps._server_work import Service


async def answer_sound(
    service: Service,
    request: Request,
    tagger: ServedTagger,
    hop_s: float | None,
    do: Callable[[ServedTagger, Any], Answer],
) -> Response:
    """Take the sound of a request in, wait for the work on it, and count what it took.

    Args:
        service: does the work.
        request: whose body is a sound.
        tagger: that is asked for.
        hop_s: step between patches in seconds, or None for the tagger's own.
        do: makes the answer of the tagger of this request and of the decoded sound.

    Returns:
        The answer.

    Raises:
        BusyError: the queue is full.
        CutError: the client went away.
        TaggramError: the sound or the request cannot be used.
    """
    from starlette.responses import Response

    facts = request.state.facts
    async with service.uploads.take(request) as upload:
        facts |= {"model": tagger.name, "upload_bytes": upload.n_bytes}
        service.metrics.upload_bytes.inc(upload.n_bytes)
        job = Job(upload, tagger, hop_s, service.settings, do)
        try:
            answer = await service.answer(job, request.receive)
        finally:
            facts |= {"wait_s": round(job.wait_s, 4), "sound_s": round(job.sound_s, 3)}
        service.metrics.wait_seconds.observe(job.wait_s)
        service.metrics.sound_seconds.labels(tagger.name).inc(job.sound_s)
    return Response(answer.body, media_type=answer.media_type)
