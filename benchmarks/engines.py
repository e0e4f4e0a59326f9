"""How fast the two engines tag, torch and onnxruntime, beside each other.

    python benchmarks/engines.py [--models musicnn.mtt samplecnn ...] [--clips 4] [--rounds 3]

Each tags the same 30-s MP3 clips in this process, on one thread, the whole path from the file to the tags. They take
turns, round by round; what is counted is CPU time, so that other work on the cores moves it less. A first round, in
which onnxruntime's graph is made, is left out. A network that is not trained has random weights.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from _sound import demo_song

import taggram
from taggram.apps.bench import Spread, describe_machine, ratios, run_rounds, write_clips
from taggram.models import NETWORKS, find_facts
from taggram.tagger import Tagger, one_torch_thread

MODELS = ("musicnn.mtt", "musicnn.msd", "vgg.mtt", "vgg.msd", "samplecnn", "sb_cnn")
ENGINES = ("torch", "onnx")


def main() -> None:
    """Measure the models and print a line each."""
    parser = argparse.ArgumentParser(description="Tag the same clips by torch and by onnxruntime.")
    parser.add_argument("--models", nargs="+", metavar="NAME", default=MODELS, help="trained models, or networks")
    parser.add_argument("--clips", type=int, default=4, help="30-s clips in a round (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that are counted (default: 3)")
    args = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder, one_torch_thread():
        files = write_clips(demo_song(), Path(folder), args.clips)
        for name in args.models:
            taggers = {engine: make_tagger(name, engine) for engine in ENGINES}
            sources = [partial(cpu_s, engine, tagger, files) for engine, tagger in taggers.items()]
            rounds = run_rounds(sources, args.rounds)
            figures = ", ".join(f"{engine} {Spread.of(rounds[engine]):.3f} s a clip" for engine in ENGINES)
            print(f"{name:12} {figures}; torch to onnx {ratios(rounds, 'torch', 'onnx'):.2f}", flush=True)


def make_tagger(name: str, engine: str) -> Tagger:
    """Make a tagger of one engine, on the CPU."""
    if name not in NETWORKS:
        return Tagger(name, device="cpu", engine=engine)
    torch.manual_seed(0)
    model = taggram.create_model(name, n_tags=find_facts(name).n_tags).eval()
    return Tagger(model, device="cpu", engine=engine)


def cpu_s(engine: str, tagger: Tagger, files: list[str]) -> dict[str, float]:
    """Tag all files; give the CPU seconds a file."""
    began = time.process_time()
    for file in files:
        tagger.tag(file)
    return {engine: (time.process_time() - began) / len(files)}


if __name__ == "__main__":
    main()
