"""From a data set to a prepared folder: worker processes decode, this one writes, in the order of the tracks.

Each Arrow file is written aside and renamed when it is full, then the card takes it up with all that was counted until
then. So a run that is cut short, at whatever moment, leaves a card that says where to go on.
"""

from __future__ import annotations

import array
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

import taggram
from taggram._checks import check, check_count, check_flag
from taggram._files import only_writer, written_aside
from taggram._processes import NOT_STARTED, Processes
from taggram.audio import MAX_DURATION_S, SAMPLE_RATES_HZ
from taggram.datasets import TagDataset, Track
from taggram.datasets._base import PARTS, name_some
from taggram.errors import ConfigError, DatasetError, check_above_zero, printable
from taggram.learning._arrow import BATCH_BYTES, Kind, Layout, PartWriter, Row, arrow, kind_of
from taggram.learning._decoding import FEATURES, FLOAT16, PCM, Decoded, Decoding, read_decoded
from taggram.learning._reading import CARD, FORMAT, part_paths, read_card, read_column
from taggram.results import Failure

if TYPE_CHECKING:
    from taggram.frontends import FrontendConfig

FILE_BYTES = 1_000_000_000
MOST_CUTS = 1_000  # tracks of one file that are decoded together
AHEAD = 4  # files a worker that may wait on the disk for the one that is next in order
LOCK = ".lock"
ASIDE = ".taggram-"  # begins the names of what is not finished
MADE_WITH = ("av", "numpy", "pyarrow", "soundfile", "soxr", "torch")  # packages on which samples and features depend
MUST_EQUAL = (  # facts on the card, beside its settings, that must be equal to go on with a folder
    *("name", "split", "vocabulary", "task", "tags", "split_sha256", "sample_rate", "frontend"),
)
IN_WORDS = {"split_sha256": "tracks, parts or tags", "tracks_sha256": "tracks, files or columns"}


@dataclass(frozen=True)
class LeftOut:
    """A track that could not be prepared.

    Attributes:
        track_id: its name.
        path: its file, from the folder of the data set on where it lies in there.
        reason: what is wrong with it.
    """

    track_id: str
    path: str
    reason: str


@dataclass(frozen=True)
class SameSound:
    """Tracks whose samples are all equal.

    Attributes:
        track_ids: their names.
        parts: the parts of the split that they are in.
    """

    track_ids: tuple[str, ...]
    parts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """What became of a data set.

    Attributes:
        folder: where the prepared data is.
        n_tracks: tracks of the split.
        n_rows: tracks that were prepared, by part.
        n_before: those of them that an earlier run had prepared.
        duration_s: of all sound, in seconds.
        n_bytes: size of the Arrow files.
        left_out: tracks that could not be prepared.
        n_noted: rows with something unusual, which the column `notes` says.
        n_clipped: rows whose sound went beyond -1 or 1, which 16 bits cannot hold.
        loudest: the name of the one that went furthest, and how far; None where none did.
        same_sound: groups of rows with equal samples.
    """

    folder: Path
    n_tracks: int
    n_rows: Mapping[str, int]
    n_before: int
    duration_s: float
    n_bytes: int
    left_out: tuple[LeftOut, ...]
    n_noted: int
    n_clipped: int
    loudest: tuple[str, float] | None
    same_sound: tuple[SameSound, ...]


Progress = Callable[[int, int, LeftOut | None], None]
"""Is told how many tracks are done, of how many, and what is wrong with the last one if it was left out."""


def prepare(
    dataset: TagDataset,
    out: str | os.PathLike[str],
    *,
    sample_rate: int,
    n_workers: int | None = None,
    max_duration_s: float = MAX_DURATION_S,
    file_bytes: int = FILE_BYTES,
    frontend: FrontendConfig | None = None,
    keep_samples: bool = True,
    progress: Progress | None = None,
) -> PrepareReport:
    """Decode all tracks of a data set once, mono and at one rate, or go on where that was cut short.

    The bytes that are written depend on the data set and the settings alone, with one set of library versions, and not
    on the number of workers or how often the run was cut short. What is wrong with a file costs its tracks and no more.
    A folder that is finished stays as it is; to try again what was left out, name another one.

    Args:
        dataset: the data set, with its split and tags.
        out: the folder to write into: new, empty, or one that was begun with the same settings.
        sample_rate: of the samples, in Hz.
        n_workers: processes; None is one a core.
        max_duration_s: longest sound that is taken, in seconds.
        file_bytes: size at which an Arrow file is full.
        frontend: makes features too, once, as float16; None makes none.
        keep_samples: whether samples are kept; without them there must be features.
        progress: is told how far it is.

    Returns:
        What became of the tracks.

    Raises:
        ConfigError: a setting makes no sense.
        DatasetError: the data set has no tracks, or none that can be read; or the folder cannot be written to, holds
            something else, was begun with other settings, or is being written by another process.
        MissingExtraError: pyarrow is not installed.
    """
    low, high = SAMPLE_RATES_HZ
    check_count("sample_rate", sample_rate, low, high)
    check_count("file_bytes", file_bytes)
    check_flag("keep_samples", keep_samples)
    check_above_zero(max_duration_s=max_duration_s)
    if n_workers is not None:
        check_count("n_workers", n_workers)
    if frontend is not None:
        _check_frontend(frontend, sample_rate)
    check(keep_samples or frontend is not None, "keep_samples", keep_samples, "True without a frontend")
    arrow()
    survey = _survey(dataset)
    folder = Path(out)
    settings = {"max_duration_s": float(max_duration_s), "file_bytes": file_bytes, "keep_samples": keep_samples}
    layout = Layout(sample_rate, keep_samples, None if frontend is None else _n_bands(frontend), survey.kinds)
    facts = _facts(dataset, survey, layout, frontend, settings)
    try:
        _make_folder(folder)
        with only_writer(folder, LOCK):
            done = _begin(folder, facts)
            n_before = sum(done.n_rows.values())
            if not done.complete:
                tracks = itertools.islice(dataset.tracks(), done.n_seen, None)
                with _aside(folder) as aside, _make_workers(facts, n_workers) as workers:
                    outcomes = _outcomes(dataset.root, tracks, aside, layout, workers)
                    _write(outcomes, folder, aside, layout, facts, done, survey.n_tracks, progress)
                _finish(folder, facts, done)
    except OSError as error:
        raise DatasetError(f"{printable(str(error.filename or out))}: {error.strerror or error}.") from error
    return _report(folder, survey, done, n_before)


@dataclass
class _Survey:
    """What is known of the tracks before anything is decoded.

    Attributes:
        n_tracks: how many there are.
        kinds: of the columns.
        sha256: of all that is said of all tracks.
    """

    n_tracks: int
    kinds: dict[str, Kind]
    sha256: str


@dataclass
class _Done:
    """What is done, as it stands on the card.

    Attributes:
        complete: whether that is all.
        n_seen: tracks that were prepared or left out.
        n_rows: tracks that were prepared, by part.
        n_samples: of them, by part.
        n_noted: rows with something unusual.
        n_clipped: rows that went beyond full scale.
        loudest: the name of the one that went furthest, and how far.
        left_out: tracks that could not be prepared.
        same_sound: groups of rows with equal samples.
        files: name, rows and bytes of each Arrow file, and where the lists of each of its batches lie.
        made_with: versions of the libraries, more than one set where they changed on the way.
    """

    complete: bool = False
    n_seen: int = 0
    n_rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    n_samples: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    n_noted: int = 0
    n_clipped: int = 0
    loudest: tuple[str, float] | None = None
    left_out: list[LeftOut] = field(default_factory=list)
    same_sound: list[SameSound] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    made_with: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Self:
        """Read what is done from a card."""
        done = cls(**{one.name: card[one.name] for one in dataclasses.fields(cls)})
        done.loudest = done.loudest and (done.loudest[0], done.loudest[1])
        done.left_out = [LeftOut(**one) for one in card["left_out"]]
        done.same_sound = [SameSound(tuple(one["track_ids"]), tuple(one["parts"])) for one in card["same_sound"]]
        return done

    def take(self, outcome: Outcome) -> None:
        """Count one more track."""
        self.n_seen += 1
        if isinstance(outcome, LeftOut):
            self.left_out.append(outcome)
            return
        track, decoded = outcome.row.track, outcome.decoded
        self.n_rows[track.part] += 1
        self.n_samples[track.part] += decoded.n_samples
        self.n_noted += bool(decoded.notes)
        if decoded.peak > 1:
            self.n_clipped += 1
            if self.loudest is None or decoded.peak > self.loudest[1]:
                self.loudest = (track.track_id, round(decoded.peak, 3))


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A track that was prepared.

    Attributes:
        row: as it is to be written.
        decoded: what came of its sound.
    """

    row: Row
    decoded: Decoded


Outcome = LeftOut | _Prepared


# -- before ------------------------------------------------------------------------------------------------------------


def _check_frontend(frontend: FrontendConfig, sample_rate: int) -> None:
    from taggram.frontends import RawConfig

    if isinstance(frontend, RawConfig):
        raise ConfigError("a raw front-end makes no features: the samples are kept as they are.")
    if frontend.sample_rate != sample_rate:
        raise ConfigError(
            f"the front-end wants sound at {frontend.sample_rate} Hz, not {sample_rate}; give sample_rate="
            f"{frontend.sample_rate}."
        )


def _n_bands(frontend: FrontendConfig) -> int:
    from taggram.frontends import create_frontend

    return create_frontend(frontend).n_bands


def _survey(dataset: TagDataset) -> _Survey:
    """Walk through the tracks once: count them, hash what is said of them, and find out what their columns hold."""
    digest = hashlib.sha256()
    kinds: dict[str, Kind | None] = {}
    hashes = array.array("q")
    tags = set(dataset.tags)
    for track in dataset.tracks():
        if unknown := set(track.tags) - tags:
            raise DatasetError(f"{printable(track.track_id)} has a tag that the data set has not: {min(unknown)!r}.")
        cut = (track.start_s, track.end_s)
        said = (track.track_id, _from_root(track.path, dataset.root), track.part, track.tags, cut, dict(track.columns))
        digest.update(json.dumps(said).encode("ascii") + b"\n")
        for name, value in track.columns.items():
            kinds[name] = kind_of(value, kinds.get(name))
        hashes.append(hash(track.track_id))
    if not hashes:
        raise DatasetError(f"{dataset.card.name} in {printable(str(dataset.root))} has no tracks.")
    _refuse_twins(dataset, hashes)
    return _Survey(len(hashes), {name: kind or "text" for name, kind in kinds.items()}, digest.hexdigest())


def _refuse_twins(dataset: TagDataset, hashes: array.array[int]) -> None:
    """Raise if two tracks have the same name; names that share no more than a hash are told apart."""
    values, counts = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
    shared = set(values[counts > 1].tolist())
    seen: set[str] = set()
    for track in dataset.tracks() if shared else ():
        if hash(track.track_id) in shared:
            if track.track_id in seen:
                raise DatasetError(f"two tracks of {dataset.card.name} are named {printable(track.track_id)}.")
            seen.add(track.track_id)


def _from_root(path: Path, root: Path) -> str:
    """Name a file from the folder of the data set on, if it lies in there."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return os.fspath(path)


def _facts(
    dataset: TagDataset,
    survey: _Survey,
    layout: Layout,
    frontend: FrontendConfig | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Give what stands on the card before anything is decoded."""
    card = dataset.card
    config = None
    if frontend is not None:
        from taggram.frontends import config_to_dict

        config = config_to_dict(frontend)
    return {
        "name": card.name,
        "title": card.title,
        "licence": card.licence,
        "citation": card.citation,
        "page": card.page,
        "task": dataset.task,
        "tags": list(dataset.tags),
        "vocabulary": dataset.vocabulary,
        "split": dataset.split,
        "split_sha256": dataset.split_sha256(),
        "n_tracks": survey.n_tracks,
        "sample_rate": layout.sample_rate,
        "frontend": config,
        "columns": layout.names,
        "settings": {"format": FORMAT, **settings, "tracks_sha256": survey.sha256},
    }


# -- the folder --------------------------------------------------------------------------------------------------------


def _make_folder(folder: Path) -> None:
    """Make the folder, or see that it is empty or was begun by us."""
    folder.mkdir(parents=True, exist_ok=True)
    others = [path.name for path in folder.iterdir() if not path.name.startswith((LOCK, ASIDE))]
    if others and CARD not in others:
        raise DatasetError(
            f"{printable(str(folder))} holds {name_some(sorted(others))}; name a new or an empty folder."
        )


def _begin(folder: Path, facts: dict[str, Any]) -> _Done:
    """See how far an earlier run came, or begin the card. What was not finished is removed."""
    for left in folder.glob(f"{ASIDE}*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
    if not (folder / CARD).exists():
        done = _Done()
        _save(folder, facts, done)
        return done
    card = read_card(folder)
    for there, wanted in ((card, {name: facts[name] for name in MUST_EQUAL}), (card["settings"], facts["settings"])):
        for name, value in wanted.items():
            if there.get(name) != value:
                _refuse(folder, name, there.get(name), value)
    part_paths(folder, card)
    return _Done.from_card(card)


def _refuse(folder: Path, name: str, there: object, wanted: object) -> NoReturn:
    """Say that a folder was begun with another setting."""
    is_short = all(isinstance(value, str | int | float | None) for value in (there, wanted)) and "sha256" not in name
    what = f"{name}={there}, not {wanted}" if is_short else f"other {IN_WORDS.get(name, name)} than now"
    raise DatasetError(f"{printable(str(folder))} was begun with {what}; name another folder.")


def _save(folder: Path, facts: Mapping[str, Any], done: _Done) -> None:
    """Write the card, a line a file."""
    card = {**facts, **asdict(done)}
    files = ",\n    ".join(map(json.dumps, card.pop("files")))
    text = json.dumps(card, indent=2).removesuffix("\n}") + f',\n  "files": [\n    {files}\n  ]\n}}\n'
    with written_aside(folder / CARD) as path:
        path.write_text(text, encoding="ascii")


@contextlib.contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """Give a folder for what is not finished, which goes at the end."""
    with tempfile.TemporaryDirectory(prefix=ASIDE, dir=folder, ignore_cleanup_errors=True) as aside:
        yield Path(aside)


# -- the run -----------------------------------------------------------------------------------------------------------


def _make_workers(facts: Mapping[str, Any], n_workers: int | None) -> Processes[Decoding, list[Decoded]]:
    settings = {name: facts[name] for name in ("sample_rate", "frontend")}
    settings["max_duration_s"] = facts["settings"]["max_duration_s"]
    return Processes("taggram.learning._decoding", settings, read_decoded, n_workers, ahead=AHEAD)


def _outcomes(
    root: Path, tracks: Iterable[Track], aside: Path, layout: Layout, workers: Processes[Decoding, list[Decoded]]
) -> Iterator[Outcome]:
    """Have tracks decoded.

    Args:
        root: the folder of the data set.
        tracks: that are to be decoded.
        aside: the folder for what is not finished.
        layout: of the rows.
        workers: that decode.

    Yields:
        What became of each, in order. It is gone when the next one is asked for.

    Raises:
        DatasetError: the data set is not there any more, or no worker can be started.
    """
    groups, again = itertools.tee(_groups(tracks))
    tasks = (
        Decoding(
            os.fspath(group[0].path), str(aside / f"{number}"), tuple((track.start_s, track.end_s) for track in group)
        )
        for number, group in enumerate(groups)
    )
    for number, (group, result) in enumerate(zip(again, workers.run(tasks))):
        place = str(aside / f"{number}")
        if isinstance(result, Failure):
            if result.error == NOT_STARTED:
                raise DatasetError(f"no worker process can be started: {result.message}.")
            result = [Decoded(error=result.message)] * len(group)
        for track, decoded in zip(group, result, strict=True):
            if decoded.error:
                if not root.is_dir():
                    raise DatasetError(f"{printable(str(root))} is not there any more.")
                yield LeftOut(track.track_id, _from_root(track.path, root), decoded.error)
            else:
                yield _Prepared(_make_row(track, decoded, place, layout), decoded)
        for path in (place, place + FEATURES):
            with contextlib.suppress(OSError):
                Path(path).unlink()


def _groups(tracks: Iterable[Track]) -> Iterator[list[Track]]:
    """Put tracks together that follow each other and are cut out of one file."""
    group: list[Track] = []
    for track in tracks:
        if group and (track.path != group[0].path or len(group) == MOST_CUTS):
            yield group
            group = []
        group.append(track)
    if group:
        yield group


def _make_row(track: Track, decoded: Decoded, aside: str, layout: Layout) -> Row:
    """Read what a worker wrote of a track."""
    samples = np.empty(0, PCM)
    features = np.empty((0, 0), FLOAT16)
    if layout.has_samples:
        samples = _values(aside, PCM, decoded.first, decoded.n_samples)
    if layout.n_bands is not None:
        n_bands = layout.n_bands
        features = _values(aside + FEATURES, FLOAT16, decoded.first_frame * n_bands, decoded.n_frames * n_bands)
        features = features.reshape(decoded.n_frames, n_bands)
    return Row(track, "; ".join(decoded.notes), decoded.sound_hash, samples, features)


def _values(path: str, dtype: np.dtype[Any], first: int, count: int) -> NDArray[Any]:
    """Read values out of a file; more than a batch of them are left on the disk."""
    offset = first * dtype.itemsize
    if count * dtype.itemsize >= BATCH_BYTES:
        return np.memmap(path, dtype, "r", offset, (count,))
    return np.fromfile(path, dtype, count, offset=offset)


def _write(
    outcomes: Iterable[Outcome],
    folder: Path,
    aside: Path,
    layout: Layout,
    facts: Mapping[str, Any],
    done: _Done,
    n_tracks: int,
    progress: Progress | None,
) -> None:
    """Write Arrow files until all tracks are done; the card follows file by file."""
    part: PartWriter | None = None
    file_bytes: int = facts["settings"]["file_bytes"]
    _note_versions(done, facts)
    if progress:
        progress(done.n_seen, n_tracks, None)
    for outcome in outcomes:
        done.take(outcome)
        if isinstance(outcome, _Prepared):
            part = part or PartWriter(aside / "part.arrow", layout)
            part.add(outcome.row)
            if part.n_bytes >= file_bytes:
                _take_up(part, folder, facts, done)
                part = None
        if progress:
            progress(done.n_seen, n_tracks, outcome if isinstance(outcome, LeftOut) else None)
    if part:
        _take_up(part, folder, facts, done)


def _take_up(part: PartWriter, folder: Path, facts: Mapping[str, Any], done: _Done) -> None:
    """Put an Arrow file in its place, and then onto the card."""
    part.close()
    path = folder / f"part-{len(done.files):05d}.arrow"
    part.path.replace(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    facts_of_file = {"file": path.name, "n_rows": part.n_rows, "n_bytes": size, "sha256": sha256}
    done.files.append({**facts_of_file, "places": part.places})
    _save(folder, facts, done)


def _note_versions(done: _Done, facts: Mapping[str, Any]) -> None:
    """Note what samples and features are made with from here on."""
    versions = {"taggram": taggram.__version__}
    for package in MADE_WITH:
        if package != "torch" or facts["frontend"] is not None:
            with contextlib.suppress(metadata.PackageNotFoundError):
                versions[package] = metadata.version(package)
    if versions not in done.made_with:
        done.made_with.append(versions)


def _finish(folder: Path, facts: Mapping[str, Any], done: _Done) -> None:
    """Write the card of a folder that is whole."""
    if not done.files:
        first = done.left_out[0]
        raise DatasetError(
            f"none of the {done.n_seen} tracks could be prepared; {printable(first.track_id)}: {first.reason}."
        )
    done.same_sound = _same_sound([folder / file["file"] for file in done.files])
    done.complete = True
    _save(folder, facts, done)


def _same_sound(paths: list[Path]) -> list[SameSound]:
    """Find the rows whose samples are equal."""
    hashes = read_column(paths, "sound_hash")
    order = np.argsort(hashes, kind="stable")
    begins = np.flatnonzero(np.diff(hashes[order], prepend=hashes[order[0]] - 1) != 0)
    groups = [rows for rows in np.split(order, begins[1:]) if len(rows) > 1]
    if not groups:
        return []
    names, parts = read_column(paths, "track_id"), read_column(paths, "split")
    groups.sort(key=lambda rows: int(rows[0]))
    return [SameSound(tuple(names[rows]), tuple(part for part in PARTS if part in parts[rows])) for rows in groups]


def _report(folder: Path, survey: _Survey, done: _Done, n_before: int) -> PrepareReport:
    rate = read_card(folder)["sample_rate"]
    return PrepareReport(
        folder=folder,
        n_tracks=survey.n_tracks,
        n_rows=dict(done.n_rows),
        n_before=n_before,
        duration_s=sum(done.n_samples.values()) / rate,
        n_bytes=sum(file["n_bytes"] for file in done.files),
        left_out=tuple(done.left_out),
        n_noted=done.n_noted,
        n_clipped=done.n_clipped,
        loudest=done.loudest,
        same_sound=tuple(done.same_sound),
    )
