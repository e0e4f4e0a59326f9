"""Teaching by the service: examples, kits, and what may be wrong with them."""

from __future__ import annotations

import base64
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import session_of, wait_until

from taggram.apps._server_errors import BusyError
from taggram.apps._server_learning import MOST_LESSONS, Lessons
from taggram.apps._server_lesson import MOST_ROWS, MOST_TAGS, packed, unpacked
from taggram.apps._server_settings import ServiceSettings
from taggram.kit import Kit
from taggram.learning._example_worker import EmbeddedExample
from tests._served import served
from tests._sounds import encoded, tone


@pytest.fixture(scope="module")
def service(weights, tmp_path_factory):
    with served(tmp_path_factory.mktemp("spool"), "--model", weights) as one:
        yield one


@pytest.fixture(scope="module")
def examples(service):
    """Two low and two high tones as the service gives them back."""
    found = []
    for tag, hz in (("low", 100.0), ("low", 120.0), ("high", 2000.0), ("high", 2400.0)):
        answer = service.post(f"/v1/examples?name={tag}-{hz:g}", encoded(tone(3.0, hz=hz))).json()
        found.append({"name": answer["name"], "tags": [tag], "example": answer["example"]})
    return found


@pytest.fixture(scope="module")
def taught(service, examples):
    return service.ask("POST", "/v1/teach", json={"examples": examples}).json()


def test_kit_tags_by_the_name_that_it_was_given(service, taught):
    answer = service.post(f"/v1/tag?model={taught['model']}", encoded(tone(4.0, hz=2200.0))).json()
    assert (answer["model"], answer["tags"][0]["tag"]) == (taught["model"], "high")


def test_summary_counts_tags_and_examples(taught):
    assert taught["summary"].startswith("2 tags, 2 examples")


def test_kit_is_a_file_that_python_reads(taught, tmp_path):
    (tmp_path / "kit.safetensors").write_bytes(base64.b64decode(taught["kit"]))
    assert sorted(Kit.load(tmp_path / "kit.safetensors").tags) == ["high", "low"]


def test_kit_that_is_sent_gets_the_same_name_again(service, taught):
    answer = service.post("/v1/kits", base64.b64decode(taught["kit"])).json()
    assert answer["model"] == taught["model"]


def test_same_examples_give_the_same_kit(service, examples, taught):
    assert service.ask("POST", "/v1/teach", json={"examples": examples}).json()["kit"] == taught["kit"]


def test_unknown_kit_is_told_what_to_do(service):
    answer = service.post("/v1/tag?model=kit-000000000000", encoded(tone(1.0)))
    assert (answer.status_code, "/v1/kits" in answer.json()["message"]) == (422, True)


BAD = base64.b64encode(b"\x08\0\0\0\0\0\0\0{}      ").decode()
NESTED = base64.b64encode((200_000).to_bytes(8, "little") + b"[" * 200_000).decode()


@pytest.mark.parametrize(
    "lesson",
    [
        {},
        {"examples": []},
        {"examples": [{"tags": ["a"], "example": "no base64!"}]},
        {"examples": [{"tags": ["a"], "example": BAD}]},
        {"examples": [{"tags": ["a"], "example": "é"}]},
        {"examples": [{"tags": ["a"], "example": NESTED}]},
        {"examples": [{"tags": "a", "example": BAD}]},
        {"examples": [{"tags": ["a"], "example": BAD}], "task": "three"},
        {"examples": [{"tags": ["a"], "example": BAD}], "model": "none"},
    ],
)
def test_lesson_that_cannot_be_learned_is_refused(service, lesson):
    answer = service.ask("POST", "/v1/teach", json=lesson)
    assert (answer.status_code, set(answer.json())) == (422, {"error", "message"})


def test_body_that_is_no_json_is_refused(service):
    answer = service.post("/v1/teach", b"\xff\xfe{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (422, "ConfigError")


def test_one_tag_alone_is_refused_with_what_is_wanted(service, examples):
    answer = service.ask("POST", "/v1/teach", json={"examples": examples[:2]})
    assert answer.status_code == 422, answer.json()


def test_example_of_another_network_is_refused(service, examples):
    one = examples[0] | {"example": _shorter(examples[0]["example"])}
    answer = service.ask("POST", "/v1/teach", json={"examples": [one, *examples[1:]]})
    assert (answer.status_code, "features" in answer.json()["message"]) == (422, True)


def _shorter(example):
    """The same example with fewer features."""
    whole = unpacked(example)
    return packed(EmbeddedExample(whole.vectors[:, :10], whole.semitones, whole.sound, ()))


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: b"no kit" * 100])
def test_damaged_kit_is_refused_without_a_place_on_the_disk(service, taught, damage):
    answer = service.post("/v1/kits", damage(base64.b64decode(taught["kit"])))
    assert answer.status_code == 422
    assert "upload" not in answer.json()["message"]


def test_silent_example_is_refused(service):
    answer = service.post("/v1/examples", encoded(0 * tone(3.0)))
    assert (answer.status_code, "silent" in answer.json()["message"]) == (422, True)


# -- limits ------------------------------------------------------------------------------------------------------------


def made(tags, *, seed=0, n_rows=1):
    """An example of a sound that nobody made."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n_rows, 1506)).astype(np.float32)
    return {"tags": tags, "example": packed(EmbeddedExample(vectors, np.zeros(n_rows, np.int8), f"{seed:016x}", ()))}


@pytest.fixture(scope="module")
def long_lesson():
    """One that takes minutes to learn."""
    tags = [f"tag {number}" for number in range(MOST_TAGS)]
    examples = [made(list(np.random.default_rng(seed).permutation(tags)[:50]), seed=seed) for seed in range(500)]
    return json.dumps({"task": "several", "examples": examples}).encode()


def test_many_tags_are_refused(service):
    lesson = {"examples": [made([f"tag {seed}"], seed=seed) for seed in range(MOST_TAGS + 1)]}
    answer = service.ask("POST", "/v1/teach", json=lesson)
    assert (answer.status_code, "101 tags" in answer.json()["message"]) == (422, True)


def test_example_of_many_rows_is_refused(service):
    lesson = {"examples": [made([tag], seed=seed, n_rows=MOST_ROWS + 1) for seed, tag in enumerate("ab")]}
    answer = service.ask("POST", "/v1/teach", json=lesson)
    assert (answer.status_code, "/v1/examples" in answer.json()["message"]) == (422, True)


def test_large_lesson_is_refused_before_it_is_sent(service):
    with service.send(b"POST /v1/teach HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000000\r\n\r\n") as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_lesson_beyond_those_that_wait_is_refused():
    lessons = Lessons(ServiceSettings())
    with contextlib.ExitStack() as taken:
        for _ in range(MOST_LESSONS):
            taken.enter_context(lessons.place())
        with pytest.raises(BusyError):
            lessons.check_room()
    lessons.check_room()


def test_lesson_whose_client_left_is_dropped(service, long_lesson, examples):
    head = f"POST /v1/teach HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(long_lesson)}\r\n\r\n".encode()
    with service.send(head + long_lesson):
        assert wait_until(lambda: service.metric("taggram_lessons") == 1)
    assert wait_until(lambda: service.metric('taggram_requests_total{route="/v1/teach",status="499"}') == 1)
    assert service.ask("POST", "/v1/teach", json={"examples": examples}).status_code == 200  # the next can be taught


@pytest.mark.slow
def test_lesson_that_takes_too_long_is_ended(weights, tmp_path, long_lesson):
    with served(tmp_path, "--model", weights, "work_s=0.5") as service:
        answer = service.post("/v1/teach", long_lesson)
    assert (answer.status_code, answer.json()["error"]) == (422, "WorkerError")


def test_stop_has_an_end_while_something_is_taught(weights, tmp_path, long_lesson):
    with served(tmp_path, "--model", weights, "stop_s=0.5") as service, ThreadPoolExecutor(1) as pool:
        reply = pool.submit(service.post, "/v1/teach", long_lesson)
        assert wait_until(lambda: service.metric("taggram_lessons") == 1)
        service.process.terminate()
        assert service.process.wait(60) == 1
        assert reply.exception() is not None or reply.result().status_code == 503
        assert wait_until(lambda: service.events("stopped"))
        assert service.events("stopped")[0]["unanswered"] == 1
        assert wait_until(lambda: not session_of(service.process.pid))
        assert list(tmp_path.iterdir()) == []
