"""Long examples, and many parts of one file: what is chosen of them, and how often they are decoded."""

from __future__ import annotations

import numpy as np
import pytest
from _sounds import encoded

from taggram._patch_vectors import PatchCutter
from taggram.errors import AudioError
from taggram.learning import _example_patches
from taggram.learning._example_patches import MOST_HELD
from taggram.learning._example_worker import MOST_PATCHES, SEMITONES, embed_spans

N_PATCH, RATE = 1_600, 16_000


class Network:
    """Stands for a network whose vector of a patch is its loudest sample; it keeps what it was shown."""

    def __init__(self):
        self.shown = []

    def cutter(self):
        return PatchCutter(N_PATCH, N_PATCH)

    def vectors(self, patches):
        self.shown.append(len(patches))
        return np.abs(patches).max(axis=1, keepdims=True)


def ramp(n_patches, least=0.1):
    """A sound that grows louder from patch to patch, up to 1."""
    return np.repeat(np.linspace(least, 1, n_patches), N_PATCH).astype(np.float32)


def test_network_sees_few_patches_of_a_long_example():
    network = Network()
    embed_spans(network, (ramp(2_000), RATE), RATE, [(0.0, None)])
    assert network.shown == [MOST_PATCHES] * len(SEMITONES)


def test_patches_are_spread_over_all_of_a_long_example():
    (found,) = embed_spans(Network(), (ramp(2_000), RATE), RATE, [(0.0, None)])
    chosen = found.vectors[found.semitones == 0, 0]
    np.testing.assert_allclose(chosen, np.linspace(0.1, 1, MOST_PATCHES), atol=0.03)


def test_few_patches_are_held_at_a_time(monkeypatch):
    most = 0
    take = _example_patches.Part._take

    def counted(part, patch):
        nonlocal most
        take(part, patch)
        most = max(most, len(part._held))

    monkeypatch.setattr(_example_patches.Part, "_take", counted)
    embed_spans(Network(), (ramp(2_000), RATE), RATE, [(0.0, None)])
    assert most == MOST_HELD


def test_pauses_are_left_out_however_long():
    sound = np.concatenate(
        [np.full(300 * N_PATCH, 1e-4, np.float32), ramp(2, 0.5), np.zeros(300 * N_PATCH, np.float32)]
    )
    (found,) = embed_spans(Network(), (sound, RATE), RATE, [(0.0, None)])
    np.testing.assert_allclose(found.vectors[found.semitones == 0, 0], [0.5, 1.0], atol=1e-6)


def test_progress_is_told_while_a_long_example_is_decoded():
    seconds = []
    embed_spans(Network(), (ramp(2_000), RATE), RATE, [(0.0, None)], tell=seconds.append)
    assert len(seconds) > 3 * len(SEMITONES)
    assert max(seconds) == pytest.approx(200)


def test_file_is_decoded_once_for_all_its_parts(monkeypatch, tmp_path):
    path = tmp_path / "long.wav"
    path.write_bytes(encoded(ramp(100)))
    opened = []
    stream = _example_patches.SoundStream
    monkeypatch.setattr(
        _example_patches, "SoundStream", lambda *args, **options: opened.append(args) or stream(*args, **options)
    )
    parts = embed_spans(Network(), path, RATE, [(0.1 * place, 0.1 * (place + 1)) for place in range(100)])
    assert len(opened) == len(SEMITONES)
    loudest = [part.vectors[part.semitones == 0, 0].max() for part in parts]
    np.testing.assert_allclose(loudest, np.linspace(0.1, 1, 100), atol=1e-3)


def test_parts_may_overlap_and_are_known_by_their_sound():
    sound = (ramp(10), RATE)
    one, other, again = embed_spans(Network(), sound, RATE, [(0.0, 0.5), (0.2, None), (0.0, 0.5)])
    assert one.sound == again.sound != other.sound


def test_part_that_is_wrong_costs_no_other():
    sound = np.concatenate([ramp(5), np.zeros(5 * N_PATCH, np.float32)])
    good, silent, late = embed_spans(Network(), (sound, RATE), RATE, [(0.0, 0.5), (0.6, None), (9.0, None)])
    assert (good.semitones == 0).sum() == 5
    assert isinstance(silent, AudioError)
    assert isinstance(late, AudioError)
    assert ("silent" in str(silent), "ends before 9 s" in str(late)) == (True, True)
