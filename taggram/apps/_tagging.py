"""Many files tagged or embedded, from the paths of a command line to what is written."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from taggram._checks import check_choice
from taggram._kit_network import model_of_kit
from taggram._processes import Processes
from taggram._workers import Task, Workers
from taggram.apps._file_runs import list_told, run_told, start_early
from taggram.apps._file_tags_worker import WriteSettings, WritingWorkers, WrittenTaggram
from taggram.apps._outputs import Format, PictureNames, TagWriter, check_format, is_parquet, open_embeddings, open_tags
from taggram.apps._parquet import ParquetTags, load_pyarrow
from taggram.apps._progress import say, tell_if_stopped
from taggram.apps._watching import Watch
from taggram.apps._writing import FAILED, IN_FILES, Tally, outcome_of, tell_change
from taggram.errors import ConfigError, check_above_zero, printable
from taggram.kit import Kit, is_kit
from taggram.models import load_card
from taggram.models._registry import ONNX_SUFFIX, Engine, Precision, is_model_file, model_file, read_cards
from taggram.models._weights import ensure_weights
from taggram.results import Embedding, Failure, Taggram
from taggram.tagger import DEFAULT_MODEL


class _NothingToWriteError(Exception):
    """No file could be done, so none is to be left."""


@dataclass(frozen=True)
class TaggerSettings:
    """Those settings of a `Tagger` that a command has options for.

    Attributes:
        model: name or file of the model.
        hop_s: step between patches in seconds; None is a patch.
        max_duration_s: longest sound to take, in seconds.
        device: what torch computes on.
        engine: what runs the network, "torch" or "onnx".
        kit: file of a kit, or None.
        precision: the numbers that the network computes in, "float32", "bfloat16" or "int8".
    """

    model: str
    hop_s: float | None
    max_duration_s: float
    device: str
    engine: str = "torch"
    kit: str | None = None
    precision: str = "float32"

    def ready(self) -> dict[str, Any]:
        """Check what can be checked without torch, and have the weights at hand.

        Returns:
            The settings by name.

        Raises:
            ConfigError: a length is not above 0, there is no such file, or the kit is of another model.
            KitError: the kit is not there, damaged or too new.
            UnknownNameError: there is no such model.
            WeightsError: its weights cannot be had.
        """
        check_above_zero(hop_s=self.hop_s, max_duration_s=self.max_duration_s)
        check_choice("--engine", self.engine, get_args(Engine))
        check_choice("--precision", self.precision, get_args(Precision))
        model = self.model
        if self.kit is not None:
            kit = Kit.load(self.kit)
            if model == DEFAULT_MODEL:
                model = model_of_kit(kit, self.kit)
            elif model != kit.model and {model, kit.model} <= read_cards().keys():
                raise ConfigError(
                    f"{printable(self.kit)}: this kit is of {kit.model}, and --model says {model}; leave --model out."
                )
        have_at_hand(model)
        return asdict(self)


def have_at_hand(model: str) -> None:
    """Fetch the weights of a model where they are not at hand, or see that its file is there.

    Args:
        model: name or file of the model.

    Raises:
        ConfigError: there is no such file, or it holds something else.
        UnknownNameError: there is no such model.
        WeightsError: its weights cannot be had.
    """
    shown = printable(str(model_file(model)))
    if model.endswith(ONNX_SUFFIX):
        raise ConfigError(
            f"{shown}: an ONNX file is for other programs, and no model to tag with. --engine onnx runs a model such "
            f"as {DEFAULT_MODEL} by onnxruntime."
        )
    if not is_model_file(model):
        ensure_weights(load_card(model))
    elif not model_file(model).is_file():
        raise ConfigError(f"there is no model file {shown}.")
    elif is_kit(model_file(model)):
        raise ConfigError(f"{shown} is a kit: say --kit and not --model.")


@dataclass(frozen=True, kw_only=True)
class TagOutput:
    """How the tags of files are given.

    Attributes:
        kind: the format.
        path: the file that is written, or None for standard output.
        top: at most so many tags a sound, or None for all.
        threshold: least score.
        over_time: whether the scores of each patch are written too.
        pictures: the folder that pictures go to, or None for none.
    """

    kind: Format
    path: Path | None
    top: int | None
    threshold: float
    over_time: bool
    pictures: Path | None

    def check(self) -> None:
        """Refuse what cannot be written, and make the folder for pictures.

        Raises:
            ConfigError: a file or folder cannot be written.
            MissingExtraError: Parquet is asked for and pyarrow is not installed.
        """
        check_format(self.kind, self.path)
        _check_writable(self.path)
        if self.pictures is None:
            return
        try:
            self.pictures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            folder = printable(str(self.pictures))
            raise ConfigError(f"{folder}: {error.strerror}; --picture wants a folder.") from error


def run_tagging(
    paths: list[str],
    settings: TaggerSettings,
    output: TagOutput,
    n_workers: int | None,
    write: WriteSettings | None = None,
) -> bool:
    """Tag files and write their tags.

    Args:
        paths: files, folders, or `-`.
        settings: of the tagger.
        output: how tags are given.
        n_workers: worker processes; None is one a core.
        write: how tags are written into the files too; None does not.

    Returns:
        Whether all files could be done.

    Raises:
        ConfigError: an option makes no sense.
        UnknownNameError: there is no such model.
        WeightsError: its weights cannot be had.
        OSError: the output cannot be written.
    """
    output.check()
    tally = Tally()
    try:
        with _saying_if_stopped(output.path), contextlib.nullcontext() if write is None else tally:
            return _tag_all(paths, settings, output, n_workers, write, tally)
    except _NothingToWriteError:
        return False


def run_watching(
    folders: list[str],
    settings: TaggerSettings,
    output: TagOutput,
    n_workers: int | None,
    write: WriteSettings | None = None,
) -> None:
    """Tag what is in folders and then, until told to stop, what arrives or changes there.

    Args:
        folders: these and all below them.
        settings: of the tagger.
        output: how tags are given: as text, JSON or CSV, on standard output.
        n_workers: worker processes; None is one a core.
        write: how tags are written into the files too; None does not.

    Raises:
        ConfigError: something is no folder, a file is wanted that would never be whole, or another option makes no
            sense.
        UnknownNameError: there is no such model.
        WeightsError: its weights cannot be had.
        OSError: standard output cannot be written.
    """
    if output.path is not None or output.kind is Format.parquet:
        raise ConfigError("--watch has no end, so no file would ever be whole; >> FILE adds its lines to one.")
    output.check()
    watch = Watch(folders)
    names = PictureNames(output.pictures) if output.pictures else None
    ready = settings.ready()
    with (
        Tally("files" if write is None else IN_FILES) as total,
        open_tags(None, output.kind, output.top, output.threshold, output.over_time) as writer,
        _workers(ready, write, n_workers) as pool,
    ):
        pool.start()
        say(f"watching {', '.join(map(printable, folders))}; Ctrl-C ends it")
        for files in watch:
            tally = Tally()
            for result in run_told(pool, _tasks(files, names)):
                _give(result, writer)
                for count in (tally, total):
                    count.add(outcome_of(result))
                if isinstance(result, WrittenTaggram) and result.rewritten is not None:
                    watch.take_as_given(result.path, *result.rewritten)
            if write is not None:
                say(str(tally))


def run_embedding(
    paths: list[str], settings: TaggerSettings, out: Path, *, layer: str | None, mean: bool, n_workers: int | None
) -> bool:
    """Embed files and write a table.

    Args:
        paths: files, folders, or `-`.
        settings: of the tagger.
        out: the table, Parquet or npz.
        layer: a named layer; None is the last.
        mean: whether a file has one row, the mean over its patches.
        n_workers: worker processes; None is one a core.

    Returns:
        Whether all files could be done.

    Raises:
        ConfigError: an option makes no sense.
        UnknownNameError: there is no such model or layer.
        WeightsError: its weights cannot be had.
        OSError: the table cannot be written.
    """
    if is_parquet(out):
        load_pyarrow()  # before any work is done
    _check_writable(out)
    try:
        with _saying_if_stopped(out):
            n_rows, n_files, n_failed = _embed_all(paths, settings, out, layer, mean, n_workers)
    except _NothingToWriteError:
        return False
    say(f"{n_rows} rows of {n_files} files are in {printable(str(out))}")
    return not n_failed


def _tag_all(
    paths: list[str],
    settings: TaggerSettings,
    output: TagOutput,
    n_workers: int | None,
    write: WriteSettings | None,
    tally: Tally,
) -> bool:
    """Tag files, as `run_tagging` does; what is raised on the way leaves no file."""
    names = PictureNames(output.pictures) if output.pictures else None
    with (
        open_tags(output.path, output.kind, output.top, output.threshold, output.over_time) as writer,
        _workers(settings.ready(), write, n_workers) as pool,
    ):
        start_early(pool, paths)
        files, failures = list_told(paths)
        tasks = _tasks(files, names)
        n_failed = len(failures)
        tally.add(FAILED, n_failed)
        for failure in failures:
            writer.write(failure)
        for result in run_told(pool, tasks):
            n_failed += not _give(result, writer)
            tally.add(outcome_of(result))
        if output.kind is Format.parquet and n_failed and not writer.n_files:
            raise _NothingToWriteError  # a table without a row says less than none
    pictures = [task.picture for task in tasks if task.picture and Path(task.picture).exists()]
    if pictures:
        one = f"picture: {printable(pictures[0])}"
        say(one if len(pictures) == 1 else f"pictures: {printable(str(output.pictures))}")
    return not n_failed


def _tasks(files: list[str], names: PictureNames | None) -> list[Task]:
    return [Task(file, picture=names.of(file) if names else None) for file in files]


def _give(result: Taggram | Embedding | Failure, writer: TagWriter | ParquetTags) -> bool:
    """Write a result; say whether all is well with it."""
    if isinstance(result, Taggram | Failure):
        writer.write(result)
    if isinstance(result, WrittenTaggram) and result.change is not None:
        tell_change(result.path, result.change)
    return isinstance(result, Taggram) and not result.trouble


def _embed_all(
    paths: list[str], settings: TaggerSettings, out: Path, layer: str | None, mean: bool, n_workers: int | None
) -> tuple[int, int, int]:
    """Embed files; give the numbers of rows, of files, and of those that failed."""
    with open_embeddings(out) as writer, Workers(settings.ready(), n_workers) as pool:
        start_early(pool, paths)
        files, failures = list_told(paths)
        n_failed = len(failures)
        for result in run_told(pool, [Task(file, embed=True, layer=layer) for file in files]):
            if isinstance(result, Embedding):
                writer.add(result.mean() if mean else result)
            else:
                n_failed += 1
        if not writer.n_files:
            raise _NothingToWriteError
    return writer.n_rows, writer.n_files, n_failed


def _workers(
    tagger: dict[str, Any], write: WriteSettings | None, n_workers: int | None
) -> Processes[Task, Taggram | Embedding]:
    """Make the workers that tag files, and write tags into them if that is wanted."""
    return Workers(tagger, n_workers) if write is None else WritingWorkers(tagger, write, n_workers)


def _saying_if_stopped(out: Path | None) -> contextlib.AbstractContextManager[None]:
    """Say that a file is not there, or as it was, where its writing is stopped."""
    if out is None or (out.exists() and not out.is_file()):  # a pipe or a device has what was written until then
        return contextlib.nullcontext()
    return tell_if_stopped(f"{printable(str(out))} was not written")


def _check_writable(out: Path | None) -> None:
    """Refuse an output that cannot be written before any work is done."""
    if out is None or (out.exists() and not out.is_file() and not out.is_dir()):
        return
    if out.is_dir():
        raise ConfigError(f"{printable(str(out))} is a folder; --out wants a file.")
    if not out.parent.is_dir():
        raise ConfigError(f"there is no folder {printable(str(out.parent))} to write {printable(out.name)} into.")
    if not os.access(out.parent, os.W_OK):
        raise ConfigError(f"the folder {printable(str(out.parent))} cannot be written to.")
