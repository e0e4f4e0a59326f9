"""Log-mel spectrograms of a batch, beside those of librosa, torchaudio and nnAudio.

    python benchmarks/make_peer.py frontends FOLDER
    python benchmarks/frontends.py --peer FOLDER/bin/python [--clips 16] [--rounds 7]

Clips of 30 s of 16-kHz sound, the settings of musicnn (512 samples, a hop of 256, 96 bands, Slaney's scale), one thread
for each. The sides take turns, round by round, in CPU seconds; of the whole batch at once and clip by clip, the quicker
counts, for each side. What they give is compared with librosa's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _sound import demo_song

from taggram._processes import ONE_THREAD
from taggram.apps.bench import CLIP_SAMPLE_RATE, describe_machine
from taggram.audio import resampled
from taggram.models import create_model

CLIP_S = 30
SAMPLE_RATE = 16_000
PEERS = ("librosa", "torchaudio", "nnAudio")
LEAST_TO_LIBROSA = 3.0
MOST_OFF = 1e-4  # of log10 units


def main() -> None:
    """Measure all in turns and print the ratios."""
    parser = argparse.ArgumentParser(description="Time log-mel spectrograms beside those of others.")
    parser.add_argument("--peer", type=Path, required=True, metavar="PYTHON", help="made by make_peer.py frontends")
    parser.add_argument("--clips", type=int, default=16, metavar="N")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.npy"
        samples = clips(args.clips)
        np.save(path, samples)
        frontend = create_model("musicnn", n_tags=1).frontend.eval()
        batch = torch.from_numpy(samples)
        cpu_s: dict[str, list[float]] = {name: [] for name in ("ours", *PEERS)}
        results: dict[str, np.ndarray] = {}
        environment = {**os.environ, **ONE_THREAD}
        command = [args.peer, Path(__file__).with_name("_peer_frontends.py"), path]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as peer:
            assert peer.stdin is not None
            assert peer.stdout is not None
            for round_ in range(args.rounds + 1):
                ours, seconds = timed(frontend, batch)
                by_side = {"ours": seconds}
                for name in PEERS:
                    peer.stdin.write(json.dumps(name) + "\n")
                    peer.stdin.flush()
                    line = peer.stdout.readline()
                    if not line:
                        sys.exit(f"{args.peer} ended; `python benchmarks/make_peer.py frontends FOLDER` makes a peer.")
                    answer = json.loads(line)
                    by_side[name] = answer["cpu_s"]
                    if not round_:
                        results[name] = np.load(answer["out"])
                        print(f"{name} {answer['version']} is quicker with {answer['way']}")
                if not round_:
                    results["ours"] = ours
                    continue  # the first round warms up
                for name, one in by_side.items():
                    cpu_s[name].append(one)
            peer.stdin.close()
    off = {name: difference(result, results["librosa"]) for name, result in results.items()}
    print("off librosa's values by", ", ".join(f"{name} {one:.1e}" for name, one in off.items()))
    ratios = {name: [one / mine for one, mine in zip(cpu_s[name], cpu_s["ours"])] for name in PEERS}
    print(f"ours: {1000 * statistics.median(cpu_s['ours']) / args.clips:.1f} ms of CPU a clip of {CLIP_S} s")
    for name, values in ratios.items():
        print(f"{name} takes {statistics.median(values):.2f} times as long ({min(values):.2f} .. {max(values):.2f})")
    best = min(statistics.median(ratios[name]) for name in PEERS[1:])
    print(f"promised: librosa at least {LEAST_TO_LIBROSA:g}, the others at least 1")
    sys.exit(statistics.median(ratios["librosa"]) < LEAST_TO_LIBROSA or best < 1 or off["ours"] > MOST_OFF)


def timed(frontend: torch.nn.Module, batch: torch.Tensor) -> tuple[np.ndarray, float]:
    """Give our spectrograms, and the CPU seconds of the quicker way to them."""
    seconds = []
    with torch.inference_mode():
        for batches in ([batch], batch.split(1)):
            started = time.process_time()
            result = torch.cat([frontend(one)[:, 0] for one in batches])
            seconds.append(time.process_time() - started)
    return result.numpy(), min(seconds)


def difference(result: np.ndarray, wanted: np.ndarray) -> float:
    """Give the largest difference; a last frame that only one has, behind the end of the sound, is passed over."""
    n_frames = min(result.shape[2], wanted.shape[2])
    if max(result.shape[2], wanted.shape[2]) > n_frames + 1:
        sys.exit(f"{result.shape[2]} frames came where {wanted.shape[2]} are wanted.")
    return float(np.abs(result[..., :n_frames] - wanted[..., :n_frames]).max())


def clips(n: int) -> np.ndarray:
    """Cut the song into clips at 16 kHz; (clips, samples)."""
    mono = np.ascontiguousarray(demo_song().mean(axis=1), dtype=np.float32)
    song = np.concatenate(list(resampled([mono], CLIP_SAMPLE_RATE, SAMPLE_RATE)))
    length = CLIP_S * SAMPLE_RATE
    starts = np.linspace(0, len(song) - length, n).astype(int)
    return np.stack([song[start : start + length] for start in starts])


if __name__ == "__main__":
    main()
