"""`taggram doctor`: what is installed, which formats decode, where the weights are, how to get what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import platform
import sys
from collections.abc import Iterator

import numpy as np
import soundfile

import taggram
from taggram._processes import n_cores
from taggram.apps._listing import where_weights_are
from taggram.audio import read_sound
from taggram.errors import AudioError
from taggram.models import list_models, load_card
from taggram.models._weights import cache_folder, is_offline

NEEDED = ("torch", "numpy", "soundfile", "soxr", "safetensors", "matplotlib", "typer", "rich")
EXTRAS = {
    "codecs": ("av", "m4a, aac, opus, wma, webm, the sound of video, and damaged files"),
    "write": ("mutagen", "tags in files"),
}
SOUNDFILE_FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF")
PYAV_CODECS = {"m4a and aac": "aac", "opus": "opus", "wma": "wmav2", "ac3": "ac3", "alac": "alac"}


def print_report() -> None:
    """Print the report; every line is `topic: finding`."""
    for topic, finding in _findings():
        print(f"{topic:12} {finding}")


def _findings() -> Iterator[tuple[str, str]]:
    """Look at everything that a user may have to know."""
    yield "taggram", taggram.__version__
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "system", f"{platform.system()} {platform.machine()}, {n_cores()} cores"
    for package in NEEDED:
        yield package, _version(package) or f"missing: pip install {package}"
    yield "device", _device()
    yield "decodes", ", ".join(_decoding())
    for extra, (package, purpose) in EXTRAS.items():
        missing = f"missing ({purpose}): pip install 'taggram[{extra}]'"
        yield extra, f"{package} {_version(package)} ({purpose})" if importlib.util.find_spec(package) else missing
    offline = " (TAGGRAM_OFFLINE is set: nothing is fetched)" if is_offline() else ""
    yield "weights", f"{cache_folder()}{offline}"
    for name in list_models():
        yield "", f"{name}: {where_weights_are(load_card(name))}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}"
    return f"cpu ({torch.backends.cpu.get_cpu_capability()}); no CUDA device"


def _decoding() -> Iterator[str]:
    """Try each format on a real, short sound, and look up the codecs of PyAV."""
    tone = 0.1 * np.sin(np.arange(22_050) * 0.1)
    for kind in SOUNDFILE_FORMATS:
        file = io.BytesIO()
        try:
            soundfile.write(file, tone, 22_050, format=kind)
            file.seek(0)
            read_sound(file)
        except (soundfile.LibsndfileError, AudioError):
            yield f"not {kind.lower()}"
        else:
            yield kind.lower()
    if importlib.util.find_spec("av"):
        from av.codec import codecs_available

        yield from (name for name, codec in PYAV_CODECS.items() if codec in codecs_available)
