"""Pictures of what a network learned, from the words of a command line to files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggram._checks import check_count
from taggram._sound_files import list_files
from taggram.apps._mapping import check_map, map_model, write_map
from taggram.apps._options import parse_options
from taggram.apps._progress import FileProgress, say
from taggram.errors import AudioError, ConfigError, printable
from taggram.look import ascend, excitations, first_filters, layers_to_show
from taggram.look._draw_ascents import draw_ascents
from taggram.look._excitation import squeeze_blocks
from taggram.look._network import first_convolutions, sees_waveform
from taggram.models import NETWORKS, create_model
from taggram.models._registry import is_model_file, model_file, title_of
from taggram.models._saved import load_model
from taggram.picture import FORMATS, save_picture
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.models._contract import TaggingModel
    from taggram.results import Failure

WAVEFORM_UNITS = 256  # of a layer, where nobody says how many
SPECTROGRAM_UNITS = 32  # they take longer
LONGEST_NAME = 100  # characters of a file's name that say what the network is
PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What is to be drawn.

    Attributes:
        filters: whether the filters on the input are.
        spectra: whether what units answer most is.
        excitation: folder of sound for the excitations by tag, or None for none.
        layers: whose units; none for the first ones that keep time.
        units: at most so many of a layer, and filters of a convolution.
        seed: of the noise, and of the weights of a network that is not trained.
        max_duration_s: longest sound to take, in seconds.
        tag_map: whether the tags are placed on a map.
        vectors: file of word vectors to place them by, which asks for the map too; None is the output layer.
    """

    filters: bool
    spectra: bool
    excitation: Path | None
    layers: tuple[str, ...]
    units: int | None
    seed: int
    max_duration_s: float
    tag_map: bool = False
    vectors: Path | None = None


def draw_pictures(name: str, words: Sequence[str], wishes: Wishes, out: Path | None, device: str) -> int:
    """Draw pictures of a network into files, and print where they are.

    Args:
        name: a trained model, a network, or a .safetensors file.
        words: options of a network, as KEY=VALUE.
        wishes: what is to be drawn; all that the network has, where nothing is named.
        out: a file, or a folder, which is made; None is the working folder.
        device: where to compute.

    Returns:
        How many sounds, or folders of them, could not be used; each is told on standard error.

    Raises:
        UnknownNameError: there is no such model or layer.
        ConfigError: a wish or an option makes no sense, or the network has nothing to show for it.
        AudioError: there is no sound that could be used.
        MissingExtraError: a map is asked for and scikit-learn is not installed.
    """
    places = _Places(out)
    with_map = wishes.tag_map or wishes.vectors is not None
    if with_map:
        check_map(wishes.vectors)
        places.refuse_file("--tag-map")
    model, label = _load(name, words, wishes.seed)
    model.to(find_device(device))
    named = wishes.filters or wishes.spectra or wishes.layers or wishes.excitation is not None or with_map
    layers = list(wishes.layers)
    with_filters, with_spectra = wishes.filters, bool(wishes.spectra or layers)
    if not named:
        with_filters, with_spectra = bool(first_convolutions(model)), bool(layers_to_show(model))
        if not (with_filters or with_spectra):
            raise ConfigError(f"{name} has neither a convolution on its input nor a layer that keeps time.")
    if with_spectra and not layers:
        layers = layers_to_show(model)
        if not layers:
            raise ConfigError(f"{name} has no layer that keeps time; --layer also takes the path of a module.")
    if wishes.excitation is not None:
        squeeze_blocks(model)  # whether there are any is said before any work is done
    if name in NETWORKS:
        say(f"{name} is not trained: its weights are drawn with seed {wishes.seed}.")
    tag_map = map_model(model, label, wishes.vectors, wishes.seed) if with_map else None
    places.expect(with_filters + with_spectra + 2 * (wishes.excitation is not None), _stem(name, words))
    if with_filters:
        filters = replace(first_filters(model), model=label)
        places.save(filters.plot(max_filters=wishes.units), "filters")
    if with_spectra:
        places.save(_draw_layers(model, label, layers, wishes), "spectra")
    if tag_map is not None:
        write_map(tag_map, places.folder, f"{places.stem}_tag_map")
    if wishes.excitation is None:
        return 0
    return _draw_excitations(model, label, wishes.excitation, wishes.max_duration_s, places)


@dataclass
class _Places:
    """Where pictures go.

    Attributes:
        out: a file, or a folder, which is made; None is the working folder.
        stem: how the names of files in a folder begin.
        is_file: whether `out` is a file.
        n_pictures: how many pictures there will be.
    """

    out: Path | None
    stem: str = field(default="", init=False)
    is_file: bool = field(default=False, init=False)
    n_pictures: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.out is None or self.out.is_dir():
            return
        shown = printable(str(self.out))
        self.is_file = self.out.suffix[1:].lower() in FORMATS
        if self.is_file and not self.out.parent.is_dir():
            raise ConfigError(f"there is no folder {printable(str(self.out.parent))} to write {shown} into.")
        if not self.is_file and (self.out.suffix or self.out.exists()):
            known = ", ".join(f".{kind}" for kind in FORMATS)
            raise ConfigError(f"--out is {shown}; a picture's name ends in {known}, and a folder's has no dot.")

    @property
    def folder(self) -> Path:
        """Where pictures go that are given no name."""
        return self.out or Path()

    def refuse_file(self, option: str) -> None:
        """Raise where a file was named, for what is written as several."""
        if self.is_file:
            raise ConfigError(
                f"{option} writes several files; --out wants a folder, and not {printable(str(self.out))}."
            )

    def expect(self, n_pictures: int, stem: str) -> None:
        """Get ready for so many pictures."""
        self.n_pictures, self.stem = n_pictures, stem
        if self.out is not None and not self.is_file:
            try:
                self.out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"{printable(str(self.out))}: {error.strerror}; --out wants a folder.") from error

    def save(self, figure: Figure, kind: str) -> None:
        """Write a picture and print its path: the file that was named, with the kind put in where there are several."""
        if not self.is_file or self.out is None:
            path = self.folder / f"{self.stem}_{kind}.png"
        elif self.n_pictures > 1:
            path = self.out.with_name(f"{self.out.stem}_{kind}{self.out.suffix}")
        else:
            path = self.out
        save_picture(figure, path)
        print(path, flush=True)


def _load(name: str, words: Sequence[str], seed: int) -> tuple[TaggingModel, str]:
    """Build a network, and name it for the pictures."""
    import torch

    options: dict[str, Any] = parse_options(words)
    if is_model_file(name):
        if options:
            raise ConfigError("options are for a network given by name; one in a file has its own.")
        if not model_file(name).is_file():
            raise ConfigError(f"there is no model file {printable(str(model_file(name)))}.")
        return load_model(name), Path(name).stem
    if "n_tags" in options:
        check_count("n_tags", options["n_tags"])
    torch.manual_seed(seed)
    model = create_model(name, **options)
    label = " ".join([name, *words])
    return model, f"{label}, untrained" if name in NETWORKS else label


def _stem(name: str, words: Sequence[str]) -> str:
    """Begin the names of files: the network and its options, in characters that any system takes."""
    whole = "_".join([title_of(name) if is_model_file(name) else name, *words])
    return re.sub(r"[^\w.,=+-]", "-", whole)[:LONGEST_NAME]


def _draw_layers(model: TaggingModel, label: str, layers: Sequence[str], wishes: Wishes) -> Figure:
    """Climb for the units of each layer, and draw them."""
    units = wishes.units or (WAVEFORM_UNITS if sees_waveform(model) else SPECTROGRAM_UNITS)
    ascents = []
    with FileProgress(PERCENT) as progress:
        bar = _Bar(progress)
        for number, layer in enumerate(layers):
            bar.begin(number, len(layers))
            found = ascend(model, layer, units=units, seed=wishes.seed, progress=bar.told)
            ascents.append(replace(found, model=label))
    return draw_ascents(ascents)


def _draw_excitations(model: TaggingModel, label: str, folder: Path, max_duration_s: float, places: _Places) -> int:
    """Draw the excitations by tag and by loudness; give how many sounds or folders could not be used."""
    clips, failures = _clips_in(folder)

    def told(failure: Failure) -> None:
        progress.make_way()
        say(f"{printable(failure.path)}: {failure.message}")
        failures.append(failure)

    for failure in failures:
        say(f"{printable(failure.path)}: {failure.message}")
    with FileProgress(PERCENT) as progress:
        found = excitations(model, clips, max_duration_s=max_duration_s, on_failure=told, progress=_Bar(progress).told)
    found = replace(found, model=label)
    places.save(found.plot(), "excitation")
    places.save(found.plot_loudness(), "loudness")
    return len(failures)


def _clips_in(folder: Path) -> tuple[dict[str, list[str]] | list[str], list[Failure]]:
    """List the sound of each sub-folder, or of the folder itself where there are none.

    Args:
        folder: with a sub-folder a tag, or with sound.

    Returns:
        The files by the name of their sub-folder, or without; and the folders without sound, or that cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"--excitation is {printable(str(folder))}, which is no folder.")
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not inside:
        files, failures = list_files([str(folder)])
        if not files:
            raise AudioError("there is no sound in this folder", str(folder))
        return files, failures
    by_tag: dict[str, list[str]] = {}
    failures = []
    for sub_folder in inside:
        files, failed = list_files([str(sub_folder)])
        failures.extend(failed)
        if files:
            by_tag[sub_folder.name] = files
    if not by_tag:
        raise AudioError("there is no sound in this folder", str(folder))
    return by_tag, failures


class _Bar:
    """Turns shares of the work into steps of a progress bar.

    Args:
        progress: counts to a hundred.
    """

    def __init__(self, progress: FileProgress) -> None:
        self._progress = progress
        self._n_shown = 0
        self._part = (0, 1)

    def begin(self, number: int, n_parts: int) -> None:
        """Begin one of several parts."""
        self._part = (number, n_parts)

    def told(self, share: float) -> None:
        """Take in the share of the part that is done."""
        number, n_parts = self._part
        while self._n_shown < int(PERCENT * (number + share) / n_parts):
            self._progress.advance()
            self._n_shown += 1
