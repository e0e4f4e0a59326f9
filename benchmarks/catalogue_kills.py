"""A catalogue under 200 disturbances: after each the run goes on, and what comes out is as if nothing had been.

    python benchmarks/catalogue_kills.py [--disturbances 200] [--seed 0] [--ray-share 0.2] [--files 60]

Catalogues of short made-up files are made over and over. In the midst of a run, at a random moment, one of these
happens: the command is killed (-9), a worker is, an actor of Ray is, or Ray's raylet, which is the machine as Ray sees
it; the disk is full (a small tmpfs where one may be mounted, or else a limit of the size of a file); a second run
begins in the same folder. Between runs a byte of a part is changed,
or the clock goes back a day. Then the command is given again until a catalogue is whole; it is compared with the one
that nobody disturbed: the same rows, each once, scores within 1e-5. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile
from _machine import session_of

from taggram.models import create_model

TOLERANCE = 1e-5
LENGTH_S = 3.5
SAMPLE_RATE = 16_000
LEAST_FILE_BYTES, MOST_ROOM = 2_000, 60_000
DISK_BYTES = 2**26
AT_ONCE = 4, 9  # disturbances of one catalogue
RUN_S = 600  # a run that takes longer hangs
NOTHING_TO_DO = "0 files to tag"  # by a run that came when the first had let go of the folder and was about to end
GONE_S = 180  # in which all processes of a killed run have to be gone; agents of Ray stay for a minute
WAIT_S = 0.02
PART_S = "0.2"
CLOCK_BACK = "import time; _now = time.time; time.time = lambda: _now() - 86400\n"
IN_RUNS = ("driver", "worker", "full disk", "second run")
ON_RAY = ("driver", "worker", "actor", "node")
BETWEEN = ("damaged part", "clock set back")

Row = tuple[str, str | None, tuple[float, ...]]


@dataclass
class Place:
    """Where all lies.

    Attributes:
        folder: of this benchmark.
        n_files: that are catalogued.
        is_disk: whether the catalogue lies on a disk of its own.
        told_in: where each run wrote its standard error.
    """

    folder: Path
    n_files: int
    is_disk: bool = False
    told_in: dict[int, Path] = field(default_factory=dict)

    def make(self) -> None:
        """Write the network and the sound."""
        create_model("vgg", n_tags=5).save(self.folder / "net.safetensors")
        (self.folder / "music").mkdir()
        t = np.arange(round(LENGTH_S * SAMPLE_RATE)) / SAMPLE_RATE
        for n in range(self.n_files):
            soundfile.write(
                self.folder / "music" / f"{n}.flac", 0.3 * np.sin(2 * np.pi * (100 + 20 * n) * t), SAMPLE_RATE
            )
        back = self.folder / "back"
        back.mkdir()
        (back / "sitecustomize.py").write_text(CLOCK_BACK, encoding="utf-8")

    def start(
        self, out: str, runner: str, *, file_bytes: int | None = None, clock_back: bool = False
    ) -> subprocess.Popen[bytes]:
        """Begin a run in a session of its own."""
        words = [
            "catalogue", str(self.folder / "music"), "--out", str(self.folder / out), "--model",
            str(self.folder / "net.safetensors"), "--workers", "2", "--runner", runner, "--part-s", PART_S,
        ]  # fmt: skip
        limit = (
            ""
            if file_bytes is None
            else (f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({file_bytes}, {file_bytes}))\n")
        )
        code = f"{limit}import sys; sys.argv = {['taggram', *words]!r}\nfrom taggram.apps.cli import main\nmain()"
        environment = {**os.environ, **({"PYTHONPATH": str(self.folder / "back")} if clock_back else {})}
        told_in = self.folder / f"told-{secrets.token_hex(4)}.txt"
        with told_in.open("wb") as told:
            process = subprocess.Popen(
                [sys.executable, "-c", code], stderr=told, start_new_session=True, env=environment
            )
        self.told_in[process.pid] = told_in
        return process

    def told(self, process: subprocess.Popen[bytes]) -> str:
        """Give what a run wrote on standard error."""
        return self.told_in[process.pid].read_text(encoding="utf-8", errors="replace")[-2000:]

    def ends_well(self, out: str, runner: str, what: str) -> None:
        """Run to the end, which must go well."""
        process = self.start(out, runner)
        if process.wait(RUN_S) != 0:
            sys.exit(f"{what} ended with {process.returncode}: {self.told(process)}")

    @contextlib.contextmanager
    def disk(self, out: str) -> Iterator[None]:
        """Put a small disk in the place of a catalogue, if this user may, and take all away at the end."""
        folder = self.folder / out
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder]
        self.is_disk = shutil.which("mount") is not None and not subprocess.run(command, check=False).returncode
        try:
            yield
        finally:
            if self.is_disk:
                subprocess.run(["umount", "-l", folder], check=True)
            shutil.rmtree(folder)

    def fill_up(self, out: str, runner: str) -> int:
        """Begin a run on a disk with little room; give 1 if that ended it."""
        room = random.randint(LEAST_FILE_BYTES, MOST_ROOM)
        if not self.is_disk:
            return int(self.start(out, runner, file_bytes=room).wait(RUN_S) != 0)
        usage = shutil.disk_usage(self.folder / out)
        self._resize(out, usage.used + room)
        process = self.start(out, runner)
        code = process.wait(RUN_S)
        self._resize(out, DISK_BYTES)
        return int(code != 0)

    def _resize(self, out: str, n_bytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={n_bytes}", self.folder / out], check=True)

    def rows(self, out: str) -> dict[str, Row]:
        """Read a catalogue as any reader of Parquet would."""
        found = pq.read_table(self.folder / out / "parts").to_pylist()
        rows = {row["path"]: (row["sha256"], row["error"], tuple(row["scores"] or ())) for row in found}
        if len(rows) != len(found):
            sys.exit(f"{len(found) - len(rows)} files have two rows")
        return rows


def main() -> None:
    """Disturb until there were enough disturbances, and compare."""
    parser = argparse.ArgumentParser(
        description="Kill runs of `taggram catalogue` at random, and compare what comes out."
    )
    parser.add_argument("--disturbances", type=int, default=200, metavar="N")
    parser.add_argument("--files", type=int, default=60, metavar="N")
    parser.add_argument("--ray-share", type=float, default=0.2, metavar="SHARE", help="of the catalogues, by Ray")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    args = parser.parse_args()
    random.seed(args.seed)
    happened: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="taggram-kills-") as folder:
        place = Place(Path(folder), args.files)
        place.make()
        begun = time.monotonic()
        place.ends_well("whole", "local", "the run that nobody disturbs")
        whole, alone_s = place.rows("whole"), time.monotonic() - begun
        n_catalogues, worst = 0, 0.0
        while happened.total() < args.disturbances:
            runner = "ray" if random.random() < args.ray_share else "local"
            with place.disk("out"):
                disturbed(place, runner, alone_s, happened, args.disturbances)
                worst = max(worst, difference(whole, place.rows("out")))
            n_catalogues += 1
            kinds = ", ".join(f"{n} x {kind}" for kind, n in sorted((+happened).items()))
            print(f"{n_catalogues} catalogues whole after {happened.total()} disturbances: {kinds}", flush=True)
    print(f"all rows are there once; scores differ by {worst:.1e}; promised: at most {TOLERANCE:.0e}")
    sys.exit(not worst <= TOLERANCE)


def disturbed(place: Place, runner: str, alone_s: float, happened: Counter[str], most: int) -> None:
    """Make a catalogue, disturbed some times."""
    for _ in range(random.randint(*AT_ONCE)):
        if happened.total() >= most:
            break
        kind = (
            random.choice(BETWEEN) if random.random() < 0.2 else random.choice(ON_RAY if runner == "ray" else IN_RUNS)
        )
        if kind == "damaged part":
            happened[kind] += damage(place.folder / "out" / "parts")
        elif kind == "clock set back":
            process = place.start("out", runner, clock_back=True)
            time.sleep(random.uniform(1, alone_s))
            end(process)
            happened[kind] += 1
        elif kind == "full disk":
            happened[kind] += place.fill_up("out", runner)
        else:
            happened[kind] += strike(place, kind, runner, alone_s)
    place.ends_well("out", runner, "the last run")


def strike(place: Place, kind: str, runner: str, alone_s: float) -> int:
    """Begin a run, do something to it at a random moment, and give how often that was."""
    process = place.start("out", runner)
    until = time.monotonic() + random.uniform(0.5, alone_s * (3 if runner == "ray" else 1))
    while time.monotonic() < until and process.poll() is None:
        time.sleep(WAIT_S)
    if process.poll() is not None:
        return 0
    if kind == "driver":
        end(process)
        return 1
    if kind == "second run":
        second = place.start("out", runner)
        refused = second.wait(RUN_S) != 0
        if not refused and process.poll() is None and not has_nothing_to_do(place.told(second)):
            sys.exit(f"two runs wrote into one folder at once:\n{place.told(process)}\n{place.told(second)}")
        process.wait(RUN_S)
        return int(refused)
    name = {"worker": b"taggram.catalogue._worker", "actor": b"ray::", "node": b"raylet/raylet"}[kind]
    victims = [pid for pid in session_of(process.pid) if name in line_of(pid)]
    if not victims:
        process.wait(RUN_S)
        return 0
    os.kill(random.choice(victims), signal.SIGKILL)
    if kind == "node":  # the only machine is gone: Ray may wait for another one for ever
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            end(process)
    else:
        process.wait(RUN_S)
    return 1


def has_nothing_to_do(told: str) -> bool:
    """Tell by what a run wrote whether it tagged nothing."""
    return any(line.startswith(NOTHING_TO_DO) for line in told.splitlines())


def damage(parts: Path) -> int:
    """Change a byte of a part; give 1, or 0 where there is none."""
    found = sorted(parts.glob("*.parquet")) if parts.is_dir() else []
    if not found:
        return 0
    part = random.choice(found)
    data = bytearray(part.read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    part.write_bytes(data)
    return 1


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a command as it is, and see that nothing of it is left after a while."""
    process.kill()
    process.wait()
    until = time.monotonic() + GONE_S
    while session_of(process.pid) and time.monotonic() < until:
        time.sleep(WAIT_S)
    left = session_of(process.pid)
    if left:
        sys.exit(f"left behind: {[line_of(pid).replace(bytes(1), b' ').decode().strip() for pid in left]}")


def line_of(pid: int) -> bytes:
    """Give the command line of a process, or nothing where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def difference(whole: dict[str, Row], found: dict[str, Row]) -> float:
    """Compare two catalogues; give the largest difference of a score."""
    if {path: row[:2] for path, row in whole.items()} != {path: row[:2] for path, row in found.items()}:
        sys.exit(f"{len(found)} rows of {len(whole)}, or others: {sorted(whole.keys() ^ found.keys())[:5]}")
    return max(float(np.abs(np.subtract(whole[path][2], found[path][2])).max()) for path in whole)


if __name__ == "__main__":
    main()
