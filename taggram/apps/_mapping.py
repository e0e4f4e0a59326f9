"""Tag maps, from the words of a command line to files: of the tags of a network, and of those of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggram.apps._progress import say
from taggram.datasets import open_dataset
from taggram.errors import ConfigError, printable
from taggram.learning.tag_map import (
    TagCounts,
    TagMap,
    TagVectors,
    count_tags,
    count_vectors,
    load_tsne,
    make_map,
    output_vectors,
    read_vectors,
)

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel


def check_map(vectors: Path | None) -> None:
    """Refuse a map that cannot be made, before any work is done.

    Args:
        vectors: file of word vectors, or None for none.

    Raises:
        ConfigError: there is no such file.
        MissingExtraError: scikit-learn is not installed.
    """
    load_tsne()
    if vectors is not None and not vectors.exists():
        raise ConfigError(f"there is no file of word vectors {printable(str(vectors))}.")


def map_model(model: TaggingModel, label: str, vectors: Path | None, seed: int) -> TagMap:
    """Place the tags of a network, and say on standard error how.

    Args:
        model: the network.
        label: what it is called.
        vectors: file of word vectors; None is the rows of the output layer.
        seed: of t-SNE.

    Returns:
        The map.

    Raises:
        ConfigError: the network has no tags, or too few.
        DatasetError: the file of word vectors cannot be used.
    """
    if vectors is None:
        found = replace(output_vectors(model), source=f"the output layer of {label}")
    elif model.tags is None:
        raise ConfigError(f"{label} has no names of tags to be looked for in {printable(str(vectors))}.")
    else:
        found = _word_vectors(vectors, model.tags, label)
    return _make(found, seed)


def map_dataset(
    name: str, root: Path, out: Path, options: Mapping[str, Any], *, vectors: Path | None, seed: int
) -> None:
    """Place the tags of a data set, write the map, and print where its files are.

    Args:
        name: one of `list_datasets()`.
        root: its folder.
        out: folder for the map, which is made.
        options: `split`, `tags` and what the data set itself has.
        vectors: file of word vectors; None is how the tags occur together.
        seed: of t-SNE.

    Raises:
        UnknownNameError: there is no such data set, split or vocabulary.
        ConfigError: no clip has two tags, or there are too few tags, or `out` is no folder.
        DatasetError: the lists of the data set, or the file of word vectors, cannot be used.
    """
    check_map(vectors)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{printable(str(out))} is no folder; --out wants one.")
    dataset = open_dataset(name, root, **options)
    counts = count_tags((track.tags for track in dataset.tracks()), dataset.tags)
    label = f"{name}, split {dataset.split}"
    if vectors is None:
        _check_pairs(counts, label)
        found = count_vectors(counts)
        found = replace(found, source=f"{found.source} of {label}")
    else:
        found = _word_vectors(vectors, dataset.tags, label)
    left_out = getattr(dataset, "left_out_tags", ())
    if left_out:
        say(f"note: left out of the data set: {', '.join(map(printable, left_out))}")
    tag_map = _make(found, seed)
    n_tagged = counts.n_tagged
    write_map(tag_map, out, f"{name}_tag_map", columns={"clips": [n_tagged[tag] for tag in found.tags]})


def write_map(tag_map: TagMap, folder: Path, name: str, columns: Mapping[str, Sequence[object]] | None = None) -> None:
    """Write a map and print where its files are.

    Args:
        tag_map: the map.
        folder: where to; it is made if it is not there.
        name: with which the files begin.
        columns: what else the projector is to show of each tag.
    """
    for path in tag_map.save(folder, name=name, columns=columns):
        print(path, flush=True)


def _word_vectors(file: Path, tags: Sequence[str], label: str) -> TagVectors:
    return replace(read_vectors(file, tags), source=f"word vectors in {file.name}, for {label}")


def _check_pairs(counts: TagCounts, label: str) -> None:
    """Refuse tags that say nothing of each other."""
    if counts.together.sum() == counts.together.trace():
        raise ConfigError(
            f"no clip of {label} has two tags, so none are near each other; --vectors FILE places them by word vectors."
        )


def _make(vectors: TagVectors, seed: int) -> TagMap:
    """Make a map, and say how and of what."""
    tag_map = make_map(vectors, seed=seed)
    n_found, n_all = len(vectors.tags), len(vectors.tags) + len(vectors.dropped)
    n_tags = f"{n_found} tags" if n_found == n_all else f"{n_found} of {n_all} tags"
    say(f"tag map: {n_tags} by {printable(vectors.source)}; {tag_map.method}")
    for note in tag_map.notes:
        say(f"note: {note}")
    return tag_map
