"""Tag maps: vectors from every kind of file, maps that come out the same, files as the projector wants them."""

from __future__ import annotations

import csv
import gzip
import json
import re
import struct
import sys

import numpy as np
import pytest

import taggram
from taggram.errors import ConfigError, DatasetError, MissingExtraError
from taggram.learning._map_page import LETTER, lay_out, nearest
from taggram.learning.tag_map import (
    TagVectors,
    cooccurrence_vectors,
    make_map,
    normalised,
    output_vectors,
    read_vectors,
    write_projector,
)

WORDS = {
    "guitar": [1.0, 0.0, 0.5],
    "new": [0.0, 1.0, 0.0],
    "age": [0.0, 0.0, 1.0],
    "hip_hop": [0.25, 0.5, 0.75],
    "café": [-1.0, -2.0, -3.0],
    "other": [9.0, 9.0, 9.0],
}
TAGS = ("guitar", "new age", "hip hop", "café", "no such")


def lines():
    return "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in WORDS.items()).encode()


def binary(end=b"\n"):
    entries = (word.encode() + b" " + struct.pack("<3f", *vector) + end for word, vector in WORDS.items())
    return b"6 3\n" + b"".join(entries)


FILES = {
    "GloVe": lines(),
    "word2vec text": b"6 3\n" + lines(),
    "fastText": b"6 3\n" + lines().replace(b"\n", b" \n"),
    "Windows": lines().replace(b"\n", b"\r\n"),
    "word2vec": binary(),
    "word2vec without line ends": binary(b""),
    "packed": gzip.compress(binary()),
    "words with blanks": lines() + b"guitar solo 1 2 3\n",
}


def put(tmp_path, data):
    path = tmp_path / "vectors"
    path.write_bytes(data)
    return path


# -- vectors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_vectors_are_read_from_each_kind_of_file(tmp_path, kind):
    found = read_vectors(put(tmp_path, FILES[kind]), TAGS)
    assert found.tags == TAGS[:4]
    np.testing.assert_allclose(found.vectors, [WORDS["guitar"], [0, 0.5, 0.5], WORDS["hip_hop"], WORDS["café"]])


def test_tags_without_a_vector_are_named(tmp_path):
    assert read_vectors(put(tmp_path, lines()), TAGS).dropped == ("no such",)


def test_what_a_tag_was_found_as_is_told(tmp_path):
    assert read_vectors(put(tmp_path, lines()), TAGS).found_as == {"new age": "new + age", "hip hop": "hip_hop"}


def test_a_tag_that_is_there_as_it_is_comes_first(tmp_path):
    found = read_vectors(put(tmp_path, b"a_b 1 1\na 2 2\nb 4 4\n"), ("a b", "a"))
    assert found.vectors.tolist() == [[1, 1], [2, 2]]


@pytest.mark.parametrize("chunk", [1, 7, 20])
def test_entries_may_lie_across_chunks(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr("taggram.learning.tag_map.CHUNK", chunk)
    assert read_vectors(put(tmp_path, binary()), ("café",)).vectors.tolist() == [WORDS["café"]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no file of word vectors"),
        (b"once upon a time\n", "no file of word vectors"),
        (b"\x89PNG\r\n\x1a\n" * 50, "no file of word vectors"),
        (b"\xba\x16\x4f\x2f" + bytes(100), r"a model of fastText; its \.vec file"),
        (b"6 999999\n" + bytes(100), "no file of word vectors"),
        (b"6 0\n", "no file of word vectors"),
        (binary()[:-9].replace(b"other", b"otter"), "it ends within a vector"),
        (b"x 1 2 3\ncaf\xc3\xa9 1 two 3\n", "word 2 has not 3 numbers"),
        (b"x 1 2 3\ncaf\xc3\xa9 1 nan 3\n", "word 2 has not 3 numbers"),
        (b"x 1 2 3\ny 1 2 3\n", "has none of the tags guitar, new age"),
        (b"1 3\ncaf\xc3\xa9 " + struct.pack("<3f", 1, float("inf"), 0), "is not finite"),
        (b"1 3\n" + bytes(3_000_000), "no word ends within 1,048,576 bytes"),
        (gzip.compress(binary())[:-30], "."),
    ],
    ids=[
        "empty",
        "prose",
        "picture",
        "fastText",
        "too many",
        "no numbers",
        "cut",
        "text",
        "nan",
        "none",
        "inf",
        "word",
        "gzip",
    ],
)
def test_other_files_are_refused(tmp_path, data, message):
    with pytest.raises(DatasetError, match=message):
        read_vectors(put(tmp_path, data), TAGS)


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="No such file"):
        read_vectors(tmp_path / "gone.bin", TAGS)


def test_cooccurrence_is_how_much_more_often_than_by_chance():
    labels = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1]], dtype=bool)
    found = cooccurrence_vectors(labels, ("a", "b", "c"))
    np.testing.assert_allclose(found.vectors[0], [np.log(2), np.log(4 / 3), 0])


def test_tag_that_no_clip_has_gets_no_vector():
    found = cooccurrence_vectors([[True, False], [False, False]], ("a", "b"))
    assert (found.tags, found.dropped) == (("a",), ("b",))


@pytest.fixture(scope="module")
def network():
    model = taggram.create_model("musicnn", n_tags=5)
    model.tags = ("a", "b", "c", "d", "e")
    return model


def test_rows_of_the_output_layer_are_vectors(network):
    found = output_vectors(network)
    np.testing.assert_array_equal(found.vectors, network.head.weight.detach().numpy())


def test_network_without_names_has_no_vectors(network):
    other = taggram.create_model("musicnn", n_tags=5)
    with pytest.raises(ConfigError, match="a linear layer and names of its tags"):
        output_vectors(other)


# -- maps --------------------------------------------------------------------------------------------------------------


def groups(n_tags=12, n_dims=20):
    """Tags in two groups that are far apart."""
    random = np.random.default_rng(0)
    centres = np.repeat(10 * random.standard_normal((2, n_dims)), n_tags // 2, axis=0)
    names = tuple(f"{letter}{number}" for letter in "ab" for number in range(n_tags // 2))
    return TagVectors(names, centres + random.standard_normal(centres.shape), "made up")


@pytest.mark.parametrize("method", ["tsne", "pca"])
@pytest.mark.parametrize("dims", [2, 3, 4])
def test_near_vectors_are_near_on_the_map(method, dims):
    places = make_map(groups(), method=method, dims=dims).places
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(axis=1) // 6).tolist() == [0] * 6 + [1] * 6


def test_principal_axes_are_those_of_sklearn():
    wanted = pytest.importorskip("sklearn.decomposition").PCA(3, svd_solver="full").fit_transform(groups().vectors)
    np.testing.assert_allclose(make_map(groups(), method="pca", dims=3).places, wanted, atol=1e-9)


def test_equal_seeds_give_equal_maps():
    np.testing.assert_array_equal(make_map(groups(), seed=3).places, make_map(groups(), seed=3).places)


def test_perplexity_follows_the_number_of_tags():
    assert make_map(groups()).method == "PCA to 11, t-SNE, perplexity 3.67, seed 0"


def test_map_says_that_it_is_not_unique():
    assert any("other seeds give other maps" in note for note in make_map(groups()).notes)


def test_vectors_can_be_left_as_they_are():
    assert make_map(groups(), pca_dims=None).method.startswith("t-SNE")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": 1}, "dims is 1; wanted one of 2, 3, 4"),
        ({"method": "umap"}, "method is 'umap'"),
        ({"perplexity": 12}, "perplexity is 12; wanted 1 to below 12"),
        ({"perplexity": 0.5}, "perplexity is 0.5"),
        ({"pca_dims": 1}, "pca_dims is 1; wanted a whole number from 2 on"),
    ],
)
def test_option_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        make_map(groups(), **options)


def test_too_few_tags_are_refused():
    with pytest.raises(ConfigError, match="the number of tags with a vector is 3; wanted at least 4"):
        make_map(TagVectors(("a", "b", "c"), np.eye(3), "made up"))


def test_missing_package_is_answered_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'taggram\[train\]'"):
        make_map(groups())


def test_pca_needs_no_other_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    assert make_map(groups(), method="pca").method == "PCA"


def test_equal_vectors_make_a_map():
    assert np.isfinite(make_map(TagVectors(tuple("abcdef"), np.ones((6, 4)), "made up"), method="pca").places).all()


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([2, -4, 0, 1, -1], [1, -1, 0, 0.5, -0.25]),
        ([1, 2, 4], [0.25, 0.5, 1]),
        ([-1, -2], [-0.5, -1]),
        ([0, 0], [0, 0]),
    ],
    ids=["both", "above", "below", "zero"],
)
def test_axes_are_scaled_on_each_side_of_zero(values, wanted):
    np.testing.assert_allclose(normalised(np.array(values, dtype=float)[:, None])[:, 0], wanted)


# -- files -------------------------------------------------------------------------------------------------------------

ODD = ("a,b", "c\td", "<script>alert(1)</script>", "new\nline", "$x_1$", "caf\udce9", "", "_under")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    random = np.random.default_rng(0)
    found = make_map(TagVectors(ODD, random.standard_normal((8, 5)), "made <up>"))
    folder = tmp_path_factory.mktemp("map")
    found.save(folder, columns={"clips": range(8)})
    return found, folder


@pytest.mark.parametrize(
    ("ending", "values"),
    [
        ("5D", lambda found: found.vectors.vectors),
        ("2D", lambda found: found.places),
        ("2D-NORMALIZED", lambda found: normalised(found.places)),
    ],
)
def test_csv_has_name_and_numbers_and_no_head(saved, ending, values):
    found, folder = saved
    with (folder / f"tag_map-{ending}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows][:5] == list(ODD)[:5]
    np.testing.assert_allclose([[float(value) for value in row[1:]] for row in rows], values(found), rtol=1e-6)


def test_picture_is_drawn(saved):
    assert (saved[1] / "tag_map.png").read_bytes().startswith(b"\x89PNG")


def test_page_shows_odd_names_as_text(saved):
    html = (saved[1] / "tag_map.html").read_text(encoding="utf-8")
    assert html.count("<script>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_page_loads_nothing(saved):
    html = (saved[1] / "tag_map.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=", html)


def test_map_of_vectors_in_as_many_dimensions_keeps_both(tmp_path):
    make_map(TagVectors(tuple("abcdef"), np.random.default_rng(0).random((6, 2)), "made up")).save(tmp_path)
    assert {path.name for path in tmp_path.glob("*.csv")} == {
        "tag_map-2D-VECTORS.csv", "tag_map-2D.csv", "tag_map-2D-NORMALIZED.csv",
    }  # fmt: skip


def rows_of(path):
    return [line.split("\t") for line in path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")]


def test_vectors_of_the_projector_are_numbers_without_a_head(saved):
    found, folder = saved
    rows = rows_of(folder / "tag_map-projector" / "vectors.tsv")
    np.testing.assert_allclose([[float(value) for value in row] for row in rows], found.vectors.vectors, rtol=1e-6)


def test_several_columns_of_the_projector_have_a_head(saved):
    rows = rows_of(saved[1] / "tag_map-projector" / "metadata.tsv")
    assert rows[0] == ["label", "clips"]
    assert rows[1:3] == [["a,b", "0"], ["c d", "1"]]
    assert len(rows) == 9


def test_one_column_of_the_projector_has_no_head(tmp_path):
    write_projector(tmp_path, ("a", "new\nline"), np.eye(2))
    assert rows_of(tmp_path / "metadata.tsv") == [["a"], ["new line"]]


def test_projector_is_told_shape_and_places(tmp_path):
    write_projector(tmp_path, ("a", "b", "c"), np.ones((3, 4)), name="music", address="https://example.org/")
    assert json.loads((tmp_path / "projector_config.json").read_text(encoding="utf-8")) == {
        "embeddings": [{
            "tensorName": "music", "tensorShape": [3, 4], "tensorPath": "https://example.org/vectors.tsv",
            "metadataPath": "https://example.org/metadata.tsv",
        }]
    }  # fmt: skip


def test_projector_config_of_a_log_folder_names_both_files(tmp_path):
    write_projector(tmp_path, ("a",), np.ones((1, 2)))
    config = (tmp_path / "projector_config.pbtxt").read_text(encoding="utf-8")
    assert re.sub(r"\s+", " ", config) == 'embeddings { tensor_path: "vectors.tsv" metadata_path: "metadata.tsv" } '


@pytest.mark.parametrize(
    ("vectors", "columns"),
    [(np.ones((2, 2)), None), (np.full((3, 2), np.nan), None), (np.ones((3, 2)), {"x": (1,)})],
    ids=["rows", "nan", "column"],
)
def test_projector_refuses_what_does_not_fit(tmp_path, vectors, columns):
    with pytest.raises(ConfigError):
        write_projector(tmp_path, ("a", "b", "c"), vectors, columns=columns)


# -- the page ----------------------------------------------------------------------------------------------------------


def test_nearest_are_by_angle():
    assert nearest(np.array([[1.0, 0.0], [9.0, 1.0], [0.0, 1.0]]), 1) == [[1], [0], [1]]


def test_vector_of_zeros_has_no_nearest():
    assert nearest(np.array([[0.0, 0.0], [1.0, 0.0]]))[0] == []


def test_labels_of_one_place_go_to_both_sides():
    layout = lay_out(np.zeros((2, 2)), ("a", "b"), 1000.0, 10.0)
    assert layout.is_left == [False, True]


def test_points_stay_on_the_square():
    layout = lay_out(np.array([[-5.0, 0.0], [7.0, 3.0], [0.0, 1.0]]), ("a", "b", "c"), 100.0, 5.0)
    assert np.all((layout.at >= 0) & (layout.at <= 100))


@pytest.fixture(scope="module")
def crowded():
    """Labels of 30 points that lie within the height of one, and a point far off."""
    places = np.vstack([np.random.default_rng(0).random((30, 2)), [[100.0, 100.0]]])
    return lay_out(places, ["label"] * 31, 1000.0, 10.0)


def test_labels_of_a_crowd_do_not_cover_each_other(crowded):
    width = 10 * 5 * LETTER
    left = crowded.at[:, 0] + crowded.offsets[:, 0] - width * np.array(crowded.is_left)
    lower = crowded.at[:, 1] + crowded.offsets[:, 1]
    across, down = (np.abs(values[:, None] - values) for values in (left, lower))
    covered = np.maximum(0, width - across) * np.maximum(0, 10 - down)
    assert np.triu(covered, 1).max() < 0.2 * width * 10


def test_lines_lead_to_labels_that_are_far_from_their_points(crowded):
    assert (any(crowded.is_far), crowded.is_far[-1]) == (True, False)
