"""What an ONNX file holds, how the command writes it, and that it is whole or not there."""

from __future__ import annotations

import json
import os
import signal
import sys

import onnx
import onnxruntime
import pytest
import torch
from _at_hand import needs_weights
from _networks import create, noise
from conftest import wait_until

import taggram
from taggram._matrix_frontend import MatrixFrontend
from taggram.errors import ConfigError, ExportError
from taggram.models import NETWORKS, _onnx_graph, list_models
from taggram.models._onnx_check import made_sound

TINY = {"n_tags": 2, "kernel": 3, "depth": 3, "n_samples": 54}
TINY_WORDS = ("kernel=3", "depth=3", "n_samples=54", "n_tags=2")
MEL = {"n_tags": 3}  # of "dieleman", whose front-end is a mel spectrogram


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small network with tags, and its file."""
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    model = create("samplecnn", **TINY)
    model.tags = ("kick", "Schläge")
    return model, path, model.export_onnx(path)


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_a_file_tells_all_that_is_needed_to_use_it(tiny):
    _, path, written = tiny
    told = metadata(path)
    assert json.loads(told.pop("card"))["options"]["n_samples"] == 54
    assert told == {
        "name": "samplecnn",
        "task": "several",
        "tags": '["kick", "Schläge"]',
        "sample_rate": "22050",
        "patch_samples": "54",
        "hop_samples": "54",
        "least_samples": "54",
        "most_samples": "54",
        "licence": "not known",
        "taggram_version": taggram.__version__,
    }
    assert (written.output, written.n_bytes, written.n_samples) == ("scores", path.stat().st_size, (54,))


@pytest.mark.slow
@needs_weights("musicnn.mtt")
def test_a_file_of_trained_weights_names_their_licence_and_paper(tmp_path):
    taggram.create_model("musicnn.mtt").export_onnx(tmp_path / "model.onnx")
    told = metadata(tmp_path / "model.onnx")
    assert (told["name"], told["licence"]) == ("musicnn.mtt", "ISC")
    assert len(json.loads(told["tags"])) == 50
    assert "Pons" in json.loads(told["card"])["weights"]["citation"]


def test_a_file_is_valid_and_names_no_path_of_this_machine(tiny):
    graph = onnx.load(tiny[1])
    onnx.checker.check_model(graph, full_check=True)
    assert os.fsencode(os.path.dirname(taggram.__file__)) not in tiny[1].read_bytes()  # noqa: PTH120 (bytes are wanted)
    assert [axis.dim_param for axis in graph.graph.input[0].type.tensor_type.shape.dim] == ["batch", ""]


@pytest.mark.slow
def test_a_spectrogram_is_made_without_a_fourier_transform_and_stays_small(tmp_path):
    model = create("dieleman", **MEL)
    model.export_onnx(tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert not {node.op_type for node in graph.node} & {"STFT", "DFT"}
    n_bytes = sum(4 * value.numel() for value in model.state_dict().values()) + 4 * model.frontend.filters.numel()
    assert (tmp_path / "model.onnx").stat().st_size < n_bytes + 200_000  # the tables alone would be 1,052,672


@pytest.mark.parametrize("n_frames", [None, 5])
@pytest.mark.parametrize("name", ["vggish", "bag_network", "instrument_single_layer", "emarkou", "samplecnn"])
def test_matrix_products_make_the_frames_of_the_front_end(name, n_frames):
    with torch.device("meta"):
        frontend = taggram.create_model(name).frontend
    sounds = made_sound(frontend.sample_rate, frontend.n_samples_for(7) + 3, 2)
    wanted = frontend(sounds)[..., :n_frames]
    torch.testing.assert_close(MatrixFrontend(frontend, n_frames)(sounds), wanted, atol=2e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_model_keeps_its_state_when_it_is_exported(tmp_path):
    model = create("samplecnn", **TINY).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.export_onnx(tmp_path / "model.onnx")
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_samples_are_rounded_as_in_training(tmp_path):
    model = create("samplecnn", **TINY)
    model.frontend.sample_bits = 4
    model.export_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    sound = 0.3 * noise(1, 54)
    (got,) = session.run(None, {"waveform": sound.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), model.scores(model(sound)).detach())


def test_a_file_that_would_not_give_the_same_is_not_left(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"of before")
    model = create("samplecnn", **TINY)
    torch.nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(ExportError, match=r"differs from torch by inf .* finite"):
        model.export_onnx(tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"of before"


def test_a_network_larger_than_a_file_can_be_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(_onnx_graph, "MOST_BYTES", 1000)
    with pytest.raises(ConfigError, match=r"GB of numbers, and an ONNX file at most"):
        create("samplecnn", **TINY).export_onnx(tmp_path / "model.onnx")


def test_a_network_that_looks_at_the_length_in_python_is_told(tmp_path):
    class Odd(type(create("samplecnn", **TINY))):
        def forward_layers(self, patches):
            return super().forward_layers(torch.cat([patches[index : index + 1] for index in range(len(patches))]))

    model = create("samplecnn", **TINY)
    model.__class__ = Odd
    with pytest.raises(ExportError, match=r"a batch of 1|cannot run"):
        model.export_onnx(tmp_path / "model.onnx")


@pytest.mark.slow
def test_the_command_writes_a_file_and_says_how_it_compares(run_taggram, tmp_path):
    done = run_taggram("export", "samplecnn", tmp_path / "model.onnx", *TINY_WORDS)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'model.onnx'}\n")
    assert "samplecnn is not trained: its weights are drawn with seed 0." in done.stderr
    assert "scores differ from torch by" in done.stderr
    assert metadata(tmp_path / "model.onnx")["tags"] == '["tag0", "tag1"]'


@pytest.mark.slow
def test_the_command_takes_a_saved_model(run_taggram, tmp_path):
    model = create("samplecnn", **TINY)
    model.reset_head(2, tags=("kick", "snare"), task="one")
    model.save(tmp_path / "drums.safetensors")
    done = run_taggram("export", tmp_path / "drums.safetensors", tmp_path / "drums.onnx")
    assert done.returncode == 0
    assert (metadata(tmp_path / "drums.onnx")["task"], metadata(tmp_path / "drums.onnx")["licence"]) == (
        "one",
        "not known",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("samplecnn", "model.pb"), r"exported into a file, NAME.onnx"),
        (("samplecnn", "no/model.onnx"), r"there is no folder no to write model.onnx into"),
        (("samplecnm", "model.onnx"), r"Did you mean samplecnn"),
        (("nosuch", "model.onnx"), f"`taggram models` lists all {len(NETWORKS) + len(list_models())}."),
        (("missing.safetensors", "model.onnx"), r"there is no model file missing.safetensors"),
        (("samplecnn", "model.onnx", "depht=3"), r"no option 'depht'. Did you mean depth"),
    ],
)
@pytest.mark.slow
def test_the_command_refuses_what_makes_no_sense(words, said, run_taggram, tmp_path):
    done = run_taggram("export", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.slow
def test_a_command_that_is_killed_leaves_the_old_file(started, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"of before")
    process = started("export", "musicnn", tmp_path / "model.onnx")
    assert wait_until(lambda: len(list(tmp_path.iterdir())) > 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "model.onnx").read_bytes() == b"of before"


def test_what_is_missing_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(taggram.errors.MissingExtraError, match=r"pip install 'taggram\[export\]'"):
        create("samplecnn", **TINY).export_onnx(tmp_path / "model.onnx")
