"""Local networks, the system that puts their layers together, and the classifier of clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _networks import (
    biases,
    create,
    create_empty,
    layer_shapes,
    librosa_mel,
    n_parameters,
    noise,
    norm_constants,
    unsettled,
)

from taggram.errors import ConfigError
from taggram.models._aggregation import aggregate
from taggram.models._blocks import LEE_MEL_MEAN, LEE_MEL_STD
from taggram.models.multilevel import ClipClassifier, local_mel, multilevel_mel

SCALES = (18, 27, 54)
TIMES = {18: (18, 6, 2), 27: (27, 9, 3), 54: (54, 18, 6, 2)}  # of each convolution
FILTERS = {18: (128, 128, 512), 27: (128, 128, 512), 54: (128, 128, 256, 512)}
SMALL = {"n_units": 8, "filters": "3,4,5;3,4,6;3,4,5,6"}  # of the system: 43 values a clip

each_scale = pytest.mark.parametrize("n_frames", SCALES)


def classifier(*arguments):
    torch.manual_seed(0)
    return ClipClassifier(*arguments).eval()


def patches(n_frames, n_clips=2, seed=0):
    """Log-mel values of noise, as the front-end would give them."""
    return torch.rand(n_clips, 1, 128, n_frames, generator=torch.Generator().manual_seed(seed))


@each_scale
def test_shapes_of_the_layers(n_frames):
    shapes = layer_shapes(create_empty("local_mel", n_frames=n_frames))
    assert list(shapes.values()) == [*zip(TIMES[n_frames], FILTERS[n_frames]), (512,)]


@each_scale
def test_last_pool_leaves_the_maximum_of_its_frames(n_frames):
    layers = create("local_mel", n_frames=n_frames).forward_layers(patches(n_frames))
    torch.testing.assert_close(layers["penultimate"], layers[f"conv{len(TIMES[n_frames])}"].amax(1))


def test_spectrogram_is_log10_of_the_magnitudes_of_librosa():
    sound = 0.1 * noise(1, 13_400)
    mel = librosa_mel(sound[0], sr=22_050, n_fft=1024, hop_length=512, n_mels=128, power=1)
    frames = create_empty("local_mel").frontend(sound)[0, 0].numpy()
    np.testing.assert_allclose(frames, np.log10(1 + 10 * mel), rtol=0, atol=1e-5)


@torch.no_grad()
def test_norm_stands_between_convolution_and_relu():
    model = unsettled(create("local_mel"))
    pad, conv, norm, _ = model.convs[0]
    wanted = norm(conv(pad(model.standardize(patches(27))[:, 0]))).relu()
    torch.testing.assert_close(model.forward_layers(patches(27))["conv1"], wanted.transpose(1, 2))


def test_batch_norm_has_the_constants_of_samplecnn():
    assert norm_constants(create_empty("local_mel")) == {(1e-5, 0.01)}


def test_biases_start_at_zero():
    assert not biases(create("local_mel", n_tags=50)).any()


@pytest.mark.parametrize(("n_frames", "seconds"), [(18, 0.42), (27, 0.63), (54, 1.25)])
def test_length_of_a_segment(n_frames, seconds):
    frontend = create("local_mel", n_frames=n_frames).frontend
    assert frontend.n_frames * frontend.hop_length / frontend.sample_rate == pytest.approx(seconds, abs=0.005)


@pytest.mark.parametrize(("number", "zeros"), [(1, (1, 1)), (2, (1, 1)), (3, (0, 1))])
def test_zeros_around_are_those_of_tensorflow(number, zeros):
    assert tuple(create("local_mel", n_frames=18).convs[number - 1][0].padding) == zeros


@pytest.mark.parametrize("number", range(3))
def test_kernels_start_within_the_limit_of_he(number):
    weight = create("local_mel").convs[number][1].weight
    limit = (6 / weight[0].numel()) ** 0.5
    assert 0.99 * limit < weight.abs().max() <= limit


def test_spectrogram_is_standardized_first():
    model, plain = create("local_mel"), create("local_mel")
    plain.standardize.set_statistics(torch.zeros(1), torch.ones(1))
    came = model.forward_features(torch.full((1, 1, 128, 27), LEE_MEL_MEAN + 2 * LEE_MEL_STD))
    torch.testing.assert_close(came, plain.forward_features(torch.full((1, 1, 128, 27), 2.0)), rtol=1e-4, atol=1e-5)


def test_dropout_before_the_output():
    assert create("local_mel").head_dropout.p == 0.5


@pytest.mark.parametrize("filters", ["3,4,5", (3, 4, 5), [3, 4, 5]], ids=str)
def test_ways_to_give_filters(filters):
    assert create("local_mel", filters=filters).filters == (3, 4, 5)


def test_clip_vector_has_2560_values():
    assert create_empty("multilevel_mel").classifier.hidden[0][0].in_features == 2560


@pytest.mark.parametrize(
    ("options", "n_values"),
    [
        ({"scales": 18}, 768),
        ({"scales": "27"}, 768),
        ({"scales": (54,)}, 1024),
        ({"scales": "18,54"}, 1792),
        ({"levels": 1}, 384),
        ({"levels": "1,2"}, 768),
        ({"levels": -1}, 1536),
        ({"levels": (-3, -2, -1)}, 2432),
        ({"scales": 54, "levels": 4}, 512),
        ({"scales": 18, "filters": ["3,4,5"]}, 12),
        ({"scales": (18, 27), "filters": ((3, 4, 5), (6, 7, 8))}, 33),
    ],
    ids=str,
)
def test_clip_vector_has_a_value_a_filter_of_the_chosen_layers(options, n_values):
    model = create_empty("multilevel_mel", n_units=1, **options)
    assert layer_shapes(model, 60)["clip_vector"] == (n_values,)


def test_clip_vector_is_the_aggregate_of_each_local_network():
    model = create("multilevel_mel", **SMALL)
    clips = patches(110)
    wanted = []
    for n_frames, n_segments in ((18, 6), (27, 4), (54, 2)):
        segments = clips[..., : n_frames * n_segments].unflatten(-1, (n_segments, n_frames)).movedim(-2, 1)
        layers = model.extractors[str(n_frames)].forward_layers(segments.flatten(0, 1))
        wanted += [layer.unflatten(0, (2, n_segments)) for name, layer in layers.items() if name != "penultimate"]
    torch.testing.assert_close(model.clip_vectors(clips), aggregate(*wanted))


def test_order_of_the_segments_does_not_matter():
    model = create("multilevel_mel", scales=27, filters=["3,4,5"])
    clip = patches(108)
    turned = torch.cat([clip[..., 54:], clip[..., :54]], dim=-1)
    torch.testing.assert_close(model.clip_vectors(turned), model.clip_vectors(clip))


def test_clip_is_29_s():
    frontend = create("multilevel_mel", **SMALL).frontend
    assert frontend.n_frames * frontend.hop_length / frontend.sample_rate == pytest.approx(29, abs=0.05)


def test_shortest_clip_is_one_segment_of_the_longest_scale():
    assert create("multilevel_mel", scales="18,27", filters="3,4,5;3,4,5").least_frames == 27


def test_local_networks_do_not_learn():
    model = create("multilevel_mel", n_tags=5, **SMALL)
    learning = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == {"classifier", "head"}


def test_local_networks_keep_their_statistics_in_training():
    model = create("multilevel_mel", **SMALL).train()
    before = [buffer.clone() for buffer in model.extractors.buffers()]
    model.forward_layers(patches(60))
    assert all(torch.equal(*pair) for pair in zip(before, model.extractors.buffers()))


def test_new_system_is_in_training_but_for_its_local_networks():
    model = multilevel_mel(**SMALL)
    assert (model.training, model.classifier.training, model.extractors["18"].training) == (True, True, False)


def test_local_networks_learn_where_wanted():
    model = create("multilevel_mel", train_extractors=True, **SMALL).train()
    model.forward_features(patches(60)).square().sum().backward()
    assert model.extractors["18"].training
    assert all(parameter.grad is not None for parameter in model.extractors.parameters())


def test_what_stands_behind_the_highest_level_does_not_learn():
    model = create("multilevel_mel", train_extractors=True, levels="1,2", **SMALL)
    learning = {name for name, parameter in model.extractors["27"].named_parameters() if parameter.requires_grad}
    assert {name.split(".")[1] for name in learning} == {"0", "1"}


def test_trained_local_networks_are_taken_over():
    model = create("multilevel_mel", **SMALL)
    trained = local_mel(50, n_frames=27, filters="3,4,6").eval()
    trained.standardize.set_statistics(torch.ones(1), torch.ones(1))
    model.load_extractors(trained)
    torch.testing.assert_close(
        model.extractors["27"].forward_features(patches(27)), trained.forward_features(patches(27))
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n_frames": 18}, "n_frames is 18; wanted one of 27, 54"), ({"n_frames": 27}, r"filters is \(128, 128, 512\)")],
    ids=["other scale", "other filters"],
)
def test_local_network_that_does_not_fit_is_refused(options, message):
    model = create("multilevel_mel", scales="27,54", filters="3,4,6;3,4,5,6")
    with pytest.raises(ConfigError, match=message):
        model.load_extractors(local_mel(**options))


def test_ready_clip_vectors_give_the_logits_of_the_clips():
    model = create("multilevel_mel", n_tags=5, **SMALL)
    clips = patches(60)
    logits = model.forward_head(model.forward_features(clips))
    torch.testing.assert_close(model.forward_vectors(model.clip_vectors(clips)), logits)


@pytest.mark.parametrize(
    ("n_hidden_layers", "names", "n_features"),
    [(0, ("penultimate",), 43), (1, ("penultimate",), 8), (2, ("fc1", "penultimate"), 8)],
)
def test_hidden_layers_of_the_system(n_hidden_layers, names, n_features):
    model = create("multilevel_mel", n_hidden_layers=n_hidden_layers, **SMALL)
    assert (model.layers(), model.n_features) == (("clip_vector", *names), n_features)


@pytest.mark.parametrize(("n_hidden_layers", "wanted"), [(0, 128_050), (1, 2_673_714), (2, 3_723_314)])
def test_parameters_of_the_classifier(n_hidden_layers, wanted):
    with torch.device("meta"):
        model = ClipClassifier(2560, 50, n_hidden_layers)
    assert n_parameters(model) == wanted


def test_hidden_layers_are_rectified():
    model = classifier(4, None, 2, 8)
    first, second = (dense[0] for dense in model.hidden)
    vectors = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(vectors), second(first(vectors).relu()).relu())


def test_vectors_are_standardized_by_one_mean_and_deviation():
    model = classifier(4, None, 0)
    model.standardize.set_statistics(torch.tensor([1.0]), torch.tensor([2.0]))
    assert torch.equal(model(torch.tensor([[1.0, 3.0, 5.0, -1.0]])), torch.tensor([[0.0, 1.0, 2.0, -1.0]]))


def test_dropout_works_on_both_hidden_layers():
    model = classifier(4, None, 2, 1000, 0.9).train()
    seen = []
    model.hidden[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    shares = [(layer == 0).float().mean() for layer in (model(torch.rand(20, 4)), *seen)]
    assert min(shares) > 0.8


def test_vectors_themselves_are_not_dropped():
    model = classifier(1000, None, 1, 1, 0.9).train()
    seen = []
    model.hidden[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(torch.ones(1, 1000))
    assert seen[0].all()


def test_dropout_before_the_head_of_the_system():
    assert create("multilevel_mel", dropout=0.5, **SMALL).head_dropout.p == 0.5


@pytest.mark.parametrize("layer", ["hidden", "output"])
def test_dense_layers_start_as_in_the_source(layer):
    model = classifier(100, 50, 1, 200)
    weight = model.hidden[0][0].weight if layer == "hidden" else model.head.weight
    limit = (6 / 100) ** 0.5 if layer == "hidden" else (6 / 250) ** 0.5
    assert 0.99 * limit < weight.abs().max() <= limit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_frames": 36}, "n_frames is 36; wanted one of 18, 27, 54"),
        ({"filters": "128,128"}, "filters is '128,128'; wanted 3 whole numbers from 1 on for 27 frames"),
        ({"filters": "128,128,many"}, "filters is '128,128,many'; wanted whole numbers"),
        ({"filters": (0, 1, 2)}, "filters is"),
        ({"filters": 1.5}, "filters is 1.5"),
    ],
    ids=str,
)
def test_wrong_value_for_a_local_network_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        create("local_mel", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": "18,36"}, "scales is '18,36'; wanted some of 18, 27, 54"),
        ({"scales": (18, 18)}, "each once"),
        ({"scales": ()}, "scales is"),
        ({"levels": 4}, "levels is 4; wanted different ones from 1 to 3, or from -3 to -1"),
        ({"levels": 0}, "levels is 0"),
        ({"levels": "3,-1"}, "levels is '3,-1'"),
        ({"filters": "1,1,1"}, "filters is '1,1,1'; wanted 3 groups"),
        ({"filters": ()}, "wanted 3 groups"),
        ({"n_frames": 53}, "n_frames is 53; wanted a whole number from 54 on"),
        ({"n_hidden_layers": -1}, "n_hidden_layers is -1"),
        ({"n_units": 0}, "n_units is 0"),
        ({"dropout": 1.0}, "dropout is 1.0; wanted a number from 0 to below 1"),
        ({"dropout": 0.5, "n_hidden_layers": 0}, "dropout is 0.5; wanted 0 where there is no hidden layer"),
        ({"train_extractors": 1}, "train_extractors is 1; wanted True or False"),
    ],
    ids=str,
)
def test_wrong_value_for_the_system_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        create_empty("multilevel_mel", **options)
