"""The original musicnn, timed file by file. `bench.Peer` runs this file with the Python of another environment.

It takes the model's name as its argument and a path a line, as JSON, on standard input. On standard output it says that
it is ready, once everything is imported and loaded, and then answers each path with the seconds of two ways to tag it:

- user: `musicnn.tagger.top_tags`, as people call it. It builds the graph and a session anew for every file.
- kept: the library's own features, and all patches of the file in one run of a session that is kept.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer paths until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the library prints how far it is
    warnings.filterwarnings("ignore")
    ways = make_ways(sys.argv[1])
    answer(answers, {"ready": True})
    for line in sys.stdin:
        try:
            answer(answers, {name: seconds_of(way, json.loads(line)) for name, way in ways.items()})
        except Exception as error:  # the library raises whatever its decoders raise, often without a message
            answer(answers, {"error": f"{type(error).__name__}: {error}".rstrip(": ")})


def make_ways(model: str) -> dict[str, Callable[[str], object]]:
    """Load the library and a session that is kept.

    Args:
        model: the library's name for it, such as "MTT_musicnn".

    Returns:
        The ways to tag a path, by name.
    """
    import musicnn  # type: ignore[import-not-found]
    import tensorflow as tf  # type: ignore[import-untyped, import-not-found, unused-ignore]
    from musicnn import configuration, models
    from musicnn.extractor import batch_data  # type: ignore[import-not-found]
    from musicnn.tagger import top_tags  # type: ignore[import-not-found]

    labels = configuration.MTT_LABELS if model.startswith("MTT") else configuration.MSD_LABELS
    n_frames = 187  # of the library's 3 s
    graph = tf.Graph()  # apart, because top_tags resets the default one
    with graph.as_default(), tf.name_scope("model"):
        patches = tf.compat.v1.placeholder(tf.float32, [None, n_frames, configuration.N_MELS])
        is_training = tf.compat.v1.placeholder(tf.bool)
        scores = tf.nn.sigmoid(models.define_model(patches, is_training, model, len(labels))[0])
        session = tf.compat.v1.Session(graph=graph)
        tf.compat.v1.train.Saver().restore(session, f"{Path(musicnn.__file__).parent / model}/")

    def user(path: str) -> object:
        return top_tags(path, model=model, print_tags=False)

    def kept(path: str) -> object:
        batch, _spectrogram = batch_data(path, n_frames, n_frames)
        return session.run(scores, {patches: batch, is_training: False})

    return {"user": user, "kept": kept}


def seconds_of(way: Callable[[str], object], path: str) -> float:
    """Measure one way over one path, in seconds."""
    started = time.perf_counter()
    way(path)
    return time.perf_counter() - started


def answer(stream: Any, message: dict[str, Any]) -> None:
    """Write one line of JSON."""
    stream.write(json.dumps(message) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
