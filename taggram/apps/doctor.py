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
from taggram.apps._sound_in import load_sounddevice
from taggram.audio import read_sound
from taggram.errors import AudioError, MissingExtraError
from taggram.models import list_models, load_card
from taggram.models._weights import cache_folder, is_offline

NEEDED = ("torch", "numpy", "soundfile", "soxr", "safetensors", "matplotlib", "typer", "rich")
EXTRAS = {  # extra: its packages, and what they are for
    "codecs": (("av",), "m4a, aac, opus, wma, webm, the sound of video, and damaged files"),
    "write": (("mutagen",), "tags in files"),
    "beets": (("beets",), "the plugin of beets"),
    "listen": (("sounddevice",), "microphones"),
    "serve": (
        ("fastapi", "plotly", "prometheus-client", "python-multipart", "swagger-ui-bundle", "uvicorn"),
        "the service and its page",
    ),
    "catalogue": (("duckdb", "pyarrow", "usearch"), "catalogues, Parquet files"),
    "cluster": (("ray",), "catalogues made by many machines"),
    "train": (("lightning", "mir_eval", "pyarrow", "tensorboard"), "training, prepared data sets, Parquet files"),
    "augment": (("audiomentations",), "training on changed sound"),
    "export": (("onnx", "onnxruntime", "onnxscript"), "ONNX files, --engine onnx"),
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
    for extra in EXTRAS:
        yield extra, _extra(extra)
        if extra == "listen":
            yield "PortAudio", _portaudio()
    offline = " (TAGGRAM_OFFLINE is set: nothing is fetched)" if is_offline() else ""
    yield "weights", f"{cache_folder()}{offline}"
    for name in list_models():
        yield "", f"{name}: {where_weights_are(load_card(name))}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extra(extra: str) -> str:
    """Say which packages of an extra there are, or how to get those that are missing."""
    packages, purpose = EXTRAS[extra]
    versions = {package: _version(package) for package in packages}
    missing = [package for package, version in versions.items() if version is None]
    if missing:
        return f"missing {', '.join(missing)} ({purpose}): pip install 'taggram[{extra}]'"
    return f"{', '.join(f'{package} {version}' for package, version in versions.items())} ({purpose})"


def _portaudio() -> str:
    """Say whether the system's library for sound cards is there, which pip brings on macOS and Windows alone."""
    try:
        return str(load_sounddevice().get_portaudio_version()[1])
    except MissingExtraError:
        return "not looked for: it wants the extra listen"
    except AudioError as error:
        return error.reason


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
