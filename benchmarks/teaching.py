"""How well kits tag what they were taught with few examples, for numbers of examples and ways to fit.

    python benchmarks/teaching.py --root FOLDER [--column 0] [--n 1,2,5,10,20,0] [--draws 10] [--model musicnn.mtt]

The folder holds `clips.csv` (path, split, tags) and its files, such as notes of an orchestra's instruments. Of the tags
of a clip, the one at `--column` is learned, and tags without enough clips are left out. Examples are drawn from the
part `train`; accuracy is that on all clips of the part `--part`, mean (and deviation) over the draws; 0 examples stands
for all. What a kit answers is the best mean score over the patches of a clip, as `taggram tag --kit` has it, but of at
most 8 patches, none of them a pause; of clips of one patch that is the same. Nothing of the part that is scored is seen
in fitting or in choosing a method.

The method finetune trains the network on each draw, which takes minutes. With --plain the examples are not played lower
and higher. With --left-out N, so many tags of each draw are not taught, kits may answer that none holds, and it is
counted how often they do. With --time, the time that teaching 10 tags with 5 examples each takes is measured too, on
the processes that there are.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from taggram._processes import n_cores
from taggram.kit import NONE_OF_THESE, KitExample
from taggram.learning._example_worker import EmbeddedExample, ExampleTask, example_workers
from taggram.learning._kit_fit import Choice, Heard, Network, fit_kit
from taggram.learning._listening import default_layers
from taggram.learning.kit_methods import METHODS as LINEAR
from taggram.learning.teach import teach
from taggram.results import Failure
from taggram.tagger import Tagger

METHODS: tuple[Choice, ...] = ("auto", "svm", "lda", "logistic", "prototypes")
MOST_TAGS = 10  # the commonest
LEAST_CLIPS = 20  # of a tag, for it to be learned


@dataclass(frozen=True)
class Clip:
    """A clip with its one tag."""

    path: Path
    part: str
    tag: str


Answer: TypeAlias = Callable[[Clip], str]
"""Gives the best tag of a clip."""


def main() -> None:
    """Listen to all clips once, then teach and score, and print the table."""
    parser = argparse.ArgumentParser(description="Accuracy of kits by number of examples and method.")
    parser.add_argument("--root", type=Path, required=True, metavar="FOLDER", help="of clips.csv")
    parser.add_argument("--column", type=int, default=0, help="which of a clip's tags is learned")
    parser.add_argument("--part", default="test", help="of the split, that is scored")
    parser.add_argument("--n", default="1,2,5,10,20,0", help="examples a tag; 0 is all")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--model", default="musicnn.mtt")
    parser.add_argument("--layers", default="", help="default: that of the command")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--plain", action="store_true", help="do not play examples lower and higher")
    parser.add_argument("--left-out", type=int, default=0, help="tags that are not taught, for 'none of these'")
    parser.add_argument("--time", action="store_true", help="measure how long teaching takes")
    args = parser.parse_args()
    clips = read_clips(args.root, args.column)
    tagger = Tagger(args.model)
    layers = tuple(args.layers.split(",")) if args.layers else default_layers(tagger.model)
    train = [clip for clip in clips if clip.part == "train"]
    scored = [clip for clip in clips if clip.part == args.part]
    heard = listen([*train, *scored], args.model, layers, args.workers)
    if args.plain:
        heard = {path: plain(one) for path, one in heard.items()}
    tags = sorted({clip.tag for clip in clips})
    print(f"{args.model}, {', '.join(layers)}; {len(tags)} tags: {', '.join(tags)}")
    print(f"{len(train)} clips to draw from, {len(scored)} of {args.part} to score, {args.draws} draws\n")
    counts = [int(n) for n in args.n.split(",")]
    if args.left_out:
        for n in counts:
            print(other_sound(n, args.draws, args.left_out, train, scored, heard, layers), flush=True)
        return
    print(f"| method | {' | '.join(f'n={n}' if n else 'all' for n in counts)} |")
    print("|---" * (len(counts) + 1) + "|")
    for method in args.methods.split(","):
        fit = partial(tuned, model=args.model) if method == "finetune" else partial(fitted, method, heard, layers)
        cells = [accuracies(fit, n, args.draws if n else 1, train, scored, heard) for n in counts]
        print(f"| {method} | {' | '.join(cell_of(cell) for cell in cells)} |", flush=True)
    if args.time:
        print(f"\n{time_of_teaching(train, args.model, layers)}")
    if Path("/proc/loadavg").exists():
        print(f"load at the end: {' '.join(Path('/proc/loadavg').read_text().split()[:3])}")


def read_clips(root: Path, column: int) -> list[Clip]:
    """Read the list of clips, with the commonest of the tags in one column.

    Args:
        root: its folder.
        column: which of a clip's tags is wanted.

    Returns:
        The clips that have one of these tags.
    """
    with Path(root, "clips.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    tagged = [(row, tags[column]) for row in rows if len(tags := row["tags"].split("|")) > column]
    common = Counter(tag for row, tag in tagged if row["split"] == "train").most_common(MOST_TAGS)
    kept = {tag for tag, n_clips in common if n_clips >= LEAST_CLIPS}
    return [Clip(root / row["path"], row["split"], tag) for row, tag in tagged if tag in kept]


def listen(
    clips: list[Clip], model: str, layers: tuple[str, ...], n_workers: int | None
) -> dict[Path, EmbeddedExample]:
    """Turn clips into vectors, as `taggram teach` does.

    Args:
        clips: the clips.
        model: name of the network.
        layers: whose values make the vectors.
        n_workers: processes.

    Returns:
        The vectors by path.
    """
    workers = example_workers(model, layers, kit=None, device="cpu", max_duration_s=600, n_workers=n_workers)
    with workers:
        results = workers.run(ExampleTask(str(clip.path)) for clip in clips)
        embedded = ((clip.path, found[0]) for clip, found in zip(clips, results) if not isinstance(found, Failure))
        return {path: one for path, one in embedded if isinstance(one, EmbeddedExample)}


def accuracies(
    fit: Callable[[list[Clip]], Answer],
    n: int,
    n_draws: int,
    train: list[Clip],
    scored: list[Clip],
    heard: dict[Path, EmbeddedExample],
) -> NDArray[np.float64]:
    """Teach and score, once a draw.

    Args:
        fit: gives of examples what answers.
        n: examples a tag; 0 is all.
        n_draws: how often examples are drawn; draw d is the same for all methods.
        train: clips to draw from.
        scored: clips to score.
        heard: vectors of all clips.

    Returns:
        (draws,) accuracies.
    """
    found = []
    for draw in range(n_draws):
        answer = fit(drawn(train, n, np.random.default_rng(draw), heard))
        found.append(float(np.mean([answer(clip) == clip.tag for clip in scored])))
    return np.array(found)


def drawn(train: list[Clip], n: int, rng: np.random.Generator, heard: dict[Path, EmbeddedExample]) -> list[Clip]:
    """Draw n clips of each tag, or all with n = 0."""
    chosen: list[Clip] = []
    for tag in sorted({clip.tag for clip in train}):
        of_tag = [clip for clip in train if clip.tag == tag and clip.path in heard]
        chosen += [of_tag[place] for place in rng.permutation(len(of_tag))[: n or None]]
    return chosen


def fitted(
    method: Choice, heard: dict[Path, EmbeddedExample], layers: tuple[str, ...], clips: list[Clip], none: bool = False
) -> Answer:
    """Fit a kit on vectors; give what answers with the best tag of a clip.

    Args:
        method: how.
        heard: vectors of all clips.
        layers: whose values they are.
        clips: the examples.
        none: whether it may answer that none of its tags holds.

    Returns:
        What answers.
    """
    network = Network(model="", layers=layers, features_sha256="")
    kit = fit_kit(all_heard(clips, heard), network, task="one", method=method, none_of_these=none)

    def answer(clip: Clip) -> str:
        one = heard[clip.path]
        return kit.tags[int(kit.scores(one.vectors[one.semitones == 0]).mean(axis=0).argmax())]

    return answer


def tuned(clips: list[Clip], model: str) -> Answer:
    """Tune the network on examples; give what answers with the best tag of a clip.

    Args:
        clips: the examples.
        model: name of the network.

    Returns:
        What answers.
    """
    examples: dict[str, list[Path]] = {}
    for clip in clips:
        examples.setdefault(clip.tag, []).append(clip.path)
    taught = teach(examples, model=model, method="finetune")
    print(f"held out: {taught.kit.facts['validation']}", flush=True)
    tagger = Tagger(kit=taught.kit)
    return lambda clip: tagger.tag(clip.path).top(1)[0][0]


def other_sound(
    n: int,
    n_draws: int,
    n_left_out: int,
    train: list[Clip],
    scored: list[Clip],
    heard: dict[Path, EmbeddedExample],
    layers: tuple[str, ...],
) -> str:
    """Teach without some tags, and count how often "none of these" is said of their clips, and of the others.

    Args:
        n: examples a tag.
        n_draws: how often tags and examples are drawn.
        n_left_out: tags that are not taught.
        train: clips to draw from.
        scored: clips to score.
        heard: vectors of all clips.
        layers: whose values they are.

    Returns:
        A sentence.
    """
    tags = sorted({clip.tag for clip in train})
    shares = []
    for draw in range(n_draws):
        rng = np.random.default_rng(draw)
        out = set(rng.permutation(tags)[:n_left_out])
        answer = fitted("auto", heard, layers, drawn([c for c in train if c.tag not in out], n, rng, heard), none=True)
        answers = [(clip.tag, answer(clip)) for clip in scored if clip.path in heard]
        known = [(tag, said) for tag, said in answers if tag not in out]
        shares.append((
            np.mean([said == NONE_OF_THESE for tag, said in answers if tag in out]),
            np.mean([said == NONE_OF_THESE for _, said in known]),
            np.mean([said == tag for tag, said in known if said != NONE_OF_THESE]),
        ))  # fmt: skip
    of_others, of_own, right = np.mean(shares, axis=0)
    return (
        f"n={n}: none of these is said of {of_others:.2f} of the clips whose tag was left out and of {of_own:.2f} of "
        f"the others; of the rest of these, {right:.2f} are answered rightly"
    )


def plain(one: EmbeddedExample) -> EmbeddedExample:
    """Leave out how an example sounds lower and higher."""
    kept = one.semitones == 0
    return EmbeddedExample(one.vectors[kept], one.semitones[kept], one.sound, one.unusual)


def all_heard(clips: list[Clip], heard: dict[Path, EmbeddedExample]) -> Heard:
    """Put the vectors of examples together.

    Args:
        clips: the examples.
        heard: vectors by path.

    Returns:
        What a kit is fitted on.
    """
    found = [heard[clip.path] for clip in clips]
    return Heard(
        examples=tuple(KitExample(clip.path.name, (clip.tag,), one.sound) for clip, one in zip(clips, found)),
        vectors=np.concatenate([one.vectors for one in found]),
        example=np.repeat(np.arange(len(found)), [len(one.vectors) for one in found]).astype(np.int32),
        semitones=np.concatenate([one.semitones for one in found]),
    )


def cell_of(values: NDArray[np.float64]) -> str:
    """Write the mean of some accuracies, and the deviation of the draws."""
    return f"{values.mean():.3f} ({values.std(ddof=1):.3f})" if len(values) > 1 else f"{values.mean():.3f}"


def time_of_teaching(train: list[Clip], model: str, layers: tuple[str, ...]) -> str:
    """Teach with 5 clips of each tag, and say how long each part took.

    Args:
        train: clips to take them from.
        model: name of the network.
        layers: whose values are learned on.

    Returns:
        A sentence.
    """
    examples: dict[str, list[Path]] = {}
    for clip in train:
        if len(examples.setdefault(clip.tag, [])) < 5:
            examples[clip.tag].append(clip.path)
    marks: dict[str, float] = {}
    begun = time.perf_counter()
    teach(
        examples, model=model, layers=layers,
        told=lambda what, _n_done, n: marks.setdefault(
            "first" if n else "heard" if what in LINEAR else "within", time.perf_counter() - begun
        ),
    )  # fmt: skip
    whole = time.perf_counter() - begun
    return (
        f"teaching {len(examples)} tags from {sum(map(len, examples.values()))} files took {whole:.1f} s on "
        f"{n_cores()} cores: {marks['first']:.1f} s until the first was heard, which is start-up, "
        f"{marks['heard'] - marks['first']:.1f} s to hear the rest, {whole - marks['heard']:.1f} s to fit"
    )


if __name__ == "__main__":
    main()
