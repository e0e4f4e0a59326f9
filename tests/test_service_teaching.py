"""Teaching by the service: examples, kits, and what may be wrong with them."""

from __future__ import annotations

import base64

import pytest

from taggram.kit import Kit
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


@pytest.mark.parametrize(
    "lesson",
    [
        {},
        {"examples": []},
        {"examples": [{"tags": ["a"], "example": "no base64!"}]},
        {"examples": [{"tags": ["a"], "example": BAD}]},
        {"examples": [{"tags": ["a"], "example": "é"}]},
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
    from taggram.apps._server_teaching import packed, unpacked
    from taggram.learning._example_worker import EmbeddedExample

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
