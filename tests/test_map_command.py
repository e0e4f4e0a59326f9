"""Tag maps as commands: `taggram look MODEL --tag-map` and `taggram data map`, and the page in a browser."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from taggram.learning.tag_map import TagVectors, cooccurrence_vectors, count_tags, count_vectors, make_map
from taggram.models import create_model

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'taggram[train]'")

TAGS = ("drums", "bass", "new age", "hip hop", "flute", "no such")
SMALL = {"kernel": 3, "depth": 3, "n_samples": 81}  # of samplecnn
ENDINGS = ("-2D-NORMALIZED.csv", "-2D.csv", "-projector", ".html", ".png")
PROJECTOR = ["metadata.tsv", "projector_config.json", "projector_config.pbtxt", "vectors.tsv"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """GloVe vectors of all tags but one, whole, joined or word by word."""
    path = tmp_path_factory.mktemp("words") / "glove.txt"
    random = np.random.default_rng(0)
    lines = [" ".join([word, *map(str, random.random(6))]) for word in ("drums", "bass", "new", "age", "hip_hop")]
    path.write_text("\n".join([*lines, "flute 1 2 3 4 5 6", ""]))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = create_model("samplecnn", n_tags=len(TAGS), **SMALL)
    network.tags = TAGS
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    network.save(path)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A data set of 40 clips, of which no sound is there: drums go with bass, new age with flute."""
    root = tmp_path_factory.mktemp("clips")
    pairs = ["drums|bass", "new age|flute", "drums|hip hop", "bass|hip hop"] * 10
    rows = [f"{number}.wav,{('train', 'test')[number % 5 == 4]},{tags}" for number, tags in enumerate(pairs)]
    (root / "clips.csv").write_text("\n".join(["path,split,tags", *rows, "x.wav,train,rare|drums", ""]))
    return root


def tags_in(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [row[0] for row in csv.reader(file)]


# -- look --tag-map ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def looked(model, tmp_path_factory, run_taggram):
    folder = tmp_path_factory.mktemp("look") / "new"
    return run_taggram("look", model, "--tag-map", "--out", folder), folder


def test_map_of_a_model_is_a_picture_a_page_tables_and_a_folder(looked):
    done, folder = looked
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, sorted(map(str, folder.iterdir())))
    names = sorted(path.name.removeprefix("tiny_tag_map") for path in folder.iterdir())
    assert [name for name in names if name in ENDINGS] == list(ENDINGS)


def test_map_alone_draws_no_other_pictures(looked):
    assert [path for path in looked[1].iterdir() if not path.name.startswith("tiny_tag_map")] == []


def test_every_tag_of_the_model_is_on_the_map(looked):
    assert tags_in(looked[1] / "tiny_tag_map-2D.csv") == list(TAGS)


def test_how_tags_were_placed_is_told(looked):
    first = looked[0].stderr.splitlines()[0]
    assert first == "tag map: 6 tags by the output layer of tiny; PCA to 5, t-SNE, perplexity 1.67, seed 0"


def test_map_that_is_not_unique_says_so(looked):
    assert "note: t-SNE: other seeds give other maps" in looked[0].stderr


def test_folder_is_for_the_projector(looked):
    folder = looked[1] / "tiny_tag_map-projector"
    assert sorted(path.name for path in folder.iterdir()) == PROJECTOR
    assert (folder / "metadata.tsv").read_text().splitlines() == list(TAGS)


@pytest.fixture(scope="module")
def by_words(model, words, tmp_path_factory, run_taggram):
    folder = tmp_path_factory.mktemp("words")
    return run_taggram("look", model, "--vectors", words, "--out", folder), folder


def test_word_vectors_ask_for_a_map(by_words, words):
    done, folder = by_words
    assert done.returncode == 0
    assert done.stderr.startswith("tag map: 5 of 6 tags by word vectors in glove.txt, for tiny; ")
    assert tags_in(folder / "tiny_tag_map-2D.csv") == list(TAGS[:5])


def test_tag_without_a_word_vector_is_told(by_words):
    assert "note: without a vector, and not on the map: no such\n" in by_words[0].stderr


def test_what_tags_were_found_as_is_told(by_words):
    assert "note: found as: new age as new + age, hip hop as hip_hop\n" in by_words[0].stderr


def test_page_says_what_is_not_on_it(by_words):
    assert "not on the map: no such" in (by_words[1] / "tiny_tag_map.html").read_text(encoding="utf-8")


def test_map_stands_beside_other_pictures(model, tmp_path, run_taggram):
    done = run_taggram("look", model, "--tag-map", "--filters", "--units", "2", "--out", tmp_path)
    assert done.returncode == 0
    assert {"tiny_filters.png", "tiny_tag_map.png"} <= {path.name for path in tmp_path.iterdir()}


def test_seed_is_that_of_the_map(model, tmp_path, run_taggram):
    assert ", seed 3\n" in run_taggram("look", model, "--tag-map", "--seed", "3", "--out", tmp_path).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("samplecnn", "--tag-map"), "names of its tags are needed"),
        (("samplecnn", "--vectors", "WORDS"), "has no names of tags to be looked for"),
        (("samplecnn", "--vectors", "nowhere.txt"), "there is no file of word vectors nowhere.txt"),
        (("MODEL", "--tag-map", "--out", "map.png"), "--out wants a folder, and not map.png"),
    ],
    ids=["no tags", "no words for", "no file", "a picture"],
)
def test_map_that_cannot_be_is_wrong_usage(model, words, tmp_path, run_taggram, arguments, said):
    real = [{"WORDS": str(words), "MODEL": str(model)}.get(word, word) for word in arguments]
    done = run_taggram("look", *real, cwd=tmp_path)
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert said in done.stderr


def test_file_that_holds_no_word_vectors_is_told(model, tmp_path, run_taggram):
    (tmp_path / "prose.txt").write_text("once upon a time\n")
    done = run_taggram("look", model, "--vectors", tmp_path / "prose.txt", "--out", tmp_path / "out")
    assert (done.returncode, (tmp_path / "out").exists()) == (1, False)
    assert "is no file of word vectors" in done.stderr


WITHOUT = (
    "import sys; sys.modules['sklearn'] = None; sys.modules['sklearn.manifold'] = None; sys.argv[0] = 'taggram'; "
    "from taggram.apps.cli import main; main()"
)


@pytest.mark.parametrize("command", ["look", "data map"])
def test_missing_scikit_learn_is_answered_with_the_line_that_installs_it(model, clips, tmp_path, command):
    arguments = ["look", model, "--tag-map"] if command == "look" else ["data", "map", "csv", "--root", clips]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments, "--out", tmp_path / "out"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (1, "", [])
    assert done.stderr.count("\n") == 1
    assert "pip install 'taggram[train]'" in done.stderr


# -- data map ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mapped(clips, tmp_path_factory, run_taggram):
    folder = tmp_path_factory.mktemp("data") / "new"
    return run_taggram("data", "map", "csv", "--root", clips, "--out", folder, "min_count=5"), folder


def test_map_of_a_data_set_is_a_picture_a_page_tables_and_a_folder(mapped):
    done, folder = mapped
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, sorted(map(str, folder.iterdir())))
    names = sorted(path.name.removeprefix("csv_tag_map") for path in folder.iterdir())
    assert [name for name in names if name in ENDINGS] == list(ENDINGS)


def test_how_tags_of_a_data_set_were_placed_is_told(mapped):
    assert "tag map: 5 tags by co-occurrence in 41 clips of csv, split column; PCA to 4, " in mapped[0].stderr


def test_tag_that_the_data_set_leaves_out_is_told(mapped):
    assert mapped[0].stderr.startswith("note: left out of the data set: rare\n")


def test_projector_shows_how_many_clips_have_a_tag(mapped):
    lines = (mapped[1] / "csv_tag_map-projector" / "metadata.tsv").read_text().splitlines()
    assert lines == ["label\tclips", "bass\t20", "drums\t21", "flute\t10", "hip hop\t20", "new age\t10"]


def test_tags_that_occur_together_are_nearest(mapped):
    config = json.loads((mapped[1] / "csv_tag_map-projector" / "projector_config.json").read_text())
    assert config["embeddings"][0]["tensorShape"] == [5, 5]
    with (mapped[1] / "csv_tag_map-5D.csv").open(newline="") as file:
        rows = {row[0]: [float(value) for value in row[1:]] for row in csv.reader(file)}
    assert {place for place, value in enumerate(rows["flute"]) if value == max(rows["flute"])} == {2, 4}  # and new age


def test_data_set_is_placed_by_word_vectors(clips, words, tmp_path, run_taggram):
    done = run_taggram("data", "map", "csv", "--root", clips, "--out", tmp_path, "--vectors", words, "min_count=5")
    assert done.returncode == 0
    assert "tag map: 5 tags by word vectors in glove.txt, for csv, split column; " in done.stderr


def test_split_of_a_map_is_checked(clips, tmp_path, run_taggram):
    done = run_taggram("data", "map", "csv", "--root", clips, "--split", "nosuch", "--out", tmp_path / "out")
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "no split named 'nosuch'" in done.stderr


def test_clips_with_one_tag_each_say_nothing_of_their_tags(tmp_path, run_taggram):
    rows = [f"{number}.wav,train,{tag}" for number, tag in enumerate("abcdef")]
    (tmp_path / "clips.csv").write_text("\n".join(["path,split,tags", *rows, ""]))
    done = run_taggram("data", "map", "csv", "--root", tmp_path, "--out", tmp_path / "out", "min_count=1")
    assert (done.returncode, done.stdout, (tmp_path / "out").exists()) == (2, "", False)
    assert "--vectors FILE places them by word vectors" in done.stderr


def test_map_into_a_file_is_wrong_usage(clips, tmp_path, run_taggram):
    (tmp_path / "out").write_text("old")
    done = run_taggram("data", "map", "csv", "--root", clips, "--out", tmp_path / "out")
    assert (done.returncode, (tmp_path / "out").read_text()) == (2, "old")


def test_counts_give_the_vectors_that_labels_give():
    labels = np.random.default_rng(0).random((50, 4)) < 0.4
    tags = ("a", "b", "c", "d")
    counts = count_tags(([tag for tag, has in zip(tags, row) if has] for row in labels), tags)
    np.testing.assert_allclose(count_vectors(counts).vectors, cooccurrence_vectors(labels, tags).vectors)


# -- the page in a browser ---------------------------------------------------------------------------------------------


@pytest.fixture
def map_in_browser(browser, tmp_path):
    """A page of tags in two groups, what it complained of, and what it asked for."""
    random = np.random.default_rng(0)
    names = tuple(f"{letter}{number}" for letter in "ab" for number in range(6))
    centres = np.repeat(10 * random.standard_normal((2, 8)), 6, axis=0)
    make_map(TagVectors(names, centres + random.standard_normal(centres.shape), "made up")).save(tmp_path)
    page = browser.new_page(viewport={"width": 1000, "height": 1200})
    page.errors, page.asked = [], []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto((tmp_path / "tag_map.html").as_uri())
    yield page
    page.close()


def width_of_view(page):
    return page.evaluate("document.querySelector('svg').viewBox.baseVal.width")


def test_mouse_on_a_tag_shows_the_nearest(map_in_browser):
    map_in_browser.get_by_text("a0", exact=True).hover()
    assert sorted(map_in_browser.locator("g.near text").all_text_contents()) == ["a1", "a2", "a3", "a4", "a5"]


def test_wheel_zooms_and_a_double_click_goes_back(map_in_browser):
    map_in_browser.locator("svg").hover()
    map_in_browser.mouse.wheel(0, -100)
    map_in_browser.wait_for_function("document.querySelector('svg').viewBox.baseVal.width < 900")
    map_in_browser.locator("svg").dblclick(position={"x": 5, "y": 5})
    assert width_of_view(map_in_browser) == 1000


def test_dragging_moves_the_map(map_in_browser):
    box = map_in_browser.locator("svg").bounding_box()
    map_in_browser.mouse.move(box["x"] + 5, box["y"] + 5)
    map_in_browser.mouse.down()
    map_in_browser.mouse.move(box["x"] + 55, box["y"] + 5)
    map_in_browser.mouse.up()
    assert map_in_browser.evaluate("document.querySelector('svg').viewBox.baseVal.x") < -40


def test_page_asks_for_nothing_and_complains_of_nothing(map_in_browser):
    assert (map_in_browser.errors, len(map_in_browser.asked)) == ([], 1)


def test_letters_can_be_read_on_a_small_screen(map_in_browser):
    map_in_browser.set_viewport_size({"width": 360, "height": 640})
    heights = [text.bounding_box()["height"] for text in map_in_browser.locator("g.tag text").all()]
    assert min(heights) > 10
