"""What is wrong with a data set on disk, as far as that shows without decoding anything."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from taggram.datasets._base import Broken, CheckReport, TagDataset, Track, name_some
from taggram.errors import DatasetError

SUFFIXES = (".wav", ".mp3", ".au", ".flac", ".ogg", ".aif", ".aiff", ".m4a")  # of sound, where nothing names it
BEGINNINGS = {".wav": (b"RIFF", b"RF64", b"RIFX"), ".au": (b".snd",), ".flac": (b"fLaC",), ".ogg": (b"OggS",)}
PAGES = (b"<", b"\xef\xbb\xbf<")  # how a page of the web begins, which a server may send in place of a file
N_HEAD = 16  # bytes
MD5 = "md5"  # the column that holds the checksum of a file


def check(
    dataset: TagDataset, *, hashes: bool = False, told: Callable[[int, int], object] | None = None
) -> CheckReport:
    """Check that the files of a data set are there, and that it has as many tracks as it should.

    Args:
        dataset: with the split that is to be checked.
        hashes: whether files are compared with their checksums, where tracks have a column md5. All of them are read.
        told: called with the number of files that are done, and of all.

    Returns:
        Files that are missing, empty, broken by their first bytes, or named by no split; and notes on counts and tags.

    Raises:
        DatasetError: the lists of the data set are missing or not as the card says.
    """
    tracks = list(dataset.tracks())
    files = list(dict.fromkeys(track.path for track in tracks))
    missing, empty, broken, odd = [], [], [], []
    for n_done, path in enumerate(files, 1):
        size = _size(path)
        if size is None:
            missing.append(path)
        elif size == 0:
            empty.append(path)
        else:
            reason, as_named = _look_at(path)
            if reason:
                broken.append(Broken(path, reason))
            elif not as_named:
                odd.append(path)
        if told is not None:
            told(n_done, len(files))
    left_out = dataset.left_out()
    known = {*files, *left_out, *_named_by_other_splits(dataset)}
    folders = sorted({path.parent for path in known})
    extra = sorted(path for folder in folders for path in _sound_in(folder) if path not in known)
    notes = [*_counts(dataset, tracks), *_repeated(tracks), *dataset.notes()]
    if odd:
        notes.append(f"sound of another format than the name says: {len(odd):,}, {_some(odd)}")
    if hashes:
        notes += _wrong_hashes(tracks, {*missing, *empty})
    if left_out:
        notes.append(f"{len(left_out)} files are left out on purpose: {_some(left_out)}")
    return CheckReport(
        n_tracks=len(tracks),
        missing=tuple(missing),
        empty=tuple(empty),
        broken=tuple(broken),
        extra=tuple(extra),
        notes=tuple(notes),
    )


def _counts(dataset: TagDataset, tracks: list[Track]) -> Iterator[str]:
    """Tell where the split has more or fewer tracks than published."""
    found: Counter[str] = Counter(track.part for track in tracks)
    found["all"] = len(tracks)
    for part, wanted in dataset.published_sizes().items():
        if found[part] != wanted:
            what = "the split" if part == "all" else part
            yield f"{what}: {found[part]:,} tracks, {wanted:,} are published"


def _repeated(tracks: list[Track]) -> Iterator[str]:
    """Tell of identifiers that are not unique, which makes two tracks one wherever they are a key."""
    again = [track_id for track_id, n_times in Counter(track.track_id for track in tracks).items() if n_times > 1]
    if again:
        yield f"{len(again)} identifiers come more than once: {name_some(again)}"


def _named_by_other_splits(dataset: TagDataset) -> Iterator[Path]:
    """Give the files of all other splits whose lists are there."""
    for split in dataset.card.splits:
        if split != dataset.split:
            with contextlib.suppress(DatasetError):
                yield from {track.path for track in dataset.with_split(split).tracks()}


def _sound_in(folder: Path) -> Iterator[Path]:
    """Give the sound that lies in a folder, but not below it."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                yield path


def _size(path: Path) -> int | None:
    """Give the bytes of a file, or None where there is no file."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _look_at(path: Path) -> tuple[str, bool]:
    """Say why a file cannot be sound by its first bytes, or "", and whether these are those that its name promises."""
    from taggram.audio import begins_like_sound  # decoders load here, so that the cards alone are quick to show

    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            head = file.read(N_HEAD)
    except OSError as error:
        return error.strerror or str(error), False
    if head.lstrip().startswith(PAGES):
        return "it is a page of the web; fetch the file again", False
    if head.startswith(BEGINNINGS.get(suffix, (b"",))):
        return "", True
    return "" if begins_like_sound(head) else f"it does not begin like a {suffix} file, nor like other sound", False


def _wrong_hashes(tracks: list[Track], gone: set[Path]) -> Iterator[str]:
    """Tell of files whose checksum is another than the data set gives."""
    wrong = []
    wanted = {track.path: str(track.columns[MD5]) for track in tracks if track.columns.get(MD5)}
    for path, md5 in wanted.items():
        if path in gone:
            continue
        with path.open("rb") as file:
            if hashlib.file_digest(file, _md5).hexdigest() != md5.lower():
                wrong.append(path)
    if not wanted:
        yield "the data set gives no checksums of its files"
    elif wrong:
        yield f"{len(wrong)} files have another checksum than the data set gives: {_some(wrong)}"


def _md5() -> hashlib._Hash:
    return hashlib.new("md5", usedforsecurity=False)


def _some(paths: Iterable[Path]) -> str:
    """List a few names."""
    return name_some([path.name for path in paths])
