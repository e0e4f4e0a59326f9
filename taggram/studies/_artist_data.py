"""The data of the study on artist labels: songs to learn from, and clips that features are tried on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggram._checks import check
from taggram.datasets.synth import TRACKS_PER_ARTIST
from taggram.errors import ConfigError
from taggram.learning.artist_splits import LEAST_SONGS, songs_by_artist
from taggram.learning.prepared import PreparedData
from taggram.learning.train import SYNTH
from taggram.models._mfcc_statistics import MFCC
from taggram.models.artist import MEL
from taggram.studies._artist_results import BY_ARTISTS
from taggram.studies._artist_settings import N_ARTISTS, ArtistConfig
from taggram.studies._clips import open_clips, prepare_clips
from taggram.studies._tagged_sound import open_dataset_of, open_sound, prepare_sound

if TYPE_CHECKING:
    from taggram.datasets._base import Part, Track
    from taggram.learning.train import Watcher

RATE = MEL.sample_rate
MFCC_RATE = MFCC.mel.sample_rate


def prepare_all(config: ArtistConfig, folder: Path, watcher: Watcher, n_workers: int | None) -> dict[str, Any]:
    """Open all data sets, and then decode them.

    Args:
        config: names them.
        folder: of the run.
        watcher: is told what happens.
        n_workers: processes that decode; None is one a core.

    Returns:
        "source", folders of the songs by rate; "clips", as `prepare_clips` gives them, and "tagged", folders by rate,
        where they are there; "titles" of these and of "data"; "facts", as `Study.data_facts` gives them.

    Raises:
        ConfigError: there are fewer artists than are wanted, or a setting does not fit the data.
        DatasetError: some data is missing, or is not what the study needs.
    """
    songs = open_dataset_of(config.data, watcher)  # all that can be missing is told before anything is decoded
    target = open_clips(config.target, watcher) if config.target.name else None
    tagged = open_dataset_of(config.tagged, watcher) if config.has_tagged else None
    check(target is not None or not config.folds, "folds", config.folds, "a target that has some, target=NAME")
    listed = PreparedData(config.data.prepared) if songs.dataset is None else list(songs.dataset.tracks())
    _check_artists(config, listed)

    rates = [RATE, MFCC_RATE] if "mfcc" in config.chosen else [RATE]
    found: dict[str, Any] = {}
    others: dict[str, dict[str, Any]] = {}
    if target is not None:
        clips = prepare_clips(
            config.target, rates, folder, watcher, n_workers, wanted_folds=config.folds, opened=target
        )
        found["clips"], others["target"] = clips["clips"], clips["facts"]
    if tagged is not None:
        sound = prepare_sound(tagged, [RATE], watcher, n_workers)
        found["tagged"], others["tagged"] = sound["prepared"], sound["facts"]
    parts: tuple[Part, ...] = ("train",) if "tags" in config.chosen else ()
    source = prepare_sound(songs, rates if config.unseen else [RATE], watcher, n_workers, parts=parts)
    n_artists = _check_artists(config, open_sound(source, RATE))  # some songs may be damaged
    facts = {**source["facts"], "n_artists": n_artists, "sounds": dict(source["facts"]["sounds"])}
    titles = {"data": str(facts["title"])}  # before those of the others stand in it too
    titles |= {name: _add_facts(facts, name, of) for name, of in others.items()}
    found |= {"source": source["prepared"], "facts": facts, "titles": titles}
    return found


# -- inside ------------------------------------------------------------------------------------------------------------


def _check_artists(config: ArtistConfig, data: PreparedData | Sequence[Track]) -> int:
    """Count the artists with enough songs, and refuse to learn more than there are."""
    n_songs_of = songs_by_artist(data, column=config.artist_column)

    def count(n_songs: int) -> int:
        return sum(n_own >= n_songs for n_own in n_songs_of.values())

    n_there = count(config.songs)
    learned = {*config.chosen} & {*BY_ARTISTS}
    n_wanted = config.unseen + (max(config.n_artists(n_there), default=N_ARTISTS[0]) if learned else 0)
    if n_wanted <= n_there:
        return n_there
    fewer = range(config.songs - 1, LEAST_SONGS - 1, -1)
    hints = [f" songs={n} gives {n_found}." for n in fewer if (n_found := count(n)) > n_there][:1]
    most = max(n_songs_of.values(), default=0)
    if most < config.songs:
        least = "" if most >= LEAST_SONGS else f"; at least {LEAST_SONGS} are needed"
        hints.insert(0, f" The artist with the most songs has {most}{least}.")
    if config.data.name == SYNTH and not config.data.prepared and len(n_songs_of) >= n_wanted:
        n_songs = min(config.songs, TRACKS_PER_ARTIST)
        hints.append(
            f" data.n_tracks={n_songs * len(n_songs_of)} songs={n_songs} makes {n_songs} songs by each of "
            f"{len(n_songs_of)} artists."
        )
    raise ConfigError(
        f"{n_wanted} artists are wanted, {config.unseen} of whom stay unseen; {n_there} artists of "
        f"{config.data.name or 'the data'} have {config.songs} songs.{''.join(hints)} artists=N,M and unseen=N say how "
        "many are wanted."
    )


def _add_facts(facts: dict[str, Any], name: str, of: Mapping[str, Any]) -> str:
    """Put the facts about another data set beside those of the songs, and give its title."""
    facts[name] = {key: value for key, value in of.items() if key not in ("title", "words", "sounds")}
    facts["sounds"] |= {f"{name} {rate}": content for rate, content in of["sounds"].items()}
    facts["title"] = f"{facts['title']}, tried on {of['title']}"
    facts["words"] = f"{facts['words']} {of['title']}: {of['words']}"
    return str(of["title"])
