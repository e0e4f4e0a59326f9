"""Phonemes: filters shaped for timbre beside small squares, a perceptron and Gaussians, on frames of jingju singing.

Source: Pons, Slizovskaia, Gong, Gómez and Serra, "Timbre analysis of music audio signals with convolutional neural
    networks", EUSIPCO 2017, arXiv 1703.06697, the experiment on jingju; the code of github.com/ronggong/EUSIPCO2017.
Differs: the test is that of the split that is trained on; the source's scripts train on one split and score on the
    other, of which they have heard most. Frames for the test are labelled as those for training, from round(100 start)
    to round(100 end); there, by the rounded durations of the phonemes of a syllable. There is one gain of the logarithm
    for both. The perceptron is tested on what it was trained on. Epochs without improvement count when a network is
    trained again. See `taggram/models/phoneme.py` for the networks.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import torch

from taggram._checks import check, check_choice, check_count
from taggram.frontends import MFCCConfig
from taggram.learning.frame_examples import FrameExamples, PaddedFrames, fit_on_all
from taggram.learning.mixtures import ClassMixtures, with_differences
from taggram.learning.patch_fit import scores_of
from taggram.learning.recipe import Recipe
from taggram.models import create_model
from taggram.models._contract import TaggingModel
from taggram.models._essentia_mel import JINGJU_MEL
from taggram.models.phoneme import ROLES
from taggram.studies._base import GRID, Cell, Claim, Row, Study, StudyConfig, of_method
from taggram.studies._phoneme_data import CLASSES, SungRecording, Whole, load_recordings, prepare_recordings
from taggram.studies._recording_frames import keep_frames, load_array
from taggram.studies._tables import Table, percent
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.learning.train import Watcher

Split = Literal["S", "P"]

PROPOSED, GMM, FRAMES = "timbre", "gmm", "frames"
NETWORKS = (PROPOSED, "small_rectangular", "mlp")
N_PARAMETERS = {  # of the paper's networks, counted
    (PROPOSED, "dan"): 222_557, (PROPOSED, "laosheng"): 222_557,
    ("small_rectangular", "dan"): 221_153, ("small_rectangular", "laosheng"): 221_153,
    ("mlp", "dan"): 481_391, ("mlp", "laosheng"): 430_379,
}  # fmt: skip
MFCC = MFCCConfig(n_mfcc=13, mel=dataclasses.replace(JINGJU_MEL, n_mels=40, compression="db", gain=None, eps=1e-10))
AT_ONCE = 4096  # patches that are cut at once for the test


@dataclass(frozen=True, kw_only=True)
class PhonemesConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        METHODS: all methods that the study knows.
        split: "S" or "P", two ways to divide the recordings; nothing is ever trained on one and tested on the other.
        roles: "dan", "laosheng", or both, which are modelled apart.
        max_epochs: at most; 0 is as published: 51 of dan and 54 of laosheng with timbre filters, 500 of the others.
        density: times the smallest number of timbre filters.
        n_components: Gaussians of a class.
        n_phrases: of made-up singing, a fifth of them for the test.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = (*NETWORKS, GMM)

    split: Split = "S"
    roles: tuple[str, ...] = field(default=tuple(ROLES), metadata=GRID)
    max_epochs: int = 0
    density: int = 4
    n_components: int = 40
    n_phrases: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("split", self.split, get_args(Split))
        fits = bool(self.roles) and all(role in ROLES for role in self.roles)
        check(fits, "roles", self.roles, f"some of {', '.join(ROLES)}")
        check_count("max_epochs", self.max_epochs, 0)
        check_count("density", self.density)
        check_count("n_components", self.n_components)
        check_count("n_phrases", self.n_phrases, 4)


class Phonemes(Study):
    """Accuracy on frames, by the shape of the filters."""

    name = "phonemes"
    title = "Phonemes of a cappella singing, by timbre filters and others"
    paper = "Pons, Slizovskaia, Gong, Gomez and Serra, EUSIPCO 2017"
    paper_data = ("jingju",)
    config_kind = PhonemesConfig
    published = tuple(
        {"method": method, "role": role, "n_parameters": n, "source": "counted in the networks of the source"}
        for (method, role), n in N_PARAMETERS.items()
    )

    @classmethod
    def prepare(
        cls,
        config: PhonemesConfig,
        folder: Path,
        watcher: Watcher,
        n_workers: int | None,  # noqa: ARG003 (nothing is decoded here)
    ) -> dict[str, Any]:
        """Read the annotations, or make singing up; see `Study.prepare`."""
        check(not config.folds, "folds", config.folds, "nothing: split=S or split=P says which split")
        return prepare_recordings(
            config.data, folder, watcher,
            split=config.split, roles=config.roles, n_phrases=config.n_phrases, seed=config.seed,
        )  # fmt: skip

    def phases(self) -> list[list[Cell]]:
        """List the cells: spectrograms, then a method on a role each."""
        frames = [
            Cell(method=FRAMES, details={"recording": number}, is_scored=False)
            for number, one in enumerate(self.recordings)
            if one.role in self.config.roles
        ]
        scored = [
            Cell(method=method, run=run, details={"role": role})
            for run in range(self.config.runs)
            for role in self.config.roles
            for method in self.config.methods or self.config.METHODS
        ]
        return [frames, scored]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Do a cell; see `Study.measure`."""
        if cell.method == FRAMES:
            number = int(cell.details["recording"] or 0)
            audio = self.recordings[number].audio
            keep_frames(self._path(number, GMM), audio, MFCC)
            return {"n_frames": keep_frames(self._path(number, PROPOSED), audio, JINGJU_MEL)}
        role = str(cell.details["role"])
        found = self._by_gaussians(cell, role) if cell.method == GMM else self._by_network(cell, role)
        labels, classes, facts = found
        counts = np.bincount(labels, minlength=len(CLASSES))
        confusion = np.zeros((len(CLASSES), len(CLASSES)), int)
        np.add.at(confusion, (labels, classes), 1)
        return {
            "accuracy": float((labels == classes).mean()),
            "common_accuracy": float(counts.max() / len(labels)),
            "n_test": len(labels),
            **facts,
            "confusion": confusion.tolist(),  # a row a class of the frames, a column a class that was answered
        }

    def _by_network(self, cell: Cell, role: str) -> tuple[Whole, Whole, dict[str, int]]:
        """Train a network; give the labels of the test, the answers, and facts of the training."""
        device = find_device(self.config.device)
        recipe = Recipe.load(f"phoneme_{cell.method}_{role}")
        fit = dataclasses.replace(
            recipe.fit,
            max_epochs=self.config.max_epochs or recipe.fit.max_epochs,
            seed=self.seed_of("training", cell.key),
        )
        options = {**recipe.options, **({"density": self.config.density} if cell.method == PROPOSED else {})}

        def create(purpose: str) -> TaggingModel:
            torch.manual_seed(self.seed_of("weights", cell.key, purpose))
            model = create_model(recipe.network, n_tags=len(CLASSES), **options)
            model.tags = CLASSES
            return model

        valid_share = (
            0.0 if cell.method == PROPOSED else recipe.fit.valid_share
        )  # the proposed one has its epochs given
        patch_frames = create("size").frontend.n_frames
        examples = self.examples(role, "train", patch_frames)
        model, n_epochs = fit_on_all(create, examples, fit, valid_share=valid_share, device=device)
        model.save(self.files / f"{cell.key}.safetensors")
        tests = self.examples(role, "test", patch_frames)
        answers = [
            scores_of(model, tests.frames.patches(places), device=device).argmax(1)
            for places in torch.split(tests.places, AT_ONCE)
        ]
        facts = {
            "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
            "n_epochs": n_epochs,
            "n_train": len(examples),
        }
        return tests.labels.numpy(), torch.cat(answers).numpy(), facts

    def _by_gaussians(self, cell: Cell, role: str) -> tuple[Whole, Whole, dict[str, int]]:
        """Fit the mixtures; give the labels of the test, the answers, and facts."""
        features, labels = self._cepstra(role, "train")
        mixtures = ClassMixtures(len(CLASSES), self.config.n_components, self.seed_of("mixtures", cell.key))
        tests, there = self._cepstra(role, "test")
        answers = mixtures.fit(features, labels).predict(tests)
        return there, answers, {"n_parameters": 0, "n_epochs": 0, "n_train": len(labels)}

    # -- what a cell is made of ----------------------------------------------------------------------------------------

    @functools.cached_property
    def recordings(self) -> list[SungRecording]:
        """All recordings."""
        return load_recordings(self.folder / self.data["recordings"])

    def examples(self, role: str, part: str, patch_frames: int = JINGJU_MEL.n_frames) -> FrameExamples:
        """Give the annotated frames of a role with their classes.

        Args:
            role: "dan" or "laosheng".
            part: "train" or "test".
            patch_frames: of the patches around them.

        Returns:
            The frames, recording by recording.
        """
        numbers = self._numbers(role, part)
        frames = PaddedFrames([load_array(self._path(number, PROPOSED)) for number in numbers], patch_frames)
        places, labels = [], []
        for place, number in enumerate(numbers):
            there, classes = self.recordings[number].labels(int(frames.lengths[place]))
            places.append(frames.places(place, there))
            labels.append(classes)
        return FrameExamples(
            frames, torch.from_numpy(np.concatenate(places)), torch.from_numpy(np.concatenate(labels)), len(CLASSES)
        )

    def _cepstra(self, role: str, part: str) -> tuple[np.ndarray[Any, np.dtype[np.float64]], Whole]:
        """Give the cepstra of the annotated frames of a role, with their differences, and their classes."""
        features, labels = [], []
        for number in self._numbers(role, part):
            whole = with_differences(load_array(self._path(number, GMM)))
            there, classes = self.recordings[number].labels(len(whole))
            features.append(whole[there])
            labels.append(classes)
        return np.concatenate(features), np.concatenate(labels)

    def _numbers(self, role: str, part: str) -> list[int]:
        return [number for number, one in enumerate(self.recordings) if (one.role, one.part) == (role, part)]

    def _path(self, number: int, of: str) -> Path:
        return self.files / ("cepstra" if of == GMM else "frames") / f"{number:03}.npy"

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what the settings are."""
        config = self.config
        others = "first on 80 % of the frames, to find out for how long, then anew on all of them"
        told = [
            f"Split {config.split}; accuracy is the share of the annotated frames of 10 ms that are named right.",
            f"Timbre filters are trained for a given number of epochs; the other networks {others}.",
        ]
        return told + ([f"At most {config.max_epochs} epochs."] if config.max_epochs else [])

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the table of methods."""
        roles = list(dict.fromkeys(row["role"] for row in rows))
        methods = list(dict.fromkeys(row["method"] for row in rows))
        if not rows:
            return []
        columns = [
            "method",
            *[f"{role}{what}" for role in roles for what in (", %", ", parameters", ", parameters of the paper")],
        ]
        lines = []
        for method in methods:
            line = [method]
            for role in roles:
                there = of_method(rows, method, role=role)
                ours = f"{there[0]['n_parameters']:,}" if there and there[0]["n_parameters"] else "-"
                published = N_PARAMETERS.get((method, role))
                line += [percent([row["accuracy"] for row in there]), ours, f"{published:,}" if published else "-"]
            lines.append(line)
        common = ["most frequent class of the test"]
        for role in roles:
            level = next(row["common_accuracy"] for row in rows if row["role"] == role)
            common += [percent([level]), "-", "-"]
        note = "The accuracies of the paper are not at hand, so none is quoted."
        return [Table("Frames named right", columns, [*lines, common], note)]

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold the timbre filters against the others."""
        roles = list(dict.fromkeys(row["role"] for row in rows))
        claims = []
        for role in roles:
            means = {
                method: 100 * float(np.mean([row["accuracy"] for row in found]))
                for method in self.config.METHODS
                if (found := of_method(rows, method, role=role))
            }
            others = {method: mean for method, mean in means.items() if method != PROPOSED}
            is_measured = len(means) == len(self.config.METHODS)
            common = 100 * max(row["common_accuracy"] for row in rows if row["role"] == role)
            figures = ", ".join(f"{method} {mean:.1f} %" for method, mean in means.items())
            claims.append(
                Claim(
                    f"Timbre filters name more frames of {role} right than the others",
                    means[PROPOSED] > max(*others.values(), common) if is_measured else None,
                    f"{figures}; the most frequent class {common:.1f} %." if is_measured else "",
                )
            )
        return claims

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw the accuracies, and which phonemes the timbre filters take for which."""
        from taggram.learning._pictures import draw_confusion
        from taggram.studies._pictures import draw_bars

        roles = list(dict.fromkeys(row["role"] for row in rows))
        methods = list(dict.fromkeys(row["method"] for row in rows))
        series = {
            method: [[row["accuracy"] for row in of_method(rows, method, role=role)] for role in roles]
            for method in methods
        }
        level = {f"most frequent class, {row['role']}": row["common_accuracy"] for row in rows}
        figures = {"accuracy": draw_bars(roles, series, title=f"Phonemes, {self.data_facts()['title']}", lines=level)}
        for role in roles:
            found = of_method(rows, PROPOSED, role=role) or of_method(rows, methods[0], role=role)
            if found:
                pooled = np.sum([row["confusion"] for row in found], axis=0)
                there = np.flatnonzero(pooled.sum(0) + pooled.sum(1))
                names = [CLASSES[number] for number in there]
                figures[f"confusion_{role}"] = draw_confusion(pooled[np.ix_(there, there)], names)
        return figures
