"""Files become rows on Ray Data: on this machine, or on all of a cluster.

Ray gets the table of files that are still to do, in blocks of a few files, and gives rows back; sound never goes
through it. Each actor has a worker process of our own, so a file that crashes or hangs a decoder costs that file alone.
Where there are GPUs, actors on CPUs decode and make frames, and actors on GPUs make scores of them; Ray keeps the
former from running ahead of the latter by more than its object store holds.
"""

from __future__ import annotations

import platform
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from taggram._processes import AHEAD
from taggram.catalogue._network import Network, goes_in_two
from taggram.catalogue._ray_cluster import FRAMES_BYTES, cause_of, cluster_of, load_ray
from taggram.catalogue._worker import FRAMES_AHEAD, CatalogueWorkers, task_of
from taggram.catalogue.rows import PLACE, Row, from_half_done, half_done, in_groups, load_pyarrow, to_table
from taggram.errors import CatalogueError, ConfigError

CORES = 0.5  # that an actor asks for: whole cores would leave none to the rest of a plan on a small machine
BLOCK_ROWS = 128  # files that an actor takes at once, and that are done again where its machine is lost
MOST_BLOCKS = 20_000  # above, blocks have more files: Ray takes some milliseconds to take in each
BLOCK_BYTES = 2**28  # of the files of a block: some four hours of MP3
BLOCKS_AN_ACTOR = 4  # at least, where there are enough files, so that all end at about the same time
FILES_OF_NETWORK = 32  # whose frames an actor on a GPU takes at once


class _MakesRows:
    """What actors have in common."""

    def __init__(self, card: Mapping[str, Any]) -> None:
        self._card = card
        self._over_time = card["settings"]["over_time"]

    def _started(self, settings: dict[str, Any], *, ahead: int = AHEAD) -> CatalogueWorkers:
        """Start the worker process of this actor, and see that it tags as all others do."""
        workers = CatalogueWorkers(settings, 1, ahead=ahead)
        self._check(workers.describe(over_time=self._over_time)["fingerprint"])
        return workers

    def _check(self, fingerprint: str) -> None:
        if fingerprint != self._card["fingerprint"]:
            raise CatalogueError(
                f"on {platform.node()}, {self._card['model']} or taggram is another than on the machine that the run "
                "was started from, so its scores would be others; give all machines the same."
            )


class Actor(_MakesRows):
    """Makes rows of a block of files; lives in a process of Ray, with a worker process beside it.

    Args:
        settings: those of `Tagger`.
        card: what catalogue.json holds.
    """

    def __init__(self, settings: dict[str, Any], card: Mapping[str, Any]) -> None:
        super().__init__(card)
        self._workers = self._started(settings)

    def __call__(self, block: Any) -> Any:
        """Make rows.

        Args:
            block: a table of files, as in `Plan.to_do`, and their places.

        Returns:
            A table with the columns of `schema_of`, and the places.
        """
        tasks = (task_of(row, over_time=self._over_time) for row in block.to_pylist())
        return _placed(list(self._workers.rows(tasks)), self._card)


class FrontendActor(_MakesRows):
    """Makes frames of a block of files on a CPU; lives in a process of Ray, with a worker process beside it.

    Args:
        settings: those of `Tagger`.
        card: what catalogue.json holds.
    """

    def __init__(self, settings: dict[str, Any], card: Mapping[str, Any]) -> None:
        super().__init__(card)
        self._workers = self._started({**settings, "device": "cpu"}, ahead=FRAMES_AHEAD)

    def __call__(self, block: Any) -> Iterator[Any]:
        """Make frames.

        Args:
            block: a table of files, as in `Plan.to_do`, and their places.

        Yields:
            Tables with the columns of `half_done`.
        """
        tasks = (task_of(row, over_time=self._over_time, frames=True) for row in block.to_pylist())
        yield from map(half_done, in_groups(self._workers.rows(tasks), most_bytes=FRAMES_BYTES))


class NetworkActor(_MakesRows):
    """Makes rows of frames, on a GPU where there is one; lives in a process of Ray.

    Args:
        settings: those of `Tagger`.
        card: what catalogue.json holds.
    """

    def __init__(self, settings: dict[str, Any], card: Mapping[str, Any]) -> None:
        super().__init__(card)
        self._network = Network(settings, card)
        self._check(self._network.fingerprint)

    def __call__(self, table: Any) -> Any:
        """Make rows.

        Args:
            table: with the columns of `half_done`.

        Returns:
            A table with the columns of `schema_of`, and the places.
        """
        return _placed(list(self._network.all_finished(from_half_done(table))), self._card)


def tables_on_ray(
    to_do: Any, settings: dict[str, Any], card: Mapping[str, Any], *, address: str | None, n_workers: int | None
) -> Generator[Any]:
    """Make rows of files on Ray.

    Args:
        to_do: the files, see `Plan`.
        settings: those of `Tagger`.
        card: what catalogue.json holds.
        address: of the cluster that is joined; None starts one on this machine, and stops it at the end. A session of
            Ray that this process is in already is used as it is.
        n_workers: actors; None is one for each core of the cluster.

    Yields:
        Tables of rows as they are done, in no order.

    Raises:
        MissingExtraError: Ray is not installed.
        CatalogueError: the cluster cannot be joined, or is lost, or has another model.
        ConfigError: a GPU is asked for, and the cluster has none.
    """
    ray = load_ray()
    try:
        with cluster_of(ray, address, n_workers, settings):
            n_cpus, n_gpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU"))
            if settings["device"].startswith("cuda"):
                if not n_gpus:
                    raise ConfigError(f"device is {settings['device']!r}, and the cluster has no GPU; say auto or cpu.")
                settings = {**settings, "device": "cuda"}  # Ray shows each actor one, which is the first
            n_actors = n_workers or max(1, n_cpus)
            blocks = _blocks(to_do, n_actors)
            files, n_actors = ray.data.from_arrow(blocks), min(n_actors, len(blocks))
            if goes_in_two(settings, n_gpus > 0):
                frames = _mapped(ray, files, FrontendActor, settings, card, n_actors)
                done = _mapped(ray, frames, NetworkActor, settings, card, max(1, n_gpus), on_gpu=n_gpus > 0)
            elif n_gpus and settings["device"] != "cpu" and settings["engine"] == "torch":
                done = _mapped(ray, files, Actor, settings, card, min(n_actors, n_gpus), on_gpu=True)
            else:
                done = _mapped(ray, files, Actor, settings, card, n_actors)
            tables = done.iter_batches(batch_format="pyarrow", batch_size=None, prefetch_batches=2)
            yield from _each_once(tables, len(to_do))
    except ray.exceptions.RayError as error:
        raise CatalogueError(
            f"Ray gave up: {cause_of(error)} What was done is kept, and the same command goes on."
        ) from error


def _blocks(to_do: Any, n_actors: int) -> list[Any]:
    """Cut the table of files into blocks, of so many files or bytes at most, each file with its place."""
    numbered = to_do.append_column(PLACE, load_pyarrow().array(np.arange(len(to_do))))
    most_rows = max(BLOCK_ROWS, -(-len(to_do) // MOST_BLOCKS))
    most_rows = max(1, min(most_rows, len(to_do) // (n_actors * BLOCKS_AN_ACTOR)))
    blocks, start, n_bytes = [], 0, 0
    for place, size in enumerate(to_do["size"].fill_null(0).to_pylist()):
        if place - start == most_rows or (place > start and n_bytes + size > BLOCK_BYTES):
            blocks.append(numbered.slice(start, place - start))
            start, n_bytes = place, 0
        n_bytes += size
    return [*blocks, numbered.slice(start)]


def _mapped(
    ray: Any, data: Any, actor: type, settings: dict[str, Any], card: Mapping[str, Any], n: int, *, on_gpu: bool = False
) -> Any:
    """Send data through some actors."""
    return data.map_batches(
        actor,
        fn_constructor_args=(settings, dict(card)),
        batch_format="pyarrow",
        batch_size=FILES_OF_NETWORK if on_gpu else None,
        compute=ray.data.ActorPoolStrategy(size=n),
        num_cpus=0 if on_gpu else CORES,  # those that make frames may have taken all of them
        num_gpus=1 if on_gpu else None,
    )


def _placed(rows: Sequence[Row], card: Mapping[str, Any]) -> Any:
    """Turn rows into a table with their places."""
    places = load_pyarrow().array([row.place for row in rows], "int64")
    return to_table(rows, card).append_column(PLACE, places)


def _each_once(tables: Iterable[Any], n_files: int) -> Iterator[Any]:
    """Take the places off tables; what a machine was lost with is made again, and once is enough."""
    missing = np.ones(n_files, bool)
    for table in tables:
        places = table[PLACE].to_numpy()
        new = missing[places]
        missing[places] = False
        if new.any():
            yield table.drop_columns(PLACE).filter(load_pyarrow().array(new))
    if missing.any():
        raise CatalogueError(
            f"Ray gave {n_files - missing.sum():,} of {n_files:,} files; the same command goes on with the rest."
        )
