"""What several test files share: the command line as a real process, and weights that may not be at hand."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one process a core: more threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from taggram.models import load_card
from taggram.models._weights import is_cached

MODEL = "musicnn.mtt"
COMMAND = (sys.executable, "-m", "taggram")
WITHIN_S = 120


@dataclass(frozen=True)
class Run:
    """A process that has ended; bytes that are no UTF-8 are surrogate escapes, as in paths."""

    returncode: int
    stdout: str
    stderr: str


RunTaggram = Callable[..., Run]


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of a module's own, empty at first: `pytestmark = pytest.mark.usefixtures("own_cache")`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAGGRAM_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def run_taggram() -> RunTaggram:
    """Run `taggram ...` as a process of its own."""

    def run(*arguments: str | os.PathLike[str], stdin: bytes = b"", within_s: float = WITHIN_S, **options: Any) -> Run:
        done = subprocess.run(
            [*COMMAND, *arguments], input=stdin, timeout=within_s, check=False,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )  # fmt: skip
        return Run(done.returncode, os.fsdecode(done.stdout or b""), os.fsdecode(done.stderr or b""))

    return run


@pytest.fixture(scope="session")
def weights() -> str:
    """Name of a model whose weights are at hand; the test skips where they are not."""
    if not is_cached(load_card(MODEL)):
        pytest.skip(f"the weights of {MODEL} are not at hand: taggram models get {MODEL}")
    return MODEL


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `taggram ...` in a session of its own and go on; what is left of it at the end is killed."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str | os.PathLike[str]) -> subprocess.Popen[bytes]:
        processes.append(
            subprocess.Popen(
                [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()
        for pid in session_of(process.pid):
            with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)


def session_of(leader: int) -> list[int]:
    """List the processes of a session that are still there, without those that only wait to be counted."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = place.joinpath("stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it ended just now
            continue
        if int(session) == leader and state != "Z":
            found.append(int(place.name))
    return found


def open_files(folder: Path) -> list[str]:
    """What this process has open of a folder; other threads open and close what they like meanwhile."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed just now
            found.append(str(path.readlink()))
    return [place for place in found if place.startswith(str(folder))]


def wait_until(holds: Callable[[], Any], within_s: float = WITHIN_S) -> bool:
    """Wait until something holds; give whether it does."""
    end = time.monotonic() + within_s
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return bool(held)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window; the test skips where it, or playwright, is not installed."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright, which drives a browser, is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium: `make browser` installs Debian's")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    microphone = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with driver.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=quiet + microphone)
        yield opened
        opened.close()
