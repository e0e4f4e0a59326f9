"""The service, as a real process behind real sockets: what it answers is what the command line gives."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from _served import DOCUMENT, EXAMPLES, OF_CATALOGUES, run_example, served
from _sounds import encoded, noise, tone
from conftest import wait_until
from PIL import Image

import taggram
from taggram.apps._server_answers import wants_picture
from taggram.apps._server_settings import Access, ServiceSettings
from taggram.kit import KitRows
from taggram.models._fingerprint import features_sha256
from taggram.vocabulary import load_vocabulary

SECONDS = 10
N_PATCHES = 3
N_TAGS = 50
ORIGIN = "https://a.example"
BEARER = {"Authorization": "Bearer t0ken"}
OWN = "probe"  # what the names of files begin with that the service has of its own


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """Ten seconds of noise at 44.1 kHz, in two channels."""
    path = tmp_path_factory.mktemp("songs") / "song.flac"
    path.write_bytes(encoded(noise(SECONDS, 44_100, 2), 44_100, "FLAC"))
    return path


@pytest.fixture(scope="module")
def service(weights, tmp_path_factory):
    """A service with the settings that it comes with."""
    with served(tmp_path_factory.mktemp("spool")) as running:
        yield running


@pytest.fixture(scope="module")
def as_command(song, run_taggram):
    """What the command line gives of the song, over time."""
    done = run_taggram("tag", "--format", "json", "--over-time", "--top", "5", song)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def answered(service, song):
    """What the service gives of it."""
    reply = service.post("/v1/tag?over_time=true&top=5&name=song.flac", song.read_bytes())
    assert reply.status_code == 200
    return reply.json()


# -- tags --------------------------------------------------------------------------------------------------------------


def test_fields_are_those_of_the_command(answered, as_command):
    assert list(answered) == list(as_command)


def test_facts_are_those_of_the_command(answered, as_command):
    scores = ("path", "tags", "scores")
    assert {k: v for k, v in answered.items() if k not in scores} == {
        k: v for k, v in as_command.items() if k not in scores
    }


def test_scores_are_those_of_the_command(answered, as_command):
    np.testing.assert_allclose(answered["scores"], as_command["scores"], rtol=0, atol=1e-5)
    assert [tag["tag"] for tag in answered["tags"]] == [tag["tag"] for tag in as_command["tags"]]


def test_path_is_the_name_that_was_given(answered):
    assert answered["path"] == "song.flac"


def test_path_is_left_out_without_a_name(service, song):
    assert "path" not in service.post("/v1/tag", song.read_bytes()).json()


def test_three_tags_are_given_unless_told_otherwise(service, song):
    reply = service.post("/v1/tag", song.read_bytes()).json()
    assert len(reply["tags"]) == 3
    assert "scores" not in reply


def test_threshold_of_0_and_a_number_gives_so_many(service, song):
    assert len(service.post("/v1/tag?top=7", song.read_bytes()).json()["tags"]) == 7


def test_threshold_gives_all_tags_from_it_on(service, song, as_command):
    reply = service.post("/v1/tag?threshold=0.02", song.read_bytes()).json()
    assert len(reply["tags"]) == int((np.mean(as_command["scores"], axis=0) >= 0.02).sum())


def test_hop_is_that_of_the_request(service, song):
    reply = service.post("/v1/tag?over_time=true&hop_s=1", song.read_bytes()).json()
    assert (reply["hop_s"], len(reply["times_s"])) == (0.992, 8)


def test_form_is_answered_as_the_bare_file(service, song, answered):
    reply = service.ask("POST", "/v1/tag?over_time=true&top=5", files={"file": ("song.flac", song.read_bytes())})
    assert reply.json() == answered


def test_many_at_once_get_their_own_answers(service):
    """Their patches share batches."""
    sounds = [encoded(tone(6.0, hz=hz)) for hz in (110, 220, 440, 880)]
    tagger = taggram.Tagger(device="cpu")
    wanted = [tagger.tag(sound).scores for sound in sounds]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda sound: service.post("/v1/tag?over_time=true", sound).json(), sounds * 3))
    np.testing.assert_allclose([reply["scores"] for reply in replies], wanted * 3, rtol=0, atol=1e-5)


def test_note_about_a_wrong_suffix_is_that_of_the_command(service, song):
    assert "FLAC by content, not .mp3" in service.post("/v1/tag?name=song.mp3", song.read_bytes()).json()["notes"]


def test_short_sound_is_padded(service):
    assert service.post("/v1/tag", encoded(tone(0.5))).json()["padded"] is True


def test_picture_comes_with_the_tags(service, song):
    picture = service.post("/v1/tag?picture=true", song.read_bytes()).json()["picture"]
    with Image.open(io.BytesIO(base64.b64decode(picture.removeprefix("data:image/png;base64,")))) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("accept", "is_wanted"),
    [
        ("", False),
        ("*/*", False),
        ("image/png, */*", True),
        ("image/avif,image/webp,image/*,*/*;q=0.8", True),
        ("image/png, application/json", False),
        ("image/png, application/json;q=0.5", True),
        ("image/png;q=0", False),
        ("image/png;q=nan", False),
    ],
)
def test_picture_is_given_to_whom_prefers_it(accept, is_wanted):
    assert wants_picture(accept) is is_wanted


def test_picture_comes_alone_where_only_that_is_accepted(service, song):
    reply = service.post("/v1/tag", song.read_bytes(), headers={"Accept": "image/png"})
    assert reply.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(reply.content)) as image:
        assert min(image.size) > 300


# -- embeddings and lists ----------------------------------------------------------------------------------------------


def test_embedding_is_that_of_python(service, song):
    reply = service.post("/v1/embed", song.read_bytes()).json()
    wanted = taggram.Tagger(device="cpu").embed(song)
    np.testing.assert_allclose(reply["features"], wanted, rtol=0, atol=1e-4)
    assert (reply["layer"], len(reply["times_s"])) == ("penultimate", N_PATCHES)


def test_mean_of_a_layer_is_one_row(service, song):
    reply = service.post("/v1/embed?layer=cnn1&mean=true", song.read_bytes()).json()
    assert (reply["layer"], np.shape(reply["features"])) == ("cnn1", (1, 64))


def test_embedding_comes_as_npz_too(service, song):
    with np.load(io.BytesIO(service.post("/v1/embed?format=npz", song.read_bytes()).content)) as arrays:
        assert arrays["features"].shape == (N_PATCHES, 200)


def test_models_are_listed_with_what_a_page_needs(service):
    reply = service.ask("GET", "/v1/models").json()
    assert [(one["name"], one["kit"], len(one["tags"])) for one in reply["models"]] == [("musicnn.mtt", False, N_TAGS)]
    assert reply["limits"]["max_duration_s"] == 600


def test_tags_are_listed_in_the_order_of_the_model(service):
    tags = service.ask("GET", "/v1/tags?model=musicnn.mtt").json()["tags"]
    assert tuple(tags) == load_vocabulary("mtt50_musicnn")


# -- what stands around it ---------------------------------------------------------------------------------------------


def is_ready(service):
    """Whether a decoder answers; where the cores are busy, one may take longer than is waited for."""
    reply = service.ask("GET", "/healthz")
    return (reply.status_code, reply.json()) == (200, {"status": "ready"})


def test_service_says_that_it_is_ready(service):
    assert wait_until(lambda: is_ready(service))


def test_id_of_a_request_comes_back(service):
    assert service.ask("GET", "/healthz", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"


@pytest.mark.parametrize("given", ["", "a" * 129, "two words"])
def test_id_that_is_none_is_replaced(service, given):
    made = service.ask("GET", "/nothing", headers={"X-Request-ID": given}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)


def logged(service, request_id):
    """Lines of the log about a request; they come a moment after its answer."""

    def found():
        return [line for line in service.events("request") if line["id"] == request_id]

    wait_until(found)
    return found()


def test_log_says_what_became_of_a_request_and_not_what_it_was(service, song):
    service.post("/v1/tag?name=secret.flac", song.read_bytes(), headers={"X-Request-ID": "logged"})
    (line,) = logged(service, "logged")
    assert (line["route"], line["status"], line["model"], line["sound_s"]) == ("/v1/tag", 200, "musicnn.mtt", SECONDS)
    assert "secret" not in json.dumps(service.log)


def test_log_says_why_a_request_was_refused(service):
    service.post("/v1/tag?top=0", b"x", headers={"X-Request-ID": "refused"})
    (line,) = logged(service, "refused")
    assert (line["status"], line["error"]) == (422, "ConfigError")


@pytest.mark.parametrize("target", ["/healthz", "/v1/models", "/"])
def test_head_is_answered_as_get_without_its_body(service, target):
    assert wait_until(lambda: is_ready(service))  # and for some seconds from then on nobody need be asked
    head, got = service.ask("HEAD", target), service.ask("GET", target)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:8000", "taggram.localhost"])
def test_name_of_this_machine_is_answered(service, host):
    assert service.ask("GET", "/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["page.example", "page.example:8000", "10.0.0.1", "localhost.page.example", "[::1", ""]
)
def test_name_that_may_be_that_of_a_page_from_elsewhere_is_refused(service, host):
    reply = service.ask("GET", "/v1/models", headers={"Host": host})
    assert (reply.status_code, reply.json()["error"]) == (403, "ForbiddenError")


@pytest.mark.parametrize(("access", "is_local"), [({}, True), ({"host": "127.0.0.1"}, False), ({"token": "t"}, False)])
def test_any_name_is_answered_with_a_host_or_a_token(access, is_local):
    assert Access(**access).is_local is is_local


def test_requests_and_sound_are_counted(service, song):
    lines = ('taggram_requests_total{route="/v1/tag",status="200"}', 'taggram_sound_seconds_total{model="musicnn.mtt"}')
    before = [service.metric(line) for line in lines]
    service.post("/v1/tag", song.read_bytes())
    assert [service.metric(line) - old for line, old in zip(lines, before)] == [1, SECONDS]


def test_documentation_loads_nothing_from_elsewhere(service):
    page = service.ask("GET", "/docs").text
    places = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page)
    assert len(places) == 3
    assert [service.ask("GET", f"/{place}").status_code for place in places] == [200] * 3
    assert not re.search("https?://", page)


def test_documentation_is_of_the_version_that_its_page_reads(service):
    document = service.ask("GET", "/openapi.json")
    assert document.json()["openapi"] == "3.0.3"
    assert set(document.json()["paths"]) >= {
        "/v1/tag", "/v1/embed", "/v1/models", "/v1/tags", "/healthz", "/metrics"
    }  # fmt: skip
    assert '"null"' not in document.text


def test_documentation_has_all_parts_that_it_refers_to(service):
    document = service.ask("GET", "/openapi.json").json()

    def parts(found):
        if isinstance(found, dict):
            yield found
        for one in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
            yield from parts(one)

    for place in {part["$ref"] for part in parts(document) if "$ref" in part}:
        assert place.startswith("#/")
        found = document
        for name in place.split("/")[1:]:
            found = found[name]
    lesson = document["paths"]["/v1/teach"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "example" in lesson["properties"]["examples"]["items"]["properties"]


def test_page_and_its_files_are_there(service):
    page = service.ask("GET", "/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert service.ask("GET", "/static/plotly.min.js").status_code == 200


def test_file_that_a_browser_has_is_not_sent_again(service):
    tag = service.ask("GET", "/static/style.css").headers["etag"]
    assert service.ask("GET", "/static/style.css", headers={"If-None-Match": tag}).status_code == 304


def test_pages_from_elsewhere_may_not_ask(service):
    assert "access-control-allow-origin" not in service.ask("GET", "/healthz", headers={"Origin": "http://x"}).headers


# -- what is refused ---------------------------------------------------------------------------------------------------

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


@pytest.mark.parametrize(
    ("target", "content", "headers", "status", "error"),
    [
        ("/v1/tag", b"", {}, 422, "AudioError"),
        ("/v1/tag", b"no sound at all" * 1000, {}, 422, "AudioError"),
        ("/v1/tag", b'{"a": 1}', {"Content-Type": "application/json"}, 422, "AudioError"),
        ("/v1/tag?top=0", b"x", {}, 422, "ConfigError"),
        ("/v1/tag?top=x", b"x", {}, 422, "ConfigError"),
        ("/v1/tag?threshold=nan", b"x", {}, 422, "ConfigError"),
        ("/v1/tag?hop_s=inf", b"x", {}, 422, "ConfigError"),
        ("/v1/tag?hop_s=0.001", encoded(tone(0.5)), {}, 422, "ConfigError"),
        ("/v1/tag?tops=3", b"x", {}, 422, "ConfigError"),
        ("/v1/examples?hop_s=1", b"x", {}, 422, "ConfigError"),
        ("/v1/tag?model=musicn.mtt", b"x", {}, 422, "UnknownNameError"),
        ("/v1/embed?layer=penultimat", b"x", {}, 422, "UnknownNameError"),
        ("/v1/embed?format=xml", b"x", {}, 422, "ConfigError"),
        ("/v1/nothing", b"x", {}, 404, "RequestError"),
        ("/healthz", b"x", {}, 405, "RequestError"),
        ("/v1/tag", PART + b"cut", FORM, 400, "RequestError"),
        ("/v1/tag", b"--b--\r\n", FORM, 400, "RequestError"),
        ("/v1/tag", b"x", {"Content-Type": "multipart/form-data"}, 400, "RequestError"),
        ("/v1/tag", b"x", {"Content-Type": f"multipart/form-data; boundary={'b' * 300}"}, 400, "RequestError"),
        ("/v1/tag", b"--x", FORM, 400, "RequestError"),
    ],
)
def test_bad_request_is_refused_with_what_is_wrong(service, target, content, headers, status, error):
    reply = service.post(target, content, headers=headers)
    assert (reply.status_code, list(reply.json()), reply.json()["error"]) == (status, ["error", "message"], error)


def test_parameter_of_a_list_that_there_is_not_is_refused(service):
    assert service.ask("GET", "/v1/tags?modle=musicnn.mtt").status_code == 422


def test_wrong_name_is_answered_with_a_near_one(service):
    assert "Did you mean musicnn.mtt?" in service.post("/v1/tag?model=musicn.mtt", b"x").json()["message"]


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/passwd", "a\x00b\n.wav", "..\\..\\x", "\N{SNOWMAN}" * 300]
)
def test_name_is_only_echoed(service, name):
    reply = service.ask("POST", "/v1/tag", encoded(tone(0.5)), params={"name": name})
    path = reply.json()["path"]
    assert path.isprintable()
    assert path == name[:200] or "\\x00" in path


def test_name_in_a_form_is_only_echoed(service):
    form = PART.replace(b"a.wav", b"../../../tmp/pwned.wav") + encoded(tone(0.5)) + b"\r\n--b--\r\n"
    assert service.post("/v1/tag", form, headers=FORM).json()["path"] == "../../../tmp/pwned.wav"


@pytest.mark.parametrize("place", ["../../../../etc/passwd", "..%2f..%2fserver.py", "index.html", "%2e%2e/server.py"])
def test_only_listed_files_are_given(service, place):
    assert service.ask("GET", f"/static/{place}").status_code == 404


def test_nothing_is_left_of_uploads(service):
    assert {path for path in service.spool.rglob("*") if path.is_file() and not path.name.startswith(OWN)} == set()


# -- what the documents say --------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("example", [example for example in EXAMPLES if example not in OF_CATALOGUES])
def test_example_of_the_document_works(service, tmp_path, example):
    run_example(example, service, tmp_path)


def test_settings_in_the_document_are_those_that_there_are():
    rows = re.findall(
        r"^\| (`[^|]+) \| ([^|]+) \|", DOCUMENT.read_text(encoding="utf-8").partition("## Limits")[2], re.M
    )
    told = {
        name: value
        for names, values in rows
        for name, value in zip(re.findall("`([a-z_]+)`", names), values.split(", "))
    }
    fields = {field.name: field.default for field in dataclasses.fields(ServiceSettings)}
    assert set(told) == set(fields)
    numbers = {name: str(value) for name, value in fields.items() if value is not None and value < 10_000}
    assert {name: told[name].strip() for name in numbers} == numbers


# -- kits, and who may ask ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kit(weights, tmp_path_factory):
    """A kit of two tags that nobody taught."""
    model = taggram.create_model(weights)
    made = taggram.Kit(
        tags=("this", "that"), task="one", method="svm", model=weights, layers=("penultimate",),
        features_sha256=features_sha256(model),
        mean=np.zeros(200, np.float32), inverse_scale=np.ones(200, np.float32), bias=np.zeros(2, np.float32),
        weight=np.random.default_rng(0).standard_normal((2, 200)).astype(np.float32),
        examples=(), rows=KitRows(
            vectors=np.zeros((0, 200), np.float16), example=np.zeros(0, np.int32), semitones=np.zeros(0, np.int8)
        ),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("kit") / "mine.safetensors"
    made.save(path)
    return path


@pytest.fixture(scope="module")
def guarded(kit, tmp_path_factory):
    """A service of a kit and a model, with a token, which pages of one origin may ask."""
    offered = ("--kit", str(kit), "--model", "musicnn.mtt")
    with served(tmp_path_factory.mktemp("spool"), *offered, "--cors", ORIGIN, TAGGRAM_TOKEN="t0ken") as running:
        yield running


def test_kit_and_model_are_offered_the_kit_first(guarded):
    models = guarded.ask("GET", "/v1/models", headers=BEARER).json()["models"]
    assert [(one["name"], one["kit"], len(one["tags"])) for one in models] == [
        ("mine", True, 2), ("musicnn.mtt", False, N_TAGS)
    ]  # fmt: skip


def test_kit_tags_as_in_python(guarded, kit):
    sound = encoded(tone(7.0, hz=115))
    reply = guarded.post("/v1/tag?over_time=true", sound, headers=BEARER).json()
    wanted = taggram.Tagger(kit=kit, device="cpu").tag(sound)
    assert (reply["model"], reply["tags"][0]["tag"]) == ("mine", wanted.top(1)[0][0])
    np.testing.assert_allclose(reply["scores"], wanted.scores, rtol=0, atol=1e-5)


def test_model_is_that_of_the_request(guarded):
    reply = guarded.post("/v1/tag?model=musicnn.mtt", encoded(tone(3.0)), headers=BEARER)
    assert reply.json()["model"] == "musicnn.mtt"


@pytest.mark.parametrize("given", [None, "Bearer", "Bearer wrong", "Basic t0ken", "t0ken", "Bearer t0ken2"])
@pytest.mark.parametrize("target", ["/v1/tag", "/v1/models", "/metrics"])
def test_request_without_the_token_is_refused(guarded, target, given):
    headers = {} if given is None else {"Authorization": given}
    reply = guarded.ask("POST" if target == "/v1/tag" else "GET", target, headers=headers)
    assert (reply.status_code, reply.json()["error"]) == (401, "UnauthorizedError")
    assert reply.headers["www-authenticate"] == "Bearer"


def test_request_with_the_token_is_answered(guarded):
    assert guarded.ask("GET", "/v1/models", headers=BEARER).status_code == 200


@pytest.mark.parametrize("target", ["/healthz", "/", "/static/style.css", "/docs", "/openapi.json"])
def test_what_holds_no_secret_needs_no_token(guarded, target):
    assert wait_until(lambda: guarded.ask("GET", target).status_code == 200)  # /healthz may ask a busy decoder


def test_token_is_not_passed_on_to_decoders(guarded):
    for pid in guarded.decoders():
        assert b"t0ken" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_pages_of_the_named_origin_may_ask(guarded):
    wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    reply = guarded.ask("OPTIONS", "/v1/tag", headers={"Origin": ORIGIN, **wish})
    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, ORIGIN)
    reply = guarded.ask("OPTIONS", "/v1/tag", headers={"Origin": "https://b.example", **wish})
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.slow
def test_documentation_is_shown_by_a_browser(service, browser):
    page = browser.new_page()
    troubles, asked = [], []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"http://127.0.0.1:{service.port}/docs")
    page.get_by_text("/v1/embed").first.wait_for()
    page.get_by_text("/v1/tag", exact=True).first.click()
    page.get_by_text("At most so many tags").first.wait_for()
    assert troubles == []
    assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {f"127.0.0.1:{service.port}"}
    page.close()
