"""The page of the service in a real browser, with a real service behind it."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from conftest import wait_until

from tests._served import served
from tests._sounds import encoded, noise, tone
from tests._taught import write_network

SHOWN = 120_000  # milliseconds; a first lesson waits for a process that loads torch
NO_SOUND = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no sound at all" * 100}


@pytest.fixture(scope="module")
def service(weights, tmp_path_factory):
    second = write_network(tmp_path_factory.mktemp("network") / "second, small.safetensors")
    with served(tmp_path_factory.mktemp("spool"), "--model", weights, "--model", str(second)) as one:
        yield one


@pytest.fixture
def page(browser, service):
    """The page, what it complained of, and what it asked for."""
    context = browser.new_context(
        viewport={"width": 1100, "height": 900}, permissions=["microphone"], accept_downloads=True
    )
    context.set_default_timeout(SHOWN)
    page = context.new_page()
    page.errors, page.asked = [], []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda line: line.type == "error" and page.errors.append(line.text))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(f"http://127.0.0.1:{service.port}/")
    page.get_by_role("checkbox", name="musicnn.mtt").wait_for(timeout=SHOWN)
    yield page
    context.close()


def sound_file(name="song.wav", seconds=6.0):
    quiet_then_loud = np.concatenate([tone(seconds / 2), noise(seconds / 2)[:, 0]]).astype(np.float32)
    return {"name": name, "mimeType": "audio/wav", "buffer": encoded(quiet_then_loud)}


@pytest.fixture
def shown(page):
    """The page with a sound that is tagged."""
    page.get_by_label("Choose a file").set_input_files(sound_file())
    page.locator("#result").wait_for(timeout=SHOWN)
    page.locator("#figure .heatmaplayer image").first.wait_for(timeout=SHOWN)
    return page


def becomes_true(page, expression):
    """Whether an expression comes true: asked from outside, as the page's policy forbids playwright's own waiting."""
    return wait_until(lambda: page.evaluate(expression))


IS_HEARD = "!document.getElementById('player').paused || document.getElementById('player').ended"
"""Whether the player plays, or has come to the end before one looked."""


def saved(page, button):
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button).click()
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def test_sound_is_shown_with_its_best_tag_first(shown):
    scores = [float(text) for text in shown.locator("#tables td.mean").all_text_contents()]
    assert scores == sorted(scores, reverse=True)
    assert scores


def test_page_asks_nobody_else(shown, service):
    own = (f"http://127.0.0.1:{service.port}/", "blob:", "data:")
    assert [address for address in shown.asked if not address.startswith(own)] == []


def test_page_complains_of_nothing(shown):
    assert shown.errors == []


def test_first_of_the_dropped_files_is_tagged(page):
    file = sound_file("dropped.wav")
    transfer = page.evaluate_handle(
        """([bytes, name]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name));
            transfer.items.add(new File([new Uint8Array(bytes)], 'another.wav'));
            return transfer;
        }""",
        [list(file["buffer"]), file["name"]],
    )
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    page.get_by_role("heading", name="dropped.wav").wait_for(timeout=SHOWN)
    assert becomes_true(page, "document.getElementById('status').textContent.includes('Of the 2 files the first')")


def test_example_is_tagged(page):
    page.get_by_role("button", name="Take the example").click()
    page.get_by_role("heading", name="example.flac").wait_for(timeout=SHOWN)


def test_recording_is_tagged(page):
    page.get_by_role("button", name="Record").first.click()
    stop = page.get_by_role("button", name="Stop")
    stop.wait_for(timeout=SHOWN)
    page.wait_for_timeout(2000)  # what the made microphone beeps meanwhile is recorded
    stop.click()
    page.get_by_role("heading", name="recording.wav").wait_for(timeout=SHOWN)
    assert becomes_true(page, "document.getElementById('player').duration > 0.5")  # where the cores are busy, not all
    assert page.evaluate("document.getElementById('player').duration") < 30


def test_other_model_is_shown_beside_and_instead(shown):
    captions = shown.locator("#tables caption")
    shown.get_by_role("checkbox", name="second").check()
    shown.locator("#figure .heatmaplayer image").nth(1).wait_for(timeout=SHOWN)
    assert [text.strip() for text in captions.all_inner_texts()] == ["musicnn.mtt", "second, small"]
    shown.get_by_role("checkbox", name="musicnn.mtt").uncheck()
    assert becomes_true(shown, "document.querySelectorAll('#tables caption').length === 1")
    assert captions.inner_text().startswith("second")


def test_models_are_named_where_there_are_two(shown):
    shown.get_by_role("checkbox", name="second").check()
    assert becomes_true(shown, "document.getElementById('status').textContent.includes('second, small: ')")
    for place in ("#status", "#now-tags"):
        assert "musicnn.mtt: " in shown.locator(place).inner_text()


def test_taggrams_keep_their_height_when_the_window_is_narrowed(shown):
    shown.get_by_role("checkbox", name="second").check()
    shown.locator("#figure .heatmaplayer image").nth(1).wait_for(timeout=SHOWN)
    height = shown.locator("#figure").bounding_box()["height"]
    shown.set_viewport_size({"width": 375, "height": 800})
    assert becomes_true(shown, "document.querySelector('#figure .main-svg').getBoundingClientRect().width < 375")
    assert shown.locator("#figure").bounding_box()["height"] == height > 200


def test_page_shows_and_saves_one_sound_until_the_next_is_tagged(shown):
    held, player = [], "document.getElementById('player').src"
    before = shown.evaluate(player)
    shown.route("**/v1/tag?*", lambda route: held.append(route))
    shown.get_by_label("Choose a file").set_input_files(sound_file("next.wav"))
    assert wait_until(lambda: shown.wait_for_timeout(50) or held)
    name, data = saved(shown, "Save JSON")
    assert (name, json.loads(data)["path"], shown.evaluate(player)) == ("song.json", "song.wav", before)
    assert shown.locator("#result-title").inner_text() == "song.wav"
    held[0].continue_()
    shown.get_by_role("heading", name="next.wav").wait_for(timeout=SHOWN)
    name, data = saved(shown, "Save JSON")
    assert (name, json.loads(data)["path"], shown.evaluate(player) == before) == ("next.json", "next.wav", False)


def test_bad_file_leaves_the_sound_before_as_it_was(shown):
    shown.get_by_label("Choose a file").set_input_files(NO_SOUND)
    shown.locator("#error:not(:empty)").wait_for(timeout=SHOWN)
    assert shown.locator("#result-title").inner_text() == "song.wav"
    shown.get_by_role("checkbox", name="second").check()  # on the sound that is shown
    assert becomes_true(shown, "document.querySelectorAll('#tables caption').length === 2")
    assert shown.locator("#error").inner_text() == ""


def test_focus_goes_to_the_heading_without_a_frame(shown):
    assert becomes_true(shown, "document.activeElement.id === 'result-title'")
    assert shown.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "none"


def test_quiet_sound_has_a_tall_waveform_and_its_level(page):
    quiet = {"name": "quiet.wav", "mimeType": "audio/wav", "buffer": encoded(0.002 * tone(3.0))}
    page.get_by_label("Choose a file").set_input_files(quiet)
    page.locator("#figure .annotation", has_text="dBFS").wait_for(timeout=SHOWN)
    level = page.locator("#figure .annotation", has_text="dBFS").text_content()
    assert -70 < float(level.split()[1].replace("\N{MINUS SIGN}", "-")) < -50
    assert page.locator("#figure .scatterlayer .js-fill").first.bounding_box()["height"] > 40


def test_click_on_the_taggram_moves_the_player_there(shown):
    box = shown.locator("#figure .heatmaplayer image").first.bounding_box()
    shown.evaluate("document.getElementById('player').play = async () => {}")  # it would play on before one looks
    shown.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert becomes_true(shown, "Math.abs(document.getElementById('player').currentTime - 3) < 0.7")


def test_moment_that_is_clicked_is_heard(shown):
    box = shown.locator("#figure .heatmaplayer image").first.bounding_box()
    shown.mouse.click(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    assert becomes_true(shown, IS_HEARD)


def test_tap_moves_the_player_as_a_click_does(browser, service):
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{service.port}/")
    page.get_by_role("checkbox", name="musicnn.mtt").wait_for(timeout=SHOWN)
    page.get_by_label("Choose a file").set_input_files(sound_file())
    image = page.locator("#figure .heatmaplayer image").first
    image.wait_for(timeout=SHOWN)
    image.scroll_into_view_if_needed()
    box = image.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    assert becomes_true(page, "document.getElementById('player').currentTime > 2")
    context.close()


def test_microphone_is_let_go_when_a_row_is_removed_while_it_records(page):
    page.evaluate(
        """() => {
            const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            navigator.mediaDevices.getUserMedia = async wanted => (window.stream = await ask(wanted));
        }"""
    )
    row = page.locator(".tag-row").first
    row.get_by_role("button", name="Record").click()
    row.get_by_role("button", name="Stop").wait_for(timeout=SHOWN)
    row.get_by_role("button", name="Remove", exact=True).click()
    assert becomes_true(page, "window.stream.getTracks().every(track => track.readyState === 'ended')")


def test_playhead_stands_where_the_player_is(shown):
    shown.evaluate("document.getElementById('player').currentTime = 3")
    assert becomes_true(shown, "document.getElementById('timeline').getAttribute('aria-valuenow') === '3.0'")
    head, image = shown.locator("#playhead").bounding_box(), shown.locator("#figure .heatmaplayer image").first
    box = image.bounding_box()
    assert head["x"] == pytest.approx(box["x"] + box["width"] / 2, abs=box["width"] / 10)


def test_strongest_moment_of_a_tag_is_played(shown):
    shown.get_by_role("button", name="hear").first.click()
    assert becomes_true(shown, IS_HEARD)


def test_keys_move_the_player(shown):
    shown.locator("#timeline").focus()
    shown.keyboard.press("ArrowRight")
    assert becomes_true(shown, "document.getElementById('player').currentTime === 1")


def test_tags_are_searched(shown):
    shown.get_by_label("Tags with").fill("guit")
    assert shown.locator("#tables tbody th").all_text_contents() in ([], ["guitar"])


def test_search_without_a_hit_leaves_no_table(shown):
    shown.get_by_label("Tags with").fill("no tag has this name")
    assert shown.locator("#tables").inner_text() == "No tag with such a name reaches so high."


def test_threshold_leaves_out_tags(shown):
    shown.get_by_label("that reach").fill("0.2")
    peaks = [float(text.split()[0]) for text in shown.locator("#tables td.peak").all_text_contents()]
    assert peaks
    assert min(peaks) >= 0.2


def test_ten_tags_are_in_a_table_until_all_are_asked_for(shown):
    shown.get_by_label("that reach").fill("0")
    rows = shown.locator("#tables tbody tr")
    assert rows.count() == 10
    shown.get_by_role("button", name="Show all").click()
    assert rows.count() == 50


def test_file_that_is_no_sound_is_told(page):
    page.get_by_label("Choose a file").set_input_files(NO_SOUND)
    page.locator("#error:not(:empty)").wait_for(timeout=SHOWN)
    assert page.locator("#error").inner_text().startswith("notes.txt: ")
    assert not page.locator("#result").is_visible()


def test_good_file_after_a_bad_one_is_shown(page):
    page.get_by_label("Choose a file").set_input_files(NO_SOUND)
    page.locator("#error:not(:empty)").wait_for(timeout=SHOWN)
    page.get_by_label("Choose a file").set_input_files(sound_file())
    page.locator("#result").wait_for(timeout=SHOWN)
    assert page.locator("#error").inner_text() == ""


def test_json_is_that_of_the_service(shown, service):
    name, data = saved(shown, "Save JSON")
    answer = service.post("/v1/tag?over_time=true&top=100000&hop_s=1&name=song.wav", sound_file()["buffer"]).json()
    assert (name, json.loads(data)) == ("song.json", answer)


def test_csv_has_a_row_for_each_patch_and_tag(shown):
    name, data = saved(shown, "Save CSV")
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    patches = {row["time_s"] for row in rows}
    assert (name, len(rows)) == ("song.csv", 50 * len(patches))
    assert {"0.000", "0.992"} <= patches


def test_csv_quotes_the_names_of_models(shown):
    shown.get_by_role("checkbox", name="second").check()
    assert becomes_true(shown, "document.querySelectorAll('#tables caption').length === 2")
    _, data = saved(shown, "Save CSV")
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert {row["model"] for row in rows} == {"musicnn.mtt", "second, small"}


def test_picture_is_a_png(shown):
    name, data = saved(shown, "Save picture")
    assert (name, data[:4]) == ("song.png", b"\x89PNG")


def test_every_control_has_a_name(shown):
    nameless = shown.evaluate(
        """() => [...document.querySelectorAll('button, input, select, a, audio, meter, [role=slider]')].filter(one =>
            !(one.getAttribute('aria-label') || one.ariaLabel || one.textContent.trim() || one.labels?.length))
            .map(one => one.outerHTML)"""
    )
    assert nameless == []


def test_page_fits_a_phone(browser, service):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(f"http://127.0.0.1:{service.port}/")
    page.get_by_label("Choose a file").set_input_files(sound_file())
    page.locator("#result").wait_for(timeout=SHOWN)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    taggram = page.locator("#figure .heatmaplayer image").first.bounding_box()
    assert taggram["width"] > 0.6 * 390
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_takes_the_colours_of_the_system(browser, service, scheme):
    page = browser.new_page(color_scheme=scheme)
    page.goto(f"http://127.0.0.1:{service.port}/")
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, colour.strip("rgb()").split(","))) > 380) == (scheme == "light")
    page.close()


# -- own tags ----------------------------------------------------------------------------------------------------------


def teach(page, sounds):
    """Fill the rows for teaching with names and files, and let it learn."""
    for place, (name, files) in enumerate(sounds.items()):
        row = page.locator(".tag-row").nth(place)
        row.get_by_label("Tag", exact=True).fill(name)
        row.get_by_label("Add sounds").set_input_files(files)
    page.get_by_role("button", name="Learn").click()


LOW_AND_HIGH = {
    name: [
        {"name": f"{name} {n}.wav", "mimeType": "audio/wav", "buffer": encoded(tone(3.0, hz=hz * (1 + n / 10)))}
        for n in range(3)
    ]
    for name, hz in (("low", 110.0), ("high", 2000.0))
}


def test_two_tags_are_taught_and_tag_the_sound_that_is_shown(page):
    page.get_by_label("Choose a file").set_input_files(
        {"name": "deep.wav", "mimeType": "audio/wav", "buffer": encoded(tone(6.0, hz=100.0))}
    )
    page.locator("#result").wait_for(timeout=SHOWN)
    teach(page, LOW_AND_HIGH)
    page.locator("#tables table", has_text="your kit").wait_for(timeout=SHOWN)
    assert page.locator("#tables table", has_text="your kit").locator("tbody th").first.inner_text() == "low"


def test_kit_is_saved_and_works_with_the_command(page, run_taggram, tmp_path):
    teach(page, LOW_AND_HIGH)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Save the kit").click(timeout=SHOWN)
    waiting.value.save_as(tmp_path / "kit.safetensors")
    (tmp_path / "a.wav").write_bytes(encoded(tone(4.0, hz=1900.0)))
    done = run_taggram("tag", "--kit", tmp_path / "kit.safetensors", "--format", "json", tmp_path / "a.wav")
    assert json.loads(done.stdout)["tags"][0]["tag"] == "high", done.stderr


def test_tag_without_a_sound_is_told(page):
    page.locator(".tag-row").first.get_by_label("Tag", exact=True).fill("lonely")
    page.get_by_role("button", name="Learn").click()
    assert page.locator("#taught-error").inner_text() == "lonely has no sound yet."


def test_example_that_is_no_sound_is_marked_and_passed_over(page):
    teach(page, {"low": LOW_AND_HIGH["low"], "high": [*LOW_AND_HIGH["high"], NO_SOUND]})
    page.get_by_role("link", name="Save the kit").wait_for(timeout=SHOWN)
    assert page.locator(".examples .unread").all_inner_texts() == ["notes.txt \N{MULTIPLICATION SIGN}"]
    assert page.locator("#taught-error").inner_text().startswith("notes.txt was passed over: ")
    assert "3 examples" in page.locator("#taught-status").inner_text()


def test_tag_of_which_no_sound_can_be_read_is_told(page):
    teach(page, {"low": LOW_AND_HIGH["low"][:1], "high": [NO_SOUND]})
    page.locator("#taught-error:not(:empty)").wait_for(timeout=SHOWN)
    said = page.locator("#taught-error").inner_text()
    assert said.startswith("notes.txt was passed over: ")
    assert said.endswith("So high has no sound.")


@pytest.mark.parametrize(
    ("names", "told"),
    [(["cello"], "cello is the only tag"), (["cello", "cello"], "Two tags are named cello.")],
    ids=["one tag", "twice the same"],
)
def test_mistakes_with_names_are_told_before_a_sound_is_sent(page, names, told):
    for row, name in enumerate(names):
        page.locator(".tag-row").nth(row).get_by_label("Tag", exact=True).fill(name)
        page.locator(".tag-row").nth(row).get_by_label("Add sounds").set_input_files(LOW_AND_HIGH["low"])
    page.get_by_role("button", name="Learn").click()
    assert page.locator("#taught-error").inner_text().startswith(told)
    assert not any("/v1/" in address and "/v1/models" not in address for address in page.asked)


def test_second_lesson_hears_new_sounds_only_and_uses_the_new_kit(shown):
    teach(shown, LOW_AND_HIGH)
    box = shown.get_by_role("checkbox", name="your kit")
    box.wait_for(timeout=SHOWN)
    box.uncheck()
    deep = {"name": "deep.wav", "mimeType": "audio/wav", "buffer": encoded(tone(3.0, hz=90.0))}
    shown.locator(".tag-row").first.get_by_label("Add sounds").set_input_files(deep)
    shown.get_by_role("button", name="Learn").click()
    assert becomes_true(shown, "document.getElementById('taught-status').textContent.includes('3 to 4 examples')")
    assert box.is_checked()
    assert sum("/v1/examples" in address for address in shown.asked) == 7


def test_long_name_of_an_example_is_shortened_and_told_whole(page):
    name = f"a recording {'of the same ' * 9}cello 2.wav"
    page.locator(".tag-row").first.get_by_label("Add sounds").set_input_files(sound_file(name))
    label = page.locator(".examples span").first
    assert (len(label.inner_text()), label.get_attribute("title")) == (28, name)
    assert label.inner_text().endswith("cello 2.wav")
