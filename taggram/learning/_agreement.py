"""What processes that train together must have in common, looked at before the first step.

Each decides by what it sees: whether there is a checkpoint, and which patch comes when. Where they see different things
they would train on without a word, and what comes of it would be wrong.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
from lightning.pytorch.callbacks import Callback

import taggram
from taggram._files import ASIDE
from taggram.errors import TrainingError, printable
from taggram.learning._ranks import Ranks
from taggram.learning._run_folder import MAY_CHANGE
from taggram.learning.augment import AugmentConfig
from taggram.learning.config import FitConfig
from taggram.learning.system import gathered

if TYPE_CHECKING:
    from taggram.learning.prepared import PreparedData

OF_DATA = ("tags", "task", "sample_rate", "split_sha256", "files")  # on the card: what patches and labels follow from
SEEN_S = 20.0  # so long may a disk take until it shows a machine what another one has written
LOOK_S = 0.2
IN_WORDS = {
    "version": "another version of taggram",
    "fit": "other settings under fit",
    "augment": "other settings under augment",
    "data": "other prepared data",
    "checkpoint": "another checkpoint in {folder}, or none,",
}


class Agreement(Callback):
    """Refuses a training whose processes do not see the same, in all of them.

    Args:
        folder: of the run.
        last: the checkpoint that this process would go on from; None begins anew.
        facts: of this process, by the names of `IN_WORDS`; see `facts_of`.
        ranks: the processes.
    """

    def __init__(self, folder: Path, last: Path | None, facts: dict[str, str], ranks: Ranks) -> None:
        self._folder, self._ranks = folder, ranks
        self._facts = {**facts, "checkpoint": "" if last is None else _digest(last.read_bytes())}

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Compare, as soon as the processes can talk to each other.

        Args:
            trainer: what trains.
            pl_module: the network.
            stage: of the trainer.

        Raises:
            TrainingError: some process sees something else than the first.
        """
        where = printable(str(self._folder))
        of_all = gathered((socket.gethostname(), self._facts))
        host, first = of_all[0]
        for rank, (other_host, facts) in enumerate(of_all):
            for name, words in IN_WORDS.items():
                if facts[name] != first[name]:
                    raise TrainingError(
                        f"process {rank} on {printable(other_host)} has {words.format(folder=where)} than process 0 on "
                        f"{printable(host)}; give all the same command, and out=DIR and data on disks that all see."
                    )
        blind = [rank for rank, sees in enumerate(gathered(self._sees_the_folder())) if not sees]
        if blind:
            raise TrainingError(
                f"process {blind[0]} on {printable(of_all[blind[0]][0])} does not see what process 0 on "
                f"{printable(host)} writes into {where}; name an out=DIR on a disk that all machines see."
            )

    def _sees_the_folder(self) -> bool:
        """Whether this process sees a file that the first one writes into the folder of the run."""
        name = gathered(f"{ASIDE}{secrets.token_hex(8)}" if self._ranks.is_first else "")[0]
        path = self._folder / name
        if self._ranks.is_first:
            path.touch()
        gathered(None)  # it is written now
        until = time.monotonic() + SEEN_S
        while not (is_there := path.exists()) and time.monotonic() < until:
            time.sleep(LOOK_S)
        gathered(None)  # all have looked
        if self._ranks.is_first:
            path.unlink()
        return is_there


def facts_of(data: PreparedData, config: FitConfig, augment: AugmentConfig, *, use_features: bool) -> dict[str, str]:
    """Give what the numbers of a training follow from, short enough to be sent around.

    Args:
        data: the prepared data.
        config: how to train.
        augment: changes of the patches.
        use_features: whether the network is fed with features.

    Returns:
        A word or hash for each name of `IN_WORDS` but the checkpoint.
    """
    fit = {name: value for name, value in config.to_dict().items() if ("fit", name) not in MAY_CHANGE}
    card = {name: data.card.get(name) for name in OF_DATA}
    rows = b"".join(data.index(part).tobytes() for part in ("train", "valid"))
    return {
        "version": taggram.__version__,
        "fit": _digest(_text(fit)),
        "augment": _digest(_text(augment.to_dict())),
        "data": _digest(_text([card, use_features]) + rows),
    }


def _text(facts: Any) -> bytes:
    return json.dumps(facts, sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
