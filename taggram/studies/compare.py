"""Compare: any networks on one data set under one protocol: what they reach, what they cost, how quickly they tag.

Source: no paper; the table that each of them would need beside the others.
Differs: not the training of each paper, but the same one for all: Adam, the same rate and as many passes over the
    clips, one random patch of each in a pass, batch norms that take in a tenth of each batch, and the weights of the
    best validation ROC-AUC. So networks with long patches see more sound in a pass, and those with short ones less.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from taggram._checks import check, check_count, is_number
from taggram._files import written_aside
from taggram.errors import ConfigError, TrainingError, unknown_name
from taggram.learning._run_folder import kept_epoch
from taggram.learning.config import FitConfig
from taggram.learning.prepared import PreparedData
from taggram.learning.recipe import Recipe
from taggram.learning.schedules import ScheduleConfig
from taggram.learning.train import build
from taggram.models import NETWORKS, create_model, list_models
from taggram.models._facts import read_listing
from taggram.models._summary import count_flops, patch_s
from taggram.studies._base import GRID, Cell, Row, Study, StudyConfig
from taggram.studies._compare_results import table_of
from taggram.studies._tables import Table
from taggram.studies._tagged_sound import figures_of, fit_cell, open_sound, prepare_sound, score_part
from taggram.studies._worker import cell_path
from taggram.tagger import Tagger, find_device

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from taggram.learning._teller import FitProgress
    from taggram.learning.train import Watcher

ONE_EACH = (  # of every family of the zoo
    "artist_basic",
    "at_scale_spectrogram",
    "at_scale_waveform",
    "bag_network",
    "ballroom_time_frequency",
    "emarkou",
    "few_data_vgg",
    "instrument_han",
    "local_mel",
    "multiscale",
    "musicnn",
    "o_p_net",
    "phoneme_timbre",
    "random_temporal",  # the least memory of them by far
    "rese",
    "samplecnn",
    "samplecnn_mel",
    "syllable_onset",
    "timbre_mtt",
    "vgg",
    "vggish",
)
BASELINE = "musicnn"  # whose speed the others stand beside
TRAIN = "train"  # the cells that train
SOUND_S = 30.0  # of noise, that speed is measured on
N_ROUNDS = 5  # of tagging it, network and baseline in turn
HOUR_S = 3600.0
NORM_MOMENTUM = 0.1
DROPS_AT = (0.6, 0.85)  # of the epochs, after which the rate is a tenth
SECONDS = "seconds.json"


@dataclass(frozen=True, kw_only=True)
class CompareConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        INSTEAD_OF_METHODS: what is said to who names methods.
        networks: which ones, or trained weights, which are trained further; () is one of each family.
        max_epochs: passes over the clips for training.
        lr: first learning rate, a tenth after 60 and again after 85 % of the epochs.
        batch_size: patches a step.
        l2: times the squares of the kernels is added to the loss.

    Raises:
        ConfigError: some value makes no sense.
        UnknownNameError: there is no such network.
    """

    INSTEAD_OF_METHODS: ClassVar[str] = "what is compared is named by networks=a,b"

    networks: tuple[str, ...] = field(default=(), metadata=GRID)
    max_epochs: int = 50
    lr: float = 0.001
    batch_size: int = 16
    l2: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.networks:
            if name not in (*NETWORKS, *list_models()):
                where = "`taggram models` lists them"
                raise unknown_name("network", name, (*NETWORKS, *list_models()), where)
        check(not self.folds, "folds", self.folds, "nothing: the clips have one split, data.split=NAME")
        check_count("max_epochs", self.max_epochs)
        check_count("batch_size", self.batch_size, 2)
        check(is_number(self.lr) and self.lr > 0, "lr", self.lr, "a number above 0")
        check(is_number(self.l2) and self.l2 >= 0, "l2", self.l2, "a number from 0 on")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The networks that are compared."""
        return self.networks or ONE_EACH


class Compare(Study):
    """Scores, cost and speed of networks that were trained in the same way."""

    name = "compare"
    title = "Networks beside each other"
    paper = ""
    paper_data = ()
    config_kind = CompareConfig

    @classmethod
    def prepare(
        cls,
        config: CompareConfig,
        folder: Path,  # noqa: ARG003 (all that is needed is in the cache)
        watcher: Watcher,
        n_workers: int | None,
    ) -> dict[str, Any]:
        """Decode the clips at the rate of each network; see `Study.prepare`."""
        listed = read_listing()
        rates = {name: listed[name.partition(".")[0]].sample_rate for name in config.chosen}
        data = prepare_sound(config.data, rates.values(), watcher, n_workers, parts=("train", "valid", "test"))
        n_train = len(open_sound(data, min(rates.values())).index("train"))
        if n_train < config.batch_size:
            raise ConfigError(f"batch_size is {config.batch_size}, and there are {n_train} clips to learn from.")
        return {**data, "rates": rates}

    def phases(self) -> list[list[Cell]]:
        """List the cells: trainings side by side, then speed, one network after the other on a machine that is free."""
        runs = range(self.config.runs)
        names = self.config.chosen
        train = [Cell(method=name, run=run, details={"part": TRAIN}, is_scored=False) for run in runs for name in names]
        return [train, *([Cell(method=name, run=run)] for run in runs for name in names)]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Train and score a network, or measure how quickly it tags; see `Study.measure`."""
        if not cell.is_scored:
            return self._trained(cell)
        train = Cell(method=cell.method, run=cell.run, details={"part": TRAIN}, is_scored=False)
        kept = cell_path(self.folder, train.key)
        if not kept.exists():
            raise TrainingError(
                f"{cell.method} was not trained, as was said of it before; the same words try it again."
            )
        measured: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        seconds, ratio = tagging_s_per_hour(Tagger(self.files / train.key, device="cpu"))
        return {"network": cell.method, **measured, "tag_s_per_hour": seconds, "tag_beside_musicnn": ratio}

    def _trained(self, cell: Cell) -> dict[str, Any]:
        """Train a network and score it."""
        sound, folder = self.sound(cell.method), self.files / cell.key
        recipe = self.recipe(cell)
        model = build(recipe, sound.tags, "one" if sound.task == "one" else "several")
        clock = _Clock(folder.with_suffix(f".{SECONDS}"))
        trained = fit_cell(model, sound, folder, recipe.fit, device=self.config.device, told=clock.told)
        return {
            **figures_of(score_part(trained.model, sound, device=self.config.device)),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "mflop_per_s": count_flops(model) / patch_s(model) / 1e6,
            "patch_s": patch_s(model),
            "sample_rate": model.frontend.sample_rate,
            "n_epochs": len(trained.history),
            "best_epoch": int(kept_epoch(trained.history, recipe.fit.keep)["epoch"]),
            "train_s": clock.seconds,
            "trained_on": find_device(self.config.device).type,
        }

    # -- what a cell is made of ----------------------------------------------------------------------------------------

    def sound(self, network: str) -> PreparedData:
        """Open the clips at the rate of a network."""
        return open_sound(self.data, self.data["rates"][network])

    def recipe(self, cell: Cell) -> Recipe:
        """Say how a network is trained: all in the same way."""
        config, recipe = self.config, Recipe.load(cell.method)
        drops = tuple(sorted({max(1, round(share * config.max_epochs)) for share in DROPS_AT}))
        fit = FitConfig(
            lr=config.lr,
            batch_size=config.batch_size,
            l2=config.l2,
            max_epochs=config.max_epochs,
            keep="valid_auc",
            keep_memory=True,
            norm_momentum=NORM_MOMENTUM,
            seed=self.seed_of("training", cell.method, cell.run),
            schedule=ScheduleConfig(rule="drops", factor=0.1, at=drops),
        )
        return replace(recipe, fit=fit)

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what the settings are."""
        config = self.config
        rate = f"Adam with rate {config.lr:g}, batches of {config.batch_size}"
        return [
            f"Epochs of one random patch a clip, {config.max_epochs} at most, {rate}.",
            "The weights of the best validation ROC-AUC are scored.",
            "Training was timed beside the other trainings, one core each, or all on one GPU.",
            "Tagging was timed on one core by itself, in turn with musicnn.",
            "A clip that is shorter than a patch is heard repeated.",
        ]

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the table."""
        return [table_of(rows)]

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw what networks reach against what they cost."""
        from taggram.studies._compare_pictures import draw_costs

        return {"accuracy_and_cost": draw_costs(rows, f"Networks beside each other, on {self.data_facts()['title']}")}


def tagging_s_per_hour(tagger: Tagger, *, sound_s: float = SOUND_S, n_rounds: int = N_ROUNDS) -> tuple[float, float]:
    """Measure how quickly a network tags, from samples at its rate on.

    Network and baseline, an untrained musicnn, tag the same noise in turn, so that what else the machine does meets
    both.

    Args:
        tagger: the network.
        sound_s: length of the noise in seconds.
        n_rounds: so often.

    Returns:
        Seconds for an hour of sound, the median, and how many times those of the baseline they are, the median of the
        ratios.
    """
    baseline = create_model(BASELINE, n_tags=50).eval()
    baseline.tags = tuple(f"tag {number}" for number in range(50))
    taggers = {"network": tagger, BASELINE: Tagger(baseline, device="cpu")}
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, round(sound_s * 48_000)).astype(np.float32)
    rates = {name: one.model.frontend.sample_rate for name, one in taggers.items()}
    sounds = {name: noise[: round(sound_s * rate)] for name, rate in rates.items()}
    seconds: dict[str, list[float]] = {name: [] for name in taggers}
    for round_number in range(n_rounds + 1):
        for name, one in taggers.items():
            started_s = time.perf_counter()
            one.tag((sounds[name], rates[name]))
            if round_number:  # the first makes the tagger ready
                seconds[name].append(time.perf_counter() - started_s)
    ratios = [mine / other for mine, other in zip(seconds["network"], seconds[BASELINE])]
    return statistics.median(seconds["network"]) * HOUR_S / sound_s, statistics.median(ratios)


class _Clock:
    """Counts the seconds of a training, of epochs that are kept alone, also over a kill.

    Args:
        path: where they are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._since_s = time.monotonic()
        self.seconds = 0.0
        if path.exists():
            self.seconds = float(json.loads(path.read_text(encoding="utf-8"))["seconds"])

    def told(self, progress: FitProgress) -> None:
        """Count at the end of an epoch."""
        if progress.figures is None:
            return
        now_s = time.monotonic()
        self.seconds += now_s - self._since_s
        self._since_s = now_s
        with written_aside(self._path) as aside:
            aside.write_text(json.dumps({"seconds": self.seconds}), encoding="utf-8")
