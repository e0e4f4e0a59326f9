"""VGGish: its input and layers, its weights out of every kind of file, and what may follow it."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
import types

import numpy as np
import pytest
import torch
from _networks import create, create_empty, layer_shapes, n_parameters, noise
from torch import nn

import taggram
from taggram.errors import AudioError, ConfigError, MissingExtraError, WeightsError
from taggram.frontends import mel_filterbank
from taggram.models._vggish_files import read_tensors, to_parameters
from taggram.models.vggish import (
    VGGISH_MEL,
    VGGishPostprocessor,
    check_vggish_weights,
    load_vggish_weights,
)

SCOPES = {  # variable scope in TensorFlow: group and index in torch, shape of the kernel in TensorFlow
    "vggish/conv1": ("trunk", 0, (3, 3, 1, 64)),
    "vggish/conv2": ("trunk", 3, (3, 3, 64, 128)),
    "vggish/conv3/conv3_1": ("trunk", 6, (3, 3, 128, 256)),
    "vggish/conv3/conv3_2": ("trunk", 8, (3, 3, 256, 256)),
    "vggish/conv4/conv4_1": ("trunk", 11, (3, 3, 256, 512)),
    "vggish/conv4/conv4_2": ("trunk", 13, (3, 3, 512, 512)),
    "vggish/fc1/fc1_1": ("head", 0, (12_288, 4096)),
    "vggish/fc1/fc1_2": ("head", 2, (4096, 4096)),
    "vggish/fc2": ("head", 4, (4096, 128)),
}
TORCH_LAYOUTS = {  # origin: what it calls the convolutions and the dense layers, and puts before all names
    "torchvggish": ("features", "embeddings", ""),
    "second converter": ("features", "fc", ""),
    "torchaudio": ("features_network", "embedding_network", ""),
    "parallel": ("features", "embeddings", "module."),
    "wrapped": ("features", "embeddings", "model."),
    "parallel and wrapped": ("features", "embeddings", "model.module."),
}
TRUNK, HEAD = "features", "embeddings"  # of torchvggish


def in_tensorflow(suffix=""):
    """The 18 variables of the checkpoint. Tensor i is i everywhere and is held as one number, whatever its shape."""
    tensors = {}
    for number, (scope, (_, _, shape)) in enumerate(SCOPES.items()):
        tensors[f"{scope}/weights{suffix}"] = torch.tensor(2.0 * number).expand(shape)
        tensors[f"{scope}/biases{suffix}"] = torch.tensor(2.0 * number + 1).expand(shape[-1:])
    return tensors


def in_torch(trunk=TRUNK, head=HEAD, before="", *, axes_of_tensorflow=False):
    """The same in a torch layout."""
    tensors = {}
    for scope, (group, index, _) in SCOPES.items():
        name = f"{before}{trunk if group == 'trunk' else head}.{index}"
        kernel = in_tensorflow()[f"{scope}/weights"]
        order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
        tensors[f"{name}.weight"] = kernel if axes_of_tensorflow else kernel.permute(order)
        tensors[f"{name}.bias"] = in_tensorflow()[f"{scope}/biases"]
    return tensors


def parameter_names():
    return [f"{scope.split('/')[-1]}.{kind}" for scope in SCOPES for kind in ("weight", "bias")]


def values(parameters):
    """The number that each parameter is made of."""
    return {name: tensor.flatten()[0].item() for name, tensor in parameters.items()}


def shapes(parameters):
    return {name: tuple(tensor.shape) for name, tensor in parameters.items()}


def sine(n_seconds=3):
    """1 kHz at 16 kHz."""
    return (torch.arange(n_seconds * 16_000, dtype=torch.float64) * (2 * math.pi / 16)).sin().float()


def sound(n_samples=15_600, n_clips=2):
    return 0.1 * noise(n_clips, n_samples)


@pytest.fixture(scope="module")
def untrained():
    """One network for all tests, since it is large; none may write to it."""
    return create("vggish")


@pytest.fixture(scope="module")
def arrays():
    """Random variables as TensorFlow has them, of a size that keeps the sound alive from layer to layer."""
    rng = np.random.default_rng(0)
    made = {}
    for scope, (_, _, shape) in SCOPES.items():
        kernel = rng.standard_normal(shape, dtype=np.float32)
        kernel *= np.float32(math.sqrt(2 / math.prod(shape[:-1])))
        made[f"{scope}/weights"] = kernel
        made[f"{scope}/biases"] = 0.1 * rng.standard_normal(shape[-1], dtype=np.float32)
    return made


@pytest.fixture(scope="module")
def npz(arrays, tmp_path_factory):
    """These as a file, as a user would convert the checkpoint."""
    path = tmp_path_factory.mktemp("vggish") / "vggish.npz"
    np.savez(path, **arrays)
    yield path
    path.unlink()  # 288 MB


@pytest.fixture(scope="module")
def loaded(npz):
    """A network with these weights, which every test leaves as it was."""
    model = create("vggish")
    load_vggish_weights(model, npz)
    return model


@pytest.fixture(scope="module")
def reference(arrays):
    """The network as torch ports write it, which shares its memory with the arrays."""
    convs = [
        nn.Conv2d(n_in, n_out, 3, padding=1, device="meta")
        for n_in, n_out in ((1, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512))
    ]
    trunk, place = nn.Sequential(), iter(convs)
    for layer in "CPCPCCPCCP":
        trunk.extend([next(place), nn.ReLU()] if layer == "C" else [nn.MaxPool2d(2)])
    head = nn.Sequential(
        nn.Linear(12_288, 4096, device="meta"),
        nn.ReLU(),
        nn.Linear(4096, 4096, device="meta"),
        nn.ReLU(),
        nn.Linear(4096, 128, device="meta"),
        nn.ReLU(),
    )
    network = nn.ModuleDict({TRUNK: trunk, HEAD: head})
    state = {}
    for scope, (group, index, _) in SCOPES.items():
        kernel, name = arrays[f"{scope}/weights"], f"{TRUNK if group == 'trunk' else HEAD}.{index}"
        moved = np.moveaxis(kernel, (2, 3), (1, 0)) if kernel.ndim == 4 else kernel.swapaxes(0, 1)
        state |= {
            f"{name}.weight": torch.from_numpy(moved),
            f"{name}.bias": torch.from_numpy(arrays[f"{scope}/biases"]),
        }
    network.load_state_dict(state, assign=True)
    return network.eval()


def run_reference(network, patches, order=(0, 2, 3, 1)):
    """(batch, 128), with the maps flattened in the given order of axes."""
    with torch.no_grad():
        maps = network[TRUNK](patches.transpose(2, 3))
        return network[HEAD](maps.permute(order).flatten(1))


def embed(model, waveform):
    with torch.no_grad():
        return model(waveform)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("pool1", (48, 32, 64)),
        ("pool2", (24, 16, 128)),
        ("pool3", (12, 8, 256)),
        ("pool4", (6, 4, 512)),
        ("fc1_1", (4096,)),
        ("fc1_2", (4096,)),
        ("fc2", (128,)),
        ("penultimate", (128,)),
    ],
)
def test_shape_of_a_layer_is_that_of_the_reference(layer, shape):
    assert layer_shapes(create_empty("vggish"))[layer] == shape


@pytest.mark.parametrize(("n_tags", "wanted"), [(10, 72_142_474), (15, 72_143_119)])
def test_number_of_parameters_with_the_heads_of_the_paper(n_tags, wanted):
    assert n_parameters(create_empty("vggish", n_tags=n_tags)) == wanted


def test_network_has_no_norm_and_no_dropout(untrained):
    assert not [
        module for module in untrained.modules() if isinstance(module, nn.BatchNorm2d) or getattr(module, "p", 0)
    ]


def test_kernels_start_with_a_normal_cut_at_two_sigma(untrained):
    kernel = untrained.fc1_2.weight
    assert kernel.abs().max().item() == pytest.approx(0.02, rel=1e-3)
    assert kernel.std().item() == pytest.approx(0.01 * 0.8796, rel=1e-2)  # of a normal without what lies beyond
    assert kernel.mean().item() == pytest.approx(0.0, abs=1e-5)


def test_kernels_start_with_the_quantiles_of_the_normal(untrained):
    share = math.erf(1 / math.sqrt(2)) / math.erf(2 / math.sqrt(2))  # within one sigma, of what is within two
    assert (untrained.fc1_2.weight.abs() < 0.01).float().mean().item() == pytest.approx(share, abs=1e-3)


def test_biases_start_at_zero(untrained):
    assert not torch.cat([untrained.get_parameter(name) for name in parameter_names() if "bias" in name]).any()


def test_new_head_starts_as_the_paper_says(untrained):
    head = nn.Linear(128, 10)
    untrained.init_head(head)
    assert head.weight.abs().max().item() == pytest.approx(math.sqrt(6 / 138), rel=0.02)
    assert not head.bias.any()


def test_examples_of_a_sine_have_the_reference_values(untrained):
    log_mel = untrained.frontend(sine()[None])[0, 0]
    assert log_mel.shape == (64, 298)
    wanted = torch.tensor([2.69300, 4.81112, 4.77504, 2.26222, -0.58961])
    torch.testing.assert_close(log_mel[18:23, 0], wanted, rtol=0, atol=1e-3)
    examples = log_mel[:, :288]
    came = torch.stack((examples.mean(), examples.std(correction=0), examples.min(), examples.max()))
    torch.testing.assert_close(came, torch.tensor([-3.42962, 2.12658, -4.60116, 4.81112]), rtol=0, atol=1e-3)


def test_frames_of_an_impulse_have_the_reference_values(untrained):
    impulse = torch.zeros(1, 16_000)
    impulse[0, 8000] = 1.0
    log_mel = untrained.frontend(impulse)[0, 0]
    assert log_mel.shape == (64, 98)
    assert log_mel.mean().item() == pytest.approx(-4.50089, abs=1e-4)
    assert log_mel.max().item() == pytest.approx(2.09188, abs=1e-4)
    assert log_mel.argmax() == 63 * 98 + 49


def test_filters_have_the_reference_values():
    filters = mel_filterbank(VGGISH_MEL)
    assert (filters.sum().item(), filters.max().item()) == pytest.approx((230.9136, 0.99619), abs=1e-3)
    torch.testing.assert_close(filters[32, 19:21], torch.tensor([0.5363, 0.4637]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("n_seconds", "n_frames", "n_examples"), [(1, 98, 1), (4, 398, 4), (10, 998, 10)])
def test_count_of_examples(untrained, n_seconds, n_frames, n_examples):
    came = untrained.frontend.n_frames_in(n_seconds * 16_000)
    assert (came, came // untrained.frontend.n_frames) == (n_frames, n_examples)


def test_sound_below_975_ms_is_refused(untrained):
    with pytest.raises(AudioError, match="at least 15600"):
        untrained(sound(15_599))


def test_embedding_of_2018_is_that_of_2020_through_a_relu(untrained):
    with torch.no_grad():
        layers = untrained.features(sound(), ["fc2", "penultimate"])
    assert (layers["fc2"] < 0).any()
    assert torch.equal(layers["penultimate"], layers["fc2"].relu())


def test_embedding_without_the_relu_is_that_of_the_last_layer(untrained):
    open_ended = create_empty("vggish", post_relu=False)
    open_ended.load_state_dict(untrained.state_dict(), assign=True)
    with torch.no_grad():
        torch.testing.assert_close(open_ended(sound()), untrained.features(sound(), ["fc2"])["fc2"])


@pytest.mark.parametrize("post_relu", [1, "false", None], ids=repr)
def test_post_relu_that_is_no_bool_is_refused(post_relu):
    with pytest.raises(ConfigError, match=f"post_relu is {post_relu!r}; wanted True or False"):
        taggram.create_model("vggish", post_relu=post_relu)


@pytest.mark.parametrize("changes", [{"n_mels": 96}, {"n_frames": 97}], ids=str)
def test_patch_of_another_size_is_refused(changes):
    with pytest.raises(ConfigError, match="needs 96 frames and 64 mels"):
        taggram.create_model("vggish", frontend=dataclasses.replace(VGGISH_MEL, **changes))


def test_npz_of_tensorflow_gives_the_outputs_of_the_torch_ports(loaded, reference):
    wanted = run_reference(reference, loaded.frontend(sound()))
    assert wanted.std() > 0.1
    torch.testing.assert_close(embed(loaded, sound()), wanted, rtol=1e-3, atol=1e-3)


def test_maps_are_flattened_by_time_then_mel_then_filter(loaded, reference):
    other = run_reference(reference, loaded.frontend(sound()), order=(0, 1, 2, 3))
    assert (embed(loaded, sound()) - other).abs().max() > 0.1


def test_first_dense_layer_is_the_product_that_tensorflow_computes(loaded, arrays):
    with torch.no_grad():
        layers = loaded.features(sound(), ["pool4", "fc1_1"])
    kernel = arrays["vggish/fc1/fc1_1/weights"].reshape(6, 4, 512, 4096)  # time, mel, filter
    sums = np.tensordot(layers["pool4"].numpy(), kernel, axes=3) + arrays["vggish/fc1/fc1_1/biases"]
    np.testing.assert_allclose(layers["fc1_1"].numpy(), np.maximum(sums, 0), rtol=1e-3, atol=1e-3)


def test_torch_file_gives_the_outputs_of_the_npz(loaded, reference, tmp_path):
    wanted = embed(loaded, sound())
    torch.save(reference.state_dict(), tmp_path / "vggish.pth")
    kept = {name: loaded.get_parameter(name).detach().clone() for name in ("conv1.weight", "fc2.weight")}
    with torch.no_grad():
        loaded.conv1.weight.zero_()
        loaded.fc2.weight.zero_()
    load_vggish_weights(loaded, str(tmp_path / "vggish.pth"))
    (tmp_path / "vggish.pth").unlink()  # 288 MB
    assert all(torch.equal(loaded.get_parameter(name), values) for name, values in kept.items())
    torch.testing.assert_close(embed(loaded, sound()), wanted)


def test_loading_leaves_a_head_alone(loaded, npz, monkeypatch):
    monkeypatch.setitem(loaded._modules, "head", nn.Linear(128, 3))
    before = loaded.head.weight.clone()
    load_vggish_weights(loaded, npz)
    assert torch.equal(loaded.head.weight, before)


@pytest.mark.parametrize("suffix", ["", ":0"])
def test_names_of_tensorflow_are_known(suffix):
    parameters = to_parameters(in_tensorflow(suffix), "npz")
    assert values(parameters) == {name: float(number) for number, name in enumerate(parameter_names())}


@pytest.mark.parametrize("layout", TORCH_LAYOUTS.values(), ids=TORCH_LAYOUTS)
def test_names_of_torch_files_are_known(layout):
    parameters = to_parameters(in_torch(*layout), "pth")
    assert values(parameters) == {name: float(number) for number, name in enumerate(parameter_names())}


@pytest.mark.parametrize(
    "tensors",
    [in_tensorflow(), in_torch(), in_torch(axes_of_tensorflow=True)],
    ids=["tensorflow", "torch", "torch names, axes of tensorflow"],
)
def test_axes_are_put_into_the_order_of_torch(untrained, tensors):
    came = shapes(to_parameters(tensors, "file"))
    assert came == shapes(dict(untrained.named_parameters()))


def test_height_of_a_kernel_is_time():
    tensors = in_tensorflow()
    tensors["vggish/conv1/weights"] = torch.arange(9.0).view(3, 3, 1, 1).expand(3, 3, 1, 64)
    kernel = to_parameters(tensors, "npz")["conv1.weight"]
    assert torch.equal(kernel[5, 0], torch.arange(9.0).view(3, 3))


def test_square_dense_kernel_is_turned_with_the_others():
    tensors = in_tensorflow()
    tensors["vggish/fc1/fc1_2/weights"] = torch.arange(4096.0).expand(4096, 4096)  # differs from output to output
    kernel = to_parameters(tensors, "npz")["fc1_2.weight"]
    assert torch.equal(kernel[:, 0], torch.arange(4096.0))


def test_postprocessor_in_a_torch_file_is_passed_over():
    extra = {"pproc.pca_eigen_vectors": torch.eye(128), "pproc.pca_means": torch.zeros(128, 1)}
    assert len(to_parameters(in_torch() | extra, "pth")) == 18


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("layout", TORCH_LAYOUTS.values(), ids=TORCH_LAYOUTS)
def test_torch_file_is_read(tmp_path, layout, zipped):
    torch.save(in_torch(*layout), tmp_path / "any.name", _use_new_zipfile_serialization=zipped)
    assert shapes(read_tensors(tmp_path / "any.name")) == shapes(in_torch(*layout))


def test_npz_is_read(tmp_path):
    np.savez_compressed(tmp_path / "small.npz", **{"vggish/fc2/biases:0": np.arange(128, dtype=np.float32)})
    tensors = read_tensors(tmp_path / "small.npz")
    assert torch.equal(tensors["vggish/fc2/biases:0"], torch.arange(128.0))


@pytest.fixture
def checkpoint(tmp_path):
    """What only TensorFlow can read: known by its last bytes."""
    path = tmp_path / "vggish_model.ckpt"
    path.write_bytes(bytes(40) + bytes.fromhex("57fb808b247547db"))
    return path


def install_tensorflow(monkeypatch, asked):
    """A TensorFlow whose every checkpoint holds the variables of `in_tensorflow`, small ones alone."""
    small = {name: tensor for name, tensor in in_tensorflow().items() if tensor.ndim == 1}

    def load_checkpoint(path):
        asked.append(path)
        return types.SimpleNamespace(
            get_variable_to_shape_map=lambda: {name: list(tensor.shape) for name, tensor in small.items()},
            get_tensor=lambda name: small[name].numpy(),
        )

    train = types.SimpleNamespace(load_checkpoint=load_checkpoint)
    monkeypatch.setitem(sys.modules, "tensorflow", types.SimpleNamespace(train=train))
    return small


def test_checkpoint_is_read_with_tensorflow(checkpoint, monkeypatch):
    asked = []
    small = install_tensorflow(monkeypatch, asked)
    assert values(read_tensors(checkpoint)) == values(small)
    assert asked == [str(checkpoint)]


@pytest.mark.parametrize("name", ["model.ckpt", "model.ckpt.index"])
def test_checkpoint_in_several_files_is_read_by_its_common_name(checkpoint, monkeypatch, name):
    checkpoint.rename(checkpoint.with_name("model.ckpt.index"))
    asked = []
    install_tensorflow(monkeypatch, asked)
    read_tensors(checkpoint.with_name(name))
    assert asked == [str(checkpoint.with_name("model.ckpt"))]


def test_checkpoint_without_tensorflow_is_told_the_way_over_npz(checkpoint, monkeypatch, untrained):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingExtraError, match=r"vggish_model\.ckpt is a checkpoint of TensorFlow.*numpy\.savez"):
        load_vggish_weights(untrained, checkpoint)


def changed(**changes):
    """The tensors of torchvggish with some others; None leaves one out, and __ stands for a dot."""
    tensors = in_torch() | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        (changed(features__3__weight=None), "missing: conv2.weight"),
        (changed(features__3__weight=None, embeddings__4__bias=None), "missing: conv2.weight, fc2.bias"),
        (changed(classifier__weight=torch.zeros(3)), "unknown: classifier.weight"),
        (changed(fc__4__bias=torch.zeros(128)), "there twice: fc.4.bias"),
        (
            changed(features__0__weight=torch.zeros(64, 3, 3, 3)),
            "of a wrong kind: conv1.weight is float32 of (64, 3, 3, 3) where float32 of (64, 1, 3, 3) is wanted",
        ),
        (
            changed(embeddings__0__weight=torch.zeros(1).expand(12_288, 4096)),
            "of a wrong kind: fc1_1.weight is float32 of (12288, 4096) where float32 of (4096, 12288) is wanted",
        ),
        (
            changed(features__0__bias=torch.zeros(64, dtype=torch.float16)),
            "of a wrong kind: conv1.bias is float16 of (64,) where float32 of (64,) is wanted",
        ),
        ({}, "missing: conv1.weight, conv1.bias, conv2.weight, conv2.bias, conv3_1.weight, conv3_1.bias and 12 more"),
    ],
    ids=["missing", "two missing", "unknown", "twice", "channels", "dense", "half precision", "empty"],
)
def test_file_of_another_network_is_told_what_is_wrong(tensors, told):
    with pytest.raises(WeightsError, match=re.escape(f"some.pth does not hold the weights of VGGish. {told}")):
        to_parameters(tensors, "some.pth")


@pytest.mark.parametrize("scope", SCOPES)
def test_names_that_were_expected_are_told(scope):
    group, index, _ = SCOPES[scope]
    torch_name = f"{TRUNK if group == 'trunk' else HEAD}.{index}"
    with pytest.raises(
        WeightsError, match=re.escape(f"{scope}/weights and /biases (or {torch_name}.weight and .bias)")
    ):
        to_parameters({}, "some.pth")


def test_refused_file_leaves_the_network_as_it_was(untrained, tmp_path):
    before = untrained.conv1.weight.clone()
    torch.save(changed(embeddings__4__bias=None), tmp_path / "vggish.pth")
    with pytest.raises(WeightsError, match=r"missing: fc2\.bias"):
        load_vggish_weights(untrained, tmp_path / "vggish.pth")
    assert torch.equal(untrained.conv1.weight, before)


class Trap:
    """Leaves a trace if it is unpickled."""

    def __reduce__(self):
        return exec, ("import sys; sys.taggram_trap = True",)


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_are_never_unpickled(tmp_path, zipped):
    torch.save(in_torch() | {"more": Trap()}, tmp_path / "trap.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="Pickled objects"):
        read_tensors(tmp_path / "trap.pth")
    assert not hasattr(sys, "taggram_trap")


def test_objects_in_an_npz_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "trap.npz", more=np.array([Trap()], dtype=object))
    with pytest.raises(WeightsError, match="Pickled objects"):
        read_tensors(tmp_path / "trap.npz")
    assert not hasattr(sys, "taggram_trap")


@pytest.mark.parametrize("held", [{"epoch": 3}, {"state": {"a": torch.zeros(1)}}], ids=["number", "dict"])
def test_torch_file_with_more_than_tensors_is_refused(tmp_path, held):
    torch.save(held, tmp_path / "some.pth")
    with pytest.raises(WeightsError, match=f"something else than tensors: {next(iter(held))}"):
        read_tensors(tmp_path / "some.pth")


def test_torch_file_of_one_tensor_is_refused(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "some.pth")
    with pytest.raises(WeightsError, match="holds one Tensor; wanted are tensors by name"):
        read_tensors(tmp_path / "some.pth")


@pytest.mark.parametrize(
    "data", [b"", b"no weights\n" * 9, bytes(1000), b"PK\x03\x04 cut"], ids=["empty", "text", "zeros", "zip"]
)
def test_file_of_something_else_is_refused(tmp_path, data):
    (tmp_path / "some.pth").write_bytes(data)
    with pytest.raises(WeightsError, match=r"some\.pth is damaged, or no npz or torch file"):
        read_tensors(tmp_path / "some.pth")


@pytest.mark.parametrize("size", [100, 1000, 1500])
def test_file_that_was_cut_short_is_refused(tmp_path, size):
    torch.save(in_torch(), tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:size])
    with pytest.raises(WeightsError, match=r"cut\.pth is damaged"):
        read_tensors(tmp_path / "cut.pth")


def test_npz_with_a_wrong_checksum_is_refused(tmp_path):
    np.savez(tmp_path / "some.npz", a=np.arange(1000, dtype=np.float32))
    data = bytearray((tmp_path / "some.npz").read_bytes())
    data[2000] ^= 1
    (tmp_path / "some.npz").write_bytes(data)
    with pytest.raises(WeightsError, match=r"some\.npz is damaged"):
        read_tensors(tmp_path / "some.npz")


@pytest.mark.parametrize("name", ["not_there.npz", "."])
def test_file_that_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(WeightsError, match="cannot be read"):
        read_tensors(tmp_path / name)


def test_weights_are_for_vggish_alone(tmp_path):
    with pytest.raises(ConfigError, match="a Timbre came; wanted is a VGGish"):
        load_vggish_weights(taggram.create_model("timbre"), tmp_path / "vggish.npz")


def test_weights_need_storage(tmp_path):
    model = create_empty("vggish")
    with pytest.raises(ConfigError, match="device 'meta'"):
        load_vggish_weights(model, tmp_path / "vggish.npz")


@pytest.fixture
def published(loaded, monkeypatch):
    """A network whose embeddings of the sine have the spread of the published weights."""
    with torch.no_grad():
        embeddings = loaded.features(sine().unfold(0, 15_600, 15_360), ["fc2"])["fc2"]
    last = nn.Linear(4096, 128)
    scale = 0.343 / embeddings.std(correction=0)
    last.load_state_dict({name: scale * values for name, values in loaded.fc2.state_dict().items()})
    monkeypatch.setitem(loaded._modules, "fc2", last)
    return loaded


def test_check_of_weights_gives_what_it_measured(published):
    came = check_vggish_weights(published)
    assert came["embedding_std"] == pytest.approx(0.343, rel=1e-4)
    assert came.keys() == {"embedding_mean", "embedding_std"}


@pytest.mark.parametrize("post_relu", [True, False])
def test_check_of_weights_is_made_before_the_relu(published, monkeypatch, post_relu):
    monkeypatch.setattr(published, "post_relu", post_relu)
    assert check_vggish_weights(published)["embedding_std"] == pytest.approx(0.343, rel=1e-4)


@pytest.mark.parametrize("scale", [0.88, 1.12])
def test_check_refuses_other_weights(published, scale):
    with torch.no_grad():
        published.fc2.weight *= scale
        published.fc2.bias *= scale
    with pytest.raises(WeightsError, match=r"not the published weights of VGGish: embedding_std is .* 0\.343"):
        check_vggish_weights(published)


def test_check_refuses_weights_that_are_no_numbers(published):
    with torch.no_grad():
        published.fc2.bias.fill_(math.nan)
    with pytest.raises(WeightsError, match="embedding_std is nan"):
        check_vggish_weights(published)


def test_check_with_a_postprocessor_measures_the_8_bit_numbers(published):
    came = check_vggish_weights(published)
    embeddings = torch.tensor(came["embedding_mean"])
    pca = VGGishPostprocessor(2.4 / 0.343 * torch.eye(128), embeddings.expand(128))
    processed = check_vggish_weights(published, pca)
    assert (processed["processed_mean"], processed["processed_std"]) == pytest.approx((126.0, 89.3), rel=0.1)


def test_check_refuses_the_postprocessor_of_other_weights(published):
    with pytest.raises(WeightsError, match=r"processed_std is .* 89\.3"):
        check_vggish_weights(published, VGGishPostprocessor(torch.eye(128), torch.zeros(128)))


def test_check_is_for_vggish_alone():
    with pytest.raises(ConfigError, match="a Timbre came; wanted is a VGGish"):
        check_vggish_weights(taggram.create_model("timbre"))


def plain_postprocessor():
    return VGGishPostprocessor(torch.eye(128), torch.zeros(128))


@pytest.mark.parametrize(("value", "wanted"), [(-9.0, 0), (-2.0, 0), (0.0, 127), (1.999, 254), (2.0, 255), (9.0, 255)])
def test_processed_number_is_rounded_down_as_the_reference_does(value, wanted):
    processed = plain_postprocessor()(torch.full((1, 128), value))
    assert processed.dtype == torch.uint8
    assert (processed == wanted).all()


def test_processed_number_comes_back_within_a_step():
    embeddings = torch.linspace(-2, 2, 128)[None]
    back = plain_postprocessor().dequantize(plain_postprocessor()(embeddings))
    assert ((embeddings - back >= -1e-6) & (embeddings - back < 4 / 255)).all()


@pytest.mark.parametrize(("stored", "wanted"), [(0, -2.0), (255, 2.0), (51, -1.2)])
def test_number_that_was_processed_is_put_back(stored, wanted):
    came = VGGishPostprocessor.dequantize(torch.tensor(stored, dtype=torch.uint8))
    assert came.item() == pytest.approx(wanted, abs=1e-6)


def pca_parameters():
    rng = np.random.default_rng(0)
    return rng.standard_normal((128, 128), np.float32) / 16, rng.standard_normal(128, np.float32)


def test_processing_projects_on_the_rows_after_the_means_are_gone():
    vectors, means = pca_parameters()
    embeddings = sound(128).numpy()
    projected = np.stack([vectors @ (embedding - means) for embedding in embeddings])
    wanted = np.floor((np.clip(projected, -2, 2) + 2) * 63.75)
    came = VGGishPostprocessor(torch.from_numpy(vectors), torch.from_numpy(means))(torch.from_numpy(embeddings)).numpy()
    assert wanted.std() > 0
    assert (np.abs(came - wanted) <= 1).all()  # a sum rounded another way may tip one over
    assert (came == wanted).mean() > 0.99


def save_npz(path, vectors, means):
    np.savez(path, pca_eigen_vectors=vectors, pca_means=means)


def save_torch(path, vectors, means):
    torch.save({"pca_eigen_vectors": torch.tensor(vectors), "pca_means": torch.tensor(means)}, path)


def save_whole_port(path, vectors, means):
    """As torchvggish saves the network and what follows it together."""
    pca = {"pproc.pca_eigen_vectors": torch.tensor(vectors), "pproc.pca_means": torch.tensor(means)[:, None]}
    torch.save(in_torch() | pca, path)


@pytest.mark.parametrize("save", [save_npz, save_torch, save_whole_port])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_postprocessor_is_read_from_a_file(tmp_path, save, dtype):
    vectors, means = pca_parameters()
    save(tmp_path / "pca.npz", vectors.astype(dtype), means.astype(dtype))
    came = VGGishPostprocessor.from_file(tmp_path / "pca.npz")
    assert torch.equal(came.eigen_vectors, torch.from_numpy(vectors))
    assert torch.equal(came.means, torch.from_numpy(means))


def test_pickled_arrays_of_the_published_pca_are_refused(tmp_path):
    vectors, means = pca_parameters()
    torch.save({"pca_eigen_vectors": vectors, "pca_means": means}, tmp_path / "pca.pth")
    with pytest.raises(WeightsError, match=r"NumPy arrays in a torch file.*numpy\.savez"):
        VGGishPostprocessor.from_file(tmp_path / "pca.pth")


@pytest.mark.parametrize(
    ("vectors", "means", "told"),
    [
        (np.zeros((128, 64)), np.zeros(128), r"pca_eigen_vectors is float64 of \(128, 64\)"),
        (np.zeros((128, 128)), np.zeros((1, 128)), r"pca_means is float64 of \(1, 128\)"),
        (np.zeros((128, 128), int), np.zeros(128), "pca_eigen_vectors is int64"),
    ],
    ids=["vectors", "means", "type"],
)
def test_pca_of_another_kind_is_refused(tmp_path, vectors, means, told):
    save_npz(tmp_path / "pca.npz", vectors, means)
    with pytest.raises(WeightsError, match=told):
        VGGishPostprocessor.from_file(tmp_path / "pca.npz")


def test_file_without_a_pca_is_told_what_is_expected(tmp_path):
    torch.save(in_torch(), tmp_path / "vggish.pth")
    with pytest.raises(
        WeightsError, match=r"Expected are pca_eigen_vectors and pca_means; it holds features\.0\.weight"
    ):
        VGGishPostprocessor.from_file(tmp_path / "vggish.pth")
