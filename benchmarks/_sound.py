"""The sound that the benchmarks make for themselves: the song of `taggram/apps/demo_song.py`."""

from __future__ import annotations

from taggram.apps.bench import CLIP_SAMPLE_RATE
from taggram.apps.demo_song import SAMPLE_RATE, compose
from taggram.audio import Samples


def demo_song() -> Samples:
    """Compose the song.

    Returns:
        (samples, 2) at `CLIP_SAMPLE_RATE`, -1 to 1, longer than a clip.
    """
    assert SAMPLE_RATE == CLIP_SAMPLE_RATE
    song: Samples = compose()
    return song
