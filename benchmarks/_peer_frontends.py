"""The front-ends of others, timed on the same samples. `frontends.py` runs this file with the Python of a peer.

It takes a file of samples (batch, samples) at 16 kHz as its argument. A line on standard input is the name of a
front-end; the answer is the seconds that it took and where its log-mel spectrograms lie. One thread each.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

SAMPLE_RATE, N_FFT, HOP, N_MELS = 16_000, 512, 256, 96
SCALE, OFFSET = 10_000, 1  # log10(10000 * mel + 1), as musicnn has it


def main() -> None:
    """Answer names until standard input ends."""
    warnings.filterwarnings("ignore")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    samples = np.load(sys.argv[1])
    makers = {"librosa": with_librosa, "torchaudio": with_torchaudio, "nnAudio": with_nnaudio}
    ready: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        name = json.loads(line)
        if name not in ready:
            ready[name] = makers[name](samples)
            ready[name]()
        started, started_cpu = time.perf_counter(), time.process_time()
        result = ready[name]()
        seconds, cpu = time.perf_counter() - started, time.process_time() - started_cpu
        out = f"{sys.argv[1]}.{name}.npy"
        np.save(out, np.asarray(result))
        answers.write(json.dumps({"s": seconds, "cpu_s": cpu, "out": out}) + "\n")
        answers.flush()


def with_librosa(samples: np.ndarray) -> Callable[[], Any]:
    """librosa, clip by clip, as people call it."""
    import librosa

    def run() -> Any:
        mels = [
            librosa.feature.melspectrogram(
                y=clip, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS, pad_mode="reflect"
            )
            for clip in samples
        ]
        return np.log10(SCALE * np.stack(mels) + OFFSET)

    return run


def with_torchaudio(samples: np.ndarray) -> Callable[[], Any]:
    """Torchaudio's transform on the whole batch."""
    import torch
    import torchaudio

    torch.set_num_threads(1)
    transform = torchaudio.transforms.MelSpectrogram(
        SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS, norm="slaney", mel_scale="slaney", pad_mode="reflect"
    )
    batch = torch.from_numpy(samples)

    @torch.inference_mode()
    def run() -> Any:
        return torch.log10(SCALE * transform(batch) + OFFSET)

    return run


def with_nnaudio(samples: np.ndarray) -> Callable[[], Any]:
    """NnAudio's layer on the whole batch."""
    import torch
    from nnAudio.features import MelSpectrogram

    torch.set_num_threads(1)
    layer = MelSpectrogram(
        sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS, norm=1, pad_mode="reflect", verbose=False
    )
    batch = torch.from_numpy(samples)

    @torch.inference_mode()
    def run() -> Any:
        return torch.log10(SCALE * layer(batch) + OFFSET)

    return run


if __name__ == "__main__":
    main()
