"""The front-ends of others, timed on the same samples. `frontends.py` runs this file with the Python of a peer.

It takes a file of samples (batch, samples) at 16 kHz as its argument. A line on standard input is the name of a
front-end; the answer is the seconds of CPU that it took, whether it was quicker with the whole batch or clip by clip,
and where its log-mel spectrograms lie. One thread each.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
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
    ready: dict[str, Callable[[np.ndarray], Any]] = {}
    for line in sys.stdin:
        name = json.loads(line)
        if name not in ready:
            ready[name] = makers[name]()
            ready[name](samples[:1])
        cpu_s = {}
        for way, batches in (("the whole batch", [samples]), ("clip by clip", samples[:, None])):
            started = time.process_time()
            result = [ready[name](batch) for batch in batches]
            cpu_s[way] = time.process_time() - started
        out = f"{sys.argv[1]}.{name}.npy"
        np.save(out, np.concatenate(result))
        way = min(cpu_s, key=cpu_s.__getitem__)
        answer = {"cpu_s": cpu_s[way], "way": way, "out": out, "version": metadata.version(name)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def with_librosa() -> Callable[[np.ndarray], Any]:
    """Librosa's function, which takes a clip or a batch."""
    import librosa

    def run(batch: np.ndarray) -> Any:
        mel = librosa.feature.melspectrogram(
            y=batch, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS, pad_mode="reflect"
        )
        return np.log10(SCALE * mel + OFFSET)

    return run


def with_torchaudio() -> Callable[[np.ndarray], Any]:
    """Torchaudio's transform."""
    import torchaudio

    return _with_torch(
        torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE,
            n_fft=N_FFT,
            hop_length=HOP,
            n_mels=N_MELS,
            norm="slaney",
            mel_scale="slaney",
            pad_mode="reflect",
        )
    )


def with_nnaudio() -> Callable[[np.ndarray], Any]:
    """NnAudio's layer."""
    from nnAudio.features import MelSpectrogram

    return _with_torch(
        MelSpectrogram(
            sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS, norm=1, pad_mode="reflect", verbose=False
        )
    )


def _with_torch(layer: Any) -> Callable[[np.ndarray], Any]:
    import torch

    torch.set_num_threads(1)

    @torch.inference_mode()
    def run(batch: np.ndarray) -> Any:
        return torch.log10(SCALE * layer(torch.from_numpy(batch)) + OFFSET).numpy()

    return run


if __name__ == "__main__":
    main()
