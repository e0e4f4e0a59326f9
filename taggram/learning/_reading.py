"""The reader of prepared data."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taggram._files import in_turn
from taggram._stores import is_address, without_password
from taggram.audio import Samples
from taggram.datasets._base import PARTS, Part, Task
from taggram.errors import ConfigError, DatasetError, check_above_zero, printable
from taggram.learning._arrow import LISTS, arrow
from taggram.learning._copies import CACHE_GB, GB, Kept, aside_of, lock_of
from taggram.learning._decoding import FLOAT16, PCM, to_float
from taggram.learning._part_files import PartFiles, StoredFile, StoredParts, damaged, not_kept
from taggram.learning._stores import Store

if TYPE_CHECKING:
    from taggram.frontends import FrontendConfig

CARD = "card.json"
FORMAT = 1  # of the folder; another one cannot be read
VALUE_BYTES = 2  # of samples and features
OFFSET = np.dtype("<i8")
NO_PART = -1  # of a track that a view leaves out
N_OPENERS = 16  # files of a store that are looked into at once, since each answer takes its time
INDEX = "index.npz"  # what is kept in memory of the files of a store, so that these need not be looked into again
DAMAGE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)  # of an index

Rows = NDArray[np.int64] | Sequence[int]
Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Lists:
    """Where the lists of a column lie in their files.

    Attributes:
        first: (rows,) byte of the file at which a list begins.
        count: (rows,) how many items it has.
        width: values in an item.
    """

    first: Whole
    count: Whole
    width: int


@dataclass(frozen=True, eq=False)
class _Index:
    """What is kept in memory of a file, or of all.

    Attributes:
        n_rows: of each file.
        parts: (rows,) place in `PARTS`.
        n_tags: (rows,) how many tags a track has.
        tag_ids: (all tags of all rows,) places in the list of tags.
        lists: samples and features, where there are any.
    """

    n_rows: Whole
    parts: NDArray[np.int8]
    n_tags: Whole
    tag_ids: NDArray[np.int32]
    lists: dict[str, _Lists]


class PreparedData:
    """The tracks of a prepared folder.

    What is kept in memory is some 30 bytes a track, 16 more with features, and 4 for each tag of it. Samples are read
    when they are asked for, these bytes alone. It may be sent to other processes, which open the files for themselves.

    To be read: the `place`, its `card`, the `tags` in order, the `task`, and the `sample_rate` in Hz; and the `folder`
    that the files are in, which for those of a store is that of their copies.

    Args:
        folder: that `prepare` wrote; or the address of one in a store which fsspec knows, such as s3://bucket/prepared,
            whose files are fetched when they are first read and kept in `TAGGRAM_HOME`.
        cache_gb: of a store: size of all copies together, in 10^9 bytes. What is used least recently goes; of files
            that do not all fit, the last ones are read from the store each time.

    Raises:
        DatasetError: there is no prepared data in it, or it is not finished, or a file is missing or damaged.
        MissingExtraError: pyarrow is not installed, or what the store needs.
    """

    def __init__(self, folder: str | PathLike[str], *, cache_gb: float = CACHE_GB) -> None:
        check_above_zero(cache_gb=cache_gb)
        self.place = without_password(os.fspath(folder))
        store = Store(str(folder)) if is_address(folder) else None
        text = _card_text(Path(folder)) if store is None else store.read_text(CARD)
        self.card: Mapping[str, Any] = _card_of(text, self.place)
        if not self.card["complete"]:
            raise DatasetError(
                f"{printable(self.place)} is not finished; `taggram data prepare` with the same words goes on with it."
            )
        if not self.card["files"]:
            raise DatasetError(f"{printable(self.place)} has no track in it; prepare data that has some.")
        self.tags: tuple[str, ...] = tuple(self.card["tags"])
        self.task: Task = self.card["task"]
        self.sample_rate: int = self.card["sample_rate"]
        facts = self.card["files"]
        self._sources: list[Path] | list[StoredFile]
        if store is None:
            self.folder = Path(folder)
            self._sources = part_paths(self.folder, self.card)
            self._files = PartFiles(self._sources)
            index = _joined_index([_read_index(path, self.tags, f["places"]) for path, f in zip(self._sources, facts)])
        else:
            kept = Kept(store, text, int(cache_gb * GB))
            self.folder = kept.folder
            self._sources = [StoredFile(kept, file["file"], file["n_bytes"]) for file in facts]
            self._files = StoredParts(kept, facts)
            index = _index_of_store(kept, self._sources, self.tags, facts)
        self._file = np.repeat(np.arange(len(facts), dtype=np.int32), index.n_rows)
        self._parts: NDArray[np.int8] = index.parts
        self._tag_ids: NDArray[Any] = index.tag_ids
        self._lists = index.lists
        self._tag_ends = np.concatenate([[0], np.cumsum(index.n_tags)])

    def __len__(self) -> int:
        """Count the tracks."""
        return len(self._file)

    def index(self, part: Part) -> Whole:
        """Give the rows of a part.

        Args:
            part: train, valid or test.

        Returns:
            (rows,) in order; maybe none.

        Raises:
            ConfigError: there is no such part.
        """
        if part not in PARTS:
            raise ConfigError(f"part is {part!r}; wanted one of {', '.join(PARTS)}.")
        return np.flatnonzero(self._parts == PARTS.index(part))

    def labels(self, rows: Rows) -> NDArray[np.float32]:
        """Give the tags of tracks as numbers.

        Args:
            rows: (rows,) of the tracks.

        Returns:
            (rows, tags): 1 where a track has a tag, else 0.
        """
        rows = np.asarray(rows, np.int64)
        first = self._tag_ends[rows]
        n_tags = self._tag_ends[rows + 1] - first
        places = np.arange(n_tags.sum()) + np.repeat(first - n_tags.cumsum() + n_tags, n_tags)
        labels = np.zeros((len(rows), len(self.tags)), np.float32)
        labels[np.repeat(np.arange(len(rows)), n_tags), self._tag_ids[places]] = 1
        return labels

    def class_numbers(self, rows: Rows) -> Whole:
        """Give the one tag of tracks as its number; with thousands of classes that is far less than `labels`.

        Args:
            rows: (rows,) of tracks that have exactly one.

        Returns:
            (rows,) places in `tags`.

        Raises:
            DatasetError: a track has none, or several.
        """
        rows = np.asarray(rows, np.int64)
        n_tags = self._tag_ends[rows + 1] - self._tag_ends[rows]
        if (n_tags != 1).any():
            raise DatasetError(f"a track has {int(n_tags[n_tags != 1][0])} tags; exactly one is wanted of each.")
        return np.asarray(self._tag_ids[self._tag_ends[rows]], np.int64)

    def n_samples(self, row: int) -> int:
        """Count the samples of a track."""
        return int(self._lists_of("samples").count[row])

    def crop(self, row: int, start: int, n_samples: int) -> Samples:
        """Read a stretch of a track; only its own bytes are read.

        Args:
            row: of the track.
            start: samples of the track before it.
            n_samples: its length.

        Returns:
            (samples,) float32, -1 to 1.

        Raises:
            ConfigError: the track has no such samples, or none were kept.
            DatasetError: the file is damaged.
        """
        return to_float(np.frombuffer(self._read("samples", row, start, n_samples), PCM))

    def whole(self, row: int) -> Samples:
        """Read a whole track: (samples,) float32, -1 to 1."""
        return self.crop(row, 0, self.n_samples(row))

    def n_frames(self, row: int) -> int:
        """Count the frames of the features of a track."""
        return int(self._lists_of("features").count[row])

    def features(self, row: int, start: int = 0, n_frames: int | None = None) -> NDArray[np.float16]:
        """Read frames of a track; only their own bytes are read.

        Args:
            row: of the track.
            start: frames of the track before them.
            n_frames: how many; None is all from there on.

        Returns:
            (frames, values) float16.

        Raises:
            ConfigError: the track has no such frames, or there are no features.
            DatasetError: the file is damaged.
        """
        if n_frames is None:
            n_frames = self.n_frames(row) - start
        values = np.frombuffer(self._read("features", row, start, n_frames), FLOAT16)
        return values.reshape(n_frames, self._lists_of("features").width)

    def share_here(self) -> float | None:
        """Say how much of a store has been copied here.

        Returns:
            Share of the files that are to be kept here, 0 to 1; None of data that lies in no store.
        """
        return self._files.share_here() if isinstance(self._files, StoredParts) else None

    @property
    def frontend(self) -> FrontendConfig | None:
        """How the features were made; None where there are none."""
        from taggram.frontends import config_from_dict  # loads torch, which the samples do not need

        config = self.card["frontend"]
        return None if config is None else config_from_dict(config)

    def column(self, name: str) -> NDArray[Any]:
        """Read a column of all tracks, such as "track_id" or "artist_id".

        Args:
            name: of the column; not samples or features.

        Returns:
            (rows,) whole numbers, numbers (NaN where there is none) or objects (None where there is none).

        Raises:
            ConfigError: there is no such column.
            DatasetError: the files are damaged.
        """
        known = _schema(self._sources[0]).names
        if name not in known or name in self._lists:
            small = [one for one in known if one not in self._lists]
            raise ConfigError(f"there is no column {name!r}; there are {', '.join(small)}.")
        return read_column(self._sources, name)

    def with_train(self, rows: Rows) -> PreparedData:
        """Give the same data with fewer tracks to train on.

        Args:
            rows: of the tracks of train that are kept in it; the others are in no part.

        Returns:
            The data. Its card is as it was.

        Raises:
            ConfigError: a row is not in train.
        """
        kept = np.asarray(rows, np.int64)
        if len(np.setdiff1d(kept, self.index("train"))):
            raise ConfigError("some row is not in train; only what is trained on can be less.")
        given = copy.copy(self)
        given._parts = np.where(self._parts == PARTS.index("train"), NO_PART, self._parts).astype(np.int8)
        given._parts[kept] = PARTS.index("train")
        return given

    def with_classes(self, classes: Sequence[str], of_rows: Rows, parts: Rows, *, split: str) -> PreparedData:
        """Give the same sound with one class a track in place of its tags, such as its artist.

        Args:
            classes: their names, in order.
            of_rows: (rows,) number of the class of each track; -1 of those that are left out.
            parts: (rows,) place in train, valid, test of each track; -1 of those that are left out.
            split: name of this division.

        Returns:
            The data, of which exactly one class holds. Its card names the split, without a hash of its list.

        Raises:
            ConfigError: there are not as many numbers as tracks, or some number names nothing.
        """
        numbers = _numbers_below("of_rows", of_rows, len(self), len(classes))
        places = _numbers_below("parts", parts, len(self), len(PARTS))
        has_class = numbers >= 0
        given = copy.copy(self)
        given.tags, given.task = tuple(classes), "one"
        given._parts = np.where(has_class, places, NO_PART).astype(np.int8)
        given._tag_ends = np.concatenate([[0], np.cumsum(has_class)])
        given._tag_ids = numbers[has_class].astype(np.int32)
        given.card = {**self.card, "tags": list(classes), "task": "one", "split": split, "split_sha256": ""}
        return given

    def with_parts(self, parts: Rows, *, split: str) -> PreparedData:
        """Give the same tracks, divided in another way.

        Args:
            parts: (rows,) place in train, valid, test of each track; -1 of those that are left out.
            split: name of this division.

        Returns:
            The data. Its card names the split, with the hash of its list.

        Raises:
            ConfigError: there are not as many numbers as tracks, or some number names nothing.
        """
        given = copy.copy(self)
        given._parts = _numbers_below("parts", parts, len(self), len(PARTS)).astype(np.int8)
        given.card = {**self.card, "split": split, "split_sha256": given._list_sha256()}
        return given

    def with_tags(self, groups: Mapping[str, Sequence[str]], *, keep_untagged: bool = True) -> PreparedData:
        """Give the same sound with fewer tags, or with tags that mean the same as one.

        Args:
            groups: the new tags in order, each with the tags of here of which one must hold for it to hold.
            keep_untagged: whether tracks without any of them stay in their part.

        Returns:
            The data, of which several tags may hold. Its card has the hash of the new list.

        Raises:
            ConfigError: there is no new tag, or there is no tag of some name here.
        """
        if unknown := sorted({tag for tags in groups.values() for tag in tags} - {*self.tags}):
            raise ConfigError(f"there is no tag {unknown[0]!r} in {printable(self.place)}.")
        if not groups:
            raise ConfigError("there is no new tag; at least one is wanted.")
        number_of = {tag: number for number, tag in enumerate(self.tags)}
        goes_into: list[list[int]] = [[] for _ in self.tags]
        for place, tags in enumerate(groups.values()):
            for tag in dict.fromkeys(tags):
                goes_into[number_of[tag]].append(place)
        row_of = np.repeat(np.arange(len(self)), np.diff(self._tag_ends))
        held, places = _through_lists(self._tag_ids, goes_into)
        both = np.unique(np.stack([row_of[held], places], axis=1), axis=0)  # by row, then by tag
        n_tags = np.bincount(both[:, 0], minlength=len(self))
        given = copy.copy(self)
        given.tags, given.task = tuple(groups), "several"
        given._tag_ends = np.concatenate([[0], np.cumsum(n_tags)])
        given._tag_ids = both[:, 1].astype(np.int32)
        if not keep_untagged:
            given._parts = np.where(n_tags > 0, self._parts, NO_PART).astype(np.int8)
        given.card = {**self.card, "tags": list(groups), "task": "several"}
        given.card["split_sha256"] = given._list_sha256()
        return given

    def tags_of(self, row: int) -> tuple[str, ...]:
        """Give the tags of a track."""
        return tuple(self.tags[place] for place in self._tag_ids[self._tag_ends[row] : self._tag_ends[row + 1]])

    def _list_sha256(self) -> str:
        """Hash identifiers, parts and tags of all tracks that are in a part, as `TagDataset.split_sha256` does."""
        ids = self.column("track_id")
        lines = sorted(
            f"{ids[row]}\t{PARTS[self._parts[row]]}\t{'|'.join(sorted(self.tags_of(row)))}\n"
            for row in np.flatnonzero(self._parts != NO_PART).tolist()
        )
        digest = hashlib.sha256()
        for line in lines:
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _lists_of(self, column: str) -> _Lists:
        if column not in self._lists:
            raise ConfigError(f"{printable(self.place)} was prepared without {column}.")
        return self._lists[column]

    def _read(self, column: str, row: int, start: int, count: int) -> bytes:
        """Read some items out of the list of a track."""
        lists = self._lists_of(column)
        if start < 0 or count < 0 or start + count > lists.count[row]:
            raise ConfigError(
                f"{column} from {start} to {start + count} were asked for; row {row} has {lists.count[row]}."
            )
        size = VALUE_BYTES * lists.width
        return self._files.read(int(self._file[row]), int(lists.first[row]) + start * size, count * size)


def _through_lists(numbers: Rows, lists: Sequence[Sequence[int]]) -> tuple[Whole, Whole]:
    """Put the list of each number in its place; give where each item comes from, and the items."""
    lengths = np.array(list(map(len, lists)), np.int64)
    firsts = np.cumsum(lengths) - lengths
    items = np.array([item for one in lists for item in one], np.int64)
    n_items = lengths[numbers]
    origin = np.repeat(np.arange(len(numbers)), n_items)
    within = np.arange(len(origin)) - np.repeat(np.cumsum(n_items) - n_items, n_items)
    return origin, items[firsts[numbers][origin] + within]


def _numbers_below(name: str, came: Rows, n_rows: int, most: int) -> Whole:
    """Read a number from -1 on and below `most` for each track."""
    values = np.asarray(came, np.int64)
    if values.shape != (n_rows,) or (len(values) and not -1 <= values.min() <= values.max() < most):
        raise ConfigError(f"{name} must be {n_rows} numbers from -1 to {most - 1}, one a track.")
    return values


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of a prepared folder, also where that is not finished.

    Args:
        folder: that `prepare` wrote.

    Returns:
        The facts.

    Raises:
        DatasetError: there is none, or it is not of prepared data.
    """
    return _card_of(_card_text(folder), str(folder))


def is_prepared_folder(folder: str | PathLike[str]) -> bool:
    """Tell whether a folder of this machine holds prepared data, be it finished or not.

    Args:
        folder: that is asked about.

    Returns:
        Whether the card in it is one of prepared data; data sets that are made up have others of that name.
    """
    try:
        card = json.loads((Path(folder) / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(card, dict) and {"settings", "files"} <= card.keys()


def _card_text(folder: Path) -> str:
    path = folder / CARD
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"{printable(str(path))}: {reason}; `taggram data prepare` makes such a folder.") from error
    except ValueError as error:
        raise DatasetError(f"{printable(str(path))} is no card of prepared data.") from error


def _card_of(text: str, place: str) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads(text)
        form = card["settings"]["format"]
        files = [(str(file["file"]), int(file["n_bytes"])) for file in card["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{printable(place)}: {CARD} is no card of prepared data.") from error
    for name, n_bytes in files:
        if n_bytes < 0 or name in ("", ".", "..") or {PurePosixPath(name).name, PureWindowsPath(name).name} != {name}:
            raise DatasetError(
                f"{printable(place)}: {CARD} names a file {printable(name)!r} of {n_bytes} bytes; wanted is a name "
                "without a folder and a size from 0 on. Prepare the data again."
            )
    if form != FORMAT:
        raise DatasetError(
            f"{printable(place)} is in format {form}; this version reads format {FORMAT}. Prepare it again."
        )
    return card


def part_paths(folder: Path, card: Mapping[str, Any]) -> list[Path]:
    """Give the Arrow files of a prepared folder.

    Args:
        folder: that `prepare` wrote.
        card: of it.

    Returns:
        The files, in order.

    Raises:
        DatasetError: one of them is missing or not of the size that the card says.
    """
    paths = []
    for file in card["files"]:
        path = folder / file["file"]
        try:
            if path.stat().st_size != file["n_bytes"]:
                raise damaged(path, f"{path.stat().st_size} bytes are there, {file['n_bytes']} were written")
        except OSError as error:
            raise damaged(path, error.strerror or str(error)) from error
        paths.append(path)
    return paths


def read_column(paths: Sequence[Path | StoredFile], name: str) -> NDArray[Any]:
    """Read a small column of all rows of some files.

    Args:
        paths: the files.
        name: of the column.

    Returns:
        (rows,) whole numbers, numbers (NaN where there is none) or objects (None where there is none).

    Raises:
        DatasetError: a file is damaged.
    """
    with ThreadPoolExecutor(N_OPENERS) as pool:
        columns = [
            batch.column(name)
            for batches in pool.map(lambda path: list(_small_columns(path, name)), paths)
            for batch in batches
        ]
    values: NDArray[Any] = arrow().chunked_array(columns).to_numpy()
    return values


@contextlib.contextmanager
def _opened(path: Path | StoredFile) -> Iterator[Any]:
    """Open a file as pyarrow wants it."""
    pa = arrow()
    if isinstance(path, StoredFile):
        with path.open() as file:
            yield pa.PythonFile(file, mode="r")
    else:
        with pa.OSFile(str(path)) as file:
            yield file


def _schema(path: Path | StoredFile) -> Any:
    """Read which columns a file has."""
    try:
        with _opened(path) as file:
            return arrow().ipc.open_file(file).schema
    except DatasetError:  # of the store, which says itself what to do
        raise
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error


def _small_columns(path: Path | StoredFile, *names: str) -> Iterator[Any]:
    """Give the record batches of a file with some of their columns, of which alone something is read."""
    pa = arrow()
    known = _schema(path).names
    try:
        with _opened(path) as file:
            options = pa.ipc.IpcReadOptions(included_fields=[known.index(name) for name in names])
            reader = pa.ipc.open_file(file, options=options)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
    except DatasetError:  # of the store, which says itself what to do
        raise
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error


def _read_index(path: Path | StoredFile, tags: Sequence[str], places: Sequence[Mapping[str, Sequence[int]]]) -> _Index:
    """Read what is kept in memory of a file, whose lists lie in places."""
    parts, n_tags, tag_ids = [], [], []
    lists: dict[str, list[_Lists]] = {name: [] for name in places[0]}
    widths = _widths(path)
    for batch, of_batch in zip(_small_columns(path, "split", "tags"), places, strict=True):
        parts.append(_ids_of(batch.column("split"), PARTS, path).astype(np.int8))
        n_tags.append(batch.column("tags").value_lengths().to_numpy().astype(np.int64))
        tag_ids.append(_ids_of(batch.column("tags").flatten(), tags, path))
        for name, (offsets_at, values_at) in of_batch.items():
            offsets = _offsets(path, batch.num_rows + 1, offsets_at)
            first = values_at + offsets[:-1] * (VALUE_BYTES * widths[name])
            lists[name].append(_Lists(first, np.diff(offsets), widths[name]))
    return _Index(
        np.array([sum(map(len, parts))]),
        np.concatenate(parts),
        np.concatenate(n_tags),
        np.concatenate(tag_ids),
        {name: _joined(some) for name, some in lists.items()},
    )


def _offsets(path: Path | StoredFile, count: int, place: int) -> Whole:
    if isinstance(path, StoredFile):
        return np.frombuffer(path.kept.store.read(path.name, place, count * OFFSET.itemsize), OFFSET)
    return np.fromfile(path, OFFSET, count, offset=place)


def _joined_index(parts: Sequence[_Index]) -> _Index:
    """Put what is known of several files behind each other."""
    return _Index(
        np.concatenate([part.n_rows for part in parts]),
        np.concatenate([part.parts for part in parts]),
        np.concatenate([part.n_tags for part in parts]),
        np.concatenate([part.tag_ids for part in parts]),
        {name: _joined([part.lists[name] for part in parts]) for name in parts[0].lists},
    )


def _index_of_store(
    kept: Kept, files: Sequence[StoredFile], tags: Sequence[str], facts: Sequence[Mapping[str, Any]]
) -> _Index:
    """Give what is kept in memory of the files of a store: as it was kept here, or by looking into all of them."""
    path = kept.path_of(INDEX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with in_turn(lock_of(path)):
            with contextlib.suppress(*DAMAGE):  # there is none, or it was cut: then it is made anew
                return _load_index(path)
            kept.store.check_parts(files[0].name)
            with ThreadPoolExecutor(N_OPENERS) as pool:
                parts = list(pool.map(lambda f, known: _read_index(f, tags, known["places"]), files, facts))
            index = _joined_index(parts)
            _save_index(path, index)
    except OSError as error:  # of this disk; a store's are told otherwise
        raise not_kept(kept, path, error.strerror or str(error)) from error
    return index


def _save_index(path: Path, index: _Index) -> None:
    """Write an index, whole or not at all; who does so has its lock, and so the file aside."""
    flat = {"n_rows": index.n_rows, "parts": index.parts, "n_tags": index.n_tags, "tag_ids": index.tag_ids}
    arrays: dict[str, Any] = {**flat}
    for name, lists in index.lists.items():
        arrays |= {f"{name} first": lists.first, f"{name} count": lists.count, f"{name} width": np.array(lists.width)}
    aside = aside_of(path)
    with aside.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _load_index(path: Path) -> _Index:
    with contextlib.suppress(PermissionError):  # another user's can be read all the same
        os.utime(path)  # what is not used goes some day
    with path.open("rb") as file, np.load(file) as arrays:
        lists = {
            name: _Lists(arrays[f"{name} first"], arrays[f"{name} count"], int(arrays[f"{name} width"]))
            for name in LISTS
            if f"{name} first" in arrays
        }
        return _Index(arrays["n_rows"], arrays["parts"], arrays["n_tags"], arrays["tag_ids"], lists)


def _widths(path: Path | StoredFile) -> dict[str, int]:
    """Give how many values an item of a list has."""
    pa = arrow()
    items = {field.name: field.type.value_type for field in _schema(path) if field.name in LISTS}
    return {name: item.list_size if pa.types.is_fixed_size_list(item) else 1 for name, item in items.items()}


def _ids_of(words: Any, known: Sequence[str], path: Path | StoredFile) -> NDArray[np.int32]:
    """Turn words into their places in a list."""
    pa = arrow()
    ids = pa.compute.index_in(words, value_set=pa.array(known, pa.string()))
    if ids.null_count:
        raise damaged(path, "it names what the card does not")
    places: NDArray[np.int32] = ids.to_numpy()
    return places


def _joined(lists: Sequence[_Lists]) -> _Lists:
    """Put the lists of several batches or files behind each other."""
    first = np.concatenate([one.first for one in lists])
    return _Lists(first, np.concatenate([one.count for one in lists]), lists[0].width)
