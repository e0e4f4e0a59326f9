"""`taggram train` without a name: the table of published trainings."""

from __future__ import annotations

from rich.table import Table

from taggram.apps._data import table_console
from taggram.recipes import list_recipes, read_recipe


def print_recipes() -> None:
    """Print a table of the published trainings."""
    table = Table(box=None, pad_edge=False)
    for heading in ("recipe", "network", "data set", "what it is"):
        table.add_column(heading, overflow="fold")
    for name in list_recipes():
        facts = read_recipe(name)
        table.add_row(name, facts["network"], facts.get("data", {}).get("name", "any"), facts["title"])
    console = table_console()
    console.print(table)
    console.print(
        "A network (`taggram models`) is trained from scratch by its own name, and trained weights such as musicnn.mtt "
        "get a new head; boosted_trees are the baseline. `taggram train NAME --show` prints all settings.",
        style="dim",
    )
