"""The picture of a taggram: rows, time, titles, and files written whole or not at all."""

from __future__ import annotations

import errno
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taggram.errors import ConfigError
from taggram.picture import MAX_COLUMNS, MISSING, WIDTH, draw_taggram, save_picture

TAGS = ("guitar", "flute", "drums")
ODD_NAMES = {
    "dollar": "cost $5 $x_1$",
    "backslash": "a\\b \\frac{",
    "newline": "new\nline\r\ttab",
    "emoji": "🎸 guitar 👩‍🎤",
    "lone surrogate": "caf\udce9 \ud83c",
    "control": "\x00\x1b[31m\x7f",
    "no glyph": "\U0001f9ff \ufdd0 \ue000 \u0378",
    "right to left": "שלום مرحبا \u202e",
    "decomposed": "cafe\u0301",
    "empty": "",
    "blank": " \u3000 ",
    "long": "tag " * 10_000,
}


def draw(n_patches: int = 4, tags: Any = TAGS, hop_s: float = 3.0, **options: Any) -> Figure:
    scores = np.random.default_rng(0).random((n_patches, len(tags)), dtype=np.float32)
    given: dict[str, Any] = {"patch_s": 3.0, "title": "song.wav", "subtitle": "musicnn.mtt"} | options
    return draw_taggram(scores, np.arange(n_patches) * hop_s, tags, **given)


def axes_of(figure: Figure) -> tuple[Axes, Axes, Axes]:
    scores, means, colours = figure.axes
    return scores, means, colours


def names_of(figure: Figure) -> list[str]:
    return [label.get_text() for label in axes_of(figure)[0].get_yticklabels()]


def clock_of(figure: Figure) -> list[str]:
    return [label.get_text() for label in axes_of(figure)[0].get_xticklabels()]


def edges_of(figure: Figure) -> list[float]:
    mesh: Any = axes_of(figure)[0].collections[0]
    return list(mesh.get_coordinates()[0, :, 0])


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_best_tag_is_on_top() -> None:
    figure = draw_taggram([[0.1, 0.9, 0.5], [0.2, 0.7, 0.6]], [0, 3], TAGS, patch_s=3, title="")
    assert names_of(figure) == ["flute", "drums", "guitar"]
    assert axes_of(figure)[0].yaxis_inverted()


def test_colours_are_those_of_the_row() -> None:
    figure = draw_taggram([[0.1, 0.9, 0.5], [0.2, 0.7, 0.6]], [0, 3], TAGS, patch_s=3, title="")
    mesh = axes_of(figure)[0].collections[0]
    assert np.asarray(mesh.get_array()) == pytest.approx(np.array([[0.9, 0.7], [0.5, 0.6], [0.1, 0.2]]))


def test_tags_of_equal_mean_keep_their_order() -> None:
    assert names_of(draw_taggram(np.full((2, 3), 0.5), [0, 3], TAGS, patch_s=3, title="")) == list(TAGS)


def test_mean_stands_beside_each_row() -> None:
    figure = draw_taggram([[0.1, 0.9, 0.5], [0.2, 0.7, 0.6]], [0, 3], TAGS, patch_s=3, title="")
    assert [label.get_text() for label in axes_of(figure)[1].get_yticklabels()] == ["0.80", "0.55", "0.15"]


def test_rows_are_limited_and_the_rest_told() -> None:
    figure = draw(max_tags=2)
    assert len(names_of(figure)) == 2
    assert texts_of(figure)[1] == "musicnn.mtt, 2 best of 3 tags"


@pytest.mark.parametrize(
    ("hop_s", "edges"),
    [(3.0, [0, 3, 6, 9]), (1.0, [0, 1, 2, 5]), (5.0, [0, 5, 10, 13])],
    ids=["beside", "overlap", "gap"],
)
def test_column_reaches_to_the_next_start(hop_s: float, edges: list[float]) -> None:
    assert edges_of(draw(3, hop_s=hop_s)) == edges


def test_single_patch_fills_the_axis() -> None:
    assert axes_of(draw(1))[0].get_xlim() == (0, 3)


def test_many_patches_are_averaged() -> None:
    figure = draw(10_000, hop_s=1.0)
    edges = edges_of(figure)
    assert len(edges) - 1 <= MAX_COLUMNS
    assert (edges[0], edges[-1]) == (0, 10_002)


def test_averaging_keeps_the_mean() -> None:
    scores = np.random.default_rng(0).random((3001, 1))
    figure = draw_taggram(scores, np.arange(3001.0), ["x"], patch_s=1, title="")
    columns = np.asarray(axes_of(figure)[0].collections[0].get_array())[0]
    assert np.average(columns, weights=np.diff(edges_of(figure))) == pytest.approx(scores.mean())


@pytest.mark.parametrize(
    ("n_patches", "hop_s", "first", "last"),
    [
        (10, 3.0, "0:00", "0:30"),
        (100, 3.0, "0:00", "5:00"),
        (3600, 1.0, "0:00:00", "1:00:00"),
        (10_000, 1.0, "0:00:00", "2:30:00"),
        (28_000, 3.0, "0:00:00", "21:00:00"),
        (400_000, 3.0, "0:00:00", "288:00:00"),
        (1, 3.0, "0:00.0", "0:03.0"),
    ],
)
def test_time_is_written_as_a_clock(n_patches: int, hop_s: float, first: str, last: str) -> None:
    labels = clock_of(draw(n_patches, ["x"], hop_s))
    assert (labels[0], labels[-1]) == (first, last)


@pytest.mark.parametrize("n_patches", [1, 2, 7, 60, 611, 7201, 90_000])
def test_time_has_a_handful_of_labels(n_patches: int) -> None:
    assert 2 <= len(clock_of(draw(n_patches, ["x"]))) <= 10


def test_time_axis_says_its_format() -> None:
    assert axes_of(draw())[0].get_xlabel() == "time (m:ss)"


def test_colour_bar_is_labelled() -> None:
    assert axes_of(draw())[2].get_xlabel() == "score"


@pytest.mark.parametrize(
    ("highest", "end"), [(0.01, 0.2), (0.2, 0.2), (0.31, 0.4), (0.4, 0.4), (0.97, 1.0), (1.0, 1.0)]
)
def test_scale_ends_at_the_highest_score_rounded_up(highest: float, end: float) -> None:
    figure = draw_taggram(np.array([[0.0, highest]], dtype=np.float32), [0], ["a", "b"], patch_s=3, title="")
    assert [axes.get_xlim()[1] for axes in axes_of(figure)[1:]] == pytest.approx([end, end])


def test_title_and_subtitle_are_printed() -> None:
    assert texts_of(draw()) == ["song.wav", "musicnn.mtt"]


def test_long_title_loses_its_middle() -> None:
    title = texts_of(draw(title="/music/" + "x" * 500 + "/song.mp3"))[0]
    assert title.startswith("/music/")
    assert "…" in title
    assert title.endswith("/song.mp3")


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
def test_odd_names_can_be_saved(name: str, tmp_path: Path) -> None:
    save_picture(draw(tags=[name, "b", "c"], title=name, subtitle=name), tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 1000


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_no_text_is_taken_for_mathematics(kind: str, tmp_path: Path) -> None:
    save_picture(draw(tags=["$\\nosuch$", "b", "c"], title="$\\frac$", subtitle="$^$"), tmp_path / f"out.{kind}")
    assert (tmp_path / f"out.{kind}").exists()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", "a b"),
        ("\ud800\udfff x", f"{MISSING} x"),
        ("cafe\u0301", "café"),
        ("a\u202eb", "ab"),
        ("$5", "$5"),
    ],
)
def test_what_cannot_be_drawn_is_replaced(name: str, shown: str) -> None:
    assert texts_of(draw(title=name))[0] == shown


@pytest.mark.parametrize("n_tags", [1, 3, 50, 187])
def test_labels_stay_on_the_page_and_apart(n_tags: int) -> None:
    tags = [f"instrument---quite long {i}" for i in range(n_tags)]
    figure = draw(tags=tags, max_tags=n_tags)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes_of(figure)[0].get_yticklabels()]
    assert min(box.x0 for box in boxes) >= 0
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in pairwise(boxes))


def test_nothing_is_drawn_off_the_page() -> None:
    figure = draw(tags=["x" * 80, "", "c"], title="t" * 200)
    box = figure.get_tightbbox()
    assert (box.x0 >= 0, box.y0 >= 0) == (True, True)
    assert (box.x1 <= WIDTH, box.y1 <= figure.get_figheight()) == (True, True)


def test_height_grows_with_the_tags() -> None:
    heights = [draw(tags=["x"] * n).get_figheight() for n in (1, 2, 10, 11, 25, 39, 40, 41, 50)]
    assert heights == sorted(set(heights))


def test_input_is_left_as_it_was() -> None:
    scores = np.full((2, 3), 0.5, dtype=np.float32)
    draw_taggram(scores, [0, 3], TAGS, patch_s=3, title="")
    assert np.array_equal(scores, np.full((2, 3), 0.5, dtype=np.float32))


@pytest.mark.parametrize(
    ("scores", "times_s", "message"),
    [
        ([0.5, 0.5, 0.5], [0.0], "should be"),
        ([[0.5, 0.5]], [0.0], "3 tags"),
        ([[0.5, 0.5, 0.5]], [0.0, 3.0], "times"),
        (np.zeros((0, 3)), [], "nothing to draw"),
        ([[0.5, np.nan, 0.5]], [0.0], "0 to 1"),
        ([[0.5, -3.0, 0.5]], [0.0], "0 to 1"),
        ([[0.5, 1.5, 0.5]], [0.0], "0 to 1"),
        ([[0.5] * 3] * 2, [3.0, 3.0], "rise"),
        ([[0.5] * 3], [np.inf], "rise"),
    ],
)
def test_wrong_input_is_told(scores: Any, times_s: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        draw_taggram(scores, times_s, TAGS, patch_s=3.0, title="")


@pytest.mark.parametrize("options", [{"patch_s": 0.0}, {"patch_s": np.nan}, {"max_tags": 0}])
def test_sizes_must_be_positive(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="positive"):
        draw(**options)


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<?xml")])
def test_suffix_says_the_format(name: str, start: bytes, tmp_path: Path) -> None:
    save_picture(draw(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["a.jpg", "a", "png"])
def test_unknown_suffix_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.png, \.pdf, \.svg"):
        save_picture(draw(), tmp_path / name)


def test_picture_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    save_picture(draw(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1


def test_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_picture(draw(), tmp_path / "missing" / "a.png")


def test_folder_in_the_way_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match=r"a\.png"):
        save_picture(draw(), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_failed_save_keeps_the_old_picture(
    failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(figure: Figure, file: Path, **options: Any) -> None:
        file.write_bytes(b"half a pic")
        raise failure

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(type(failure)):
        save_picture(Figure(), tmp_path / "a.png")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.png": b"old"}


def test_longest_file_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".png")
    save_picture(draw(), path)
    assert path.exists()


def test_same_scores_give_the_same_picture(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_picture(draw(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_pyplot_and_torch_are_not_loaded() -> None:
    code = "import sys, taggram.picture; sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False).returncode == 0
