"""Many small parts -> few large ones, with the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike

from taggram.catalogue.journal import Journal, JournalWatcher
from taggram.catalogue.rows import load_pyarrow

PART_ROWS = 100_000
PART_BYTES = 2**27  # of a part in memory


class CompactWatcher(JournalWatcher):
    """Is told how far merging is; does nothing by itself."""

    def merged(self, n_parts: int, of: int) -> None:
        """So many of the parts that are merged are done."""


def compact_catalogue(
    folder: str | PathLike[str], *, layer: str | None = None, watcher: CompactWatcher | None = None
) -> tuple[int, int]:
    """Merge the small parts of a catalogue into parts of about 100,000 rows, or 128 MB.

    Args:
        folder: of the catalogue.
        layer: what is merged, such as "musicnn.msd-1a2b3c4d"; None is what the last run wrote to.
        watcher: is told how it goes.

    Returns:
        How many parts there were, and are.

    Raises:
        CatalogueError: there is no catalogue or no such layer; it is too new, or written by another process; or a part
            is damaged or gone, and nothing was changed, since only a run on its files makes it again.
        MissingExtraError: pyarrow is not installed.
        OSError: the disk is full; the catalogue is whole, and what was merged until then stays so.
    """
    pa = load_pyarrow()
    watcher = watcher or CompactWatcher()
    with Journal(folder, layer=layer, drop_damaged=False, watcher=watcher) as journal:
        n_before = len(journal.parts)
        groups = list(_groups(journal))
        n_done, n_small = 0, sum(map(len, groups))
        for group in groups:
            tables = [pa.parquet.read_table(journal.path_of(name)) for name in group]
            journal.commit({journal.new_name(): pa.concat_tables(tables)}, drop=group)
            n_done += len(group)
            watcher.merged(n_done, n_small)
        return n_before, len(journal.parts)


def _groups(journal: Journal) -> Iterator[list[str]]:
    """Put small parts together. One that is half full stays, so that each row is seldom written again."""
    group: list[str] = []
    n_rows = n_bytes = 0
    for name, facts in journal.parts.items():
        rows, size = facts["rows"], _bytes_in_memory(journal, name)
        if rows > PART_ROWS // 2 or size > PART_BYTES // 2:
            continue
        if n_rows + rows > PART_ROWS or n_bytes + size > PART_BYTES:
            yield group
            group, n_rows, n_bytes = [], 0, 0
        group.append(name)
        n_rows, n_bytes = n_rows + rows, n_bytes + size
    if len(group) > 1:
        yield group


def _bytes_in_memory(journal: Journal, name: str) -> int:
    """Say how large a part is without its compression, which may be a hundredfold: silence has the same scores."""
    metadata = load_pyarrow().parquet.read_metadata(journal.path_of(name))
    return sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
