"""The card of prepared data: what it is of, what is done, what was left out, and what a later run must equal to go on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from taggram._files import written_aside
from taggram.datasets import Track
from taggram.datasets._base import PARTS
from taggram.errors import DatasetError, printable
from taggram.learning._decoding import Decoded

CARD = "card.json"
FORMAT = 1  # of the folder; another one cannot be read
MUST_EQUAL = ("name", "split", "vocabulary", "task", "tags", "split_sha256", "sample_rate", "frontend")  # and settings
IN_WORDS = {"split_sha256": "tracks, parts or tags", "tracks_sha256": "tracks, files or columns"}


@dataclass(frozen=True)
class LeftOut:
    """A track that could not be prepared.

    Attributes:
        track_id: its name.
        path: its file, from the folder of the data set on where it lies in there.
        reason: what is wrong with it.
    """

    track_id: str
    path: str
    reason: str


@dataclass(frozen=True)
class SameSound:
    """Tracks whose samples are all equal.

    Attributes:
        track_ids: their names.
        parts: the parts of the split that they are in.
    """

    track_ids: tuple[str, ...]
    parts: tuple[str, ...]


@dataclass
class Done:
    """What is done of a folder, as it stands on the card.

    Attributes:
        complete: whether that is all.
        n_seen: tracks that were prepared or left out.
        n_rows: tracks that were prepared, by part.
        n_samples: of them, by part.
        n_noted: rows with something unusual.
        n_clipped: rows that went beyond full scale.
        loudest: the name of the one that went furthest, and how far.
        left_out: tracks that could not be prepared.
        same_sound: groups of rows with equal samples.
        made_with: versions of the libraries, more than one set where they changed on the way.
        files: name, rows and bytes of each Arrow file, and where the lists of each of its batches lie.
    """

    complete: bool = False
    n_seen: int = 0
    n_rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    n_samples: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    n_noted: int = 0
    n_clipped: int = 0
    loudest: tuple[str, float] | None = None
    left_out: list[LeftOut] = field(default_factory=list)
    same_sound: list[SameSound] = field(default_factory=list)
    made_with: list[dict[str, str]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Self:
        """Read what is done from a card."""
        done = cls(**{one.name: card[one.name] for one in dataclasses.fields(cls)})
        done.loudest = done.loudest and (done.loudest[0], done.loudest[1])
        done.left_out = [LeftOut(**one) for one in card["left_out"]]
        done.same_sound = [SameSound(tuple(one["track_ids"]), tuple(one["parts"])) for one in card["same_sound"]]
        return done

    def take(self, track: Track, decoded: Decoded) -> None:
        """Count a track that was prepared."""
        self.n_rows[track.part] += 1
        self.n_samples[track.part] += decoded.n_samples
        self.n_noted += bool(decoded.notes)
        if decoded.peak > 1:
            self.n_clipped += 1
            if self.loudest is None or decoded.peak > self.loudest[1]:
                self.loudest = (track.track_id, round(decoded.peak, 3))


def save_card(folder: Path, facts: Mapping[str, Any], done: Done) -> None:
    """Write the card, a line a file.

    Args:
        folder: of the prepared data.
        facts: what was known before anything was decoded, with what must be equal to go on.
        done: what is done.

    Raises:
        OSError: the folder cannot be written to.
    """
    card = {**facts, **asdict(done)}
    files = ",\n    ".join(map(json.dumps, card.pop("files")))
    text = json.dumps(card, indent=2).removesuffix("\n}") + f',\n  "files": [\n    {files}\n  ]\n}}\n'
    with written_aside(folder / CARD) as path:
        path.write_text(text, encoding="ascii")


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of a prepared folder, also where that is not finished.

    Args:
        folder: that `prepare` wrote.

    Returns:
        The facts.

    Raises:
        DatasetError: there is none, or it is not of prepared data.
    """
    path = folder / CARD
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        form = card["settings"]["format"]
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"{printable(str(path))}: {reason}; `taggram data prepare` makes such a folder.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{printable(str(path))} is no card of prepared data.") from error
    if form != FORMAT:
        raise DatasetError(
            f"{printable(str(folder))} is in format {form}; this version reads format {FORMAT}. Prepare it again."
        )
    return card


def check_card(folder: Path, card: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse to go on with a folder that was begun with other settings.

    Args:
        folder: of the prepared data.
        card: of it.
        facts: as they are now.

    Raises:
        DatasetError: something differs that must be equal; the message names it.
    """
    pairs = {name: (card[name], facts[name]) for name in MUST_EQUAL}
    pairs |= {name: (card["settings"].get(name), wanted) for name, wanted in facts["settings"].items()}
    for name, (there, wanted) in pairs.items():
        if there != wanted:
            is_short = name not in IN_WORDS and all(isinstance(one, str | int | float) for one in (there, wanted))
            what = f"{name}={there}, not {wanted}" if is_short else f"other {IN_WORDS.get(name, name)} than now"
            raise DatasetError(f"{printable(str(folder))} was begun with {what}; name another folder.")


def part_paths(folder: Path, card: Mapping[str, Any]) -> list[Path]:
    """Give the Arrow files of a prepared folder.

    Args:
        folder: that `prepare` wrote.
        card: of it.

    Returns:
        The files, in order.

    Raises:
        DatasetError: one of them is missing or not of the size that the card says.
    """
    paths = []
    for file in card["files"]:
        path = folder / file["file"]
        try:
            n_bytes = path.stat().st_size
        except OSError as error:
            raise damaged(path, error.strerror or str(error)) from error
        if n_bytes != file["n_bytes"]:
            raise damaged(path, f"{n_bytes} bytes are there, {file['n_bytes']} were written")
        paths.append(path)
    return paths


def damaged(path: Path, reason: str) -> DatasetError:
    """Make the error for an Arrow file that is not as it was written."""
    return DatasetError(f"{printable(str(path))}: {reason}; prepare the data again, into another folder.")
