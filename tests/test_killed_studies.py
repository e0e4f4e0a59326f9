"""Every study of tagged sound is killed, and goes on without doing a finished cell again."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from pathlib import Path

import pytest

from tests.conftest import wait_until

PAGES = Path(__file__).parents[1] / "docs" / "studies"
KILLED_AT = {  # so many cells are finished when it is killed
    "artist": 6, "at_scale": 3, "bag_of_features": 5, "compare": 2, "label_reduction": 1, "multilevel": 8,
    "multiscale": 1, "rese": 1, "sample_level": 1,
}  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not hasattr(os, "killpg"), reason="processes are killed in groups"),
]


def first_look(name, out):
    """The words of the command that the page of a study gives for a first look."""
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    command = re.search(r"## A first look\n\n((?:    .*\n)+)", page)[1].replace("\\\n", " ")
    words = shlex.split(command)
    return [*(f"out={out}" if word == "out=look" else word for word in words[1:]), "--workers", "1"]


def cells_of(out):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (out / "cells").glob("*.json")}


@pytest.mark.parametrize("name", KILLED_AT)
def test_killed_study_goes_on_without_doing_a_finished_cell_again(name, run_taggram, started, tmp_path):
    words = first_look(name, tmp_path / "run")
    process = started(*words)
    assert wait_until(lambda: len(cells_of(tmp_path / "run")) >= KILLED_AT[name], 900)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = cells_of(tmp_path / "run")
    done = run_taggram(*words, within_s=900)
    assert done.returncode == 0, done.stderr
    after = cells_of(tmp_path / "run")
    assert {path: after[path] for path in finished} == finished
    assert len(after) > len(finished), "it was killed too late"
    assert json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["cells"]
