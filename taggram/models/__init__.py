"""Stage 3 of the path: what the front-end gives -> logits. One published network a file.

Names are "network" for an untrained network and "network.weights" for a trained one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taggram.errors import ConfigError, did_you_mean, unknown_name
from taggram.models._registry import NetworkFacts, WeightsCard, find_network, read_cards

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel, Task

NETWORKS = {  # network: the module that holds it
    "artist_basic": "artist",
    "artist_siamese": "artist",
    "at_scale_spectrogram": "at_scale",
    "at_scale_waveform": "at_scale",
    "bag_network": "bag_of_features",
    "ballroom_black_box": "ballroom",
    "ballroom_frequency": "ballroom",
    "ballroom_time": "ballroom",
    "ballroom_time_frequency": "ballroom",
    "dieleman": "timbre_mtt",
    "emarkou": "emarkou",
    "few_data_vgg": "few_data",
    "instrument_han": "instrument",
    "instrument_multi_layer": "instrument",
    "instrument_single_layer": "instrument",
    "local_mel": "multilevel",
    "multilevel_mel": "multilevel",
    "multiscale": "multiscale",
    "musicnn": "musicnn",
    "musicnn_big": "musicnn",
    "o_p_net": "o_p_net",
    "phoneme_mlp": "phoneme",
    "phoneme_small_rectangular": "phoneme",
    "phoneme_timbre": "phoneme",
    "prototypical_embedding": "few_data",
    "random_7x86": "random_cnn",
    "random_7x96": "random_cnn",
    "random_frame_level": "random_cnn",
    "random_frame_level_many": "random_cnn",
    "random_sample_level": "random_cnn",
    "random_temporal": "random_cnn",
    "random_timbral": "random_cnn",
    "random_timbral_temporal": "random_cnn",
    "random_vgg": "random_cnn",
    "rese": "rese",
    "samplecnn": "samplecnn",
    "samplecnn_frame": "samplecnn",
    "samplecnn_mel": "samplecnn",
    "sb_cnn": "few_data",
    "small_rectangular": "timbre_mtt",
    "syllable_onset": "syllable_onset",
    "syllable_onset_schluter": "syllable_onset",
    "timbre": "few_data",
    "timbre_mtt": "timbre_mtt",
    "vgg": "vgg",
    "vggish": "vggish",
}

__all__ = ["NETWORKS", "build_network", "check_name", "create_model", "find_facts", "list_models", "load_card"]


def list_models(*, trained: bool = True) -> list[str]:
    """Name the models, without loading torch.

    Args:
        trained: whether the names are of trained weights ("musicnn.mtt") or of networks ("musicnn").

    Returns:
        The names, sorted.
    """
    return sorted(read_cards()) if trained else sorted(NETWORKS)


def load_card(name: str) -> WeightsCard:
    """Give the facts about a set of trained weights, without loading torch.

    Args:
        name: "network.weights", such as "musicnn.mtt".

    Returns:
        The card.

    Raises:
        UnknownNameError: there are no weights of that name.
    """
    cards = read_cards()
    if name not in cards:
        raise unknown_name("trained model", name, cards, f"`taggram models` lists all {len(cards)}")
    return cards[name]


def check_name(name: str) -> None:
    """Refuse what names neither trained weights nor a network, without loading torch.

    Args:
        name: a name as `create_model` takes it.

    Raises:
        UnknownNameError: there is no such network or weights.
    """
    known = [*read_cards(), *NETWORKS]
    if name not in known:
        raise unknown_name("model or network", name, known, f"`taggram models` lists all {len(known)}")


def create_model(name: str, *, n_tags: int | None = None, task: Task | None = None, **options: Any) -> TaggingModel:
    """Build a network, with its weights where the name says so.

    Args:
        name: "network" for an untrained network, "network.weights" for a trained one. Weights that are not at hand are
            fetched, and that is said on standard error; see `taggram models get`.
        n_tags: number of outputs. Left out, a trained model keeps its tags and an untrained one has no head and gives
            its features; given, a trained model gets a new, untrained head.
        task: whether several tags may hold or exactly one does, if not as the network's source has it.
        **options: the network's own, such as `pooling="trained"` for vgg or `frontend=` for other settings.

    Returns:
        The network in evaluation mode if trained, in training mode if not.

    Raises:
        UnknownNameError: there is no such network or weights.
        ConfigError: the network has no such option, or has no head and is given a task.
    """
    if name in NETWORKS:
        model = build_network(name, n_tags, options)
        if task is not None and n_tags is None:
            raise ConfigError(f"task={task!r} is for a network with a head; give n_tags too.")
        model.task = task or model.task
        return model
    check_name(name)
    import torch

    from taggram.models._weights import load_strictly, load_weights

    card = load_card(name)
    weights = load_weights(card)
    with torch.device("meta"):  # nothing is initialised only to be overwritten
        model = build_network(card.network, len(card.tag_names), {**card.options, **options})
    load_strictly(model, weights, card.name)
    model.name, model.tags, model.task = name, card.tag_names, task or card.task
    if n_tags is not None:
        model.reset_head(n_tags)
    return model.eval()


def build_network(network: str, n_tags: int | None, options: dict[str, Any]) -> TaggingModel:
    """Build an untrained network.

    Args:
        network: one of `NETWORKS`.
        n_tags: number of outputs, or None for no head.
        options: the network's own.

    Returns:
        The network in training mode.

    Raises:
        UnknownNameError: there is no such network.
        ConfigError: the network has no such option, or a value makes no sense.
    """
    facts = find_facts(network)
    for option in options:
        if option not in facts.options:
            options_are = f"Its options are {', '.join(facts.options)}" if facts.options else "It has none"
            raise ConfigError(
                f"{network} has no option {option!r}.{did_you_mean(option, facts.options)} {options_are}."
            )
    model = facts.build(n_tags, **options)
    model.name, model.options = network, options
    return model


def find_facts(network: str) -> NetworkFacts:
    """Give what its module says of a network; this loads torch.

    Args:
        network: one of `NETWORKS`.

    Returns:
        Its paper, number of outputs, options and builder.

    Raises:
        UnknownNameError: there is no such network.
    """
    if network not in NETWORKS:
        raise unknown_name("network", network, NETWORKS, f"`taggram models` lists all {len(NETWORKS)}")
    return find_network(NETWORKS[network], network)
