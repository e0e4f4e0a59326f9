"""Counts that the papers' data sets must give, where somebody has them: `TAGGRAM_DATA_NAME` names the folder of one.

Source: the annotations of the data sets, as counted for Pons, Slizovskaia, Gong, Gomez and Serra, "Timbre analysis of
    music audio signals with convolutional neural networks", EUSIPCO 2017.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from taggram.datasets import open_dataset
from taggram.learning.recipe import DataConfig
from taggram.learning.train import Watcher
from taggram.studies._phoneme_data import load_recordings, prepare_recordings

LABEL_SETS = {1: 1236, 2: 1278, 3: 318, 4: 39, 5: 3}  # IRMAS: excerpts for testing, by the number of their instruments
INSTRUMENTS = {  # files to train on, and excerpts for testing in which it plays
    "cel": (388, 111), "pia": (721, 995), "vio": (580, 211), "cla": (505, 62), "org": (682, 361), "gac": (637, 535),
    "tru": (577, 167), "flu": (451, 163), "sax": (626, 326), "gel": (760, 942), "voi": (778, 1044),
}  # fmt: skip
FRAMES = {  # frames of 10 ms to train on and for testing; another version of the annotations differs by 0.01 %
    ("S", "dan"): (340_473, 122_360), ("S", "laosheng"): (105_099, 95_256),
    ("P", "dan"): (341_684, 121_149), ("P", "laosheng"): (157_961, 42_394),
}  # fmt: skip


def root_of(name: str) -> str:
    """Say where a data set lies, or skip."""
    variable = f"TAGGRAM_DATA_{name.upper()}"
    if variable not in os.environ:
        pytest.skip(f"{name} is not at hand; {variable}=FOLDER says where it lies")
    return os.environ[variable]


@pytest.fixture(scope="module")
def irmas():
    return list(open_dataset("irmas", root_of("irmas"), tags="irmas11_eusipco2017").tracks())


def test_irmas_has_label_sets_of_known_sizes(irmas):
    assert Counter(len(track.tags) for track in irmas if track.part == "test") == LABEL_SETS


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_irmas_has_known_counts_of_an_instrument(irmas, instrument):
    n_test = sum(instrument in track.tags for track in irmas if track.part == "test")
    n_others = sum(instrument in track.tags for track in irmas if track.part != "test")
    assert (n_others, n_test) == INSTRUMENTS[instrument]


def test_magnatagatune_has_parts_of_known_sizes():
    tracks = open_dataset("mtt", root_of("mtt"), split="dir-all").tracks()
    assert Counter(track.part for track in tracks) == {"train": 18_709 - 3, "valid": 1_825, "test": 5_329}


@pytest.mark.parametrize(("split", "role"), FRAMES, ids="-".join)
def test_jingju_has_known_counts_of_frames(tmp_path, split, role):
    config = DataConfig(name="jingju", root=root_of("jingju"))
    options = {"split": split, "roles": (role,), "n_phrases": 0, "seed": 0}
    given = prepare_recordings(config, tmp_path, Watcher(), **options)
    counts = Counter()
    for one in load_recordings(tmp_path / given["recordings"]):
        if one.role == role:
            counts[one.part] += len(one.labels(10**9)[0])
    assert (counts["train"], counts["test"]) == pytest.approx(FRAMES[split, role], rel=2e-4)
