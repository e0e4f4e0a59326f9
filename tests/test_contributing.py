"""The steps of CONTRIBUTING.md add a network: one file and one line, in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import taggram

GUIDE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
TABLE = "NETWORKS = {  # network: the module that holds it\n"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Run Python with a copy of the package in which the steps were followed."""
    folder = tmp_path_factory.mktemp("copy")
    package = folder / "taggram"
    shutil.copytree(Path(taggram.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    module, line = (textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL))
    (package / "models" / "five_band.py").write_text(module, encoding="utf-8")
    register = package / "models" / "__init__.py"
    text = register.read_text(encoding="utf-8")
    assert TABLE in text
    register.write_text(text.replace(TABLE, f"{TABLE}    {line}"), encoding="utf-8")

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


CREATE = "import taggram, torch; model = taggram.create_model('five_band', n_tags=3, width=8).eval();"
SOUND = "sound = torch.rand(2, model.frontend.n_samples_for(62));"


def test_network_gives_logits(python):
    assert python("-c", f"{CREATE} {SOUND} print(model(sound).shape)") == "torch.Size([2, 3])\n"


def test_network_has_the_parameters_that_its_builder_says(python):
    script = "import taggram; print(sum(p.numel() for p in taggram.create_model('five_band', n_tags=3).parameters()))"
    assert python("-c", script) == re.search(r"Build the example, ([\d,]+) ", GUIDE)[1].replace(",", "") + "\n"


def test_network_is_saved_and_loaded(python):
    script = (
        "model.save('it.safetensors'); print(torch.equal(taggram.load_model('it.safetensors')(sound), model(sound)))"
    )
    assert python("-c", f"{CREATE} {SOUND} {script}") == "True\n"


def test_network_tags(python):
    script = "print(taggram.Tagger(model).tag((sound[0].numpy(), 16_000)).scores.shape)"
    assert python("-c", f"{CREATE} {SOUND} {script}") == "(1, 3)\n"


def test_network_is_listed(python):
    assert re.search(r"^five_band\b", python("-m", "taggram", "models", "five"), re.MULTILINE)


def test_network_has_a_card(python):
    assert "| `conv2.conv` | Conv1d 5, 16 |" in python("-m", "taggram", "models", "five_band")
