"""Files become rows on Ray Data: on this machine, or on all of a cluster.

Ray gets the table of files that are still to do, in blocks of a few files, and gives rows back; sound never goes
through it. Each actor has a worker process of our own, so a file that crashes or hangs a decoder costs that file alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from taggram._extras import load_extra
from taggram._processes import n_cores
from taggram.catalogue._worker import CatalogueWorkers, task_of
from taggram.catalogue.rows import to_table
from taggram.errors import CatalogueError

CORES = 0.5  # that an actor asks for: whole cores would leave none to the rest of a plan on a small machine
BLOCK_ROWS = 32  # files that are lost to others while their machine is being missed
BLOCKS_AN_ACTOR = 8  # at least, where there are enough files, so that all end at about the same time
STORE_BYTES = 256 * 2**20  # of the object store of a local run, which holds paths and rows alone


class Actor:
    """Makes rows of a block of files; lives in a process of Ray, with a worker process beside it.

    Args:
        settings: those of `Tagger`.
        card: what catalogue.json holds.
    """

    def __init__(self, settings: dict[str, Any], card: Mapping[str, Any]) -> None:
        self._card = card
        self._workers = CatalogueWorkers(settings, 1)
        self._workers.start()

    def __call__(self, block: Any) -> Any:
        """Make rows.

        Args:
            block: a table of files, as in `Plan.to_do`.

        Returns:
            A table with the columns of `schema_of`.
        """
        over_time = self._card["settings"]["over_time"]
        return to_table(list(self._workers.rows(task_of(row, over_time) for row in block.to_pylist())), self._card)


def tables_on_ray(
    to_do: Any, settings: dict[str, Any], card: Mapping[str, Any], *, address: str | None, n_workers: int | None
) -> Iterator[Any]:
    """Make rows of files on Ray.

    Args:
        to_do: the files, see `Plan`.
        settings: those of `Tagger`.
        card: what catalogue.json holds.
        address: of the cluster that is joined; None starts one on this machine, and stops it at the end.
        n_workers: actors; None is one for each core of the cluster.

    Yields:
        Tables of rows as they are done, in no order.

    Raises:
        MissingExtraError: Ray is not installed.
        CatalogueError: the cluster cannot be joined, or is lost.
    """
    ray = load_ray()
    with _cluster(ray, address, n_workers):
        n_actors = n_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        has_gpu = ray.cluster_resources().get("GPU", 0) > 0
        gpu = has_gpu if settings["device"] == "auto" else settings["device"] != "cpu"
        n_rows = max(1, min(BLOCK_ROWS, len(to_do) // (n_actors * BLOCKS_AN_ACTOR)))
        blocks = [to_do.slice(start, n_rows) for start in range(0, len(to_do), n_rows)]
        done = ray.data.from_arrow(blocks).map_batches(
            Actor,
            fn_constructor_args=(settings, dict(card)),
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=min(n_actors, len(blocks))),
            num_cpus=CORES,
            num_gpus=1 if gpu else None,
        )
        seen = set()
        n_done = 0
        for table in done.iter_batches(batch_format="pyarrow", batch_size=None, prefetch_batches=2):
            first = table["path"][0].as_py()
            if first not in seen:  # a block whose machine was lost is made again, and once is enough
                seen.add(first)
                n_done += table.num_rows
                yield table
        if n_done < len(to_do):
            raise CatalogueError(
                f"Ray gave {n_done:,} of {len(to_do):,} files; the same command goes on with the rest."
            )


def load_ray() -> Any:
    """Load Ray, which then tells nobody how it is used.

    Returns:
        The package, with its part `data`.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    return load_extra("ray", "cluster", "catalogues on many machines", "data")


@contextlib.contextmanager
def _cluster(ray: Any, address: str | None, n_workers: int | None) -> Iterator[None]:
    """Have a cluster for the `with` statement: one that is there, or one of our own in this tree of processes."""
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    folder = None
    if address is None:
        folder = tempfile.mkdtemp(prefix="taggram-ray-")
        ray.init(num_cpus=max(n_cores(), n_workers or 1), object_store_memory=STORE_BYTES, _temp_dir=folder, **quiet)
    else:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        _be_quiet(ray)
        yield
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _be_quiet(ray: Any) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
