"""How fast each step of tagging is, and how near the whole path comes to its own limit, for several models in one run.

    python benchmarks/steps.py [--models musicnn.mtt ...] [--clips 4] [--rounds 5] [--files FILE ...] [--clock wall]

Each model tags the same 30-s MP3 clips in this process, on one thread. The models take turns, round by round; after
each file its decoding, downmix, resampling and log-mel are measured with nothing around them, and the product of two
large matrices. The limit is the sum of these four and of the network's arithmetic, without what pruning leaves out, at
the speed of that product. A table is printed as it stands in docs/performance.md; `taggram bench` does one model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from _sound import demo_song

from taggram.apps._bench_steps import ALONE, LIMIT, PEAK, STEPS, WHOLE, Figures, StepTagger, alone, measure_steps
from taggram.apps._peer import CPU
from taggram.apps.bench import Rounds, Spread, describe_machine, run_rounds, shares, write_clips

MODELS = ("musicnn.mtt", "musicnn.msd", "vgg.mtt", "vgg.msd")
PROMISED = 0.75  # of the limit


def main() -> None:
    """Measure the models and print one table."""
    parser = argparse.ArgumentParser(description="Measure the steps of tagging beside their limit.")
    parser.add_argument("--models", nargs="+", metavar="MODEL", default=MODELS)
    parser.add_argument("--files", nargs="+", metavar="FILE", help="sound to measure on (default: clips made up here)")
    parser.add_argument("--clips", type=int, default=4, help="30-s clips in a round (default: 4)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted (default: 5)")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu", help="what is printed (default: cpu)")
    args = parser.parse_args()
    kind = CPU if args.clock == "cpu" else ""
    with tempfile.TemporaryDirectory() as folder:
        files = args.files or write_clips(demo_song(), Path(folder), args.clips)
        taggers = {model: StepTagger(model) for model in args.models}
        gflop = {model: sum(map(tagger.network_gflop, files)) / len(files) for model, tagger in taggers.items()}
        sources = [partial(measure, model, taggers[model], files, gflop[model]) for model in args.models]
        rounds = run_rounds(sources, args.rounds)
    print(f"{describe_machine()}; {len(files)} files, {args.rounds} rounds, one thread, {args.clock} time\n")
    for cells in table([of_model(model, rounds) for model in args.models], args.models, gflop, kind):
        print(f"| {' | '.join(cells)} |")
    sys.exit(any(Spread.of(shares(of_model(model, rounds), kind)).median < PROMISED for model in args.models))


def measure(model: str, tagger: StepTagger, files: list[str], gflop: float) -> Figures:
    """Measure one model; its name stands before the name of each figure."""
    return {f"{model} {name}": value for name, value in measure_steps(tagger, files, gflop).items()}


def of_model(model: str, rounds: Rounds) -> Rounds:
    """Pick the figures of one model."""
    begin = f"{model} "
    return {name.removeprefix(begin): values for name, values in rounds.items() if name.startswith(begin)}


def table(columns: list[Rounds], models: list[str], gflop: Figures, kind: str) -> Iterator[list[str]]:
    """Make the rows of the table.

    Args:
        columns: the figures of each model.
        models: their names.
        gflop: what each network has to multiply and add a file.
        kind: `CPU`, or nothing for the time by the clock.

    Yields:
        The cells of a row.
    """

    def row(name: str, cell: Callable[[Rounds], str]) -> list[str]:
        return [name, *map(cell, columns)]

    def ms(figure: str) -> Callable[[Rounds], str]:
        return lambda column: f"{Spread.of([1000 * seconds for seconds in column[figure + kind]]):.1f}"

    yield ["ms a clip", *(f"`{model}`" for model in models)]
    yield ["---"] * (len(models) + 1)
    for step in STEPS:
        yield row(step, ms(step))
    yield row("**whole path**", ms(WHOLE))
    for step in ALONE:
        yield row(alone(step), ms(alone(step)))
    yield row(f"{PEAK}, GFLOP/s", lambda column: f"{Spread.of(column[PEAK + kind]):.0f}")
    yield ["the network's arithmetic, GFLOP a clip", *(f"{gflop[model]:.2f}" for model in models)]
    yield row("**limit**", ms(LIMIT))
    yield row("the whole path is at so much of the limit", lambda column: of_limit(shares(column, kind)))


def of_limit(values: list[float]) -> str:
    """Write shares of the limit, and whether the promise is missed."""
    spread = Spread.of([100 * share for share in values])
    return f"{spread:.0f} %" + (", missed" if spread.median < 100 * PROMISED else "")


if __name__ == "__main__":
    main()
