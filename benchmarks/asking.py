"""What questions to a large catalogue cost, after the first one.

    python benchmarks/asking.py [--rows 5000000] [--vectors 1000000] [--runs 9] [--folder DIR]
        [--index 50000 [--real CATALOGUE]]

Two catalogues are made of random numbers: one with 50 tags and small embeddings, which is asked by tags, and one with
embeddings of 200 numbers, which is asked for what sounds alike. Each is asked in a fresh process, whose peak of
resident memory is taken. Beside `find` stands the same question to plain DuckDB, and beside `similar` one product of a
matrix that is in memory as a whole and a vector, by numpy, with its ten best. The exit code is 1 where a promise is
missed.

With --index, indexes of usearch are built and asked too, of so many embeddings. What they find hangs on what these are
like: some follow from 20 numbers each, as those of music are alike in some ways too; some point anywhere, which is the
hardest; and with --real there are those of a catalogue of real sound. Linux only. About 4 GB are written; with --folder
they are kept and used again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from taggram._processes import peak_mb
from taggram.apps.bench import Figures, Rounds, Spread, describe_machine, ratios, run_rounds
from taggram.catalogue.asking import Catalogue
from taggram.catalogue.journal import Journal
from taggram.catalogue.rows import name_columns, schema_of
from taggram.models import load_card
from taggram.vocabulary import load_vocabulary

PART_ROWS = 100_000
SIZE, SMALL_SIZE = 200, 8
HIDDEN = 20  # numbers that an embedding follows from, but for a little noise
N = 10
MISSED = 3  # exit code of a process in which a promise was missed
MOST_FIND_S = 1.0
MOST_SIMILAR_S = 0.5
QUESTIONS = {
    "find, two tags": "guitar > 0.5 and vocal < 0.2 order by piano desc limit 20",
    "find, one order": "order by piano desc limit 20",
    "find, part of a path": "path contains '/album 123/' and guitar > 0.1 limit 20",
}
PLAIN = """
SELECT path, guitar, vocal, piano FROM read_parquet(?) WHERE error IS NULL AND guitar > 0.5 AND vocal < 0.2
ORDER BY piano DESC LIMIT 20
"""


def main() -> None:
    """Make the catalogues, ask them in fresh processes, and print a line a question."""
    parser = argparse.ArgumentParser(description="Measure questions to large catalogues.")
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows that are asked by tags")
    parser.add_argument("--vectors", type=int, default=1_000_000, help="rows that are asked for what sounds alike")
    parser.add_argument("--runs", type=int, default=9, help="times that each question is asked (default: 9)")
    parser.add_argument("--folder", type=Path, help="where the catalogues are kept")
    parser.add_argument("--index", type=int, metavar="N", help="build indexes of N embeddings, which takes minutes")
    parser.add_argument("--real", type=Path, metavar="CATALOGUE", help="build one of this catalogue too, in its cache/")
    parser.add_argument("--inside", choices=("find", "similar", "index"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        missed = {"find": ask_tags, "similar": ask_sounds, "index": ask_index}[args.inside](args.folder, args.runs)
        sys.exit(MISSED if missed else 0)
    print(describe_machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        make(folder / f"tags-{args.rows}", args.rows, SMALL_SIZE)
        make(folder / f"sounds-{args.vectors}", args.vectors, SIZE)
        missed = ask("find", folder / f"tags-{args.rows}", args.runs)
        missed |= ask("similar", folder / f"sounds-{args.vectors}", args.runs)
        if args.index:
            make(folder / f"sounds-{args.index}", args.index, SIZE)
            make(folder / f"anywhere-{args.index}", args.index, SIZE, hidden=None)
            for one in (folder / f"sounds-{args.index}", folder / f"anywhere-{args.index}", args.real):
                missed |= one is not None and ask("index", one, args.runs)
    if missed:
        sys.exit("a promise was missed")


def make(folder: Path, n_rows: int, size: int, hidden: int | None = HIDDEN) -> None:
    """Write a catalogue of random numbers, unless it is there; embeddings follow from `hidden` numbers, if not None."""
    if (folder / "whole").exists():
        return
    tags = load_vocabulary(load_card("musicnn.mtt").tags)
    card = {
        "layer": "made-00000000", "model": "made", "weights_sha256": "0" * 64, "fingerprint": f"{size}",
        "tags": list(tags), "columns": name_columns(tags), "embedding": {"layer": "penultimate", "size": size},
        "settings": {"model": "made", "hop_s": None, "over_time": False}, "taggram": "0",
    }  # fmt: skip
    rng = np.random.default_rng(0)
    scores = rng.beta(0.4, 4, (PART_ROWS, len(tags))).astype(np.float32)
    directions = rng.standard_normal((hidden or 0, size), np.float32)
    with Journal(folder, card) as journal:
        schema = schema_of(journal.card)
        for first in range(0, n_rows, PART_ROWS):
            numbers = range(first, min(first + PART_ROWS, n_rows))
            n = len(numbers)
            rng.shuffle(scores)
            vectors = rng.standard_normal((n, size), np.float32)
            if hidden is not None:
                vectors = np.maximum(0, rng.standard_normal((n, hidden), np.float32) @ directions + 0.1 * vectors)
            columns = {
                "path": [f"/music/artist {i // 200}/album {i // 10}/{i:08d}.mp3" for i in numbers],
                "sha256": [f"{i:064x}" for i in numbers],
                "size": np.full(n, 5_000_000),
                "modified": pa.array(np.arange(first, first + n) * 10**9, pa.timestamp("us", "UTC")),
                "duration_s": rng.uniform(100, 400, n),
                "model": ["made"] * n,
                "weights": ["0" * 64] * n,
                "scores": pa.ListArray.from_arrays(
                    np.arange(0, n * len(tags) + 1, len(tags), dtype=np.int32), scores[:n].ravel()
                ),
                **{column: scores[:n, place] for place, column in enumerate(card["columns"].values())},
                "embedding": pa.FixedSizeListArray.from_arrays(vectors.ravel(), size),
                "notes": pa.array([["resampled from 44100 Hz"]] * n),
                "error": pa.array([None] * n, pa.string()),
            }
            journal.commit({journal.new_name(): pa.table([columns[name] for name in schema.names], schema=schema)})
    (folder / "whole").touch()


def ask(kind: str, folder: Path, n_runs: int) -> bool:
    """Ask a catalogue in a fresh process, which prints what that says; give whether a promise was missed."""
    command = [sys.executable, __file__, "--inside", kind, "--folder", str(folder), "--runs", str(n_runs)]
    code = subprocess.run(command, check=False).returncode
    if code not in (0, MISSED):
        sys.exit(code)
    return code == MISSED


def ask_tags(folder: Path, n_runs: int) -> bool:
    """Ask by tags, in turns with plain DuckDB."""
    started = time.perf_counter()
    catalogue = Catalogue(folder)
    list(catalogue.find(QUESTIONS["find, two tags"]))
    print(f"\n{describe(folder)}; the first question {time.perf_counter() - started:.2f} s")
    ours_mb = peak_mb()
    places = [str(part) for part in sorted((folder / "parts").iterdir())]
    connection = duckdb.connect()
    sources = {name: lambda text=text: list(catalogue.find(text)) for name, text in QUESTIONS.items()}
    sources["plain DuckDB, two tags"] = lambda: connection.execute(PLAIN, [places]).fetchall()
    rounds = run_rounds([lambda name=name, call=call: timed(name, call) for name, call in sources.items()], n_runs)
    missed = [tell(name, rounds, MOST_FIND_S if name in QUESTIONS else None) for name in sources]
    beside = ratios(rounds, "find, two tags, CPU", "plain DuckDB, two tags, CPU")
    print(f"to plain DuckDB, CPU: {beside:.2f} times as long")
    print(f"memory at the peak of the first question: {ours_mb:.0f} MB")
    return any(missed)


def ask_sounds(folder: Path, n_runs: int) -> bool:
    """Ask for what sounds alike, in turns with numpy on a matrix in memory."""
    catalogue = Catalogue(folder)
    wanted = np.abs(np.random.default_rng(1).standard_normal(SIZE)).astype(np.float32)
    started = time.perf_counter()
    catalogue.nearest(wanted, n=N, search="exact")
    print(f"\n{describe(folder)}; the first question {time.perf_counter() - started:.2f} s")
    rounds = run_rounds([lambda: timed("similar", lambda: catalogue.nearest(wanted, n=N, search="exact"))], n_runs)
    ours_mb = peak_mb()
    files = sorted((folder / "cache").rglob("*.f32"))
    whole = np.concatenate([np.fromfile(file, np.float32).reshape(-1, SIZE) for file in files])

    def plain() -> object:
        scores = whole @ wanted
        best = np.argpartition(-scores, N)[:N]
        return best[np.argsort(-scores[best])]

    beside = run_rounds(
        [
            lambda: timed("similar", lambda: catalogue.nearest(wanted, n=N, search="exact")),
            lambda: timed("numpy", plain),
        ],
        n_runs,
    )
    missed = tell("similar", rounds, MOST_SIMILAR_S)
    tell("numpy", beside, None)
    print(f"to numpy with all in memory, CPU: {ratios(beside, 'similar, CPU', 'numpy, CPU'):.2f} times as long")
    print(f"memory at the peak: {ours_mb:.0f} MB; numpy's matrix alone takes {whole.nbytes / 1e6:.0f} MB")
    return missed


def ask_index(folder: Path, n_runs: int) -> bool:
    """Build an index in the place of any that is kept, and ask it for what sounds like the first track."""
    for old in (folder / "cache").rglob("index.json"):
        old.unlink()
    with Catalogue(folder) as catalogue:
        path = next(catalogue.find("order by path", limit=1))["path"]
        catalogue.prepare()
        begun = time.process_time()
        catalogue.similar(path, n=N, search="index")
        built_s = time.process_time() - begun
        print(f"\n{folder.name}, {describe(folder)}; index built and measured in {built_s:.0f} s of CPU")
        rounds = run_rounds(
            [
                lambda: timed("index", lambda: catalogue.similar(path, n=N, search="index")),
                lambda: timed("exact", lambda: catalogue.similar(path, n=N, search="exact")),
            ],
            n_runs,
        )
        missed = tell("index", rounds, MOST_SIMILAR_S)
        tell("exact", rounds, None)
        print(f"recall of the ten nearest: {catalogue.index_recall:.3f}; memory at the peak: {peak_mb():.0f} MB")
    return missed


def describe(folder: Path) -> str:
    """Say how large a catalogue is."""
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    parts = {name: facts for line in lines for name, facts in json.loads(line)["put"].items()}
    n_rows = sum(facts["rows"] for facts in parts.values())
    return f"{n_rows:,} rows in {len(parts)} parts, {sum(facts['bytes'] for facts in parts.values()) / 1e9:.1f} GB"


def timed(name: str, call: Callable[[], object]) -> Figures:
    """Time a call once, by the wall clock and in CPU seconds of all threads."""
    started, cpu = time.perf_counter(), time.process_time()
    call()
    return {name: time.perf_counter() - started, f"{name}, CPU": time.process_time() - cpu}


def tell(name: str, rounds: Rounds, most_s: float | None) -> bool:
    """Print a figure, beside what is promised of it; give whether that is missed."""
    spread, cpu = Spread.of(rounds[name]), Spread.of(rounds[f"{name}, CPU"])
    missed = most_s is not None and spread.median >= most_s
    promise = "" if most_s is None else f"; promised: under {most_s:g} s{', missed' if missed else ''}"
    print(f"{name}: {spread:.3f} s, {cpu:.3f} s of CPU{promise}", flush=True)
    return missed


if __name__ == "__main__":
    main()
