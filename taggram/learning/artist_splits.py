"""Songs by artist: artists in a random order, each with as many songs, divided so that every part has songs of each.

Source: Park, Lee, Park, Ha and Nam, "Representation learning of music using artist labels", ISMIR 2018, arXiv
    1710.06648; the list of artists of the authors: 20 songs of each, 15 to learn from, 3 to validate on, 2 to test.
Differs: the songs of an artist are put into a random order, so that their albums are mixed; how the authors' list mixes
    them is not known. Of artists with other numbers of songs, each part has its share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check_count
from taggram.datasets._folds import shuffled
from taggram.errors import ConfigError
from taggram.learning.prepared import PreparedData

if TYPE_CHECKING:
    from taggram.datasets._base import Track

SHARES = (15, 3, 2)  # songs in train, valid and test
N_SONGS = sum(SHARES)
LEAST_SONGS = 4  # two to learn from, since a song needs another one of its artist, and one in each other part
COLUMNS = ("artist_id", "artist")  # in which data sets say whose a track is

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class ArtistSplit:
    """Artists and their songs; every artist has as many in each part.

    Attributes:
        artists: their names, in order.
        songs: (artists, songs) rows of the tracks: those of train first, then those of valid, then those of test.
        n_rows: how many tracks the data has.
    """

    artists: tuple[str, ...]
    songs: Whole
    n_rows: int

    @classmethod
    def of(cls, artist_of: Iterable[Any], track_ids: Iterable[Any], *, n_songs: int = N_SONGS, seed: int = 0) -> Self:
        """Take all artists who have enough songs.

        The order of artists, and of the songs of each, hangs on the seed and their names alone. So the first thousand
        artists are among the first two thousand, and a track more or less moves nothing else.

        Args:
            artist_of: (tracks,) the artist of each, as a column says it: text or a number; None, "" or NaN of a track
                whose artist is not known.
            track_ids: (tracks,) their names.
            n_songs: of each artist. Who has fewer is left out, and what somebody has more is not used.
            seed: another one gives another order.

        Returns:
            The artists, in order; maybe none.

        Raises:
            ConfigError: `n_songs` is less than 4.
        """
        check_count("n_songs", n_songs, LEAST_SONGS)
        names = [str(one) for one in track_ids]
        rows_of: dict[str, list[int]] = {}
        for row, value in enumerate(artist_of):
            if artist := _name_of(value):
                rows_of.setdefault(artist, []).append(row)
        enough = [artist for artist, rows in rows_of.items() if len(rows) >= n_songs]
        artists = shuffled(enough, seed)
        songs = []
        for artist in artists:
            row_of = {names[row]: row for row in rows_of[artist]}
            songs.append([row_of[name] for name in shuffled(row_of, seed)[:n_songs]])
        return cls(tuple(artists), np.array(songs, np.int64).reshape(len(artists), n_songs), len(names))

    def __len__(self) -> int:
        """Count the artists."""
        return len(self.artists)

    def some(self, first: int, last: int | None = None) -> ArtistSplit:
        """Give some of the artists, as a slice of a list would: `some(0, 500)` are the first 500.

        Args:
            first: place of the first one; below 0 it counts from the end.
            last: place behind the last one; None is the end.

        Returns:
            These artists.
        """
        return ArtistSplit(self.artists[first:last], self.songs[first:last], self.n_rows)

    @property
    def classes(self) -> Whole:
        """(tracks,) number of the artist of each, -1 of what is not used."""
        return self._spread(np.repeat(np.arange(len(self)), self.songs.shape[1]))

    @property
    def parts(self) -> Whole:
        """(tracks,) 0 in train, 1 in valid, 2 in test, -1 of what is not used."""
        return self._spread(np.tile(np.repeat(np.arange(3), songs_by_part(self.songs.shape[1])), len(self)))

    def view(self, data: PreparedData, split: str = "artists") -> PreparedData:
        """Give prepared data with the artist as the one class of each track.

        Args:
            data: with the tracks that the split was made of, in the same order.
            split: name of this division.

        Returns:
            The data; tracks that are not used are in no part.

        Raises:
            ConfigError: the data has another number of tracks.
        """
        return data.with_classes(self.artists, self.classes, self.parts, split=split)

    def _spread(self, values: Whole) -> Whole:
        """Put a value for each song where its track is."""
        spread = np.full(self.n_rows, -1, np.int64)
        spread[self.songs.ravel()] = values
        return spread


def songs_by_part(n_songs: int) -> tuple[int, int, int]:
    """Divide the songs of an artist: 15, 3 and 2 of 20, and shares like that of other numbers.

    Args:
        n_songs: of the artist, at least 4.

    Returns:
        Songs in train, valid and test: at least one in each of the last two.

    Raises:
        ConfigError: there are fewer than 4.
    """
    check_count("n_songs", n_songs, LEAST_SONGS)
    n_valid, n_test = (max(1, round(n_songs * share / N_SONGS)) for share in SHARES[1:])
    return n_songs - n_valid - n_test, n_valid, n_test


def artist_split(
    data: PreparedData | Sequence[Track], *, column: str = "", n_songs: int = N_SONGS, seed: int = 0
) -> ArtistSplit:
    """Take all artists who have enough songs; see `ArtistSplit.of`.

    Args:
        data: the tracks, prepared or as the data set lists them, before anything is decoded.
        column: which says whose a track is; "" is the first of "artist_id" and "artist" that there is.
        n_songs: of each artist.
        seed: of the order.

    Returns:
        The artists.

    Raises:
        ConfigError: there is no such column, or `n_songs` is less than 4.
    """
    track_ids = [track.track_id for track in data] if isinstance(data, Sequence) else data.column("track_id")
    return ArtistSplit.of(_column(data, column), track_ids, n_songs=n_songs, seed=seed)


def songs_by_artist(data: PreparedData | Sequence[Track], *, column: str = "") -> Counter[str]:
    """Count the songs of each artist.

    Args:
        data: as for `artist_split`.
        column: likewise.

    Returns:
        Songs by artist; those whose artist is not known are left out.

    Raises:
        ConfigError: there is no such column.
    """
    return Counter(artist for value in _column(data, column) if (artist := _name_of(value)))


def tracks_by(data: PreparedData, artists: Iterable[str], *, column: str = "") -> Whole:
    """Find all tracks by some artists, also those that a split does not use.

    Args:
        data: the tracks.
        artists: their names, as `ArtistSplit` has them.
        column: as for `artist_split`.

    Returns:
        (rows,) in order; maybe none.

    Raises:
        ConfigError: there is no such column.
    """
    wanted = {*artists}
    return np.flatnonzero([_name_of(value) in wanted for value in _column(data, column)])


# -- inside ------------------------------------------------------------------------------------------------------------


def _column(data: PreparedData | Sequence[Track], name: str) -> Sequence[Any] | NDArray[Any]:
    if name:
        return _values(data, name)
    for known in COLUMNS:
        try:
            return _values(data, known)
        except ConfigError as error:
            missing = error
    raise ConfigError(f"no column of the songs says whose a track is ({' or '.join(COLUMNS)}); name one. {missing}")


def _values(data: PreparedData | Sequence[Track], name: str) -> Sequence[Any] | NDArray[Any]:
    if not isinstance(data, Sequence):
        return data.column(name)
    known = data[0].columns if data else {}  # the same for all tracks
    if name not in known:
        raise ConfigError(f"there is no column {name!r}; there are {', '.join(known) or 'none'}.")
    return [track.columns[name] for track in data]


def _name_of(value: Any) -> str:
    """Write an artist as text; numbers with gaps are read as 12.0."""
    if value is None or value != value:  # NaN
        return ""
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)
