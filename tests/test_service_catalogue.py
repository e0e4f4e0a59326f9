"""The service answers questions to a catalogue."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from _sounds import encoded, tone
from _taught import write_network
from conftest import wait_until

pytest.importorskip("duckdb", reason="duckdb is not installed: pip install 'taggram[catalogue]'")

from taggram.catalogue.expression import COLUMNS, parse
from taggram.catalogue.rows import name_columns
from tests._served import OF_CATALOGUES, run_example, served

pytestmark = pytest.mark.slow
HZ = (200, 800, 3000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run_taggram):
    """A catalogue of three sounds by a small network."""
    folder = tmp_path_factory.mktemp("catalogue")
    network = write_network(folder / "small.safetensors")
    (folder / "music").mkdir()
    for hz in HZ:
        (folder / "music" / f"{hz}.wav").write_bytes(encoded(tone(3.0, hz=hz)))
    arguments = ("--out", folder / "c", "--model", network, "--workers", "1", "--runner", "local", "--device", "cpu")
    done = run_taggram("catalogue", folder / "music", *arguments)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def service(folder, tmp_path_factory):
    arguments = ("--catalogue", str(folder / "c"), "max_tracks=2")
    with served(tmp_path_factory.mktemp("spool"), *arguments) as one:
        yield one


def find(service, question, **options):
    return service.ask("GET", "/v1/find", params={"q": question, **options})


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_examples_of_the_document_work(weights, folder, tmp_path, run_taggram):
    arguments = ("--out", tmp_path / "c", "--model", weights, "--workers", "1", "--runner", "local")
    assert run_taggram("catalogue", folder / "music", *arguments).returncode == 0
    (tmp_path / "spool").mkdir()
    with served(tmp_path / "spool", "--catalogue", str(tmp_path / "c")) as service:
        for example in OF_CATALOGUES:
            run_example(example, service, tmp_path)


def test_model_of_the_catalogue_is_offered_alone(service):
    answer = service.ask("GET", "/v1/models").json()
    assert [model["name"] for model in answer["models"]] == ["small"]
    assert (answer["catalogue"]["model"], len(answer["catalogue"]["tags"])) == ("small", 2)


def test_tracks_are_found_as_by_the_command(service, folder, run_taggram):
    tag = service.ask("GET", "/v1/models").json()["catalogue"]["tags"][0]
    question = f"'{tag}' >= 0 order by '{tag}' desc limit 2"
    lines = run_taggram("find", folder / "c", question, "--format", "json").stdout
    tracks = find(service, question).json()["tracks"]
    assert (len(tracks), [track["path"] in lines for track in tracks]) == (2, [True, True])


def test_answer_says_whether_there_are_more(service):
    answer = find(service, "").json()
    assert (len(answer["tracks"]), answer["more"]) == (2, True)
    assert find(service, "limit 2").json()["more"] is False


@pytest.mark.parametrize("question", ["x; drop table rows", "read_csv('/etc/passwd') > 1", "(" * 9000, "x" * 20_000])
def test_wrong_expression_is_told(service, question):
    answer = find(service, question)
    assert (answer.status_code, answer.json()["error"]) == (422, answer.json()["error"])
    assert answer.json()["error"] in ("ConfigError", "UnknownNameError")


def test_question_of_many_comparisons_is_refused(service):
    answer = find(service, " or ".join(["path contains 'x'"] * 51))
    assert (answer.status_code, "at most 50" in answer.json()["message"]) == (422, True)


def test_unknown_tag_is_told_with_the_address_that_lists_them(service):
    message = find(service, "no-such-tag > 0").json()["message"]
    assert "/v1/models lists all 2 tags" in message
    assert "`" not in message


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": 3}, {"other": 1}])
def test_wrong_settings_are_told(service, options):
    assert find(service, "", **options).status_code == 422


@pytest.mark.parametrize("options", ["n=3", "n=0", "min_score=1.5", "min_score=nan", "limit=1"])
def test_wrong_settings_of_similar_are_told(service, options):
    assert service.post(f"/v1/similar?{options}", encoded(tone(3.0))).status_code == 422


def test_least_score_is_kept(service):
    answer = service.post("/v1/similar?min_score=0.9999", encoded(tone(3.0, hz=800))).json()
    assert [track["path"].endswith("800.wav") for track in answer["tracks"]] == [True]


def test_upload_finds_what_sounds_like_it(service):
    answer = service.post("/v1/similar?n=2&name=new.wav", encoded(tone(3.0, hz=800))).json()
    assert answer["tracks"][0]["path"].endswith("800.wav")
    assert answer["tracks"][0]["score"] == pytest.approx(1, abs=1e-5)
    assert len(answer["tracks"]) == 2


def test_upload_that_is_no_sound_is_told(service):
    answer = service.post("/v1/similar", b"no sound at all" * 100)
    assert (answer.status_code, answer.json()["error"]) == (422, "AudioError")


def test_both_are_documented(service):
    assert {"/v1/find", "/v1/similar"} <= set(service.ask("GET", "/openapi.json").json()["paths"])


def test_catalogue_that_is_damaged_meanwhile_is_told_without_its_place(folder, tmp_path):
    shutil.copytree(folder / "c", tmp_path / "copy")
    with served(tmp_path, "--catalogue", str(tmp_path / "copy")) as service:
        for part in (tmp_path / "copy" / "parts").iterdir():
            part.write_bytes(b"damaged")
        answer = find(service, "")
        assert (answer.status_code, str(tmp_path) in answer.text) == (503, False)
        assert wait_until(lambda: service.events("catalogue failed"))
        assert service.ask("GET", "/healthz").status_code == 200


def test_catalogue_needs_the_token_too(folder, tmp_path):
    with served(tmp_path, "--catalogue", str(folder / "c"), TAGGRAM_TOKEN="secret") as service:
        assert find(service, "").status_code == 401
        assert service.post("/v1/similar", b"").status_code == 401
        headers = {"Authorization": "Bearer secret"}
        assert service.ask("GET", "/v1/find", params={"q": ""}, headers=headers).status_code == 200


def test_model_that_was_moved_is_the_catalogues_by_its_weights(folder, tmp_path, run_taggram):
    shutil.copytree(folder / "c", tmp_path / "c")
    card = json.loads((tmp_path / "c" / "catalogue.json").read_bytes())
    card["settings"]["model"] = str(tmp_path / "gone.safetensors")
    (tmp_path / "c" / "catalogue.json").write_text(json.dumps(card), encoding="utf-8")
    done = run_taggram("serve", "--catalogue", tmp_path / "c")
    assert done.returncode == 1
    assert "--model FILE" in done.stderr
    (tmp_path / "spool").mkdir()
    arguments = ("--model", str(folder / "small.safetensors"), "--catalogue", str(tmp_path / "c"))
    with served(tmp_path / "spool", *arguments) as service:
        answer = service.post("/v1/similar?n=1", encoded(tone(3.0, hz=800))).json()
        assert answer["tracks"][0]["path"].endswith("800.wav")
        assert service.ask("GET", "/v1/models").json()["catalogue"]["model"] == "small"


def test_service_without_a_catalogue_has_neither(folder, tmp_path):
    with served(tmp_path, "--model", str(folder / "small.safetensors")) as service:
        assert find(service, "").status_code == 404
        assert service.ask("GET", "/v1/models").json()["catalogue"] is None


def test_service_of_no_catalogue_does_not_start(tmp_path, run_taggram):
    done = run_taggram("serve", "--catalogue", tmp_path)
    assert done.returncode == 1
    assert "there is no catalogue" in done.stderr


# -- the page ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(browser, service):
    page = browser.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda line: line.type == "error" and page.errors.append(line.text))
    page.goto(f"http://127.0.0.1:{service.port}/")
    page.get_by_role("heading", name="The catalogue").wait_for(timeout=60_000)
    yield page
    page.close()


def test_page_finds_tracks(page):
    page.get_by_label("Tracks with").fill("duration_s > 1")
    page.get_by_role("button", name="Find", exact=True).click()
    page.locator("#tracks tbody tr").first.wait_for(timeout=60_000)
    assert page.locator("#tracks tbody tr").count() == 2
    assert page.locator("#collection-status").inner_text() == "The first 2 tracks; there are more."
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save as a playlist").click()
    written = waiting.value.path().read_text(encoding="utf-8")
    assert re.match(r"#EXTM3U\n#EXTINF:3,(200|800|3000)\n/.*\.wav\n", written)
    assert page.errors == []


def test_tags_that_the_page_offers_are_understood(page):
    tags = ["not", "80", "size", "it's", "rock and roll", "by"]
    show = "import('/static/collection.js').then(page => page.showCollection({ tags, columns, model: 'm' }, 5))"
    page.evaluate(f"({{ tags, columns }}) => {show}", {"tags": tags, "columns": list(COLUMNS)})
    offered = page.eval_on_selector_all("#question-tags option", "found => found.map(one => one.value)")
    columns = name_columns(tags)
    assert [parse(text, columns).columns[0].name for text in offered] == list(columns.values())


def test_page_tells_what_is_wrong_with_a_question(page):
    page.get_by_label("Tracks with").fill("duration > 1")
    page.get_by_role("button", name="Find", exact=True).click()
    page.locator("#collection-error:not(:empty)").wait_for(timeout=60_000)
    assert "Did you mean duration_s?" in page.locator("#collection-error").inner_text()


def test_page_finds_what_sounds_like_a_file(page):
    sound = {"name": "new.wav", "mimeType": "audio/wav", "buffer": encoded(tone(3.0, hz=3000))}
    page.get_by_label("Choose a file").set_input_files(sound)
    page.locator("#result").wait_for(timeout=60_000)
    page.get_by_role("button", name="Find what sounds like").click()
    page.locator("#tracks tbody tr").first.wait_for(timeout=60_000)
    assert page.locator("#tracks tbody th").first.inner_text().endswith("3000.wav")
    assert page.locator("#tracks tbody td").first.inner_text() == "1.00"


def test_page_wants_a_sound_first(page):
    page.get_by_role("button", name="Find what sounds like").click()
    assert page.locator("#collection-error").inner_text().startswith("Choose a sound first")
