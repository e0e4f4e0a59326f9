"""What a catalogue is asked on the command line, and how its answers are written."""

from __future__ import annotations

import csv
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TextIO, cast

from taggram.apps._outputs import SCORE_DIGITS, ListFormat, TableFormat, format_of, open_output
from taggram.apps._progress import FileProgress, say
from taggram.catalogue.asking import Catalogue
from taggram.errors import ConfigError, printable

if TYPE_CHECKING:
    from taggram.catalogue.duplicates import Same
    from taggram.catalogue.similar import Search
    from taggram.catalogue.statistics import LayerFacts, Statistics

Track = dict[str, Any]
ESCAPED = re.compile(r"\\udc[89a-f][0-9a-f]")  # a byte that is no UTF-8, as the catalogue has it


def run_find(folder: Path, expression: str, *, layer: str | None, kind: ListFormat | None, out: Path | None) -> bool:
    """Find tracks by their tags, and write them.

    Args:
        folder: of the catalogue.
        expression: what is asked.
        layer: whose results are asked; None is those of the last run.
        kind: the format; None is the one that the name of the file asks for, or text.
        out: the file that is written, or None for standard output.

    Returns:
        Whether all could be written.

    Raises:
        CatalogueError: there is no catalogue, or it is damaged or too new.
        ConfigError: it is no expression.
        UnknownNameError: it names a tag that is not there.
        MissingExtraError: duckdb or pyarrow is not installed.
    """
    check_output(out)
    kind = format_of(kind, ListFormat, out)
    with Catalogue(folder, layer=layer) as catalogue:
        query = catalogue.parse(expression)
        tracks = catalogue.find(query, also=("duration_s",) if kind is ListFormat.m3u else ())
        return write_tracks(tracks, query.names, kind, out, nothing="no track fits.")


def run_similar(
    folder: Path,
    file: str,
    *,
    n: int,
    min_score: float,
    search: str,
    layer: str | None,
    model: str | None,
    kit: str | None,
    device: str,
    kind: ListFormat | None,
    out: Path | None,
) -> bool:
    """Find tracks that sound like one, and write them.

    Args:
        folder: of the catalogue.
        file: the sound, which need not be in the catalogue.
        n: how many.
        min_score: least cosine.
        search: "auto", "exact" or "index".
        layer: whose results are asked; None is those of the last run.
        model: where the model lies now, or None.
        kit: where the kit lies now, or None.
        device: what torch computes on.
        kind: the format; None is the one that the name of the file asks for, or text.
        out: the file that is written, or None for standard output.

    Returns:
        Whether all could be written.

    Raises:
        AudioError: the sound cannot be read or used.
        CatalogueError: there is no catalogue, or it is damaged or too new, or by other weights.
        ConfigError: a setting makes no sense.
        MissingExtraError: duckdb, pyarrow or usearch is not installed.
    """
    check_output(out)
    kind = format_of(kind, ListFormat, out)
    with Catalogue(folder, layer=layer, model=model, kit=kit, device=device) as catalogue, _on_screen() as told:
        found = catalogue.similar(file, n=n, min_score=min_score, search=cast("Search", search), told=told)
        _say_recall(catalogue)
        lengths = catalogue.lengths([match.path for match in found]) if kind is ListFormat.m3u else {}
    tracks = [{**match._asdict(), "duration_s": lengths.get(match.path)} for match in found]
    return write_tracks(tracks, ["path", "score"], kind, out, nothing="no track is as similar as that.")


def run_duplicates(
    folder: Path,
    *,
    same: str | None,
    min_score: float,
    search: str,
    layer: str | None,
    kind: TableFormat | None,
    out: Path | None,
) -> None:
    """Find files that are there more than once, and write them in groups.

    Args:
        folder: of the catalogue.
        same: "content", "sound", or None for both.
        min_score: least cosine of two that sound the same.
        search: "auto", "exact" or "index".
        layer: whose results are asked; None is those of the last run.
        kind: the format; None is the one that the name of the file asks for, or text.
        out: the file that is written, or None for standard output.

    Raises:
        CatalogueError: there is no catalogue, or it is damaged or too new.
        ConfigError: a setting makes no sense.
        MissingExtraError: duckdb, pyarrow or usearch is not installed.
    """
    kind = format_of(kind, TableFormat, out)
    with Catalogue(folder, layer=layer) as catalogue, open_output(out) as stream, _on_screen() as told:
        groups = catalogue.duplicates(
            same=cast("Same | None", same), min_score=min_score, search=cast("Search", search), told=told
        )
        table = csv.writer(stream, lineterminator="\n")
        if kind is TableFormat.csv:
            table.writerow(["group", "same", "score", "path"])
        number = 0
        for number, group in enumerate(groups, 1):
            if kind is TableFormat.json:
                _write_line(stream, asdict(group) | {"score": round(group.score, SCORE_DIGITS)})
            elif kind is TableFormat.csv:
                score = f"{group.score:.{SCORE_DIGITS}f}"
                table.writerows([number, group.same, score, path] for path in group.paths)
            else:
                stream.write("" if number == 1 else "\n")
                stream.writelines(f"{group.same}\t{group.score:.4f}\t{printable(path)}\n" for path in group.paths)
            stream.flush()
        _say_recall(catalogue)
    if number == 0:
        say("no file is there more than once.")


def run_statistics(
    folder: Path, *, threshold: float, layer: str | None, kind: TableFormat | None, out: Path | None
) -> None:
    """Count and average over a catalogue, and write that.

    Args:
        folder: of the catalogue.
        threshold: from which score on a file counts for a tag.
        layer: whose results are asked; None is those of the last run.
        kind: the format; CSV has the tags alone. None is the one that the name of the file asks for, or text.
        out: the file that is written, or None for standard output.

    Raises:
        CatalogueError: there is no catalogue, or it is damaged or too new.
        ConfigError: the threshold is no number.
        MissingExtraError: duckdb or pyarrow is not installed.
    """
    check_output(out)
    kind = format_of(kind, TableFormat, out)
    with Catalogue(folder, layer=layer) as catalogue, _on_screen() as told:
        found = catalogue.statistics(threshold=threshold, told=told)
    with open_output(out) as stream:
        if kind is TableFormat.json:
            _write_line(stream, asdict(found))
        elif kind is TableFormat.csv:
            csv.writer(stream, lineterminator="\n").writerows(_tag_rows(found, f".{SCORE_DIGITS}f"))
        else:
            _write_statistics(stream, found)


def run_map(folder: Path, out: Path, *, tag: str | None, n: int | None, seed: int, layer: str | None) -> None:
    """Place the tracks of a catalogue on a map, write its page, and print where that is.

    Args:
        folder: of the catalogue.
        out: the HTML file.
        tag: what colours mean at first; None is the best tag of each track.
        n: at most so many tracks; None is 5,000.
        seed: of what is drawn, and of t-SNE.
        layer: whose results are asked; None is those of the last run.

    Raises:
        CatalogueError: there is no catalogue, or it is damaged or too new.
        ConfigError: there are too few tracks.
        UnknownNameError: there is no such tag.
        MissingExtraError: duckdb or pyarrow is not installed.
    """
    check_output(out)
    with Catalogue(folder, layer=layer) as catalogue, _on_screen() as told:
        found = catalogue.map(n=n, seed=seed, tag=tag, told=told)
    found.save(out)
    for note in found.notes:
        say(f"note: {note}")
    print(out, flush=True)


def check_output(out: Path | None) -> None:
    """Refuse a file that cannot be written, before there is work done for it.

    Args:
        out: the file, or None for standard output.

    Raises:
        ConfigError: its folder is not there, or it is a folder itself.
    """
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        why = "it is a folder" if out.is_dir() else "there is no such folder"
        raise ConfigError(f"--out {printable(str(out))} cannot be written: {why}.")


def write_tracks(
    tracks: Iterable[Track], names: Sequence[str], kind: ListFormat, out: Path | None, *, nothing: str
) -> bool:
    """Write tracks, as they come.

    Args:
        tracks: `path`, and what else there is of each.
        names: what is written of each; a playlist has the path, and the length where there is one.
        kind: the format.
        out: a file, written aside and renamed when all is well, or None for standard output.
        nothing: is said where there is no track.

    Returns:
        Whether all could be written; a playlist cannot hold a path with a line break, or one that is no UTF-8.
    """
    tracks = iter(tracks)
    first = next(tracks, None)  # so that an error comes before a file is begun
    n_left_out = 0
    with open_output(out) as stream:
        write = _writer(stream, kind, names)
        for track in () if first is None else itertools.chain([first], tracks):
            why_not = _why_not_in_a_playlist(track["path"]) if kind is ListFormat.m3u else None
            if why_not is not None:
                say(f"{printable(track['path'])}: a playlist cannot hold a path {why_not}")
                n_left_out += 1
                continue
            write(track)
        stream.flush()
    if first is None:
        say(nothing)
    return n_left_out == 0


def _writer(stream: TextIO, kind: ListFormat, names: Sequence[str]) -> Callable[[Track], None]:
    """Give what writes one track, after the head is written."""
    if kind is ListFormat.json:
        return lambda track: _write_line(stream, {name: rounded(track[name]) for name in names})
    if kind is ListFormat.csv:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(names)
        return lambda track: table.writerow([_cell(track[name]) for name in names])
    if kind is ListFormat.m3u:
        stream.write("#EXTM3U\n")
        return lambda track: _write_entry(stream, track)
    return lambda track: _write_text(stream, track, names)


def _write_text(stream: TextIO, track: Track, names: Sequence[str]) -> None:
    """One line a track: path, name=value ..., tab separated."""
    values = [
        f"{name}={value:.2f}" if isinstance(value, float) else f"{name}={printable(str(_cell(value)))}"
        for name, value in ((name, track[name]) for name in names if name != "path")
    ]
    stream.write("\t".join([printable(track["path"]), *values]) + "\n")


def _why_not_in_a_playlist(path: str) -> str | None:
    if any(sign in path for sign in "\r\n"):
        return "with a line break"
    return "that is no UTF-8" if ESCAPED.search(path) and not Path(path).exists() else None


def _write_entry(stream: TextIO, track: Track) -> None:
    """An entry of a playlist."""
    seconds = track.get("duration_s")
    stream.write(f"#EXTINF:{-1 if seconds is None else round(seconds)},{PurePath(track['path']).stem}\n")
    path = track["path"]
    stream.write(f"./{path}\n" if path.startswith("#") else f"{path}\n")  # which would be a comment


def rounded(value: Any) -> Any:
    """Round a number as all scores are that are written; what is no number stays."""
    return round(value, SCORE_DIGITS) if isinstance(value, float) else value


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.{SCORE_DIGITS}f}"
    if value is None:
        return ""
    return "; ".join(value) if isinstance(value, list) else value


def _write_line(stream: TextIO, fields: dict[str, Any]) -> None:
    stream.write(json.dumps(fields, ensure_ascii=False) + "\n")


def _write_statistics(stream: TextIO, found: Statistics) -> None:
    lines = [
        f"model\t{printable(found.model)} ({printable(found.layer)})",
        f"files\t{found.n_files:,}, of which {found.n_failed:,} failed and {found.n_copies:,} are copies",
        f"sound\t{_length(found.hours)}, {_size(found.n_bytes)}",
        *(f"failed\t{n:,} with {printable(error)}" for error, n in found.errors.items()),
        *(_layer_line(one) for one in found.layers if len(found.layers) > 1),
    ]
    stream.writelines(f"{line}\n" for line in lines)
    head, *rows = _tag_rows(found, ".2f")
    width = max((len(row[0]) for row in rows), default=0)
    stream.write("\n" + "  ".join([f"{head[0]:{width}}", *(f"{name:>6}" for name in head[1:])]) + "\n")
    for row in rows:
        stream.write("  ".join([f"{printable(row[0]):{width}}", *(f"{value:>6}" for value in row[1:])]) + "\n")


def _length(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.2f} MB"


def _layer_line(one: LayerFacts) -> str:
    """Name a layer, with what its results differ in from the others."""
    differs = ", ".join(f"{name}={'none' if value is None else value}" for name, value in one.differs.items())
    return f"layer\t{printable(one.layer)}: {one.n_files:,} files, {printable(differs)}"


def _tag_rows(found: Statistics, how: str) -> list[list[str]]:
    """Give a head and a row a tag."""
    shares = list(found.tags[0].quantiles) if found.tags else []
    head = ["tag", "mean", *(f"{share:.0%}" for share in shares), f">={found.threshold:g}"]

    def shown(value: float | None) -> str:
        return "" if value is None else format(value, how)

    return [
        head,
        *([one.tag, shown(one.mean), *map(shown, one.quantiles.values()), str(one.n_above)] for one in found.tags),
    ]


def _say_recall(catalogue: Catalogue) -> None:
    """Say how much the index finds, where one was asked."""
    if catalogue.index_recall is not None:
        say(f"note: by an index, which finds {catalogue.index_recall:.1%} of the true ten nearest (sample of 200)")


@contextmanager
def _on_screen() -> Iterator[Callable[[str, int, int], None]]:
    """Give what shows how far the preparation is, a bar for each thing that is done."""
    bars: dict[str, FileProgress] = {}

    def told(what: str, done: int, total: int) -> None:
        if what not in bars:
            for other in bars.values():
                other.make_way()
            bars[what] = FileProgress(total)
            if total == 1 and done == 0 and sys.stderr.isatty():  # no bar would move
                say(f"{what} ...")
        bars[what].reach(done, what)

    try:
        yield told
    finally:
        for bar in bars.values():
            bar.make_way()
