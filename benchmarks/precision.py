"""How fast networks tag in bfloat16 and int8, and how far their scores are off those in float32.

    python benchmarks/precision.py [--models musicnn.mtt samplecnn ...] [--clips 4] [--rounds 3] [--hop-s S]
        [--sounds FOLDER_OR_FILE ...] [--most 40]

Speed: each tags the same 30-s MP3 clips in this process, on one thread, the whole path from the file to the tags. They
take turns, round by round; what is counted is CPU time. A first round is left out. The network is timed within it too.

Accuracy: each tags the clips and the sounds, of a folder so many at even steps. What is told of the scores is the
largest difference of a patch and of a mean over a sound, and how many sounds keep their best tag, and their three best
in whatever order. A network that is not trained has random weights, whose tags mean nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _sound import demo_song
from torch import Tensor

import taggram
from taggram.apps.bench import Spread, describe_machine, ratios, run_rounds, write_clips
from taggram.errors import ConfigError
from taggram.models import NETWORKS, find_facts
from taggram.tagger import Tagger, one_torch_thread

MODELS = ("musicnn.mtt", "musicnn.msd", "vgg.mtt", "vgg.msd")
PRECISIONS = ("float32", "bfloat16", "int8")
SUFFIXES = (".mp3", ".ogg", ".wav", ".flac")
WHOLE, NETWORK = "whole path", "network"


class TimedTagger(Tagger):
    """A tagger that adds up the CPU time of its network.

    Args:
        model: as for `Tagger`.
        **settings: those of `Tagger`.
    """

    def __init__(self, model: Any, **settings: Any) -> None:
        super().__init__(model, **settings)
        self.network_s = 0.0

    def _run(self, sound: Any, compute: Callable[..., Tensor], progress: Any) -> Any:
        def timed(*stretch: Any) -> Tensor:
            began = time.process_time()
            found = compute(*stretch)
            self.network_s += time.process_time() - began
            return found

        return super()._run(sound, timed, progress)


def main() -> None:
    """Measure the models and print lines for each."""
    parser = argparse.ArgumentParser(description="Tag the same sounds in float32, bfloat16 and int8.")
    parser.add_argument("--models", nargs="+", metavar="NAME", default=MODELS, help="trained models, or networks")
    parser.add_argument("--clips", type=int, default=4, help="30-s clips in a round (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that are counted (default: 3)")
    parser.add_argument("--hop-s", type=float, help="step between patches in seconds (default: a patch)")
    parser.add_argument("--sounds", nargs="+", type=Path, default=[], help="more sounds whose scores are compared")
    parser.add_argument("--most", type=int, default=40, help="sounds of each folder (default: 40)")
    args = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder, one_torch_thread():
        files = write_clips(demo_song(), Path(folder), args.clips)
        sounds = [*files, *(str(file) for path in args.sounds for file in picked(path, args.most))]
        print(f"scores of {len(sounds)} sounds")
        for name in args.models:
            measure(name, files, sounds, args.rounds, args.hop_s)


def measure(name: str, files: Sequence[str], sounds: Sequence[str], n_rounds: int, hop_s: float | None) -> None:
    """Measure one model in all precisions that it has, and print a line each."""
    taggers: dict[str, TimedTagger] = {}
    for precision in PRECISIONS:
        try:
            taggers[precision] = make_tagger(name, precision, hop_s)
        except ConfigError as error:
            print(f"{name:12} {precision:8}: {error}", flush=True)
    rounds = run_rounds([partial(cpu_s, *one, files) for one in taggers.items()], n_rounds)
    exact = [taggers["float32"].tag(sound) for sound in sounds]
    for precision, tagger in taggers.items():
        line = ", ".join(
            f"{what} {Spread.of(rounds[f'{precision} {what}']):.3f} s, "
            f"{ratios(rounds, f'float32 {what}', f'{precision} {what}'):.2f} times as fast"
            for what in (WHOLE, NETWORK)
        )
        print(f"{name:12} {precision:8}: {line}", flush=True)
        if precision != "float32":
            print(f"{'':22} {accuracy([tagger.tag(sound) for sound in sounds], exact)}", flush=True)


def make_tagger(name: str, precision: str, hop_s: float | None) -> TimedTagger:
    """Make a tagger of one precision, on the CPU."""
    settings = {"device": "cpu", "precision": precision, "hop_s": hop_s}
    if name not in NETWORKS:
        return TimedTagger(name, **settings)
    torch.manual_seed(0)
    return TimedTagger(taggram.create_model(name, n_tags=find_facts(name).n_tags).eval(), **settings)


def cpu_s(precision: str, tagger: TimedTagger, files: Sequence[str]) -> dict[str, float]:
    """Tag all files; give the CPU seconds a file, of the whole path and of the network."""
    began, tagger.network_s = time.process_time(), 0.0
    for file in files:
        tagger.tag(file)
    whole_s = time.process_time() - began
    return {f"{precision} {WHOLE}": whole_s / len(files), f"{precision} {NETWORK}": tagger.network_s / len(files)}


def accuracy(got: Sequence[taggram.Taggram], exact: Sequence[taggram.Taggram]) -> str:
    """Say how scores differ from those in float32."""
    of_patch = max(float(np.abs(one.scores - other.scores).max()) for one, other in zip(got, exact))
    of_sound = [float(np.abs(one.mean_scores - other.mean_scores).max()) for one, other in zip(got, exact)]
    same = {n: sum(best(one, n) == best(other, n) for one, other in zip(got, exact)) for n in (1, 3)}
    return (
        f"off by {of_patch:.4f} (patch), {max(of_sound):.4f} (mean of a sound; median {np.median(of_sound):.4f}); "
        f"same best tag {same[1]} of {len(got)}, same three {same[3]}"
    )


def best(result: taggram.Taggram, n: int) -> set[str]:
    """Name the best tags of a sound."""
    return {tag for tag, _ in result.top(n)}


def picked(path: Path, most: int) -> list[Path]:
    """Give a file, or so many of the sounds in a folder, at even steps of their sorted names."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
    return found[:: max(1, -(-len(found) // most))]


if __name__ == "__main__":
    main()
