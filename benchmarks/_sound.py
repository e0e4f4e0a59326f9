"""The sound that the benchmarks make for themselves: the song of `examples/demo_song.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from taggram.apps.bench import CLIP_SAMPLE_RATE
from taggram.audio import Samples

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def demo_song() -> Samples:
    """Compose the song.

    Returns:
        (samples, 2) at `CLIP_SAMPLE_RATE`, -1 to 1, longer than a clip.
    """
    sys.path.insert(0, str(EXAMPLES))
    from demo_song import SAMPLE_RATE, compose

    assert SAMPLE_RATE == CLIP_SAMPLE_RATE
    song: Samples = compose()
    return song
