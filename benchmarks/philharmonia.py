"""How well tags of real sound are learned: boosted trees on hand-made features beside a plain convolutional network.

    python benchmarks/philharmonia.py --root FOLDER [--minutes 4] [--seed 0]

The folder holds `clips.csv` (path, split, tags) and its files, such as notes of an orchestra's instruments. All systems
learn the same tags from the same clips, and are scored on the same part by the same code. The network is trained for
the minutes given, without a look at the validation part; the trees take their number of rounds from there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from taggram.datasets import open_dataset
from taggram.frontends import LogMel, LogMelConfig
from taggram.learning.boosted_trees import TreesConfig, fit_trees
from taggram.learning.evaluate import Evaluation
from taggram.learning.prepared import PreparedData, prepare

SAMPLE_RATE = 16_000
MEL = LogMelConfig(
    sample_rate=SAMPLE_RATE, n_fft=1024, hop_length=512, n_mels=64, n_frames=94, compression="log10_1p", gain=10_000
)  # a patch of 3 s
WIDTHS = (32, 64, 128, 256, 256)
BATCH_SIZE = 32
LR = 0.002
ENOUGH = 10  # clips of the test part with a tag; with fewer, a tag's number says little


def main() -> None:
    """Prepare the clips, learn from them in three ways, and print the table."""
    parser = argparse.ArgumentParser(description="Boosted trees and a plain network on the same real clips.")
    parser.add_argument("--root", type=Path, required=True, metavar="FOLDER", help="of clips.csv")
    parser.add_argument("--minutes", type=float, default=4.0, help="of training the network; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(open_dataset("csv", args.root), Path(folder, "data"), sample_rate=SAMPLE_RATE)
        data = PreparedData(Path(folder, "data"))
        rows = []
        for features in ("mfcc", "hand_made"):
            begun = time.perf_counter()
            result = fit_trees(data, TreesConfig(features=features, seed=args.seed))
            rows.append((result.evaluations["test"], time.perf_counter() - begun))
        if args.minutes:
            begun = time.perf_counter()
            rows.append((network(data, args.minutes, args.seed), time.perf_counter() - begun))
        print_table(rows)
    if Path("/proc/loadavg").exists():
        print(f"\nload at the end: {' '.join(Path('/proc/loadavg').read_text().split()[:3])}")


def print_table(rows: list[tuple[Evaluation, float]]) -> None:
    """Print numbers with their 95 % intervals, as Markdown.

    Args:
        rows: evaluations, and the seconds that each took.
    """
    first = rows[0][0]
    rare = [tag for tag, n in zip(first.tags, first.n_positive) if n < ENOUGH]
    n_often = len(first.tags) - len(rare)
    print(f"{first.where}: {first.n_clips} clips, {len(first.tags)} tags; sha256 of the split {first.split_sha256}\n")
    often = f"{n_often} tags with {ENOUGH} or more test clips"
    print(f"| system | ROC-AUC, all tags | PR-AUC, all tags | ROC-AUC, {often} | PR-AUC, {often} | seconds |")
    print("|---|---|---|---|---|---|")
    for evaluation, seconds in rows:
        cells = []
        for one in (evaluation, evaluation.without(*rare) if rare else evaluation):
            numbers = one.metrics()[one.part]
            for name in ("macro_roc_auc", "macro_pr_auc"):
                low, high = numbers["intervals"][name]
                cells.append(f"{numbers[name]:.4f} ({low:.3f} to {high:.3f})")
        print(f"| {evaluation.model} | {' | '.join(cells)} | {seconds:.0f} |")


def network(data: PreparedData, minutes: float, seed: int) -> Evaluation:
    """Train the network and score the test part.

    Args:
        data: the clips.
        minutes: how long.
        seed: of the weights, the order and the crops.

    Returns:
        Scores of whole clips beside their labels.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    mels = log_mels(data)
    labels = torch.from_numpy(data.labels(np.arange(len(data))))
    model = plain_network(len(data.tags))
    optimizer = torch.optim.Adam(model.parameters(), LR)
    train = data.index("train")
    end, epochs = time.monotonic() + 60 * minutes, 0
    while time.monotonic() < end:
        order = rng.permutation(train)
        for first in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            left = max(0.0, (end - time.monotonic()) / (60 * minutes))
            optimizer.param_groups[0]["lr"] = LR * min(1.0, 2 * left)  # falls to 0 in the second half
            rows = order[first : first + BATCH_SIZE]
            patches = torch.stack([crop(mels[row], rng) for row in rows])
            loss = nn.functional.binary_cross_entropy_with_logits(model(patches), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        epochs += 1
    test = data.index("test")
    model.eval()
    with torch.inference_mode():
        scores = torch.cat([model(mels[row][None]).sigmoid() for row in test])
    return Evaluation(
        model=f"plain network of five blocks, {epochs} epochs",
        data_set=data.card["name"],
        split=data.card["split"],
        split_sha256=data.card["split_sha256"],
        part="test",
        tags=data.tags,
        task=data.task,
        track_ids=tuple(data.column("track_id")[test]),
        scores=scores.numpy(),
        labels=data.labels(test).astype(bool),
    )


def log_mels(data: PreparedData) -> list[Tensor]:
    """Give the log-mel spectrograms of all clips, (1, mels, frames) each; short clips are repeated.

    Args:
        data: the clips.

    Returns:
        The spectrograms, none shorter than a patch.
    """
    frontend = LogMel(MEL)
    least = frontend.n_samples_for(MEL.n_frames)
    wholes = (data.whole(row) for row in range(len(data)))
    filled = (whole if len(whole) >= least else np.resize(whole, least) for whole in wholes)
    with torch.inference_mode():
        mels = [frontend(torch.from_numpy(samples)[None])[0] for samples in filled]
    return [mel.clone() for mel in mels]  # as tensors that may be trained on


def crop(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """Take a patch at random.

    Args:
        mel: (1, mels, frames).
        rng: that draws its start.

    Returns:
        (1, mels, 94).
    """
    start = int(rng.integers(mel.shape[2] - MEL.n_frames + 1))
    return mel[:, :, start : start + MEL.n_frames]


def plain_network(n_tags: int) -> nn.Module:
    """Build five blocks of convolution, norm, ReLU and pool, a mean over what is left, and a dense layer.

    Args:
        n_tags: number of outputs.

    Returns:
        The network, (batch, 1, mels, frames) in, logits out.
    """
    layers: list[nn.Module] = [nn.BatchNorm2d(1)]
    for n_in, n_out in zip((1, *WIDTHS), WIDTHS):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(WIDTHS[-1], n_tags))


if __name__ == "__main__":
    main()
