"""Questions by tags to the service: how many at once, for how long, and what becomes of those that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from _catalogues import row, write_catalogue

pytest.importorskip("duckdb", reason="duckdb is not installed: pip install 'taggram[catalogue]'")
pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'taggram[catalogue]'")

from taggram.apps import _server_catalogue as serving
from taggram.apps._server_catalogue import ServedCatalogue
from taggram.apps._server_errors import BusyError, CutError, TooMuchWorkError, status_of
from taggram.catalogue.asking import Catalogue
from taggram.errors import TooLongQuestionError


@pytest.fixture
def collection(tmp_path):
    with Catalogue(write_catalogue(tmp_path / "c", [row("/a", [0.9] * 4), row("/b", [0.1] * 4)])) as catalogue:
        yield ServedCatalogue(catalogue, None, 30.0)


def run(asking):
    """Ask from a thread of its own, since a browser's loop may run in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, asking).result()


async def stays():
    await asyncio.Event().wait()


async def leaves():
    await asyncio.sleep(0)


@pytest.fixture
def endless(collection, monkeypatch):
    """Questions that go on until they are stopped; gives how many were."""
    stopped = []

    def find(query, *, limit, stop):
        stop.wait()
        stopped.append(threading.get_ident())
        raise TooLongQuestionError("it was stopped.")
        yield

    monkeypatch.setattr(collection.catalogue, "find", find)
    return stopped


def test_tracks_are_found(collection):
    found = run(collection.find("guitar > 0", 1, stays))
    assert (found["tracks"][0]["path"], found["more"]) == ("/a", True)


def test_question_that_takes_too_long_is_stopped_and_answered_with_422(collection, endless):
    collection.find_s = 0.05
    with pytest.raises(TooMuchWorkError) as caught:
        run(collection.find("", 1, stays))
    assert (status_of(caught.value), len(endless)) == (422, 1)


def test_question_whose_client_leaves_is_stopped(collection, endless):
    with pytest.raises(CutError):
        run(collection.find("", 1, leaves))
    assert len(endless) == 1


def test_wait_for_others_counts(collection, endless):
    async def ask():
        left = asyncio.Event()
        held = [asyncio.ensure_future(collection.find("", 1, left.wait)) for _ in range(serving.AT_ONCE)]
        await asyncio.sleep(0)  # these have their longer time
        collection.find_s = 0.05
        with pytest.raises(BusyError):
            await collection.find("", 1, stays)
        left.set()
        return await asyncio.gather(*held, return_exceptions=True)

    assert [type(error) for error in run(ask())] == [CutError] * serving.AT_ONCE
    assert len(endless) == serving.AT_ONCE


def test_client_that_leaves_while_it_waits_takes_no_turn(collection, endless):
    async def ask():
        held = [asyncio.ensure_future(collection.find("", 1, stays)) for _ in range(serving.AT_ONCE)]
        await asyncio.sleep(0)
        with pytest.raises(CutError):
            await collection.find("", 1, leaves)
        collection.find_s = 30
        for one in held:
            one.cancel()
        await asyncio.gather(*held, return_exceptions=True)

    run(ask())
    assert run(turns(collection)) == serving.AT_ONCE


async def turns(collection):
    """How many questions could be asked now."""
    n = 0
    while not collection._turn.locked():
        await collection._turn.acquire()
        n += 1
    return n


def test_more_than_may_wait_are_answered_with_429(collection, endless):
    async def ask():
        collection.find_s = 0.2
        held = [asyncio.ensure_future(collection.find("", 1, stays)) for _ in range(serving.MOST_ASKING)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError) as caught:
            await collection.find("", 1, stays)
        await asyncio.gather(*held, return_exceptions=True)
        return status_of(caught.value)

    assert run(ask()) == 429
