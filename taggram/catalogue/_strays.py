"""Parts that no line of the journal names: left over where lines were lost, or copied in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram.catalogue.rows import load_pyarrow, schema_of

Hashes = NDArray[np.int64]
"""(rows,) of the paths. Where two are alike by chance a row is left out, and its file is tagged again."""


def fingerprint_of(part: Path) -> str | None:
    """Say of which results a part is.

    Args:
        part: a file.

    Returns:
        Their fingerprint, or None where the file is none of a catalogue, or cannot be read.
    """
    pa = load_pyarrow()
    try:
        return _fingerprint_in(pa.parquet.read_schema(part))
    except (OSError, ValueError, pa.ArrowException):
        return None


def hash_paths(part: Path) -> Hashes:
    """Hash the paths in a part that is whole.

    Args:
        part: a file.

    Returns:
        A number for each row.
    """
    return _hashes(load_pyarrow().parquet.read_table(part, columns=["path"])["path"].to_pylist())


def read_stray(part: Path, card: Mapping[str, Any]) -> Hashes | None:
    """Read all of a file that may be a part, so that damage shows.

    Args:
        part: a file.
        card: of the catalogue.

    Returns:
        A number for each row, from its path; None where it is damaged, or is no part with these results.
    """
    pa = load_pyarrow()
    try:
        with part.open("rb") as file:
            found = pa.parquet.ParquetFile(file, page_checksum_verification=True)
            schema = found.schema_arrow
            if _fingerprint_in(schema) != card["fingerprint"] or not schema.equals(schema_of(card)):
                return None
            paths = [_hashes(batch["path"].to_pylist()) for batch in found.iter_batches()]
    except (OSError, ValueError, pa.ArrowException):
        return None
    return np.concatenate([*paths, np.empty(0, np.int64)])


def first_rows(hashes: Sequence[Hashes]) -> list[NDArray[np.bool_]]:
    """Find the rows whose path comes for the first time.

    Args:
        hashes: of the paths in each part; what comes first counts.

    Returns:
        Which rows of each part these are.
    """
    if not hashes:
        return []
    _, places = np.unique(np.concatenate(hashes), return_index=True)
    is_first = np.zeros(sum(map(len, hashes)), bool)
    is_first[places] = True
    return np.split(is_first, np.cumsum([len(of) for of in hashes])[:-1])


def _hashes(paths: list[str]) -> Hashes:
    return np.fromiter(map(hash, paths), np.int64, len(paths))


def _fingerprint_in(schema: Any) -> str | None:
    found = (schema.metadata or {}).get(b"taggram")
    return None if found is None else found.decode()
