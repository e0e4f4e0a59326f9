"""The table of trained models."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from taggram.models import list_models, load_card
from taggram.models._registry import WeightsCard
from taggram.models._weights import cached_path, is_cached


def print_models() -> None:
    """Print all trained models: what they are, their size, licence and where the weights are."""
    console = Console()
    if not console.is_terminal:  # a pipe has no width
        console.width = 240
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "what it is", "tags", "ROC-AUC", "PR-AUC", "licence", "weights"):
        table.add_column(heading, overflow="fold")
    table.add_column("parameters", justify="right")
    for name in list_models():
        card = load_card(name)
        published = card.published
        table.add_row(
            card.name,
            card.title,
            str(len(card.tag_names)),
            *(f"{published[score]:.3f}" if score in published else "" for score in ("roc_auc", "pr_auc")),
            card.licence,
            where_weights_are(card),
            f"{card.n_parameters:,}",
        )
    console.print(table)
    if console.is_terminal:
        console.print("\nROC-AUC and PR-AUC are as published, each for its own data set and split.", style="dim")


def where_weights_are(card: WeightsCard) -> str:
    """Say where the weights of a card are, or how they come."""
    if is_cached(card):
        return str(cached_path(card))
    if card.wheel is None:
        return f"by hand: taggram models get {card.name} --from FILE"
    return f"fetched on first use ({card.wheel.size / 1e6:.0f} MB)"
