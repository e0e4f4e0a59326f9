"""Other software that tags the same files: a program in a process of another Python, which takes turns with ours."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np

from taggram.audio import Samples
from taggram.errors import ConfigError, TaggramError, printable
from taggram.models import load_card

PEER_USER = "musicnn, as called"
PEER_KEPT = "musicnn, kept session"
CPU = ", CPU"  # what the name of a figure ends with where it is CPU seconds

PEER_RECIPE = """\
An environment with the original musicnn is made by (Python 3.11):
    python3.11 -m venv peer
    peer/bin/pip install 'setuptools<81' tensorflow-cpu==2.15.1 'numpy<2' librosa==0.10.2 soundfile
    peer/bin/pip install --no-deps musicnn==0.1.0
and used by: taggram bench --peer peer/bin/python"""


@dataclass(frozen=True)
class PeerProgram:
    """What is run beside ours.

    Attributes:
        name: of the software, as in "NAME cannot tag it".
        script: a file that calls `_peer_loop.answer_paths`.
        arguments: of the script.
        figures: for each way that the script measures, the name of its figure.
        recipe: how an environment that can run it is made.
    """

    name: str
    script: Path
    arguments: tuple[str, ...]
    figures: Mapping[str, str]
    recipe: str


def original_name(model: str) -> str:
    """Say what the package of the original musicnn calls a model.

    Args:
        model: "network.weights".

    Returns:
        Its name there, such as "MTT_musicnn".

    Raises:
        ConfigError: the package has no such model.
    """
    card = load_card(model)
    if card.wheel is None:
        raise ConfigError(f"the package of the original musicnn holds no weights for {model}.")
    return PurePosixPath(card.data_file.member).parent.name


def original_program(model: str) -> PeerProgram:
    """Give the original musicnn, called in two ways, see `_peer_musicnn.py`.

    Args:
        model: "network.weights".

    Returns:
        The program.

    Raises:
        ConfigError: its package has no such model.
    """
    return PeerProgram(
        "the original musicnn", Path(__file__).with_name("_peer_musicnn.py"), (original_name(model),),
        {"user": PEER_USER, "kept": PEER_KEPT}, PEER_RECIPE,
    )  # fmt: skip


class Peer:
    """Other software in a process of another Python, kept alive so that its rounds take turns with ours.

    To be used in a `with` statement.

    Args:
        python: the Python of an environment that has it.
        program: what it runs.

    Raises:
        TaggramError: it cannot be started.
    """

    def __init__(self, python: Path | str, program: PeerProgram) -> None:
        self._program = program
        self.scores: dict[str, dict[str, Samples]] = {}
        """For each figure whose way gives scores, those of each path, (patches, tags)."""
        self._told = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        # Isolated: no module of ours may stand in for one of its own.
        command = [str(python), "-I", str(program.script), *program.arguments]
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._told, env=quiet, encoding="utf-8"
            )
        except OSError as error:
            self._told.close()
            raise TaggramError(f"{printable(str(python))}: {error.strerror or error}.\n{program.recipe}") from error
        try:
            self._receive()
        except EOFError as error:
            self.close()
            raise TaggramError(
                f"{printable(str(python))} cannot run {program.name}: {error}.\n{program.recipe}"
            ) from error
        except BaseException:
            self.close()
            raise

    def measure(self, paths: Sequence[str]) -> dict[str, float]:
        """Tag files in every way, and keep the scores.

        Args:
            paths: the files.

        Returns:
            Seconds a file by the figure of each way, and CPU seconds by that with `CPU` at its end.

        Raises:
            TaggramError: it failed.
        """
        figures: dict[str, float] = {}
        answers = {path: self._ask(path) for path in paths}
        for way, figure in self._program.figures.items():
            measured = {path: answer[way] for path, answer in answers.items()}
            figures[figure] = sum(one["s"] for one in measured.values()) / len(paths)
            figures[figure + CPU] = sum(one["cpu_s"] for one in measured.values()) / len(paths)
            if all(one["scores"] is not None for one in measured.values()):
                self.scores[figure] = {path: np.asarray(one["scores"], np.float32) for path, one in measured.items()}
        return figures

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._told.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(self, path: str) -> dict[str, Any]:
        try:
            assert self._process.stdin is not None  # noqa: S101  # it is a pipe
            self._process.stdin.write(json.dumps(path) + "\n")
            self._process.stdin.flush()
            answer = self._receive()
        except (OSError, EOFError) as error:
            raise TaggramError(f"{printable(path)}: {self._program.name} ended: {error}.") from error
        if "error" in answer:
            raise TaggramError(f"{printable(path)}: {self._program.name} cannot tag it: {answer['error']}.")
        return answer

    def _receive(self) -> dict[str, Any]:
        """Read one answer, or raise EOFError with the last line that the process said."""
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._told.seek(0)
        said = self._told.read().decode(errors="replace").strip()
        raise EOFError(printable(said.rpartition("\n")[2].rstrip(".")) or "it said nothing")
