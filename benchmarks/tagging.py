"""How fast taggram tags twenty 30-s MP3 clips, beside what else one would take, in ratios.

    python benchmarks/tagging.py --peer peer/bin/python [--essentia PYTHON] [--librosa PYTHON]
        [--models musicnn.mtt ...] [--clips 20] [--cores 1] [--rounds 9] [--out FILE]

Ours is `list(Tagger(model).tag_many(files))` with warm worker processes, one a core, by the clock, and `Tagger.tag` on
one thread, in CPU seconds. Each of the others is one process on the same cores, with as many threads as it takes:

- the original musicnn, called in two ways: `musicnn.tagger.top_tags(file)`, and the library's features with all patches
  of a file in one run of a session that is kept;
- essentia: `MonoLoader` and `TensorflowPredictMusiCNN`, with the same checkpoint as one frozen graph;
- librosa and plain torch, with the same weights, as one writes it: `_peer_librosa_torch.py`.

The sides take turns, round by round; imports, loading and a first round are left out on all of them. A ratio is taken
within each round; its median is the result. Scores are compared patch by patch with ours under `padding="zeros"`, which
is how today's librosa pads the ends of a sound.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _machine import bind_to_cores
from _sound import demo_song

from taggram._processes import n_cores
from taggram.apps._peer import CPU, PEER_KEPT, PEER_USER, Peer, PeerProgram, original_name, original_program
from taggram.apps.bench import (
    Figures,
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
from taggram.models import load_card
from taggram.models._weights import cached_path
from taggram.tagger import Tagger, one_torch_thread

HERE = Path(__file__).parent
OURS = "ours"
OURS_SHORT_HOP = "ours, hop of 1 s"
ESSENTIA = "essentia"
LIBROSA = "librosa and plain torch"
N_CLIPS = 20
TARGETS = {  # model: least ratio to the peer's two ways on two cores
    "musicnn.mtt": {PEER_USER: 13.0, PEER_KEPT: 3.3},
    "musicnn.msd": {PEER_USER: 26.0, PEER_KEPT: 6.5},
    "vgg.mtt": {PEER_USER: 8.0, PEER_KEPT: 1.7},
    "vgg.msd": {PEER_USER: 12.0, PEER_KEPT: 2.5},
}
MOST_FOR_SHORT_HOP = 2.0  # times the default hop


def main() -> None:
    """Measure the models and print a table each."""
    args = parse_args()
    bind_to_cores(args.cores)
    with tempfile.TemporaryDirectory() as folder:
        files = args.files or write_clips(demo_song(), Path(folder), args.clips)
        print(f"{len(files)} files, {sum(map(length_s, files)):.0f} s of sound, {args.rounds} rounds")
        print(describe_machine())
        measured, differences, missed = {}, {}, False
        for model in args.models:
            programs = list(peer_programs(args, model, Path(folder)))
            measured[model], differences[model] = measure(model, files, args.rounds, programs)
            missed |= print_figures(model, measured[model], differences[model])
    if args.out:
        report = {
            "machine": describe_machine(),
            "n_files": len(files),
            "seconds_a_file": measured,
            "largest_differences": differences,
        }
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    sys.exit(missed)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Tag clips beside what else one would take, and print the ratios.")
    parser.add_argument("--peer", type=Path, metavar="PYTHON", help="Python of an environment with musicnn 0.1.0")
    parser.add_argument("--essentia", type=Path, metavar="PYTHON", help="of one with essentia-tensorflow; needs --peer")
    parser.add_argument("--librosa", type=Path, metavar="PYTHON", help="of one with librosa, torch and safetensors")
    parser.add_argument("--files", nargs="+", metavar="FILE", help="sound to measure on (default: clips made up here)")
    parser.add_argument("--clips", type=int, default=N_CLIPS, help=f"clips that are made up (default: {N_CLIPS})")
    parser.add_argument("--models", nargs="+", metavar="MODEL", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted (default: 5)")
    parser.add_argument("--cores", type=int, default=min(2, n_cores()), help="cores for each side (default: 2)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the figures of every round here")
    args = parser.parse_args()
    if args.essentia and not args.peer:
        parser.error("--essentia needs --peer too: the graph is frozen from the checkpoint in the package musicnn")
    return args


def peer_programs(args: argparse.Namespace, model: str, folder: Path) -> Iterator[tuple[Path, PeerProgram]]:
    """Give the Pythons that were named, each with what it is to run.

    Args:
        args: of the command line.
        model: "network.weights".
        folder: for the frozen graph.

    Yields:
        Python and program.
    """
    recipe = "An environment for it is made by: python benchmarks/make_peer.py {} FOLDER"
    if args.peer:
        yield args.peer, original_program(model)
    if args.essentia:
        graph = folder / f"{model}.pb"
        freeze(args.peer, original_name(model), graph)
        script, made = HERE / "_peer_essentia.py", recipe.format("essentia")
        yield args.essentia, PeerProgram(ESSENTIA, script, (str(graph),), {"tag": ESSENTIA}, made)
    if args.librosa:
        weights = str(cached_path(load_card(model)))
        script, made = HERE / "_peer_librosa_torch.py", recipe.format("frontends")
        program = PeerProgram(LIBROSA, script, (model.partition(".")[0], weights), {"tag": LIBROSA}, made)
        yield args.librosa, program


def freeze(python: Path, name: str, graph: Path) -> None:
    """Freeze a checkpoint of the original musicnn into one file, by its own Python.

    Args:
        python: that of the original.
        name: its own name of the model.
        graph: the file to write.

    Raises:
        TaggramError: it cannot.
    """
    command = [python, "-I", HERE / "freeze_musicnn.py", name, graph]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    except OSError as error:
        raise TaggramError(f"{python}: {error.strerror or error}.") from error
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        raise TaggramError(f"{python} cannot freeze {name}: {said or f'it ended with {done.returncode}'}")


def measure(
    model: str, files: list[str], n_rounds: int, programs: list[tuple[Path, PeerProgram]]
) -> tuple[Rounds, Figures]:
    """Let ours and the others take turns over all files.

    Args:
        model: "network.weights".
        files: the files.
        n_rounds: rounds that are counted.
        programs: the others, each with its Python.

    Returns:
        Seconds a file of each side in each round; and for each that gives scores, the largest difference from ours.
    """
    with contextlib.ExitStack() as closing:
        tagger = closing.enter_context(Tagger(model, device="cpu"))
        short_hop = closing.enter_context(Tagger(model, device="cpu", hop_s=1.0))
        peers = [closing.enter_context(Peer(python, program)) for python, program in programs]
        sources = [
            lambda: {OURS: workers_s(tagger, files, n_cores()), OURS + CPU: cpu_s(tagger, files)},
            lambda: {OURS_SHORT_HOP: workers_s(short_hop, files, n_cores())},
            *((lambda peer=peer: peer.measure(files)) for peer in peers),
        ]
        rounds = run_rounds(sources, n_rounds)
        padded_alike = Tagger(model, device="cpu", frontend={"padding": "zeros"})
        ours = {file: padded_alike.tag(file).scores for file in files}
        scores = {name: by_file for peer in peers for name, by_file in peer.scores.items()}
        return rounds, {name: largest_difference(ours, by_file) for name, by_file in scores.items()}


def cpu_s(tagger: Tagger, files: list[str]) -> float:
    """Tag files in this process, on one thread; give the CPU seconds a file."""
    with one_torch_thread():
        began = time.process_time()
        for file in files:
            tagger.tag(file)
        return (time.process_time() - began) / len(files)


def largest_difference(ours: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> float:
    """Compare the scores of each file, (patches, tags); a patch that one side has more at the end is left out."""
    worst = 0.0
    for file, mine in ours.items():
        n_both = min(len(mine), len(others[file]))
        worst = max(worst, float(np.abs(mine[:n_both] - others[file][:n_both]).max()))
    return worst


def print_figures(model: str, rounds: Rounds, differences: Figures) -> bool:
    """Print seconds a file and ratios of one model as a Markdown table; give whether a promise of it is missed."""
    print(f"\n`{model}`, median (least .. most) of the rounds\n")
    print("| | s a file | ours is so many times as fast | CPU s a file | times less CPU | largest score difference |")
    print("|---|---|---|---|---|---|")
    for name in (OURS, *(name for name in rounds if name + CPU in rounds and name != OURS)):
        of_ours = name == OURS
        by_clock = "" if of_ours else f"{ratios(rounds, name, OURS):.1f}"
        by_cpu = "" if of_ours else f"{ratios(rounds, name + CPU, OURS + CPU):.1f}"
        seconds, cpu = Spread.of(rounds[name]), Spread.of(rounds[name + CPU])
        difference = f"{differences[name]:.1e}" if name in differences else ""
        print(f"| {name} | {seconds:.3f} | {by_clock} | {cpu:.3f} | {by_cpu} | {difference} |")
    print()
    targets = {name: least for name, least in TARGETS[model].items() if name in rounds and n_cores() == 2}
    missed = {name for name, least in targets.items() if ratios(rounds, name, OURS).median < least}
    for name, least in targets.items():
        told = ", missed" if name in missed else ""
        print(f"ours to {name}: promised on two cores are {least:g} times{told}")
    ratio = ratios(rounds, OURS_SHORT_HOP, OURS)
    too_long = ratio.median > MOST_FOR_SHORT_HOP
    told = ", missed" if too_long else ""
    print(f"a hop of 1 s to the default {ratio:.2f} times as long; promised: at most {MOST_FOR_SHORT_HOP:g}{told}")
    return bool(missed) or too_long


if __name__ == "__main__":
    try:
        main()
    except TaggramError as error:
        sys.exit(str(error))
