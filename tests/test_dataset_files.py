"""What the readers of data sets read: lists, pickles, TextGrids; and how they deal tracks out into folds."""

from __future__ import annotations

import collections
import dataclasses
import pickle
import shutil

import _dataset_layouts as layouts
import numpy as np
import pytest
from _dataset_layouts import put

from taggram.datasets import _folds, _text, _textgrid, _unpickle
from taggram.errors import DatasetError

# -- lists -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_lines_end_in_any_way(tmp_path, ending):
    path = put(tmp_path / "list.txt", "\ufeffa\tb\t" + ending + ending + "c" + ending)
    assert _text.read_lines(path) == (["a\tb\t", "c"] if ending else ["a\tb\tc"])


def test_text_that_is_no_utf8_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"list\.txt is no text in UTF-8 \(byte 1\)"):
        _text.read_lines(put(tmp_path / "list.txt", b"a\xff"))


@pytest.mark.parametrize(
    ("steps", "ids"), [("", []), ("2", [2]), ("z1", [35, 36]), ("+1", [36]), ("2+5++z", [2, 42, 147])]
)
def test_steps_are_numbers(steps, ids):
    assert _text.unpack_ids(steps) == ids


# -- pickles -----------------------------------------------------------------------------------------------------------


class Evil:
    """Runs something when it is unpickled."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def of_numpy(array):
    return pickle.dumps(array, protocol=2)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(pickle.dumps(Evil(eval, "1/0")), "eval", id="eval"),
        pytest.param(pickle.dumps([Evil(shutil.rmtree, "/nowhere")]), "shutil.rmtree", id="rmtree"),
        pytest.param(pickle.dumps(Evil(getattr, "", "join")), "getattr", id="getattr"),
        pytest.param(b"cos\nsystem\n(S'true'\ntR.", "os.system", id="os.system"),
        pytest.param(b"c__builtin__\nopen\n(S'/etc/passwd'\ntR.", "open", id="open"),
        pytest.param(b"Pid\n.", "outside", id="persistent"),
        pytest.param(of_numpy(np.array([{}], object)), "O8", id="array of objects"),
        pytest.param(of_numpy(np.zeros(2, [("a", "i4"), ("b", "O")])), "V", id="structured array"),
        pytest.param(of_numpy(np.zeros(3)).replace(b"K\x03\x85", b"K\x09\x85"), "unpack", id="wrong shape"),
        pytest.param(pickle.dumps([1, 2])[:-3], "pickle", id="cut short"),
        pytest.param(b"", "pickle", id="nothing"),
        pytest.param(b"<html>", "pickle", id="page"),
    ],
)
def test_pickle_that_wants_anything_else_is_refused(tmp_path, content, told):
    with pytest.raises(DatasetError, match=f"(?s){told}.*Nothing of it was run"):
        _unpickle.unpickle(put(tmp_path / "list.cP", content))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["f8", "f4", ">f4", "i8", "u1", "?"])
def test_arrays_of_numbers_are_read(tmp_path, protocol, dtype):
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    found = _unpickle.unpickle(put(tmp_path / "array.pkl", pickle.dumps({"a": array, "b": array[0, 1]}, protocol)))
    assert (found["a"].shape, found["a"].values, found["b"]) == ((2, 3), (0, 1, 1, 1, 0, 1), 1)


def test_containers_text_and_numbers_are_read(tmp_path):
    things = {"a": [1, 2.5, None, True], ("b",): {1, 2}, b"c": frozenset("x"), "d": collections.OrderedDict(e=1j)}
    assert _unpickle.unpickle(put(tmp_path / "things.pkl", pickle.dumps(things, protocol=2))) == things


# -- TextGrids ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("short", [False, True], ids=["long", "short"])
@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-16-be", b"\xfe\xff"), ("utf-16-le", b"\xff\xfe"), ("utf-8", b"\xef\xbb\xbf"), ("utf-8", b"")],
)
def test_textgrid_is_read_in_any_form(tmp_path, encoding, mark, short):
    tiers = {"dian": ((0.0, 1.5, "杨 3"), (1.5, 4.0, "")), 'a "b"': ((0.0, 4.0, 'r\\\' "x" 12\n7'),)}
    path = put(tmp_path / "x.TextGrid", mark + layouts.textgrid(tiers, short=short).encode(encoding))
    found = _textgrid.read_textgrid(path)
    assert {name: tuple(map(dataclasses.astuple, intervals)) for name, intervals in found.items()} == tiers


@pytest.mark.parametrize(
    "content",
    [b"", b"\xfe\xff\x00", b"\xff", b"ooTextFile", layouts.textgrid({"a": ((0.0, 1.0, "b"),)}).encode()[:-20]],
)
def test_file_that_is_no_textgrid_is_told(tmp_path, content):
    with pytest.raises(DatasetError, match=r"x\.TextGrid is no "):
        _textgrid.read_textgrid(put(tmp_path / "x.TextGrid", content))


# -- folds -------------------------------------------------------------------------------------------------------------


def test_order_hangs_on_each_name_alone():
    order = _folds.shuffled("abcdefgh", 3)
    assert _folds.shuffled("hgfedcba", 3) == order
    assert _folds.shuffled("abcdegh", 3) == [name for name in order if name != "f"]


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("seed", range(5))
def test_folds_are_those_of_scikit_learn(seed):
    selection = pytest.importorskip("sklearn.model_selection")
    rng = np.random.default_rng(seed)
    labels = rng.choice(list("abcd"), 200, p=[0.5, 0.3, 0.15, 0.05]).tolist()
    parts = [test for _, test in selection.StratifiedKFold(10).split(labels, labels)]
    wanted = np.argsort(np.concatenate(parts))  # where each label stands, fold after fold
    wanted = np.repeat(np.arange(1, 11), [len(test) for test in parts])[wanted]
    assert _folds.stratify(labels, 10) == wanted.tolist()
