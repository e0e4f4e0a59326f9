"""Essentia's TensorFlow predictor, timed file by file. `tagging.py` runs this file with the peer `essentia`.

Its argument is the graph that `freeze_musicnn.py` wrote. It is used as its documentation shows: `MonoLoader` at 16 kHz,
then `TensorflowPredictMusiCNN`, made once. Only the hop between patches is set, to the length of a patch as in all the
other software; its own default is half of that.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

N_FRAMES = 187  # of a patch of 3 s
SAMPLE_RATE = 16_000


def make_ways(graph: str) -> dict[str, Any]:
    """Load the graph.

    Args:
        graph: its file.

    Returns:
        The one way to tag a path, by name.
    """
    import essentia  # type: ignore[import-not-found]
    from essentia.standard import MonoLoader, TensorflowPredictMusiCNN  # type: ignore[import-not-found]

    essentia.log.infoActive = essentia.log.warningActive = False
    predict = TensorflowPredictMusiCNN(graphFilename=graph, patchHopSize=N_FRAMES)

    def tag(path: str) -> Any:
        return predict(MonoLoader(filename=path, sampleRate=SAMPLE_RATE)())

    return {"tag": tag}


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "taggram" / "apps"))  # behind all others
    from _peer_loop import answer_paths  # type: ignore[import-not-found]

    answer_paths(lambda: make_ways(sys.argv[1]))
