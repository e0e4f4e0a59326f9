"""Songs by artist: as many of each, in every part, in an order that nothing else moves."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from taggram.datasets import Track
from taggram.errors import ConfigError
from taggram.learning.artist_splits import ArtistSplit, artist_split, songs_by_artist, songs_by_part, tracks_by

PARTS = range(3)  # train, valid, test


def columns(n_artists=6, n_songs=20):
    """Artist and name of each track, artist by artist in turn."""
    artists = [f"artist {number % n_artists}" for number in range(n_artists * n_songs)]
    return artists, [f"track {number}" for number in range(len(artists))]


def split_of(n_artists=6, n_songs=20, seed=0):
    return ArtistSplit.of(*columns(n_artists, n_songs), seed=seed)


def counts(split):
    """(artists, parts) songs."""
    return [
        tuple(int(((split.classes == artist) & (split.parts == part)).sum()) for part in PARTS)
        for artist in range(len(split))
    ]


def test_songs_of_known_artists_are_counted():
    tracks = [
        Track(track_id=str(number), path=Path(str(number)), part="train", tags=(), columns={"artist": artist})
        for number, artist in enumerate(("a", "b", "a", "", None, "a"))
    ]
    assert songs_by_artist(tracks) == {"a": 3, "b": 1}


@pytest.mark.parametrize("n_songs", [20, 23])
def test_each_artist_has_exactly_15_3_and_2_songs(n_songs):
    assert counts(split_of(n_songs=n_songs)) == [(15, 3, 2)] * 6


@pytest.mark.parametrize(
    ("n_songs", "wanted"), [(20, (15, 3, 2)), (12, (9, 2, 1)), (40, (30, 6, 4)), (10, (7, 2, 1)), (4, (2, 1, 1))]
)
def test_parts_have_their_share_of_other_numbers_of_songs(n_songs, wanted):
    assert songs_by_part(n_songs) == wanted


def test_songs_beyond_the_wanted_number_are_not_used():
    fewer = ArtistSplit.of(*columns(6, 14), n_songs=12)
    assert counts(fewer) == [(9, 2, 1)] * 6
    assert (fewer.classes < 0).sum() == (fewer.parts < 0).sum() == 6 * 2


def test_songs_stand_with_their_artist():
    artists, names = columns()
    split = ArtistSplit.of(artists, names)
    for artist, songs in zip(split.artists, split.songs):
        assert {artists[row] for row in songs} == {artist}


def test_who_has_too_few_songs_is_left_out():
    artists, names = columns()
    artists[0] = "somebody else"
    assert sorted(ArtistSplit.of(artists, names).artists) == [f"artist {number}" for number in range(1, 6)]


@pytest.mark.parametrize("unknown", [None, "", math.nan])
def test_songs_of_nobody_are_left_out(unknown):
    artists, names = columns(2)
    split = ArtistSplit.of([*artists, *[unknown] * 20], [*names, *map(str, range(20))])
    assert sorted(split.artists) == ["artist 0", "artist 1"]


def test_numbers_with_gaps_are_whole_ones():
    assert ArtistSplit.of(np.array([12.0] * 20 + [math.nan]), map(str, range(21))).artists == ("12",)


def test_first_artists_are_among_more_of_them():
    split = split_of(n_artists=8)
    assert split.some(0, 6).artists[:3] == split.some(0, 3).artists == split.artists[:3]
    assert counts(split.some(0, 3)) == [(15, 3, 2)] * 3


def test_last_artists_are_none_of_the_first():
    split = split_of(n_artists=8)
    assert not set(split.some(5).artists) & set(split.some(0, 5).artists)


def test_tracks_of_others_move_nothing():
    artists, names = columns()
    before = ArtistSplit.of(artists, names)
    after = ArtistSplit.of([*["new"] * 30, *artists], [*[f"new {number}" for number in range(30)], *names])
    kept = [artist for artist in after.artists if artist != "new"]
    assert kept == list(before.artists)
    assert (after.songs[[after.artists.index(artist) for artist in kept]] == before.songs + 30).all()


def test_seed_gives_the_order():
    orders = {split_of(n_artists=8, seed=seed).artists for seed in (0, 0, 1)}
    assert len(orders) == 2


@pytest.mark.parametrize("n_songs", [3, 0, 20.5], ids=str)
def test_number_of_songs_without_sense_is_refused(n_songs):
    with pytest.raises(ConfigError, match="n_songs is"):
        ArtistSplit.of(*columns(), n_songs=n_songs)


class Columns:
    """Prepared data, as far as an artist is looked for in it."""

    def __init__(self, **known):
        self.known = {"track_id": np.array([str(number) for number in range(4)], object), **known}

    def column(self, name):
        if name not in self.known:
            raise ConfigError(f"there is no column {name!r}; there are {', '.join(self.known)}.")
        return self.known[name]


@pytest.mark.parametrize(("known", "column"), [("artist_id", ""), ("artist", ""), ("singer", "singer")])
def test_column_of_the_artist_is_found_or_named(known, column):
    assert artist_split(Columns(**{known: np.array(["a"] * 4)}), column=column, n_songs=4).artists == ("a",)


def test_data_without_artists_is_refused():
    with pytest.raises(ConfigError, match=r"no column of the songs says whose.*there are track_id, style"):
        artist_split(Columns(style=np.array(["rock"] * 4)))


def listed(**columns):
    """Tracks as a data set lists them."""
    rows = [dict(zip(columns, values)) for values in zip(*columns.values())]
    return [
        Track(track_id=str(number), path=Path("none"), part="train", tags=(), columns=row)
        for number, row in enumerate(rows)
    ]


def test_tracks_that_are_listed_give_the_artists_of_those_that_are_prepared():
    artists = ["a", "b"] * 4
    known = Columns(track_id=np.array([str(number) for number in range(8)]), artist=np.array(artists))
    assert artist_split(listed(artist=artists), n_songs=4).artists == artist_split(known, n_songs=4).artists


def test_tracks_that_are_listed_without_artists_are_refused():
    with pytest.raises(ConfigError, match=r"no column of the songs says whose.*there are style"):
        artist_split(listed(style=["rock"]))
    with pytest.raises(ConfigError, match=r"no column 'singer'; there are style"):
        artist_split(listed(style=["rock"]), column="singer")


def test_all_tracks_by_an_artist_are_found():
    known = Columns(artist_id=np.array([1.0, 2.0, math.nan, 1.0, 3.0]))
    assert tracks_by(known, ["1", "3"]).tolist() == [0, 3, 4]
    assert tracks_by(known, []).tolist() == []
