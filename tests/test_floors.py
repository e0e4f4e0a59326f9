"""The floors hold: a file imports from floors below its own and from the `_` files of its folder.

Heavy packages stay on their floor, and what needs none of them loads none.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import taggram

PACKAGE = Path(taggram.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in FILES]

FLOORS = {  # module or folder: its floor; see docs/architecture.md
    "errors": 0, "vocabulary": 0, "_files": 0, "_checks": 0, "_extras": 0, "_stores": 0,
    "audio": 1,
    "frontends": 2, "_agc": 2, "_banded": 2, "_matrix_frontend": 2,
    "models": 3, "datasets": 3, "recipes": 3,
    "results": 4, "_sound_files": 4, "kit": 4, "_kit_network": 4, "_patch_vectors": 4, "picture": 4, "look": 4,
    "_processes": 4, "_two_stages": 4, "_workers": 4, "tagger": 4,
    "learning": 5,
    "studies": 6,
    "catalogue": 6,
    "apps": 7,
}  # fmt: skip
ROOF = {"__init__", "__main__"}  # may name anything; __init__ only on first use
HOMES = {  # heavy package: the only places that may import it
    "torch": {
        "frontends",
        "_agc",
        "_banded",
        "_matrix_frontend",
        "models",
        "tagger",
        "_patch_vectors",
        "_kit_network",
        "look",
        "learning",
        "studies",
        "_two_stages",
        "_workers",
        "apps/_looking",
        "apps/_server_network",
        "apps/bench",
        "apps/_bench_steps",
        "apps/export",
        "catalogue/_worker",
        "apps/doctor",
    },
    "av": {"audio", "apps/_server_decoder", "apps/doctor"},
    "soundfile": {"audio", "datasets/_synthesis", "apps/bench", "apps/demo_song", "apps/doctor"},
    "soxr": {"audio"},
    "safetensors": {"models", "kit", "apps/_server_lesson"},
    "onnx": {"models"},
    "onnxscript": {"models"},
    "onnxruntime": {"models"},
    "matplotlib": {
        "picture",
        "results",
        "look",
        "apps/_looking",
        "learning/_pictures",
        "learning/_chapter",
        "learning/tag_map",
        "studies",
        "learning/teach",
    },
    "lightning": {"learning"},
    "pyarrow": {"learning", "catalogue", "apps/_parquet"},
    "duckdb": {"catalogue"},
    "usearch": {"catalogue"},
    "ray": {"catalogue"},
    "fsspec": {"_stores"},
    "sklearn": {"learning", "studies", "catalogue"},
    "mir_eval": {"learning"},
    "mutagen": {"apps/_file_tags_check", "apps/_file_tags_ogg"},
    "typer": {"apps/cli", "apps/_options", "apps/_teaching", "apps/_writing"},
    "rich": {"apps"},
    "fastapi": {"apps/_server_app", "apps/_server_catalogue", "apps/_server_teaching"},
    "pydantic": {"apps/_server_app", "apps/_server_catalogue", "apps/_server_lesson", "apps/_server_teaching"},
    "starlette": {
        "apps/_server_app",
        "apps/_server_catalogue",
        "apps/_server_guard",
        "apps/_server_requests",
        "apps/_server_teaching",
        "apps/_server_uploads",
    },
    "python_multipart": {"apps/_server_uploads"},
    "prometheus_client": {"apps/_server_metrics"},
    "swagger_ui_bundle": {"apps/_server_pages"},
    "uvicorn": {"apps/_server_protocol", "apps/server"},
}
EXTRAS = (
    *(
        "av",
        "beets",
        "duckdb",
        "fastapi",
        "mir_eval",
        "mutagen",
        "onnx",
        "onnxruntime",
        "plotly",
        "prometheus_client",
        "pyarrow",
    ),
    *(
        "onnxscript",
        "pydantic",
        "python_multipart",
        "sklearn",
        "sounddevice",
        "starlette",
        "swagger_ui_bundle",
        "usearch",
        "uvicorn",
    ),
)


def module_of(name):
    return name.removesuffix(".py").removesuffix("/__init__")


def imports(path, *, at_top=False):
    """Full names of what a file imports; `at_top` leaves out functions and what is for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if not at_top else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load_extra":
            yield from (word.value for word in node.args[:1] if isinstance(word, ast.Constant))


def rooms(path):
    """Modules of taggram that a file imports, as "models/_weights"."""
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "taggram" or len(parts) < 2:
            continue
        room = PACKAGE.joinpath(*parts[1:])
        yield "/".join(parts[1:] if room.with_suffix(".py").exists() or room.is_dir() else parts[1:-1])


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_a_floor(name):
    first = module_of(name).split("/")[0]
    assert first in FLOORS or first in ROOF


@pytest.mark.parametrize("name", [name for name in NAMES if "__" not in name])
def test_file_imports_from_below(name):
    module = module_of(name)
    own_room, floor = module.split("/")[0], FLOORS[module.split("/")[0]]
    wrong = []
    for other in filter(None, rooms(PACKAGE / name)):
        room = other.split("/")[0]
        both_are_files = "/" in module and "/" in other  # the list of a room is no file of it
        beside = room == own_room and both_are_files and room not in ("learning", "catalogue", "apps")
        plumbing = {module.split("/")[-1][0], other.split("/")[-1][0]} & {"_"}  # a `_` file may know its network
        if FLOORS[room] > floor or (beside and not plumbing):
            wrong.append(other)
    assert wrong == []


@pytest.mark.parametrize("package", HOMES)
def test_heavy_package_stays_on_its_floor(package):
    users = {
        module_of(name) for name, path in zip(NAMES, FILES) if any(i.split(".")[0] == package for i in imports(path))
    }
    assert {user for user in users if not {user, user.split("/")[0]} & HOMES[package]} == set()


@pytest.mark.parametrize("extra", EXTRAS)
def test_extra_is_imported_only_where_it_is_used(extra):
    at_top = [
        name for name, path in zip(NAMES, FILES) if extra in {i.split(".")[0] for i in imports(path, at_top=True)}
    ]
    assert at_top == []


def modules_after(code):
    """Run some code in a fresh process and give the packages that it loaded."""
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"torch", "matplotlib", "scipy", "av", "soundfile", "soxr", "safetensors", "sklearn"}


def test_importing_taggram_loads_nothing_heavy():
    assert modules_after("import taggram") & (HEAVY | {"numpy", "typer", "rich"}) == set()


def test_importing_taggram_is_silent():
    done = subprocess.run([sys.executable, "-c", "import taggram"], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.parametrize(
    "command", ["", "tag", "embed", "teach", "models", "data", "train", "evaluate", "bench", "doctor", "look"]
)
def test_help_loads_nothing_heavy(command):
    code = (
        f"import contextlib, sys; sys.argv = ['taggram', *{command.split()!r}, '--help']\n"
        "from taggram.apps.cli import main\n"
        "with contextlib.suppress(SystemExit): main()"
    )
    assert modules_after(code) & (HEAVY | {"numpy"}) == set()


def test_cards_of_data_sets_load_nothing_heavy():
    code = "from taggram.datasets import DATASETS, find_dataset\nfor name in DATASETS: find_dataset(name)"
    assert modules_after(code) & (HEAVY | {"numpy"}) == set()


def test_listing_models_loads_no_torch():
    assert "torch" not in modules_after("import taggram; taggram.list_models()")


def test_listing_data_sets_loads_no_torch():
    code = "from taggram.datasets import find_dataset, list_datasets; [find_dataset(name) for name in list_datasets()]"
    assert modules_after(code) & HEAVY == set()


def test_starting_workers_loads_no_torch():
    assert "torch" not in modules_after("import taggram._workers")


@pytest.mark.parametrize("name", taggram.__all__)
def test_public_name_is_there(name):
    assert getattr(taggram, name)


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'tagg'"):
        taggram.tagg  # noqa: B018


def test_every_module_imports_without_extras():
    modules = ["taggram." + module_of(name).replace("/", ".") for name in NAMES if "__" not in name]
    without = [extra for extra in EXTRAS if extra != "onnxruntime"]  # lightning loads it where it is found
    code = (
        f"import importlib, sys; sys.modules.update(dict.fromkeys({without!r}))\n"
        f"for module in {modules!r}: importlib.import_module(module)"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
