"""A map of tags: near each other are those whose vectors are. As CSV, as a picture, as a page, and for the projector.

Vectors come out of a file of word vectors (word2vec, GloVe or fastText), out of how tags occur together in a data set,
or out of the rows of a network's output layer.

Source: Alekseeva, Klironomou, Markou and Xenaki, Audio-auto-tagging, 2017, its code and README: word vectors of the 50
    tags by t-SNE. Vectors from co-occurrence are positive pointwise mutual information, as Levy and Goldberg, "Neural
    word embedding as implicit matrix factorization", NIPS 2014, compare with word2vec.
Differs: a tag of several words is looked for with "_" for its blanks, too, and else is the mean of its words; there it
    silently disappeared. PCA goes to at most 50 dimensions and not to 300, which 46 words cannot fill. The perplexity
    follows the number of tags, and up to 1,000 of them are placed by the exact method. The learning rate is about 1 and
    not 200, nor scikit-learn's 50 or more, with which few tags fly apart in 3 and 4 dimensions.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taggram._checks import check, check_choice, check_count, is_number
from taggram._files import written_aside
from taggram.datasets._base import name_some
from taggram.errors import ConfigError, DatasetError, missing_extra, printable
from taggram.learning._map_page import map_page
from taggram.learning.evaluate import write_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.models._contract import TaggingModel

Floats = NDArray[np.float64]
BinaryFile = gzip.GzipFile | BufferedReader
Method = Literal["tsne", "pca"]

DIMS = (2, 3, 4)
PERPLEXITY = 30.0
PCA_DIMS = 50  # before t-SNE, at most
LEAST_TAGS = 4  # with fewer there is no perplexity above 1
EXACT_TAGS = 1000  # up to so many, the exact method takes seconds, and gives the same map on any number of cores
STEP_TAGS = 48  # tags by which the learning rate of 1 grows: Belkina et al., 2019, 4 times the exaggeration of 12
LONGEST_LINE = 2**20
CHUNK = 2**22
MOST_DIMS = 10_000
GZIP = b"\x1f\x8b"
FASTTEXT_BINARY = b"\xba\x16\x4f\x2f"
HEADER = re.compile(rb"(\d{1,12}) (\d{1,6})\s*")
NOT_UNIQUE = "t-SNE: other seeds give other maps; near is alike, but far, size and direction say nothing"


# -- vectors -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TagVectors:
    """A vector a tag.

    Attributes:
        tags: names.
        vectors: (tags, dimensions).
        source: where they come from, in a few words.
        dropped: tags that have none.
        found_as: what a tag was found as, where that is not its name, such as "new age" as "new_age".
    """

    tags: tuple[str, ...]
    vectors: Floats
    source: str
    dropped: tuple[str, ...] = ()
    found_as: Mapping[str, str] = field(default_factory=dict)


def read_vectors(path: str | PathLike[str], tags: Sequence[str]) -> TagVectors:
    """Read the vectors of tags out of a file of word vectors. What kind of file it is, its content says.

    A tag is looked for by its name, then with "_" for its blanks; else it gets the mean of those of its words that are
    there.

    Args:
        path: word2vec, binary or text; GloVe text; or fastText text (.vec). It may be packed by gzip.
        tags: names.

    Returns:
        The vectors of the tags that were found, in their order.

    Raises:
        DatasetError: the file is not there or damaged, is of another kind, or has none of the tags.
    """
    wanted = {word.encode("utf-8", "surrogateescape") for tag in tags for word in (tag, _joined(tag), *tag.split())}
    found: dict[str, Floats] = {}
    with _opened(Path(path)) as file:
        for word, vector in _entries(file, wanted - {b""}, str(path)):
            found.setdefault(word.decode("utf-8", "surrogateescape"), vector)
            if len(found) == len(wanted - {b""}):
                break
    vectors: dict[str, Floats] = {}
    found_as: dict[str, str] = {}
    for tag in tags:
        names = next(([name] for name in (tag, _joined(tag)) if name in found), [w for w in tag.split() if w in found])
        if names:
            vectors[tag] = np.mean([found[name] for name in names], axis=0)
            if names != [tag]:
                found_as[tag] = " + ".join(names)
    if not vectors:
        raise DatasetError(f"{printable(str(path))} has none of the tags {name_some(tags)}.")
    dropped = tuple(tag for tag in tags if tag not in vectors)
    return TagVectors(tuple(vectors), np.stack([*vectors.values()]), Path(path).name, dropped, found_as)


def cooccurrence_vectors(labels: ArrayLike, tags: Sequence[str]) -> TagVectors:
    """Make vectors from how tags occur together in a data set.

    The vector of a tag holds, for each tag, how much more often they occur together than by chance: the positive
    pointwise mutual information, ln(p(a, b) / (p(a) p(b))), and 0 where it is negative.

    Args:
        labels: (clips, tags).
        tags: names.

    Returns:
        (tags, tags) vectors of the tags that some clip has.

    Raises:
        ConfigError: there are not as many columns as tags, or no clip has any.
    """
    flags = np.asarray(labels, dtype=np.float64)
    check(flags.ndim == 2 and flags.shape[1] == len(tags), "the shape of the labels", flags.shape, "(clips, tags)")
    return count_vectors(TagCounts(tuple(tags), len(flags), (flags.T @ flags).astype(np.int64)))


@dataclass(frozen=True, eq=False)
class TagCounts:
    """How often tags occur, and occur together.

    Attributes:
        tags: names.
        n_clips: of how many clips.
        together: (tags, tags) clips that have both tags; on the diagonal, that have the tag.
    """

    tags: tuple[str, ...]
    n_clips: int
    together: NDArray[np.int64]

    @property
    def n_tagged(self) -> dict[str, int]:
        """How many clips have a tag."""
        return dict(zip(self.tags, np.diag(self.together).tolist()))


def count_tags(tags_of_clips: Iterable[Collection[str]], tags: Sequence[str]) -> TagCounts:
    """Count tags clip by clip, in the memory of the counts alone.

    Args:
        tags_of_clips: the tags of each clip; others than `tags` do not count.
        tags: names.

    Returns:
        The counts.
    """
    places = {tag: place for place, tag in enumerate(tags)}
    together = np.zeros((len(tags), len(tags)), dtype=np.int64)
    n_clips = 0
    for n_clips, its_tags in enumerate(tags_of_clips, 1):  # noqa: B007 (the last number is the count)
        found = [places[tag] for tag in its_tags if tag in places]
        together[np.ix_(found, found)] += 1
    return TagCounts(tuple(tags), n_clips, together)


def count_vectors(counts: TagCounts) -> TagVectors:
    """Make vectors from counts, as `cooccurrence_vectors` does from labels.

    Args:
        counts: how often tags occur together.

    Returns:
        (tags, tags) vectors of the tags that some clip has.

    Raises:
        ConfigError: no clip has any.
    """
    known = np.flatnonzero(np.diag(counts.together))
    check(bool(known.size), "the number of tags that some clip has", 0, "at least 1")
    together = counts.together[np.ix_(known, known)] / counts.n_clips
    share = np.diag(together)
    vectors: Floats = np.log(np.maximum(together / np.outer(share, share), 1.0))
    n_tagged = counts.n_tagged
    return TagVectors(
        tuple(counts.tags[place] for place in known),
        vectors,
        f"co-occurrence in {counts.n_clips:,} clips",
        tuple(tag for tag in counts.tags if not n_tagged[tag]),
    )


def output_vectors(model: TaggingModel) -> TagVectors:
    """Take the rows of the output layer of a network: what it multiplies its features with for each tag.

    Args:
        model: a network with tags.

    Returns:
        (tags, features) vectors.

    Raises:
        ConfigError: the network has no tags, or its head is no linear layer.
    """
    weight = getattr(model.head, "weight", None)
    if model.tags is None or weight is None or tuple(weight.shape) != (len(model.tags), model.n_features):
        raise ConfigError("the network has no head with a row a tag; a linear layer and names of its tags are needed.")
    rows: Floats = weight.detach().cpu().double().numpy()
    return TagVectors(model.tags, rows, f"output layer of {model.name or type(model).__name__}")


# -- the map -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TagMap:
    """Places of tags in few dimensions.

    Attributes:
        vectors: what was mapped.
        places: (tags, dimensions).
        method: how, with its settings, in a few words.
        notes: what is to be said beside the map.
    """

    vectors: TagVectors
    places: Floats
    method: str
    notes: tuple[str, ...]

    def plot(self) -> Figure:
        """Draw the first two dimensions: a point a tag.

        Returns:
            The figure.
        """
        from taggram.learning._pictures import draw_map

        return draw_map(self.places[:, :2], self.vectors.tags, title=self._title, subtitle=self.method)

    @property
    def _title(self) -> str:
        return f"{len(self.vectors.tags)} tags by {self.vectors.source}"

    def save(
        self,
        folder: str | PathLike[str],
        *,
        name: str = "tag_map",
        columns: Mapping[str, Sequence[object]] | None = None,
    ) -> tuple[Path, ...]:
        """Write the map.

        Args:
            folder: where to; it is made if it is not there. NAME-300D.csv holds the vectors, NAME-2D.csv the places,
                and NAME-2D-NORMALIZED.csv the same from -1 to 1: a line a tag, name and numbers, with no head. NAME.png
                is the picture and NAME.html the page; the folder NAME-projector is for the TensorFlow projector.
            name: with which the files begin.
            columns: what else the projector is to show of each tag, such as how many clips have it.

        Returns:
            What was written: picture, page, CSV files, folder.

        Raises:
            ConfigError: a column has not a value a tag.
            OSError: a file cannot be written.
        """
        from taggram.picture import save_picture

        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        dims, own_dims = (f"{values.shape[1]}D" for values in (self.places, self.vectors.vectors))
        tables = {
            own_dims if own_dims != dims else f"{own_dims}-VECTORS": self.vectors.vectors,
            dims: self.places,
            f"{dims}-NORMALIZED": normalised(self.places),
        }
        for ending, values in tables.items():
            rows = ([tag, *(f"{value:.8g}" for value in row)] for tag, row in zip(self.vectors.tags, values))
            write_rows(place / f"{name}-{ending}.csv", rows)
        picture, html, projector = (place / f"{name}{ending}" for ending in (".png", ".html", "-projector"))
        save_picture(self.plot(), picture)
        with written_aside(html) as aside:
            aside.write_bytes(map_page(self.vectors, self.places[:, :2], self._title, [self.method, *self.notes]))
        write_projector(projector, self.vectors.tags, self.vectors.vectors, columns=columns, name=name)
        return picture, html, *(place / f"{name}-{ending}.csv" for ending in tables), projector


def make_map(
    vectors: TagVectors,
    *,
    dims: int = 2,
    method: Method = "tsne",
    perplexity: float | None = None,
    pca_dims: int | None = PCA_DIMS,
    seed: int = 0,
) -> TagMap:
    """Place tags so that those with near vectors are near.

    Args:
        vectors: of the tags.
        dims: of the map, 2, 3 or 4.
        method: "tsne", or "pca", which is linear and unique.
        perplexity: about how many neighbours t-SNE keeps near; None is 30, and less for fewer than 91 tags.
        pca_dims: to which PCA reduces the vectors before t-SNE, at most; None leaves them as they are.
        seed: of t-SNE.

    Returns:
        The map.

    Raises:
        ConfigError: there are too few tags, or an option makes no sense.
        MissingExtraError: scikit-learn, which t-SNE comes from, is not installed.
    """
    n_tags, n_dims = vectors.vectors.shape
    check_choice("dims", dims, DIMS)
    check_choice("method", method, ("tsne", "pca"))
    least = max(LEAST_TAGS, dims + 1)
    check(n_tags >= least, "the number of tags with a vector", n_tags, f"at least {least}")
    notes = []
    if vectors.dropped:
        notes.append(f"without a vector, and not on the map: {_listed(vectors.dropped)}")
    if vectors.found_as:
        notes.append(f"found as: {_listed(f'{tag} as {name}' for tag, name in vectors.found_as.items())}")
    if method == "pca":
        check(n_dims >= dims, "dims", dims, f"at most the {n_dims} of the vectors")
        return TagMap(vectors, _principal(vectors.vectors, dims), "PCA", tuple(notes))
    most = (n_tags - 1) / 3
    perplexity = min(PERPLEXITY, most) if perplexity is None else perplexity
    check(is_number(perplexity) and 1 <= perplexity < n_tags, "perplexity", perplexity, f"1 to below {n_tags}")
    values = vectors.vectors
    steps = [f"t-SNE, perplexity {perplexity:.3g}, seed {seed}"]
    if pca_dims is not None:
        check_count("pca_dims", pca_dims, least=dims)
        kept = min(pca_dims, n_tags - 1, n_dims)
        values = _principal(values, kept)
        steps.insert(0, f"PCA to {kept}")
    exact = dims > 3 or n_tags <= EXACT_TAGS
    embedding = load_tsne()(
        dims,
        perplexity=perplexity,
        learning_rate=max(1.0, n_tags / STEP_TAGS),
        init="pca" if min(values.shape) >= dims else "random",
        random_state=seed,
        method="exact" if exact else "barnes_hut",
    )
    places: Floats = embedding.fit_transform(values).astype(np.float64)
    return TagMap(vectors, places, ", ".join(steps), (NOT_UNIQUE, *notes))


def load_tsne() -> Any:
    """Load the t-SNE of scikit-learn.

    Returns:
        Its class.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise missing_extra("scikit-learn", "train", "tag maps") from error
    return TSNE


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(printable, names))


def _principal(vectors: Floats, n_dims: int) -> Floats:
    """Turn vectors onto their first principal axes, each with the sign that makes its largest weight positive."""
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:n_dims]
    signs = np.where(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1) < 0, -1.0, 1.0)
    turned: Floats = centred @ (axes * signs).T
    return turned


def normalised(places: ArrayLike) -> Floats:
    """Scale each axis to -1 to 1 with its zero where it was: above it by the largest value, below it by the smallest.

    Args:
        places: (tags, dimensions).

    Returns:
        (tags, dimensions).
    """
    values = np.asarray(places, dtype=np.float64)
    high, low = values.max(axis=0, initial=0.0), -values.min(axis=0, initial=0.0)
    scale = np.where(values > 0, high, low)
    scaled: Floats = np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)
    return scaled


# -- for the projector -------------------------------------------------------------------------------------------------


def write_projector(
    folder: str | PathLike[str],
    labels: Sequence[str],
    vectors: ArrayLike,
    *,
    columns: Mapping[str, Sequence[object]] | None = None,
    name: str = "tags",
    address: str = "",
) -> None:
    """Write vectors for the TensorFlow projector: of tags, or of clips with their tags as a column.

    Args:
        folder: where to; it is made if it is not there. vectors.tsv and metadata.tsv can be loaded by hand at
            projector.tensorflow.org, projector_config.json is for that page by its parameter `config`, and
            projector_config.pbtxt for the log folder of TensorBoard.
        labels: a name a row.
        vectors: (rows, dimensions).
        columns: what else is known of the rows. metadata.tsv has a head only where there are some, as the projector
            wants it.
        name: of the vectors, in projector_config.json.
        address: where the files will lie, such as "https://example.org/map/", for projector_config.json.

    Raises:
        ConfigError: there is not a vector a label, or a column has not a value a row.
        OSError: a file cannot be written.
    """
    values = np.asarray(vectors, dtype=np.float64)
    check(values.ndim == 2 and len(values) == len(labels), "the shape of the vectors", values.shape, "a row a label")
    check(bool(np.isfinite(values).all()), "a vector", "not finite", "finite numbers")
    head = ["label", *(columns or {})]
    rows = [list(labels), *(columns or {}).values()]
    for title, column in zip(head, rows):
        check(len(column) == len(labels), f"the length of column {title!r}", len(column), f"{len(labels)}, one a row")
    lines = ["\t".join(map(_one_field, fields)) for fields in ([head] if columns else []) + list(zip(*rows))]
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    config = {
        "tensorName": name,
        "tensorShape": list(values.shape),
        "tensorPath": f"{address}vectors.tsv",
        "metadataPath": f"{address}metadata.tsv",
    }
    texts = {
        "vectors.tsv": "".join("\t".join(f"{value:.8g}" for value in row) + "\n" for row in values.tolist()),
        "metadata.tsv": "".join(f"{line}\n" for line in lines),
        "projector_config.json": json.dumps({"embeddings": [config]}, indent=1) + "\n",
        "projector_config.pbtxt": 'embeddings {\n  tensor_path: "vectors.tsv"\n  metadata_path: "metadata.tsv"\n}\n',
    }
    for file, text in texts.items():
        with written_aside(place / file) as aside:
            aside.write_bytes(text.encode("utf-8", "backslashreplace"))


def _one_field(value: object) -> str:
    """Make a text that stays within its field and its line; an empty one would be taken for a line that is none."""
    return " ".join(printable(re.sub(r"\s+", " ", str(value))).split()) or "(no name)"


# -- files of word vectors ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryFile]:
    """Open a file, unpacked where it is packed."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP
        with gzip.open(path) if packed else path.open("rb") as unpacked:
            yield unpacked
    except (OSError, EOFError) as error:
        raise DatasetError(f"{printable(str(path))}: {getattr(error, 'strerror', None) or error}.") from error


def _entries(file: BinaryFile, wanted: set[bytes], name: str) -> Iterator[tuple[bytes, Floats]]:
    """Give the wanted words of a file with their vectors."""
    first = file.readline(LONGEST_LINE)
    if first.startswith(FASTTEXT_BINARY):
        raise DatasetError(f"{printable(name)} is a model of fastText; its .vec file, which is text, is wanted.")
    header = HEADER.fullmatch(first)
    n_dims = int(header[2]) if header else len(first.split()) - 1
    if not 1 <= n_dims <= MOST_DIMS or not (header or _text_entry(first, n_dims)):
        raise DatasetError(f"{printable(name)} is no file of word vectors (word2vec, GloVe or fastText text).")
    try:
        start = file.tell() if header else 0
        file.seek(start)
        is_text = header is None or _text_entry(file.readline(LONGEST_LINE), n_dims) is not None
        file.seek(start)
        yield from (_text_entries if is_text else _binary_entries)(file, n_dims, wanted)
    except ValueError as error:
        raise DatasetError(f"{printable(name)} is damaged, or no file of word vectors: {error}.") from error


def _text_entries(file: BinaryFile, n_dims: int, wanted: set[bytes]) -> Iterator[tuple[bytes, Floats]]:
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if line.partition(b" ")[0] not in wanted or len(line.split()) > n_dims + 1:  # some words have blanks in them
            continue
        entry = _text_entry(line, n_dims)
        if entry is None:
            raise ValueError(f"word {number} has not {n_dims} numbers")
        yield entry


def _text_entry(line: bytes, n_dims: int) -> tuple[bytes, Floats] | None:
    """Read a line, or give None where it is none."""
    fields = line.split()
    if len(fields) != n_dims + 1:
        return None
    try:
        vector = np.array([float(value) for value in fields[1:]])
    except ValueError:
        return None
    return (fields[0], vector) if np.isfinite(vector).all() else None


def _binary_entries(file: BinaryFile, n_dims: int, wanted: set[bytes]) -> Iterator[tuple[bytes, Floats]]:
    size = 4 * n_dims
    held = b""
    while chunk := file.read(CHUNK):
        held += chunk
        start = 0
        while (blank := held.find(b" ", start)) >= 0 and blank + 1 + size <= len(held):
            word = held[start:blank].lstrip(b"\n")
            if word in wanted:
                vector = np.frombuffer(held, "<f4", n_dims, blank + 1).astype(np.float64)
                if not np.isfinite(vector).all():
                    raise ValueError(f"the vector of {word[:40]!r} is not finite")
                yield word, vector
            start = blank + 1 + size
        held = held[start:]
        if len(held) > LONGEST_LINE + size:
            raise ValueError(f"no word ends within {LONGEST_LINE:,} bytes")
    if held.strip():
        raise ValueError("it ends within a vector")


def _joined(tag: str) -> str:
    return "_".join(tag.split())
