"""Clips with tags that studies train on: what is heard twice."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from _made_sounds import RATE, write_csv

from taggram.datasets import open_dataset
from taggram.errors import ConfigError
from taggram.learning.prepared import PreparedData, prepare
from taggram.studies._tagged_sound import evaluation_of, figures_of, shared_sound


def prepared(folder, seeds, sample_rate=RATE):
    """Clips of noise, each of a seed, under names of their own."""
    folder.mkdir()
    for number, seed in enumerate(seeds):
        soundfile.write(folder / f"{number}.wav", 0.1 * np.random.default_rng(seed).standard_normal(3000), RATE)
    write_csv(folder, [(f"{number}.wav", "train", "a") for number in range(len(seeds))])
    out = folder.with_suffix(".prepared")
    prepare(open_dataset("csv", folder, min_count=1), out, sample_rate=sample_rate, n_workers=1)
    return PreparedData(out)


def test_equal_sound_is_counted_whatever_it_is_called(tmp_path):
    test, other = prepared(tmp_path / "test", [1, 2, 3, 1]), prepared(tmp_path / "other", [7, 3, 1])
    assert shared_sound(test, range(4), other, range(3)) == 3  # 1, 3 and 1 again
    assert shared_sound(test, [0, 1], other, [0, 1]) == 0
    assert shared_sound(test, [], other, range(3)) == 0
    assert shared_sound(test, range(4), other, []) == 0
    assert shared_sound(test, [0, 2], test, [1, 3]) == 1


def test_sound_at_two_rates_cannot_be_compared(tmp_path):
    test, other = prepared(tmp_path / "test", [1]), prepared(tmp_path / "other", [1], sample_rate=8000)
    with pytest.raises(ConfigError, match=r"the rate is 22050; wanted 8000 Hz"):
        shared_sound(test, [0], other, [0])


def test_scores_of_some_tags_stand_beside_the_labels_of_these(tmp_path):
    write_csv(tmp_path / "set", [("0.wav", "test", "a|c"), ("1.wav", "test", "b"), ("2.wav", "test", "c")])
    for number in range(3):
        soundfile.write(tmp_path / "set" / f"{number}.wav", np.full(3000, 0.1), RATE)
    out = tmp_path / "prepared"
    prepare(open_dataset("csv", tmp_path / "set", min_count=0), out, sample_rate=RATE, n_workers=1)
    found = evaluation_of("mine", PreparedData(out), [2, 0], np.full((2, 2), 0.5, np.float32), tags=["c", "a"])
    assert (found.model, found.split, found.part, found.tags) == ("mine", "column", "test", ("c", "a"))
    assert found.track_ids == ("2.wav", "0.wav")
    assert found.labels.tolist() == [[True, False], [True, True]]
    assert found.split_sha256
    figures = figures_of(found, n_resamples=5)
    assert figures["n_positive"] == {"c": 2, "a": 1}
    assert figures["by_tag"] == {"c": None, "a": 0.5}
