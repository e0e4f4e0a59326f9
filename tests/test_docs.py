"""What the documents say to type works as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from _at_hand import needs_weights
from _made_sounds import write_set
from _taught import write_examples
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
COMMANDS = re.findall(r"^    \$ (.+?)(?:  +#.*)?$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with the files that the documents name."""
    home = tmp_path_factory.mktemp("home")
    noise = 0.1 * np.random.default_rng(0).standard_normal((4 * 44_100, 2))
    (home / "Music").mkdir()
    for name in ("song.mp3", "mix.flac", "Music/one.wav", "Music/two.ogg"):
        soundfile.write(home / name, noise, 44_100)
    write_set(home / "sounds")
    write_examples(home / "samples", 2)
    soundfile.write(home / "three.opus", noise[:, 0], 48_000, format="OGG", subtype="OPUS")
    return home


def python_blocks(document):
    return "\n".join(
        re.findall(r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    )


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if python_blocks(d)], ids=lambda d: d.name)
@needs_weights("musicnn.mtt", "musicnn.msd")
def test_python_of_a_document_runs(document, home, monkeypatch):
    monkeypatch.chdir(home)
    samples, sample_rate = soundfile.read("song.mp3", dtype="float32")
    names = {"samples": samples, "sample_rate": sample_rate, "paths": ["song.mp3", "missing.mp3"]}
    exec(compile(python_blocks(document), document.name, "exec"), names)
    if "tagger" in names:
        names["tagger"].close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="the commands are for a shell")
@pytest.mark.parametrize("command", COMMANDS)
@needs_weights("musicnn.mtt")
def test_command_of_the_readme_runs(command, home):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    weights = os.environ.get("TAGGRAM_HOME") or str(Path("~/.cache/taggram").expanduser())
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=home,
        env={**os.environ, "HOME": str(home), "PATH": path, "TAGGRAM_HOME": weights},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_links_of_a_document_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def requirements():
    """All that the project asks for, with and without extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    asked_for = [Requirement(line) for group in groups for line in group]
    return [one for one in asked_for if one.name != "taggram"]  # the extra of extras names this package


def test_dependencies_are_all_explained():
    explained = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert [one.name for one in requirements() if not re.search(rf"\b{re.escape(one.name)}\b", explained)] == []


def test_tested_set_meets_the_lower_bounds():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    wrong = [str(one) for one in requirements() if not one.specifier.contains(tested[canonicalize_name(one.name)])]
    assert wrong == []


def test_readme_names_the_demo_and_the_tests():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert shlex.split("make demo")[1] in text
    assert "make test" in text
