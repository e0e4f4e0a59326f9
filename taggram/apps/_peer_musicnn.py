"""The original musicnn, timed file by file. `_peer.Peer` runs this file with the Python of another environment.

It takes the model's name as its argument, and measures two ways to tag a path, see `_peer_loop.py`:

- user: `musicnn.tagger.top_tags`, as people call it. It builds the graph and a session anew for every file, and gives
  no scores.
- kept: the library's own features, and all patches of the file in one run of a session that is kept.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taggram.apps._peer_loop import Ways


def make_ways(model: str) -> Ways:
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

    def user(path: str) -> None:
        top_tags(path, model=model, print_tags=False)

    def kept(path: str) -> Any:
        batch, _spectrogram = batch_data(path, n_frames, n_frames)
        return session.run(scores, {patches: batch, is_training: False})

    return {"user": user, "kept": kept}


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parent))  # behind all others: no module here may stand in for one of its own
    from _peer_loop import answer_paths  # type: ignore[import-not-found]

    answer_paths(lambda: make_ways(sys.argv[1]))
