"""How fast `taggram catalogue` is beside plain `taggram tag`, and what 20,000 files take that 1,000 do not.

    python benchmarks/catalogue.py [--files 20000] [--runner ray] [--model musicnn.msd] [--length-s 10]

Some hundred pieces of the data set `synth` are written as MP3, and stand under as many names as are wanted, as hard
links. `taggram tag` and `taggram catalogue` take turns over 1,000 files each, a fresh process and a new
catalogue every time; then one run makes a catalogue of all. Start-up is told apart: the plain rate is that between
the first and the last file; the catalogue's, whose files come in large blocks, that of the files which the long run
has more than a short one, in the time that it takes longer. Memory is the sum over all processes of the command, each
page counted once. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr
from _machine import memory_mb, session_of

from taggram.datasets.synth import write_synth

LEAST_SHARE = 0.9  # of the plain path's rate
MOST_GROWTH = 1.1  # of the time of a file, from 1,000 to all
MOST_MEMORY_GROWTH = 1.1  # from the second tenth of the long run to its last
N_PIECES = 200
SAMPLE_RATE = 44_100
LOOK_S = 0.5
PART_S = 5.0


@dataclass
class Run:
    """A command that was watched.

    Attributes:
        seconds: from its start to its end.
        seen: (seconds, files done) now and then.
        memory_mb: of all its processes, now and then.
    """

    seconds: float = 0.0
    seen: list[tuple[float, int]] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def rate(self, first: int = 0, last: int | None = None) -> float:
        """Files a second between two numbers of files that are done."""
        part = [(at, n) for at, n in self.seen if n > first and (last is None or n <= last)]
        (begin, n_before), (end, n_after) = part[0], part[-1]
        return (n_after - n_before) / (end - begin)


def main() -> None:
    """Make the files, let both take turns, then do all of them at once."""
    parser = argparse.ArgumentParser(description="Time `taggram catalogue` beside `taggram tag`.")
    parser.add_argument("--files", type=int, default=20_000, metavar="N")
    parser.add_argument("--few", type=int, default=1_000, metavar="N", help="files of a turn")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--length-s", type=float, default=10.0, metavar="S", help="of a file")
    parser.add_argument("--model", default="musicnn.msd")
    parser.add_argument("--runner", default="ray", choices=("ray", "local"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="taggram-catalogue-") as folder:
        place = Path(folder)
        make_files(place, args.files, args.few, args.length_s)
        plain, few = [], []
        for round_ in range(args.rounds):
            plain.append(tag(place, args.model))
            few.append(catalogue(place, "few", f"catalogue{round_}", args.model, args.runner))
            print(
                f"round {round_ + 1}: plain {plain[-1].rate():.1f} files/s ({plain[-1].seconds:.1f} s in all), "
                f"catalogue {few[-1].seconds:.1f} s in all", flush=True,
            )  # fmt: skip
        many = catalogue(place, "many", "whole", args.model, args.runner)
        rate = (args.files - args.few) / (many.seconds - statistics.median(run.seconds for run in few))
        share = rate / statistics.median(run.rate() for run in plain)
        print(f"{args.files:,} files in {many.seconds:.0f} s: {rate:.1f} files/s beyond the first {args.few:,}")
        print(f"that is {share:.2f} of the plain path's rate; promised: at least {LEAST_SHARE:g}")
        quarter = (args.files - args.few) // 4
        early, late = many.rate(args.few, args.few + quarter), many.rate(args.files - quarter)
        growth = early / late
        print(f"{early:.1f} files/s in the first quarter of these, {late:.1f} in the last")
        print(f"a file takes {growth:.2f} times as long at the end; promised: at most {MOST_GROWTH:g}")
        tenth = len(many.memory_mb) // 10
        first, last = max(many.memory_mb[tenth : 2 * tenth]), max(many.memory_mb[-tenth:])
        print(
            f"memory: {first:.0f} MB in the second tenth of the run, {last:.0f} MB in the last, "
            f"{max(many.memory_mb):.0f} MB at most; promised: flat, at most {MOST_MEMORY_GROWTH:g} times"
        )
        again = catalogue(place, "many", "whole", args.model, args.runner)
        print(f"once more, with nothing to tag: {again.seconds:.0f} s, {max(again.memory_mb):.0f} MB at most")
    sys.exit(share < LEAST_SHARE or growth > MOST_GROWTH or last > MOST_MEMORY_GROWTH * first)


def make_files(place: Path, n_files: int, n_few: int, length_s: float) -> None:
    """Write the pieces, and link them under other names into two folders."""
    (place / "pieces").mkdir()
    write_synth(place / "synth", n_tracks=N_PIECES, length_s=length_s)
    pieces = []
    for sound in sorted((place / "synth").rglob("*.flac")):
        samples, rate = soundfile.read(sound, dtype="float32")
        piece = place / "pieces" / f"{sound.stem}.mp3"
        stereo = np.stack([samples, samples], 1)
        soundfile.write(piece, soxr.resample(stereo, rate, SAMPLE_RATE), SAMPLE_RATE, format="MP3")
        pieces.append(piece)
    for name, n in (("few", n_few), ("many", n_files)):
        for k in range(n):
            folder = place / name / f"{k // 1000:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            os.link(pieces[k % len(pieces)], folder / f"{k:06d}.mp3")


def tag(place: Path, model: str) -> Run:
    """Tag the few files by the plain command."""
    out = place / "tags.json"
    words = ["tag", str(place / "few"), "--format", "json", "--out", str(out), "--model", model]

    def n_done() -> int:
        found = sorted(place.glob("*.json"), key=lambda path: path.stat().st_mtime)
        return found[-1].read_bytes().count(b"\n") if found else 0

    run = watch(words, n_done)
    out.unlink()
    return run


def catalogue(place: Path, folder: str, out: str, model: str, runner: str) -> Run:
    """Make a catalogue of a folder."""
    words = [
        "catalogue", str(place / folder), "--out", str(place / out), "--model", model, "--runner", runner,
        "--part-s", str(PART_S),
    ]  # fmt: skip

    def n_done() -> int:
        journal = place / out / "manifest.jsonl"
        if not journal.exists():
            return 0
        changes = map(json.loads, journal.read_text(encoding="utf-8").splitlines())
        return sum(facts["rows"] for change in changes for facts in change["put"].values())

    return watch(words, n_done)


def watch(words: list[str], n_done: Callable[[], int]) -> Run:
    """Run a command and look at it until it ends."""
    run = Run()
    begun = time.monotonic()
    command = [sys.executable, "-m", "taggram", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            while process.poll() is None:
                time.sleep(LOOK_S)
                done = n_done()
                if done and (not run.seen or done > run.seen[-1][1]):
                    run.seen.append((time.monotonic() - begun, done))
                run.memory_mb.append(memory_mb(session_of(process.pid)))
        finally:
            process.terminate()
        told = process.stderr.read().decode() if process.stderr else ""
    run.seconds = time.monotonic() - begun
    if process.returncode > 0:
        sys.exit(f"taggram {' '.join(words)} ended with {process.returncode}:\n{told[-2000:]}")
    done = n_done()
    if not run.seen or done > run.seen[-1][1]:
        run.seen.append((run.seconds, done))
    return run


if __name__ == "__main__":
    main()
