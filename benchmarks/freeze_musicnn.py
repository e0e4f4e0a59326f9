"""Freeze a model of the original musicnn into one file, as essentia wants it. For the Python of the peer `musicnn`.

    peer/bin/python benchmarks/freeze_musicnn.py MTT_musicnn FILE.pb

Patches go in at `model/Placeholder`, scores come out at `model/Sigmoid`. The weights are those of the checkpoint in the
package `musicnn`. The graph is built for use, not for training: what chooses between the two is unknown to essentia.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

N_FRAMES = 187  # of a patch of 3 s


def main() -> None:
    """Freeze a model."""
    parser = argparse.ArgumentParser(description="Freeze a model of the original musicnn into one file.")
    parser.add_argument("model", help="the library's name for it, such as MTT_musicnn")
    parser.add_argument("file", type=Path, help="where to write the graph")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args.file.write_bytes(frozen(args.model))


def frozen(model: str) -> bytes:
    """Build the graph, load the weights and make constants of them.

    Args:
        model: the library's name for it.

    Returns:
        The graph, serialised.
    """
    import musicnn  # type: ignore[import-not-found]
    import tensorflow as tf  # type: ignore[import-untyped, import-not-found, unused-ignore]
    from musicnn import configuration, models

    labels = configuration.MTT_LABELS if model.startswith("MTT") else configuration.MSD_LABELS
    graph = tf.Graph()
    with graph.as_default(), tf.name_scope("model"):
        patches = tf.compat.v1.placeholder(tf.float32, [None, N_FRAMES, configuration.N_MELS])
        scores = tf.nn.sigmoid(models.define_model(patches, False, model, len(labels))[0])
        session = tf.compat.v1.Session(graph=graph)
        tf.compat.v1.train.Saver().restore(session, f"{Path(musicnn.__file__).parent / model}/")
        constant = tf.compat.v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), [scores.op.name]
        )
    return bytes(constant.SerializeToString())


if __name__ == "__main__":
    main()
