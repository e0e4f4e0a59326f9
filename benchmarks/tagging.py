"""How fast taggram tags twenty 30-s MP3 clips, beside the original musicnn, in ratios.

    python benchmarks/tagging.py --peer peer/bin/python [--models musicnn.mtt ...] [--cores 1] [--rounds 9] [--out FILE]

Ours is the wall time a file of `list(Tagger(model).tag_many(files))` with warm worker processes, one a core. The peer
is one process on the same cores, called in two ways: `user` is `musicnn.tagger.top_tags(file)`, `kept` is the library's
features and all patches of a file in one run of a session that is kept. The sides take turns, round by round; imports,
loading and a first round are left out on all of them. A ratio is taken within each round; its median is the result.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from _sound import demo_song

from taggram._processes import n_cores
from taggram.apps.bench import (
    PEER_KEPT,
    PEER_USER,
    Peer,
    Rounds,
    Spread,
    describe_machine,
    length_s,
    ratios,
    run_rounds,
    workers_s,
    write_clips,
)
from taggram.errors import TaggramError
from taggram.tagger import Tagger

OURS = "ours"
OURS_SHORT_HOP = "ours, hop of 1 s"
N_CLIPS = 20
TARGETS = {  # model: least ratio to the peer's two ways on two cores
    "musicnn.mtt": {PEER_USER: 13.0, PEER_KEPT: 3.3},
    "musicnn.msd": {PEER_USER: 26.0, PEER_KEPT: 6.5},
    "vgg.mtt": {PEER_USER: 8.0, PEER_KEPT: 1.7},
    "vgg.msd": {PEER_USER: 12.0, PEER_KEPT: 2.5},
}
MOST_FOR_SHORT_HOP = 2.0  # times the default hop


def main() -> None:
    """Measure the models and print a line a figure."""
    args = parse_args()
    bind_to_cores(args.cores)
    with tempfile.TemporaryDirectory() as folder:
        files = args.files or write_clips(demo_song(), Path(folder), N_CLIPS)
        print(f"{len(files)} files, {sum(map(length_s, files)):.0f} s of sound, {args.rounds} rounds")
        print(describe_machine())
        measured = {}
        for model in args.models:
            measured[model] = measure(model, files, args.rounds, args.peer)
            print_figures(model, measured[model])
    if args.out:
        report = {"machine": describe_machine(), "n_files": len(files), "seconds_a_file": measured}
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Tag twenty clips beside the original musicnn, and print the ratios.")
    parser.add_argument("--peer", type=Path, metavar="PYTHON", help="Python of an environment with musicnn 0.1.0")
    parser.add_argument("--files", nargs="+", metavar="FILE", help="sound to measure on (default: clips made up here)")
    parser.add_argument("--models", nargs="+", metavar="MODEL", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted (default: 5)")
    parser.add_argument("--cores", type=int, default=min(2, n_cores()), help="cores for each side (default: 2)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the figures of every round here")
    return parser.parse_args()


def bind_to_cores(n_wanted: int) -> None:
    """Bind this process, and so all that it starts, to some of its cores."""
    if n_wanted == n_cores():
        return
    if n_wanted > n_cores() or not hasattr(os, "sched_setaffinity"):
        sys.exit(f"--cores {n_wanted}: there are {n_cores()} cores, and only Linux binds to some of them")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_wanted])


def measure(model: str, files: list[str], n_rounds: int, peer: Path | None) -> Rounds:
    """Let our two hops and the peer take turns over all files.

    Args:
        model: "network.weights".
        files: the files.
        n_rounds: rounds that are counted.
        peer: Python of the peer's environment, or None.

    Returns:
        Seconds a file, in each round, of each side.
    """
    with contextlib.ExitStack() as closing:
        tagger = closing.enter_context(Tagger(model, device="cpu"))
        short_hop = closing.enter_context(Tagger(model, device="cpu", hop_s=1.0))
        sources = [
            lambda: {OURS: workers_s(tagger, files, n_cores())},
            lambda: {OURS_SHORT_HOP: workers_s(short_hop, files, n_cores())},
        ]
        if peer:
            original = closing.enter_context(Peer(peer, model))
            sources.append(lambda: original.measure(files))
        return run_rounds(sources, n_rounds)


def print_figures(model: str, rounds: Rounds) -> None:
    """Print seconds a file and ratios of one model, beside what is promised of it."""
    print(f"\n{model}, median (least .. most) of the rounds")
    for name, seconds in rounds.items():
        print(f"  {name:22} {Spread.of(seconds):.4f} s a file")
    for name, least in TARGETS[model].items():
        if name in rounds:
            ratio = ratios(rounds, name, OURS)
            promised = f"; promised on two cores: {least:g}" + (", missed" if ratio.median < least else "")
            print(f"  ours to {name:22} {ratio:.1f} times as fast{promised if n_cores() == 2 else ''}")
    ratio = ratios(rounds, OURS_SHORT_HOP, OURS)
    missed = ", missed" if ratio.median > MOST_FOR_SHORT_HOP else ""
    print(f"  a hop of 1 s to the default {ratio:.2f} times as long; promised: at most {MOST_FOR_SHORT_HOP:g}{missed}")


if __name__ == "__main__":
    try:
        main()
    except TaggramError as error:
        sys.exit(str(error))
