"""Text files of data sets: lists that come with taggram, and tables and lists that lie on disk."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from taggram.errors import DatasetError, printable

LONGEST_FIELD = 2**24  # characters; biographies of artists have outgrown what the csv module allows by itself


def packaged_list(name: str) -> tuple[str, ...]:
    """Read a list that comes with taggram.

    Args:
        name: of the file in `taggram/datasets/lists`.

    Returns:
        Its lines, in order.
    """
    text = resources.files("taggram.datasets").joinpath("lists", name).read_text(encoding="utf-8")
    return tuple(text.splitlines())


def unpack_ids(steps: str) -> list[int]:
    """Read a sorted list of numbers that was written as steps.

    Args:
        steps: a digit of base 36 a number, by how much it is above the one before, from 0 on; "+" stands for 35 more.

    Returns:
        The numbers, rising.
    """
    ids = [0]
    for step in steps:
        if step == "+":
            ids[-1] += 35
        else:
            ids[-1] += int(step, 36)
            ids.append(ids[-1])
    return ids[:-1]


def read_text(path: Path) -> str:
    """Read a whole text file.

    Args:
        path: UTF-8, with or without a byte order mark.

    Returns:
        Its text; line ends are kept.

    Raises:
        DatasetError: it is not there, cannot be read, or is no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{printable(str(path))}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{printable(str(path))} is no text in UTF-8 (byte {error.start}); fetch it again."
        ) from error


def read_lines(path: Path) -> list[str]:
    """Read the lines of a file that are not blank, without what ends them.

    Args:
        path: UTF-8, lines ending in LF or CRLF, the last perhaps in nothing.

    Returns:
        The lines; tabs and blanks at their ends stay.

    Raises:
        DatasetError: it is not there, cannot be read, or is no UTF-8.
    """
    lines = (line.rstrip("\r") for line in read_text(path).split("\n"))
    return [line for line in lines if line.strip()]


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        path: the file.
        line: on which it ends, from 1 on.
        fields: the wanted ones, by the name of their column.
    """

    path: Path
    line: int
    fields: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.fields[column]

    def whole(self, column: str) -> int:
        """Give a field as a whole number."""
        return whole(self[column], f"{column} in line {self.line} of {printable(str(self.path))}")

    def number(self, column: str) -> float:
        """Give a field as a number."""
        try:
            return float(self[column])
        except ValueError as error:
            raise self.wrong(column, "a number") from error

    def wrong(self, column: str, wanted: str) -> DatasetError:
        """Make the error for a field that makes no sense."""
        return DatasetError(
            f"{printable(str(self.path))}, line {self.line}: {column} is {self[column]!r}; wanted {wanted}."
        )


def read_table(path: Path, columns: Sequence[str], *, delimiter: str = ",") -> Iterator[Row]:
    """Read some columns of a table that begins with the names of its columns.

    Args:
        path: the file, UTF-8; fields may be quoted.
        columns: names of those that are wanted.
        delimiter: what stands between fields.

    Yields:
        A row each.

    Raises:
        DatasetError: the file is not there, lacks a column, or has a row that is too short.
    """
    rows = read_rows(path, delimiter=delimiter)
    _, header = next(rows, (0, []))
    if missing := [name for name in columns if name not in header]:
        raise DatasetError(
            f"{printable(str(path))} has no column {', '.join(missing)}; it has {', '.join(map(printable, header))}."
        )
    places = {name: header.index(name) for name in columns}
    for line, fields in rows:
        if len(fields) < len(header):
            raise DatasetError(
                f"{printable(str(path))}, line {line}: {len(fields)} fields came, {len(header)} are wanted. "
                "The file may be cut short; fetch it again."
            )
        yield Row(path, line, {name: fields[place] for name, place in places.items()})


def read_rows(path: Path, *, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Read a table whose fields may be quoted, and may hold line breaks where they are.

    Args:
        path: the file, UTF-8.
        delimiter: what stands between fields.

    Yields:
        The line on which a row ends, from 1 on, and its fields. Rows without anything are left out.

    Raises:
        DatasetError: the file is not there, is no UTF-8, or no table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            for fields in _rows_of_any_width(reader):
                if any(fields):
                    yield reader.line_num, fields
    except OSError as error:
        raise DatasetError(f"{printable(str(path))}: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{printable(str(path))} is no table that can be read: {error}. Fetch it again.") from error


def whole(text: str, what: str) -> int:
    """Read a whole number.

    Args:
        text: its digits.
        what: it is, for the message.

    Returns:
        The number.

    Raises:
        DatasetError: it is none.
    """
    if not (text.isascii() and text.isdecimal()):
        raise DatasetError(f"{what} is {text!r}; wanted a whole number.")
    return int(text)


def _rows_of_any_width(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    """Read rows under a limit on fields that is raised for each row alone, since it holds for the whole process."""
    end: list[str] = []
    while True:
        usual = csv.field_size_limit(LONGEST_FIELD)
        try:
            fields = next(reader, end)
        finally:
            csv.field_size_limit(usual)
        if fields is end:
            return
        yield fields
