"""Jingju: where the syllables of sung phrases begin, found by a CNN that knows the score and by one that does not.

Source: Pons, Gong and Serra, "Score-informed syllable segmentation for a cappella singing voice with convolutional
    neural networks", ISMIR 2017, arXiv 1707.03544; the code of github.com/ronggong/jingjuSyllabicSegmentaion.
Differs: validation frames weigh as those that are trained on, which the source leaves open. `weighting` is that of the
    proposed networks; the baseline has weights of the classes alone, as in the source. The methods without score need
    peak picking, which is no part of the paper's: there are the two ways of a later state of the code. For the data see
    `_phrases.py`, for the front-end `taggram/models/_essentia_mel.py`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from taggram._checks import check, check_choice, check_count
from taggram._files import written_aside
from taggram.errors import DatasetError, TrainingError, printable
from taggram.learning.config import FitConfig
from taggram.learning.frame_examples import FrameExamples, PaddedFrames, fit_on_all
from taggram.learning.onset_decoding import (
    FUSIONS,
    HOP_S,
    PICKERS,
    boundaries_of_score,
    decode_with_score,
    fuse,
    scale_durations,
    smooth,
)
from taggram.learning.onset_labels import N_CLASSES, Resolve, Weighting, label_onsets, weigh
from taggram.learning.onset_scores import TOLERANCE_S, TOLERANCES_S, Segments, onset_f_measure
from taggram.learning.patch_fit import scores_of
from taggram.learning.schedules import ScheduleConfig
from taggram.models import create_model
from taggram.models._contract import TaggingModel
from taggram.models._essentia_mel import JINGJU_MEL
from taggram.models.syllable_onset import WIDTHS, Dropout
from taggram.studies._base import Cell, Claim, Row, Study, StudyConfig, of_method
from taggram.studies._jingju_data import prepare_phrases
from taggram.studies._jingju_results import SHOWN, claims_of, count_all, grouped, tables_of, way_of
from taggram.studies._phrases import Phrase, Recording, load_recordings, write_lab
from taggram.studies._recording_frames import frame_at, keep_frames, load_array
from taggram.studies._tables import Table
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.learning.train import Watcher

NETWORKS: Mapping[str, tuple[str, dict[str, Any]]] = {  # by method: the network and its options
    "temporal": ("syllable_onset", {"kind": "temporal"}),
    "timbral": ("syllable_onset", {"kind": "timbral"}),
    "schluter": ("syllable_onset_schluter", {}),
}
FUSED = ("temporal", "timbral")
FUSION, SCORE_ONLY = "fusion", "score_only"
WAYS: tuple[dict[str, Any], ...] = ({"score": True}, *[{"score": False, "picker": name} for name in PICKERS])
FRAMES, TRAIN = "frames", "train"  # cells that make what others need
VALID_SHARE = 0.2
BATCH_SIZE, L2 = 128, 1e-5
FIT = FitConfig(loss="cross_entropy", lr=0.001, eps=1e-8, l2=L2, l2_of="trunk_kernels", batch_size=BATCH_SIZE)

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class JingjuConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        METHODS: all methods that the study knows.
        filters: of the second layer of the proposed networks, 32 or 20.
        dropout: of these: "released", as in the model files, or "dense_only", as in the training scripts.
        weighting: how frames count that the proposed networks are trained on: by their distance from an onset
            ("sample"), so that both classes count alike ("class"), or both ("product").
        resolve: what frames are that lie near to several onsets; see `label_onsets`.
        fusion: how two onset functions become one; see `FUSIONS`.
        max_epochs: at most.
        patience: epochs without a better validation loss after which the first training ends.
        n_phrases: of made-up singing, a fifth of them for the test.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = (*FUSED, FUSION, "schluter", SCORE_ONLY)

    filters: int = 32
    dropout: Dropout = "released"
    weighting: Weighting = "product"
    resolve: Resolve = "as_original"
    fusion: str = "scaled_geometric"
    max_epochs: int = 500
    patience: int = 10
    n_phrases: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("filters", self.filters, WIDTHS)
        check_choice("dropout", self.dropout, get_args(Dropout))
        check_choice("weighting", self.weighting, get_args(Weighting))
        check_choice("resolve", self.resolve, get_args(Resolve))
        check_choice("fusion", self.fusion, FUSIONS)
        check_count("max_epochs", self.max_epochs)
        check_count("patience", self.patience)
        check_count("n_phrases", self.n_phrases, 4)


class Jingju(Study):
    """Onsets of sung syllables, found with the score and without."""

    name = "jingju"
    title = "Syllables of a cappella singing, with the score and without"
    paper = "Pons, Gong and Serra, ISMIR 2017"
    paper_data = ("jingju",)
    config_kind = JingjuConfig

    @classmethod
    def prepare(
        cls,
        config: JingjuConfig,
        folder: Path,
        watcher: Watcher,
        n_workers: int | None,  # noqa: ARG003 (nothing is decoded here)
    ) -> dict[str, Any]:
        """Read annotations and scores, or make singing up; see `Study.prepare`."""
        check(not config.folds, "folds", config.folds, "nothing: the phrases have one split")
        return prepare_phrases(config.data, folder, watcher, config.n_phrases, config.seed)

    def phases(self) -> list[list[Cell]]:
        """List the cells: spectrograms, trainings, and what is found in the phrases for the test."""
        asked = self.config.methods or self.config.METHODS
        needed = dict.fromkeys(network for method in asked for network in _networks_of(method))
        runs = range(self.config.runs)
        frames = [Cell(method=FRAMES, details={"recording": n}, is_scored=False) for n in range(len(self.recordings))]
        trained = [Cell(method=TRAIN, run=run, details={"network": n}, is_scored=False) for run in runs for n in needed]
        found = [
            Cell(method=method, run=run, details=details)
            for run in runs
            for method in asked
            for details in (WAYS if method != SCORE_ONLY else WAYS[:1])
        ]
        return [frames, trained, found]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Do a cell; see `Study.measure`."""
        if cell.method == FRAMES:
            number = int(cell.details["recording"] or 0)
            return {"n_frames": keep_frames(self._frames_path(number), self.recordings[number].audio, JINGJU_MEL)}
        if cell.method == TRAIN:
            return self._trained(str(cell.details["network"]), cell.run)
        return self._found(cell)

    # -- training ------------------------------------------------------------------------------------------------------

    def _trained(self, network: str, run: int) -> dict[str, Any]:
        """Train a network, and keep it and its onset functions of the phrases for the test."""
        device = find_device(self.config.device)
        examples = self.examples(network)
        fit = dataclasses.replace(
            FIT,
            max_epochs=self.config.max_epochs,
            schedule=ScheduleConfig(stop_after=self.config.patience),
            seed=self.seed_of("training", network, run),
        )

        def create(purpose: str) -> TaggingModel:
            torch.manual_seed(self.seed_of("weights", network, run, purpose))
            name, options = NETWORKS[network]
            if network in FUSED:
                options = {**options, "width": self.config.filters, "dropout": self.config.dropout}
            return create_model(name, n_tags=N_CLASSES, **options)

        model, n_epochs = fit_on_all(create, examples, fit, valid_share=VALID_SHARE, device=device)
        model.save(self.files / f"{network}-{run}.safetensors")
        facts = {
            "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
            "n_epochs": n_epochs,
            "n_samples": len(examples),
        }
        arrays: dict[str, Any] = {**facts, **self._onset_functions(model, device)}
        with written_aside(self._odf_path(network, run)) as aside, aside.open("wb") as file:
            np.savez(file, **arrays)
        return facts

    def examples(self, network: str) -> FrameExamples:
        """Give the frames that a network is trained on, with labels and weights.

        Args:
            network: "temporal", "timbral" or "schluter".

        Returns:
            Frames of all phrases for training.
        """
        numbers = [number for number, one in enumerate(self.recordings) if one.part == "train" and one.phrases]
        frames = self._padded(numbers)
        places, labels, weights = [], [], []
        for place, number in enumerate(numbers):
            n_frames = int(frames.lengths[place])
            for phrase in self.recordings[number].phrases:
                onsets = sorted({frame_at(start) for start in phrase.starts_s})
                found = label_onsets(onsets, frame_at(phrase.end_s), resolve=self.config.resolve)
                there = found.frames < n_frames  # an annotation may end after the sound
                places.append(frames.places(place, found.frames[there]))
                labels.append(found.labels[there])
                weights.append(found.weights[there])
        classes = np.concatenate(labels)
        weighting: Weighting = self.config.weighting if network in FUSED else "class"
        return FrameExamples(
            frames=frames,
            places=torch.from_numpy(np.concatenate(places)),
            labels=torch.from_numpy(classes),
            n_classes=N_CLASSES,
            weights=torch.from_numpy(weigh(classes, np.concatenate(weights), weighting)).float(),
        )

    def _onset_functions(self, model: TaggingModel, device: torch.device) -> dict[str, Floats]:
        """Give the probability of an onset at each frame of the phrases for the test."""
        found = {}
        for number, recording in enumerate(self.recordings):
            if recording.part == "test" and recording.phrases:
                frames = self._padded([number])
                for phrase in recording.phrases:
                    start, end = frame_at(phrase.start_s), min(frame_at(phrase.end_s), int(frames.lengths[0]))
                    if end - start < 2:
                        raise DatasetError(
                            f"{printable(str(recording.audio))} ends before the phrase at {phrase.start_s:.3f} s."
                        )
                    patches = frames.patches(torch.from_numpy(frames.places(0, np.arange(start, end))))
                    scores = scores_of(model, patches, device=device)[:, 1]
                    found[_key(number, phrase)] = scores.double().numpy()
        return found

    # -- decoding ------------------------------------------------------------------------------------------------------

    def _found(self, cell: Cell) -> dict[str, Any]:
        """Find the syllables of the phrases for the test, and count them."""
        sides, n_relaxed = [], 0
        for number, phrase in self.tests:
            boundaries, is_relaxed = self.boundaries(cell, number, phrase)
            n_relaxed += is_relaxed
            times = [HOP_S * frame for frame in boundaries]
            labels = phrase.syllables if cell.details["score"] else None
            detected = Segments(times[:-1], times[1:], labels)
            first = phrase.starts_s[0]
            there = Segments([s - first for s in phrase.starts_s], [s - first for s in phrase.ends_s], phrase.texts)
            sides.append((detected, there))
            recording = self.recordings[number]
            path = self.files / "lab" / cell.key / recording.group / f"{recording.name}_{phrase.number + 1:02}.lab"
            write_lab(path, detected.starts_s, detected.ends_s, labels or ["-"] * len(detected))
        at = {f"{tolerance:g}": count_all(sides, tolerance) for tolerance in TOLERANCES_S}
        ours, theirs = ([one.starts_s for one in side] for side in zip(*sides))
        return {
            "onset_f1": at[SHOWN]["onsets"]["f1"],
            "segment_f1": at[SHOWN]["segments"]["f1"],
            "mir_eval_f": onset_f_measure(ours, theirs, TOLERANCE_S),
            "n_relaxed": n_relaxed,
            "n_phrases": len(sides),
            **self._training_facts(cell),
            "tolerances_s": at,
        }

    def boundaries(self, cell: Cell, number: int, phrase: Phrase) -> tuple[tuple[int, ...], bool]:
        """Find the boundaries of a phrase, in frames from its start on.

        Args:
            cell: says how.
            number: of the recording.
            phrase: which one.

        Returns:
            The boundaries, and whether the limits of the durations had to be dropped.

        Raises:
            DatasetError: the phrase is too short for its score.
        """
        n_frames = frame_at(phrase.end_s) - frame_at(phrase.start_s)
        durations_s = scale_durations(phrase.durations, phrase.end_s - phrase.start_s)
        if cell.method == SCORE_ONLY:
            return boundaries_of_score(n_frames, durations_s), False
        odf = self.onset_function(cell.method, cell.run, number, phrase)
        if not cell.details["score"]:
            return PICKERS[str(cell.details["picker"])](odf), False
        if len(odf) <= len(durations_s):
            raise DatasetError(
                f"{printable(self.recordings[number].name)}: the phrase at {phrase.start_s:.3f} s has {len(odf)} "
                f"frames for {len(durations_s)} syllables of the score."
            )
        found = decode_with_score(odf, durations_s)
        return found.boundaries, found.is_relaxed

    def onset_function(self, method: str, run: int, number: int, phrase: Phrase) -> Floats:
        """Give the smoothed onset function of a phrase for the test.

        Args:
            method: "temporal", "timbral", "schluter" or "fusion".
            run: of the training.
            number: of the recording.
            phrase: which one.

        Returns:
            (frames,).
        """
        parts = [smooth(self._odfs(network, run)[_key(number, phrase)]) for network in _networks_of(method)]
        return parts[0] if len(parts) == 1 else fuse(parts[0], parts[1], self.config.fusion)

    def _training_facts(self, cell: Cell) -> dict[str, int]:
        """Sum up the trainings that a method needs."""
        networks = [self._odfs(network, cell.run) for network in _networks_of(cell.method)]
        return {
            "n_parameters": sum(int(one["n_parameters"]) for one in networks),
            "n_epochs": max((int(one["n_epochs"]) for one in networks), default=0),
        }

    # -- files ---------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def recordings(self) -> list[Recording]:
        """All recordings."""
        return load_recordings(self.folder / self.data["phrases"])

    @property
    def tests(self) -> list[tuple[int, Phrase]]:
        """The phrases for the test, each with the number of its recording."""
        return [(n, phrase) for n, one in enumerate(self.recordings) if one.part == "test" for phrase in one.phrases]

    def _frames_path(self, number: int) -> Path:
        return self.files / "frames" / f"{number:03}.npy"

    def _odf_path(self, network: str, run: int) -> Path:
        return self.files / f"{network}-{run}.npz"

    @functools.lru_cache(maxsize=4)  # noqa: B019 (a study lives as long as its process)
    def _odfs(self, network: str, run: int) -> dict[str, Floats]:
        path = self._odf_path(network, run)
        if not path.exists():
            raise TrainingError(f"the onset functions of {network}, run {run}, are missing, as its training failed.")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)

    def _padded(self, numbers: Sequence[int]) -> PaddedFrames:
        return PaddedFrames([load_array(self._frames_path(number)) for number in numbers], JINGJU_MEL.n_frames)

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what the settings are."""
        config = self.config
        networks = f"{config.filters} filters in the second layer, dropout {config.dropout}"
        until = (
            f"more than {config.patience} epochs in a row bring no better validation loss, or for {config.max_epochs}"
        )
        return [
            f"The proposed networks have {networks}, weights {config.weighting}; the baseline has class weights.",
            f"Each is trained first on 80 % of the frames, until {until}; then anew on all of them for as many.",
            "The first onset of a phrase is given, and counts.",
        ]

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the tables: onsets alone, then whole syllables, at all tolerances."""
        return tables_of(rows) if rows else []

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Say whether the score helps, and whether the networks help the score."""
        return claims_of(rows, SCORE_ONLY)

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw F1 over the tolerance, and one phrase: sound, onset function, true and found boundaries."""
        from taggram.studies._pictures import draw_accuracy_curves, draw_phrase

        groups = grouped(rows)
        curves = {
            f"{method}, {way}": {
                1000 * tolerance: [row["tolerances_s"][f"{tolerance:g}"]["onsets"]["f1"] for row in of_both]
                for tolerance in TOLERANCES_S
            }
            for (method, way), of_both in groups.items()
        }
        where = self.data_facts()["title"]
        figures = {
            "tolerances": draw_accuracy_curves(
                curves, title=f"Onsets, {where}", x="tolerance in ms", unit="F1 of onsets, %"
            )
        }
        drawn = [method for method in (FUSION, *NETWORKS) if of_method(rows, method)]
        if drawn and self.tests:
            run = of_method(rows, drawn[0])[0]["run"]
            number, phrase = self.tests[0]
            start, end = frame_at(phrase.start_s), frame_at(phrase.end_s)
            found = {}
            for details in WAYS:
                cell = Cell(method=drawn[0], run=run, details=details)
                found[f"found {way_of(details)}"] = [
                    HOP_S * frame for frame in self.boundaries(cell, number, phrase)[0]
                ]
            figures["phrase"] = draw_phrase(
                load_array(self._frames_path(number))[start:end].T,
                self.onset_function(drawn[0], run, number, phrase),
                HOP_S,
                {"annotated": [s - phrase.start_s for s in (*phrase.starts_s, phrase.end_s)], **found},
                labels=phrase.texts,
                title=f"A phrase by {drawn[0]}, {where}",
            )
        return figures


# -- inside ------------------------------------------------------------------------------------------------------------


def _networks_of(method: str) -> tuple[str, ...]:
    """Name the networks that a method needs."""
    if method == FUSION:
        return FUSED
    return (method,) if method in NETWORKS else ()


def _key(number: int, phrase: Phrase) -> str:
    return f"{number}-{phrase.number}"
