"""How results are written: as text, JSON lines, CSV, npz or Parquet; a file is whole or not there."""

from __future__ import annotations

import contextlib
import csv
import errno
import itertools
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO, TypeVar

from taggram._files import written_aside
from taggram.apps._parquet import ParquetEmbeddings, ParquetTags, load_pyarrow
from taggram.errors import ConfigError, printable
from taggram.results import Embedding, Failure, Taggram, best_tags

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_TOP = 3  # tags of a sound, unless told otherwise
SCORE_DIGITS = 6
TIME_DIGITS = 6


class Format(StrEnum):
    """How tags are written."""

    text = "text"
    json = "json"
    csv = "csv"
    parquet = "parquet"


class ListFormat(StrEnum):
    """How tracks are written that were found."""

    text = "text"
    json = "json"
    csv = "csv"
    m3u = "m3u"


class TableFormat(StrEnum):
    """How groups and numbers are written."""

    text = "text"
    json = "json"
    csv = "csv"


OF_SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".m3u": "m3u", ".m3u8": "m3u"}
Kind = TypeVar("Kind", ListFormat, TableFormat)


def format_of(kind: Kind | None, kinds: type[Kind], out: Path | None) -> Kind:
    """Say how something is written.

    Args:
        kind: the format that was asked for; None is the one that the name of the file ends in, or else text.
        kinds: those that there are.
        out: the file, or None for standard output.

    Returns:
        The format.

    Raises:
        ConfigError: a playlist is asked for by the name of the file, and this can be none.
    """
    if kind is not None:
        return kind
    wanted = OF_SUFFIXES.get("" if out is None else out.suffix.lower(), "text")
    if wanted not in kinds.__members__:
        raise ConfigError(
            f"--out {printable(str(out))} is called like a playlist, which this cannot be; --format says how it is "
            f"written: {', '.join(kinds)}."
        )
    return kinds(wanted)


class TagWriter:
    """Writes tags in one of the formats that are text. To be read: `n_files` so far.

    Args:
        stream: where to.
        kind: the format.
        top: at most so many tags a sound, or None for all.
        threshold: least score.
        over_time: whether the scores of each patch are written too.
    """

    def __init__(self, stream: TextIO, kind: Format, top: int | None, threshold: float, over_time: bool) -> None:
        self._stream = stream
        self._top = top
        self._threshold = threshold
        self._over_time = over_time
        write: dict[Format, Callable[[Taggram], None]] = {
            Format.text: self._write_text, Format.json: self._write_json, Format.csv: self._write_csv,
        }  # fmt: skip
        self._write = write[kind]
        self._kind = kind
        self.n_files = 0
        self._table = csv.writer(stream, lineterminator="\n")
        if kind is Format.csv:
            self._table.writerow(["path", *(["time_s"] if over_time else []), "tag", "score"])

    def write(self, result: Taggram | Failure) -> None:
        """Write one result; a failure shows in JSON alone."""
        if isinstance(result, Taggram):
            self.n_files += 1
            self._write(result)
        elif self._kind is Format.json:
            self._line({"path": result.path, "error": result.error, "message": result.message})
        self._stream.flush()

    def _best(self, result: Taggram, scores: NDArray[np.float32]) -> list[tuple[str, float]]:
        return best_tags(result.tags, scores, self._top, self._threshold)

    def _rows(self, result: Taggram, show: Callable[[float], str]) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """Give the scores of the whole sound, or with the start of each patch its scores."""
        if not self._over_time:
            yield [], result.mean_scores
            return
        for time_s, scores in zip(result.times_s, result.scores):
            yield [show(float(time_s))], scores

    def _write_text(self, result: Taggram) -> None:
        """One line a sound, or a patch: path, (time,) tag=score ..., tab separated."""
        name = printable(result.path)
        for time, scores in self._rows(result, clock):
            tags = [f"{tag}={score:.2f}" for tag, score in self._best(result, scores)]
            self._stream.write("\t".join([name, *time, *tags]) + "\n")

    def _write_json(self, result: Taggram) -> None:
        self._line(tag_fields(result, self._top, self._threshold, self._over_time))

    def _write_csv(self, result: Taggram) -> None:
        for time, scores in self._rows(result, "{:.3f}".format):
            for tag, score in self._best(result, scores):
                self._table.writerow([result.path, *time, tag, f"{score:.6f}"])

    def _line(self, fields: dict[str, Any]) -> None:
        """Write an object on one line; bytes of a path that are no UTF-8 stay surrogate escapes."""
        line = json.dumps(fields, ensure_ascii=False)
        if not _is_utf8(line):
            line = json.dumps(fields)
        self._stream.write(line + "\n")


def tag_fields(result: Taggram, top: int | None, threshold: float, over_time: bool) -> dict[str, Any]:
    """Give the JSON object of the tags of one sound.

    Args:
        result: the tags.
        top: at most so many, or None for all.
        threshold: least score.
        over_time: whether the scores of each patch are in it too.

    Returns:
        Plain values by name, in their order.
    """
    fields: dict[str, Any] = {
        "path": result.path,
        "model": result.model,
        "duration_s": round(result.duration_s, TIME_DIGITS),
        "patch_s": round(result.patch_s, TIME_DIGITS),
        "hop_s": round(result.hop_s, TIME_DIGITS),
        "padded": result.padded,
        "notes": list(result.notes),
        "tags": [{"tag": tag, "score": round(score, SCORE_DIGITS)} for tag, score in result.top(top, threshold)],
    }
    if over_time:
        fields["times_s"] = [round(float(time_s), TIME_DIGITS) for time_s in result.times_s]
        fields["scores"] = [[round(float(score), SCORE_DIGITS) for score in row] for row in result.scores]
    return fields


def check_format(kind: Format, path: Path | None) -> None:
    """Refuse a format that cannot be written.

    Args:
        kind: the format.
        path: a file, or None for standard output.

    Raises:
        ConfigError: Parquet is asked for without a file.
        MissingExtraError: Parquet is asked for and pyarrow is not installed.
    """
    if kind is not Format.parquet:
        return
    if path is None:
        raise ConfigError("Parquet is no text to be printed; --out FILE says where it is written.")
    load_pyarrow()


@contextlib.contextmanager
def open_tags(
    path: Path | None, kind: Format, top: int | None, threshold: float, over_time: bool
) -> Iterator[TagWriter | ParquetTags]:
    """Open the place where tags go.

    Args:
        path: a file, written aside and renamed when all is well, or None for standard output.
        kind: the format.
        top: at most so many tags a sound, or None for all.
        threshold: least score.
        over_time: whether the scores of each patch are written too.

    Yields:
        What takes results in.

    Raises:
        ConfigError: Parquet is asked for without a file.
        OSError: standard output is closed, or the file cannot be written.
        MissingExtraError: Parquet is asked for and pyarrow is not installed.
    """
    check_format(kind, path)
    if path is not None and kind is Format.parquet:
        with _open_whole(path, "wb") as stream, ParquetTags(stream, top, threshold, over_time) as table:
            yield table
    else:
        with open_output(path) as stream:
            yield TagWriter(stream, kind, top, threshold, over_time)


@contextlib.contextmanager
def open_embeddings(path: Path) -> Iterator[EmbeddingWriter | ParquetEmbeddings]:
    """Open the file that embeddings go to.

    Args:
        path: the file, written aside and renamed when all is well: Parquet where it ends in .parquet, else npz.

    Yields:
        What takes embeddings in, of which there must be one.

    Raises:
        OSError: the file cannot be written.
        MissingExtraError: Parquet is asked for and pyarrow is not installed.
    """
    if is_parquet(path):
        with _open_whole(path, "wb") as stream, ParquetEmbeddings(stream) as table:
            yield table
    else:
        with EmbeddingWriter() as arrays:
            yield arrays
            arrays.save(path)


def is_parquet(path: Path) -> bool:
    """Say whether the name of a file asks for Parquet."""
    return path.suffix.lower() == ".parquet"


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Open the place where results go.

    Args:
        path: a file, written aside and renamed when all is well, or None for standard output.

    Yields:
        A text stream, UTF-8; paths that are no UTF-8 go out as the bytes that they are.

    Raises:
        OSError: standard output is closed, or the file cannot be written.
    """
    if path is not None:
        with _open_whole(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            yield stream
    elif sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard output")
    else:
        yield sys.stdout


class EmbeddingWriter:
    """Writes embeddings as npz: path (rows,), times_s (rows,) and features (rows, ...).

    Until all are there, the features wait in a file without a name and not in memory. To be used in a `with` statement.
    """

    def __init__(self) -> None:
        self._features = tempfile.TemporaryFile()  # noqa: SIM115 (closed at the end of the `with`)
        self._shape: tuple[int, ...] = ()  # of a row
        self._paths: list[str] = []
        self._times_s: list[NDArray[np.float64]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._features.close()

    @property
    def n_files(self) -> int:
        """Number of files so far."""
        return len(self._paths)

    @property
    def n_rows(self) -> int:
        """Number of rows so far."""
        return sum(map(len, self._times_s))

    def add(self, embedding: Embedding) -> None:
        """Take in the embedding of one file."""
        self._shape = embedding.features.shape[1:]
        self._paths.append(embedding.path)
        self._times_s.append(embedding.times_s)
        self._features.write(embedding.features.tobytes())

    def save(self, path: Path) -> None:
        """Write all of them, of which there must be one.

        Args:
            path: the file, whatever its suffix.
        """
        import numpy as np

        self._features.flush()
        with written_aside(path) as aside, aside.open("wb") as stream:
            np.savez(
                stream,
                path=np.repeat(self._paths, [len(times_s) for times_s in self._times_s]),
                times_s=np.concatenate(self._times_s),
                features=np.memmap(self._features, np.float32, "r", shape=(self.n_rows, *self._shape)),
            )


def clock(time_s: float) -> str:
    """Write a time as m:ss.s, or h:mm:ss from an hour on."""
    if time_s < 3600:
        minutes, seconds = divmod(math.floor(time_s * 10), 600)
        return f"{minutes}:{seconds / 10:04.1f}"
    minutes, whole = divmod(math.floor(time_s), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{whole:02d}"


class PictureNames:
    """Names the pictures of files; two files of one name get two pictures.

    Args:
        folder: where the pictures go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._of_files: dict[str, str] = {}
        self._used: set[str] = set()

    def of(self, file: str) -> str:
        """Give the path of the picture of a file, which is the same each time."""
        if file not in self._of_files:
            name = "".join(c if c.isprintable() and c not in '<>:"/\\|?*' else "_" for c in Path(file).name)
            numbered = (f"{name} ({number})" for number in itertools.count(2))
            picture = next(one for one in itertools.chain([name], numbered) if one.casefold() not in self._used)
            self._used.add(picture.casefold())  # some systems take a.png and A.png for one file
            self._of_files[file] = str(self._folder / f"{picture}.png")
        return self._of_files[file]


@contextlib.contextmanager
def _open_whole(path: Path, mode: str, **how: Any) -> Iterator[Any]:
    """Open a file that will be whole or not there; a device or a pipe is written to as it stands."""
    if path.exists() and not path.is_file():
        with path.open(mode, **how) as stream:
            yield stream
        return
    target = Path(os.path.realpath(path))  # what a link leads to is replaced, and not the link
    with written_aside(target) as aside, aside.open(mode, **how) as stream:
        yield stream


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
