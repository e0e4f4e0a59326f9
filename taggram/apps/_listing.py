"""The tables of trained models and of networks, and which of them some words ask for."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from taggram.errors import UnknownNameError, did_you_mean
from taggram.models import NETWORKS, list_models, load_card
from taggram.models._facts import ListedNetwork, read_listing
from taggram.models._registry import WeightsCard
from taggram.models._weights import cached_path, is_cached

TRAINED_COLUMNS = ("name", "what it is", "tags", "ROC-AUC", "PR-AUC", "licence", "weights")
PIPE_WIDTH = 240  # a pipe has none


def print_models(words: Iterable[str] = ()) -> None:
    """Print the trained models and the networks.

    Args:
        words: only those are listed that have all of them in their name, paper, task or description.

    Raises:
        UnknownNameError: nothing has all of the words.
    """
    words = [word.casefold() for word in words]
    trained = [load_card(name) for name in list_models()]
    trained = [card for card in trained if _has(words, card.name, card.title, card.tags, card.citation, card.licence)]
    listing = read_listing()
    networks = [name for name in sorted(NETWORKS) if _has(words, name, *_texts(listing.get(name)))]
    if not trained and not networks:
        near = did_you_mean(" ".join(words), [*list_models(), *NETWORKS])
        raise UnknownNameError(
            f"no model or network has {' and '.join(map(repr, words))}.{near} `taggram models` lists all."
        )
    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    if trained:
        console.print(_trained_table(trained))
        console.print("ROC-AUC and PR-AUC are as published, each for its own data set and split.\n", style="dim")
    if networks:
        console.print(_network_table(networks, listing))
        console.print("`taggram models NAME` shows one of them: layers, cost, options.", style="dim")


def where_weights_are(card: WeightsCard) -> str:
    """Say where the weights of a card are, or how they come."""
    if is_cached(card):
        return str(cached_path(card))
    if card.wheel is None:
        return f"by hand: taggram models get {card.name} --from FILE"
    return f"fetched on first use ({card.wheel.size / 1e6:.0f} MB)"


def _trained_table(cards: list[WeightsCard]) -> Table:
    table = Table(title="Trained models, ready to tag", title_justify="left", box=None, pad_edge=False)
    for heading in TRAINED_COLUMNS:
        table.add_column(heading, overflow="fold")
    table.add_column("parameters", justify="right")
    for card in cards:
        scores = (f"{card.published[score]:.3f}" if score in card.published else "" for score in ("roc_auc", "pr_auc"))
        table.add_row(
            card.name, card.title, str(len(card.tag_names)), *scores, card.licence, where_weights_are(card),
            f"{card.n_parameters:,}",
        )  # fmt: skip
    return table


def _network_table(names: list[str], listing: dict[str, ListedNetwork]) -> Table:
    table = Table(title="Networks, to be trained", title_justify="left", box=None, pad_edge=False)
    table.add_column("name", overflow="fold")
    table.add_column("parameters", justify="right")
    table.add_column("input", justify="right")
    table.add_column("outputs", justify="right")
    for heading in ("task", "paper", "trained"):
        table.add_column(heading, overflow="fold")
    for name in names:
        facts = listing.get(name)
        trained = ", ".join(
            other.removeprefix(f"{name}.") + ("" if is_cached(load_card(other)) else " (not at hand)")
            for other in list_models()
            if load_card(other).network == name
        )
        if facts is None:
            table.add_row(name, "", "", "", "", "", trained)
            continue
        numbers = (f"{facts.n_parameters:,}", f"{facts.patch_s:.2f} s", f"{facts.n_outputs:,}")
        table.add_row(name, *numbers, facts.task, facts.paper, trained)
    return table


def _has(words: list[str], *texts: str) -> bool:
    """Tell whether all words are somewhere in some texts."""
    whole = "\n".join(texts).casefold()
    return all(word in whole for word in words)


def _texts(facts: ListedNetwork | None) -> tuple[str, ...]:
    return () if facts is None else (facts.title, facts.paper, facts.task)
