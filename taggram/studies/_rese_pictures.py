"""The picture of the study on blocks: ROC-AUC of each block with one level and with several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from taggram.learning._pictures import COLOURS, SMALL_PT, TEXT_PT, WIDTH
from taggram.studies._rese_blocks import BLOCKS, MULTI

if TYPE_CHECKING:
    from taggram.studies._trained_grid import Area


def draw_blocks(panels: Mapping[str, Mapping[str, Area]], *, title: str) -> Figure:
    """Draw ROC-AUC by block, a colour for one level and one for several, in panels side by side.

    Args:
        panels: by title, the area by method, from 0 to 1.
        title: stands on top.

    Returns:
        The figure; each panel has its own vertical axis.
    """
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, areas) in zip(row, panels.items()):
        for number, (end, label) in enumerate((("", "one level"), (MULTI, "several levels"))):
            colour, aside = COLOURS[number], 0.2 * number - 0.1
            there = [(place, areas[block + end]) for place, block in enumerate(BLOCKS) if block + end in areas]
            axes.plot([], [], "o", color=colour, label=label)
            for place, (area, low, high) in there:
                if low is not None and high is not None:
                    axes.plot([place + aside] * 2, [100 * low, 100 * high], color=colour, alpha=0.4, linewidth=2)
                axes.plot(place + aside, 100 * area, "o", color=colour)
        axes.set_xticks(np.arange(len(BLOCKS)), [words[0] for words in BLOCKS.values()], fontsize=SMALL_PT)
        axes.set_xlim(-0.5, len(BLOCKS) - 0.5)
        axes.set_title(name, fontsize=TEXT_PT, loc="left")
        axes.tick_params(labelsize=SMALL_PT)
        axes.grid(axis="y", color="0.9", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    row[0].set_ylabel("macro ROC-AUC, %", fontsize=SMALL_PT)
    row[-1].legend(fontsize=SMALL_PT, frameon=False)
    figure.suptitle(title, fontsize=TEXT_PT + 2)
    return figure
