"""The card of a network as Markdown: for the terminal, and for the pages in docs/models."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from taggram.models import list_models, load_card
from taggram.models._summary import Summary, summarise

LARGE_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def print_card(
    name: str, options: Mapping[str, Any], *, n_tags: int | None = None, length_s: float | None = None
) -> None:
    """Print the card of a network, or of a trained model.

    Args:
        name: "network" or "network.weights".
        options: the network's own options.
        n_tags: number of outputs; None is as in its paper.
        length_s: length of the patch in seconds; None is the one that the network was made for.

    Raises:
        UnknownNameError: there is no such network.
        ConfigError: the network has no such option, or takes no patch of that length.
    """
    if name in list_models():
        card = load_card(name)
        options = {**card.options, **options}
        n_tags = n_tags or len(card.tag_names)
    summary = summarise(name.partition(".")[0], options, n_tags=n_tags, length_s=length_s)
    text = f"# {name}\n\n{paragraphs(summary.about)}\n\n{card_of(summary)}"
    if name in list_models():
        text += f"\n{_weights_section(name)}"
    if sys.stdout.isatty():
        Console().print(Markdown(text))
    else:
        print(text)


def card_of(summary: Summary, heading: str = "##") -> str:
    """Write what is known of a network as Markdown.

    Args:
        summary: of the network.
        heading: what headings begin with.

    Returns:
        Its facts, options, layers and named layers.
    """
    chosen = (
        ", ".join(f"`{name}={_shown(value)}`" for name, value in summary.chosen.items()) or "as they are by default"
    )
    taken = "exactly that" if summary.shortest_s is None else f"from {seconds(summary.shortest_s)} on"
    frozen = f", and {summary.n_frozen:,} that do not learn" if summary.n_frozen else ""
    facts = [
        ("paper", summary.paper),
        ("options", chosen),
        ("parameters", f"{summary.n_parameters:,}{frozen}"),
        ("outputs", f"{summary.n_outputs:,} ({TASKS[summary.task]})"),
        ("input", f"{seconds(summary.patch_s)} at {summary.sample_rate:,} Hz; it takes {taken}"),
        ("front-end", ", ".join(f"{name} {_shown(value)}" for name, value in summary.frontend.items())),
        (
            "cost",
            f"{large(summary.flops_per_s)}FLOP a second of sound (convolutions and matrix products, no front-end)",
        ),
    ]
    parts = [table((summary.network, ""), facts)]
    if summary.options:
        parts.append(
            f"{heading} Options\n\n"
            + table(("option", "default"), [(f"`{n}`", _shown(v)) for n, v in summary.options.items()])
        )
    rows = [(f"`{row.name}`", row.kind, shape(row.shape), f"{row.n_parameters:,}") for row in summary.layers]
    parts.append(f"{heading} Layers, for one patch\n\n" + table(("module", "what it is", "output", "parameters"), rows))
    named = [(f"`{row.name}`", shape(row.shape), seconds(row.receptive_field_s)) for row in summary.features]
    parts.append(f"{heading} Named layers, as features\n\n" + table(("name", "shape", "depends on"), named))
    return "\n".join(parts)


TASKS = {
    "several": "logits of tags, of which several may hold",
    "one": "logits of tags, of which exactly one holds",
    "embedding": "an embedding",
    "features": "features of an untrained network",
}


def paragraphs(text: str) -> str:
    """Turn a docstring into Markdown: its sections, which begin with a word and a colon, become paragraphs.

    Args:
        text: the docstring, with its sections indented below their first line.

    Returns:
        The same with sections apart, none of them indented.
    """
    apart = re.sub(r"\n+(?=[A-Z]\w+: )", "\n\n", text)
    return re.sub(r"\n +", "\n", apart)


def table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Write a table as Markdown.

    Args:
        headings: of the columns.
        rows: the cells.

    Returns:
        The lines of the table.
    """
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def seconds(length_s: float) -> str:
    """Write a length of time."""
    return f"{length_s:.3g} s" if length_s >= 0.1 else f"{1000 * length_s:.3g} ms"


def shape(sizes: tuple[int, ...]) -> str:
    """Write a shape, batch left out."""
    return " x ".join(map(str, sizes))


def large(number: float) -> str:
    """Write a large number with the letter of its unit."""
    for size, letter in LARGE_UNITS:
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.3g} "


def _shown(value: Any) -> str:
    """Write the value of an option."""
    if isinstance(value, bool):
        return str(value).lower()
    return type(value).__name__ if hasattr(value, "__dataclass_fields__") else str(value)


def _weights_section(name: str) -> str:
    """Write what is known of trained weights."""
    from taggram.apps._listing import where_weights_are

    card = load_card(name)
    published = ", ".join(f"{key} {value}" for key, value in card.published.items())
    facts = [
        ("what it is", card.title),
        ("licence", card.licence),
        ("citation", card.citation),
        ("source", card.source),
        ("published", published),
        ("note", card.note),
        ("weights", where_weights_are(card)),
        ("tags", ", ".join(card.tag_names)),
    ]
    return "## Trained weights\n\n" + table((name, ""), [(key, value) for key, value in facts if value])
