"""Write docs/models: a page for each family of networks, made from the code, and a list of all.

    python docs/make_model_pages.py

The variants on a page are the rows of tests/networks.csv, which the tests compare with the networks.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from taggram.apps._model_card import card_of, paragraphs, seconds, table
from taggram.models import NETWORKS
from taggram.models._facts import find_listed
from taggram.models._summary import summarise

FOLDER = Path(__file__).with_name("models")
VARIANTS = Path(__file__).parents[1] / "tests" / "networks.csv"
NOTE = "<!-- made by docs/make_model_pages.py from the code; edit that -->\n"


def page_of(module: str) -> str:
    """Write the page of a family: what its module says, its variants, and a card of each network.

    Args:
        module: name of the module in `taggram.models`.

    Returns:
        The page as Markdown.
    """
    summaries = [summarise(network) for network in sorted(NETWORKS) if NETWORKS[network] == module]
    parts = [f"{NOTE}# {module}\n\n{paragraphs(summaries[0].about)}\n"]
    rows = [row for summary in summaries for row in variants_of(summary.network)]
    if rows:
        parts.append("## Variants\n\n" + table(("network", "options", "outputs", "parameters", "counted"), rows))
    parts.extend(f"## {one.network}\n\n{paragraphs(one.builder)}\n\n{card_of(one, '###')}" for one in summaries)
    return "\n".join(parts)


def variants_of(network: str) -> list[tuple[str, ...]]:
    """Give the rows of the list of variants that have a name.

    Args:
        network: the name.

    Returns:
        Name, options, outputs, parameters and how they are counted.
    """
    with VARIANTS.open(encoding="utf-8", newline="") as stream:
        return [
            (f"`{row['name']}`", row["options"], row["n_outputs"], f"{int(row['n_parameters']):,}", row["counted"])
            for row in csv.DictReader(stream)
            if row["name"] == network
        ]


def list_of_all() -> str:
    """Write the page that lists all networks with their parameters, input and paper."""
    rows = []
    for name in sorted(NETWORKS):
        facts = find_listed(name)
        link = f"[{name}]({NETWORKS[name]}.md)"
        rows.append((link, facts.title, f"{facts.n_parameters:,}", seconds(facts.patch_s), facts.task, facts.paper))
    headings = ("network", "what it is", "parameters", "input", "task", "paper")
    about = "With their default options. `taggram models NAME` prints a card."
    return f"{NOTE}# Networks\n\n{about}\n\n{table(headings, rows)}"


def main(modules: list[str]) -> None:
    """Write the pages of some families, or all, and the list."""
    FOLDER.mkdir(exist_ok=True)
    for module in modules or sorted(set(NETWORKS.values())):
        FOLDER.joinpath(f"{module}.md").write_text(page_of(module), encoding="utf-8")
    FOLDER.joinpath("README.md").write_text(list_of_all(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
