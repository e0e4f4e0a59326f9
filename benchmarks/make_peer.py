"""Make the environment of a peer, so that it meets none of our packages.

    python benchmarks/make_peer.py musicnn FOLDER
    python benchmarks/make_peer.py frontends FOLDER
    python benchmarks/make_peer.py essentia FOLDER

FOLDER/bin/python is then what the benchmarks call `--peer`, `--essentia` or `--librosa`. Python 3.11 has to be there:
the original musicnn knows no newer one. Packages come from the index that pip is set up for.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON = "python3.11"
RECIPES: dict[str, list[list[str]]] = {  # packages, a call of pip each
    "musicnn": [
        ["setuptools<81", "tensorflow-cpu==2.15.1", "numpy<2", "librosa==0.10.2", "soundfile"],
        ["--no-deps", "musicnn==0.1.0"],
    ],
    "frontends": [["torch", "torchaudio", "nnAudio", "librosa==0.11.0", "safetensors", "setuptools<81"]],
    "essentia": [["essentia-tensorflow==2.1b6.dev1389", "numpy<2"]],
}

OPTIONS = {  # of the benchmarks that take it
    "musicnn": ["tagging.py --peer"],
    "frontends": ["frontends.py --peer", "tagging.py --librosa"],
    "essentia": ["tagging.py --essentia"],
}


def main() -> None:
    """Make an environment and fill it."""
    parser = argparse.ArgumentParser(description="Make the environment of a peer.")
    parser.add_argument("peer", choices=RECIPES)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    python = shutil.which(PYTHON)
    if python is None:
        sys.exit(f"there is no {PYTHON} here; install it, or say where it is in PATH.")
    subprocess.run([python, "-m", "venv", args.folder], check=True)
    own = args.folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    for packages in RECIPES[args.peer]:
        subprocess.run([own, "-m", "pip", "install", "--quiet", *packages], check=True)
    for option in OPTIONS[args.peer]:
        print(f"python benchmarks/{option} {own}")


if __name__ == "__main__":
    main()
