"""What each cell of the study on bags of features does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from taggram._files import written_aside
from taggram.errors import TrainingError
from taggram.frontends import AGCMel, create_frontend, onset_curve
from taggram.learning._run_folder import MODEL
from taggram.learning.bags import bag_of_clip
from taggram.learning.patch_sampling import Picks, onset_order, random_order
from taggram.learning.sparse_rbm import RBM, RBMConfig, stacked_config, train_rbm
from taggram.learning.whitening import Whitening, mean_and_covariance
from taggram.models import create_model
from taggram.models._saved import load_model
from taggram.models.bag_of_features import AGC_MEL, BagNetwork
from taggram.studies._bag_of_features_song import (
    SONGS,
    Bags,
    BiasInit,
    figures_of_song,
    logits_of,
    song_fit,
    start_as,
    train_song,
)
from taggram.studies._bag_of_features_units import (
    Units,
    acoustics_of,
    centres_hz,
    images_of,
    tag_differences,
    write_units,
)
from taggram.studies._base import Cell
from taggram.studies._tagged_sound import evaluation_of, figures_of
from taggram.studies._worker import cell_path
from taggram.tagger import find_device

if TYPE_CHECKING:
    from taggram.studies.bag_of_features import BagOfFeatures

Whole = NDArray[np.int64]
Floats = NDArray[np.float32]
WHITENING, RBM_CELL, BAGS, STACK, TRY, UNITS = "whitening", "rbm", "bags", "stack", "try", "units"
BLOCK_CLIPS = 1000  # whose bags one cell makes
BLOCK_PATCHES = 5_000  # that lie in memory together before they are whitened: 20 MB
COSTS = "+"  # between the weight costs of a stack
UNIT_NEAR = 0.5  # of the target: a unit whose mean activation is that far off counts as near


# -- patches, whitened -------------------------------------------------------------------------------------------------


def whiten(study: BagOfFeatures, cell: Cell) -> dict[str, Any]:
    """Sample patches, and learn and apply their whitening; what is in memory is a block of them at most."""
    patch_frames = int(cast(int, cell.details["patch_frames"]))
    rows = study.rows_of("train", cell.run)
    lengths = [study.sound.n_samples(int(row)) for row in rows]
    frontend = cast(AGCMel, create_frontend(AGC_MEL))
    n_starts = np.array([max(0, frontend.n_frames_in(length) - patch_frames) for length in lengths], np.int64)
    seed = study.seed_of(WHITENING, cell.key)
    picks = Picks.draw(n_starts, study.config.n_patches, seed)
    blocks = []
    for number, clips in enumerate(_in_blocks(picks)):
        blocks.append(study.path_of(WHITENING, cell, f".block-{number:05d}.npy"))
        if not blocks[-1].exists():
            patches = [
                _patches_of(study, frontend, int(rows[clip]), clip, picks, where, cell, seed) for clip, where in clips
            ]
            _save(blocks[-1], np.concatenate(patches))

    def read() -> Iterator[Floats]:
        return map(_load, blocks)

    whitening = Whitening.of(read)
    whitened = np.concatenate([whitening(torch.from_numpy(block)).numpy() for block in read()])
    whitening.save(study.path_of(WHITENING, cell))
    _save(study.path_of(WHITENING, cell, ".npy"), whitened)
    parts = [whitened[first : first + BLOCK_PATCHES] for first in range(0, len(whitened), BLOCK_PATCHES)]
    on, off = whitening.errors(mean_and_covariance(lambda: parts)[1])
    for block in blocks:
        block.unlink()
    return {
        "n_patches": len(whitened), "n_components": whitened.shape[1], "variance_kept": whitening.kept,
        "largest_variance": float((whitening.variances / (whitening.variances + whitening.eps)).max()),
        "covariance_error": on, "covariance_off_diagonal": off,
    }  # fmt: skip


def _in_blocks(picks: Picks) -> Iterator[list[tuple[int, slice]]]:
    """Take so many clips together that their patches make a block."""
    block: list[tuple[int, slice]] = []
    for clip, where in picks.by_clip():
        block.append((clip, where))
        if where.stop - block[0][1].start >= BLOCK_PATCHES:
            yield block
            block = []
    if block:
        yield block


@torch.no_grad()
def _patches_of(
    study: BagOfFeatures, frontend: AGCMel, row: int, clip: int, picks: Picks, where: slice, cell: Cell, seed: int
) -> Floats:
    """Cut the patches of a clip that were picked, (patches, values); none of a silent one."""
    patch_frames = int(cast(int, cell.details["patch_frames"]))
    sound = torch.from_numpy(study.sound.whole(row))[None]
    frames = frontend(sound)[0, 0].T.contiguous()  # (frames, mels)
    if not frames.any():
        return np.empty((0, patch_frames * frames.shape[1]), np.float32)
    n_starts = len(frames) - patch_frames
    if cell.details["sampling"] == "onset":
        order = onset_order(onset_curve(sound, frontend)[0].numpy(), n_starts)
    else:
        order = random_order(n_starts, seed, clip)
    starts = picks.starts(where, order)
    patches: Floats = np.stack([frames[start : start + patch_frames].flatten().numpy() for start in starts.tolist()])
    return patches


# -- the RBM, and bags -------------------------------------------------------------------------------------------------


def learn_rbm(study: BagOfFeatures, cell: Cell) -> dict[str, Any]:
    """Train the sparse RBM on whitened patches; it goes on from its last epoch."""
    target = float(cast(float, cell.details["rho"]))
    examples = torch.from_numpy(_load(study.path_of(WHITENING, cell, ".npy")))
    config = RBMConfig(
        n_hidden=study.config.n_units, n_epochs=study.config.rbm_epochs, target=target,
        seed=study.seed_of(RBM_CELL, cell.key),
    )  # fmt: skip
    config = replace(config, batch_size=min(config.batch_size, len(examples)))
    checkpoint = study.path_of(RBM_CELL, cell, ".checkpoint.npz")
    rbm, history = train_rbm(examples, config, checkpoint=checkpoint, device=find_device(study.config.device))
    rbm.save(study.path_of(RBM_CELL, cell))
    activation = rbm.mean_activation(examples)
    _write_json(study.path_of(RBM_CELL, cell, ".json"), {"history": history, "activation": activation.tolist()})
    checkpoint.unlink(missing_ok=True)
    return {
        "mean_activation": float(activation.mean()),
        "activation_std": float(activation.std(unbiased=False)),
        "units_near_target": float(((activation - target).abs() <= UNIT_NEAR * target).float().mean()),
        "reconstruction_error": history[-1]["error"],
        "first_reconstruction_error": history[0]["error"],
    }


def make_bags(study: BagOfFeatures, cell: Cell) -> dict[str, Any]:
    """Make the bags of a block of clips, one after the other."""
    from taggram.learning.fit import SAMPLE_BITS

    block = int(cast(int, cell.details["block"]))
    model = feature_network(study, cell)
    model.frontend.sample_bits = SAMPLE_BITS
    model.to(find_device(study.config.device))
    rows = range(block * BLOCK_CLIPS, min((block + 1) * BLOCK_CLIPS, len(study.sound)))
    test = {*study.rows_of("test", cell.run).tolist()}
    bags = np.empty((len(rows), study.config.n_units), np.float32)
    total, of_test = np.zeros((2, study.config.n_units))  # sums over clips; nobody needs each
    for place, row in enumerate(rows):
        bag, activation = (values.cpu().numpy() for values in bag_of_clip(model, study.sound.whole(row)))
        bags[place] = bag
        total += activation
        of_test += activation if row in test else 0.0
    path = study.path_of(BAGS, cell, block=block)
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez(file, bags=bags, test_activation=of_test)
    return {"n_clips": len(rows), "mean_bag": float(bags.mean()), "mean_activation": float(total.mean() / len(rows))}


def feature_network(study: BagOfFeatures, cell: Cell, n_tags: int | None = None, **options: Any) -> BagNetwork:
    """Build the network with the whitening and the RBM that a cell rests on."""
    whitening, rbm = study.whitening(cell), study.rbm(cell)
    model = cast(
        BagNetwork,
        create_model(
            "bag_network", n_tags=n_tags, patch_frames=cell.details["patch_frames"],
            n_components=len(whitening.variances), n_units=study.config.n_units,
            pool_frames=cell.details["pool_frames"], n_hidden=study.config.n_hidden, **options,
        ),
    )  # fmt: skip
    model.local.set_whitening(whitening.mean, whitening.matrix)
    model.local.set_rbm(rbm.weight, rbm.hidden_bias)
    return model.eval()


# -- the network on bags -----------------------------------------------------------------------------------------------


def learn_stacked(study: BagOfFeatures, cell: Cell) -> dict[str, Any]:
    """Train an RBM of the stack on what those below it make of the bags for training.

    The seed is the same for all weight costs, so that what is chosen among is costs and not luck.
    """
    costs = str(cell.details["costs"])
    *before, cost = costs.split(COSTS)
    below = read_stack(study, cell, before)
    examples = study.bags(cell, study.rows_of("train", cell.run))
    for rbm in below:
        examples = rbm(examples)
    config = stacked_config(
        len(below) + 1, n_hidden=study.config.n_hidden, n_epochs=study.config.stack_epochs,
        weight_cost=float(cost), seed=study.seed_of(STACK, len(below) + 1, cell.run),
    )  # fmt: skip
    config = replace(config, batch_size=min(config.batch_size, len(examples)))
    rbm, history = train_rbm(examples, config, device=find_device(study.config.device))
    rbm.save(study.path_of(STACK, cell, with_costs=costs))
    return {"reconstruction_error": history[-1]["error"], "mean_activation": history[-1]["activation"]}


def read_stack(study: BagOfFeatures, cell: Cell, costs: list[str]) -> list[RBM]:
    """Read the stacked RBMs that were trained with some weight costs, from the bags on."""
    names = [COSTS.join(costs[:end]) for end in range(1, len(costs) + 1)]
    paths = {name: study.path_of(STACK, cell, with_costs=name) for name in names}
    for name, path in paths.items():
        if not path.exists():
            raise TrainingError(f"the RBM with weight costs {name}, which this one rests on, could not be trained.")
    return [RBM.load(path) for path in paths.values()]


def learn_song(study: BagOfFeatures, cell: Cell) -> dict[str, Any]:
    """Train the network on bags, and keep it as a model that tags sound.

    The seeds are the same for all weight costs, so that what is chosen among is costs and not luck.
    """
    from taggram.learning.fit import SAMPLE_BITS

    net = str(cell.details.get("net", cell.method))
    song, place = SONGS[net], (net, int(cast(int, cell.details["layers"])), cell.run)
    torch.manual_seed(study.seed_of("weights", *place))
    model = feature_network(
        study, cell, len(study.tags), n_layers=cell.details["layers"], activation=song.activation,
        dropout=song.dropout, frontend=study.frontend_of(_clip_frames(study, cell)),
    )  # fmt: skip
    model.tags, model.task, model.frontend.sample_bits = study.tags, study.sound.task, SAMPLE_BITS
    if song.is_pretrained:
        stack = read_stack(study, cell, str(cell.details["costs"]).split(COSTS))
        start_as(model, stack, cast(BiasInit, cell.details["bias_init"]))
    train, valid = (study.rows_of(part, cell.run) for part in ("train", "valid"))
    learned, chosen_by = (Bags(study.bags(cell, rows), torch.from_numpy(study.labels(rows))) for rows in (train, valid))
    config = song_fit(study.config.max_epochs, study.seed_of("training", *place))
    history = train_song(model, learned, chosen_by, config, device=find_device(study.config.device))
    path = _model_path(study, cell)
    model.save(path)
    best = min(history, key=lambda one: (-np.nan_to_num(one["valid_auc"]), one["valid_loss"]))
    return {
        "valid_auc": None if np.isnan(best["valid_auc"]) else best["valid_auc"],
        "valid_loss": best["valid_loss"],
        "best_epoch": int(best["epoch"]),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "model": path.relative_to(study.folder).as_posix(),
    }


def choose_song(study: BagOfFeatures, cell: Cell) -> dict[str, Any]:
    """Choose, of networks that were pre-trained with other weight costs, that which is best in validation.

    Those whose training failed are told, and not chosen among.
    """
    details = {**cell.details, "net": cell.method}
    costs = study.config.costs(int(cast(int, cell.details["layers"])))
    tried = {one: Cell(method=TRY, run=cell.run, details=details | {"costs": one}, is_scored=False) for one in costs}
    there = [one for one in costs if cell_path(study.folder, tried[one].key).exists()]
    if not there:
        raise TrainingError(
            f"none of the {len(costs)} networks that it is chosen among could be trained: weight costs "
            f"{', '.join(costs)}. Name others by weight_costs."
        )
    found = {one: study.measured(tried[one]) for one in there}
    best = max(there, key=lambda one: (found[one]["valid_auc"] or 0.0, -found[one]["valid_loss"]))
    path = _model_path(study, cell)
    for suffix in (path.suffix, ".json"):
        source = (study.folder / found[best]["model"]).with_suffix(suffix)
        with written_aside(path.with_suffix(suffix)) as aside:
            shutil.copyfile(source, aside)
    return {
        **found[best], "costs": best, "n_tried": len(there), "failed_costs": [one for one in costs if one not in found],
        "model": path.relative_to(study.folder).as_posix(),
    }  # fmt: skip


def score_song(study: BagOfFeatures, cell: Cell) -> dict[str, Any]:
    """Score the test with the network that a cell keeps."""
    model = cast(BagNetwork, load_model(_model_path(study, cell)))
    train, test = (study.rows_of(part, cell.run) for part in ("train", "test"))
    logits = logits_of(model, study.bags(cell, test))
    scores = model.scores(logits).numpy()
    evaluation = evaluation_of(cell.key, study.sound, test, scores, tags=study.tags)
    frequencies = study.labels(train).mean(axis=0, dtype=np.float64)
    return {**figures_of(evaluation), **figures_of_song(evaluation, logits.numpy(), frequencies)}


def _model_path(study: BagOfFeatures, cell: Cell) -> Path:
    """Say where a cell's network is kept; its folder is what `taggram tag --model` takes."""
    folder = study.files / cell.key
    folder.mkdir(exist_ok=True)
    return folder / MODEL


def _clip_frames(study: BagOfFeatures, cell: Cell) -> int:
    """Give the frames of a clip in the middle, by length, of those for training: what the model looks at together."""
    frontend = create_frontend(AGC_MEL)
    lengths = sorted(study.sound.n_samples(int(row)) for row in study.rows_of("train", cell.run))
    n_frames = frontend.n_frames_in(lengths[len(lengths) // 2])
    return max(n_frames, int(cast(int, cell.details["patch_frames"])) + 1)


# -- what units are ----------------------------------------------------------------------------------------------------


def describe_units(study: BagOfFeatures, cell: Cell) -> dict[str, Any]:
    """Describe the units of the RBM, and find those that stand out in each tag."""
    images, mean = images_of(study.rbm(cell), study.whitening(cell), AGC_MEL.mel.n_mels)
    mels_hz = centres_hz(AGC_MEL.mel)
    train = study.rows_of("train", cell.run)
    differences, errors = tag_differences(study.bags(cell, train).numpy(), study.labels(train))
    units = Units(
        images=images,
        mean=mean,
        acoustics=acoustics_of(images, mels_hz),
        activation=study.activation(cell),
        differences=differences,
        errors=errors,
        mels_hz=mels_hz,
    )
    units.save(study.path_of(UNITS, cell))
    write_units(units, study.tags, study.folder, study.path_of(UNITS, cell, "").name.removeprefix(f"{UNITS}_"))
    return {"median_centroid_hz": float(np.median(units.acoustics[:, 0]))}


# -- files -------------------------------------------------------------------------------------------------------------


def _save(path: Path, values: Floats) -> None:
    with written_aside(path) as aside, aside.open("wb") as file:
        np.save(file, values)


def _load(path: Path) -> Floats:
    values: Floats = np.load(path, allow_pickle=False)
    return values


def _write_json(path: Path, facts: Any) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(facts), encoding="utf-8")
