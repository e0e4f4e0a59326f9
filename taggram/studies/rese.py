"""Blocks: SampleCNN with residual, squeeze-and-excitation or plain blocks, and with features of one level or several.

Source: Kim, Lee and Nam, "Sample-level CNN architectures for music auto-tagging using raw waveforms", ICASSP 2018,
    arXiv 1710.10451, its code and poster; the same authors' "Comparison and analysis of SampleCNN architectures for
    audio classification", IEEE JSTSP 13(2), 2019, and its code, for `version="journal"`.
Differs: an epoch is shuffled as a whole, where the source shuffles a window of about 16,000 segments. With
    `version="journal"` samples are scaled by the statistics of MagnaTagATune, whatever the data. What the poster calls
    loudness is not said; here it is the root mean square of a segment. What is timed is a step of training by itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch

from taggram._checks import check, check_choice, check_count, is_number
from taggram.learning._steps import create_optimizer, loss_name, tag_loss, take_step
from taggram.learning.recipe import Recipe
from taggram.models._saved import load_model
from taggram.models.rese import N_FIRST, DownSampling
from taggram.studies._base import Cell, Claim, Row
from taggram.studies._rese_blocks import (
    METHODS,
    PUBLISHED,
    SEVERAL,
    SINGLE,
    SPREAD,
    block_of,
    has_excitations,
    is_multi_level,
    published_rows,
    title_of,
)
from taggram.studies._rese_excitations import excite_part, load_excitations, save_excitations, summed_up
from taggram.studies._rese_results import claims_of, tables_of
from taggram.studies._tables import Table
from taggram.studies._trained_grid import Area, Net, TrainedGrid, TrainedGridConfig, areas_of
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXCITATIONS, STEP = "excitations", "step"  # the detail of cells that train nothing
RECIPES = {"icassp": "se_mtt", "journal": "se_journal_mtt"}


@dataclass(frozen=True, kw_only=True)
class ReSEConfig(TrainedGridConfig):
    """The settings of the study, those of `TrainedGridConfig` and a few more.

    Attributes:
        METHODS: all networks: a block, and `_multi` where the features are of several levels.
        GROUPS: `all`; `one_level`; `multi_level`.
        version: "icassp", or "journal" with its first weights, its scale of the samples and its ratio.
        se_ratio: hidden units of the squeeze and excitation as a multiple of the channels, the paper's alpha; 0 is
            that of the version: 16 of ICASSP, 0.125 of the journal.
        down_sampling: how a block makes one frame of three: "max", as published, "avg" or "stride".
        n_excited: clips of the test whose excitations are looked at, evenly spaced; 0 is all.
        n_timed: steps of each network's training that are timed, of which the quickest counts; 0 times none.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = METHODS
    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {"all": METHODS, "one_level": SINGLE, "multi_level": SEVERAL}

    version: Literal["icassp", "journal"] = "icassp"
    se_ratio: float = 0.0
    down_sampling: DownSampling = "max"
    n_excited: int = 0
    n_timed: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("version", self.version, tuple(RECIPES))
        fits = is_number(self.se_ratio) and (self.se_ratio == 0 or self.se_ratio >= 1 / N_FIRST)
        check(fits, "se_ratio", self.se_ratio, f"0, or a number from 1/{N_FIRST} on, such as 16 or 0.125")
        check_choice("down_sampling", self.down_sampling, get_args(DownSampling))
        check_count("n_excited", self.n_excited, 0)
        check_count("n_timed", self.n_timed, 0)


class ReSE(TrainedGrid):
    """ROC-AUC over tags by block, and what excitations tell of tags and loudness."""

    name = "rese"
    title = "SampleCNN with other blocks: tagging music from the waveform"
    paper = "Kim et al., ICASSP 2018"
    paper_data = ("mtt",)
    config_kind = ReSEConfig
    published = tuple(published_rows())

    def net(self, method: str) -> Net:
        """Say what a method trains."""
        recipe, own = RECIPES[self.config.version], self.config
        options = {
            "block": block_of(method),
            "multi_level": is_multi_level(method),
            "se_ratio": own.se_ratio or Recipe.load(recipe).options["se_ratio"],
            "down_sampling": own.down_sampling,
        }
        return Net(recipe=recipe, options=options)

    def phases(self) -> list[list[Cell]]:
        """List the cells: a network each; the excitations of those that have some; then one step of each at a time."""
        networks = self.networks()
        methods = list(dict.fromkeys(cell.method for cell in networks))
        excited = [Cell(method=method, details={"of": EXCITATIONS}) for method in methods if has_excitations(method)]
        timed = [[Cell(method=method, details={"of": STEP})] for method in methods if self.config.n_timed]
        return [networks, *([excited] if excited else []), *timed]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Train and test a network, or look at one, or time one; see `Study.measure`."""
        match cell.details.get("of"):
            case str(what) if what == EXCITATIONS:
                return self._excite(cell)
            case str(what) if what == STEP:
                return {"step_s": self._step_s(cell), "timed_on": find_device(self.config.device).type}
            case _:
                return super().measure(cell)

    def _excite(self, cell: Cell) -> dict[str, Any]:
        """Compute the excitations of a trained network and keep them."""
        model = load_model(self.network_of(Cell(method=cell.method))).to(find_device(self.config.device))
        found = excite_part(model, self.sound(), self.config.n_excited)
        save_excitations(found, self._excitations_path(cell.method))
        return summed_up(found)

    def _excitations_path(self, method: str) -> Path:
        return self.files / f"{EXCITATIONS}-{method}.npz"

    def _step_s(self, cell: Cell) -> float:
        """Time steps of training by themselves, behind one that warms up: time of the processor, or of a GPU."""
        from taggram.learning.memory import keep_memory

        keep_memory()
        config, device = self.fit(Cell(method=cell.method)), find_device(self.config.device)
        model = self.start(Cell(method=cell.method)).to(device)
        optimizer = create_optimizer(model, config)
        n_samples = model.frontend.n_samples_for(model.frontend.n_frames)
        random = torch.Generator().manual_seed(self.seed_of(STEP))
        sound = (0.1 * torch.randn(config.batch_size, n_samples, generator=random)).to(device)
        labels = torch.zeros(config.batch_size, len(self.sound().tags), device=device)
        labels[:, 0] = 1
        seconds = []
        for _ in range(1 + self.config.n_timed):
            started_s = _now_s(device)
            take_step(tag_loss(model(sound), labels, loss_name(model, config)), model, optimizer, config.clip_norm)
            seconds.append(_now_s(device) - started_s)
        return min(seconds[1:])

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what is otherwise than published."""
        own = self.config
        ratio = own.se_ratio or Recipe.load(RECIPES[own.version]).options["se_ratio"]
        told = [f"Version: {own.version}. Ratio of squeeze and excitation: {ratio:g}."]
        told += [f"Down-sampling: {own.down_sampling}, an assumption."] if own.down_sampling != "max" else []
        told += [f"Excitations of {own.n_excited:,} clips at most."] if own.n_excited else []
        return [*super().remarks(), *told]

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the tables of blocks and of excitations."""
        return tables_of(rows)

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold what the papers say against what was measured."""
        return claims_of(rows)

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw blocks beside the published ones, and excitations by tag, by layer and by loudness."""
        from taggram.studies._pictures import draw_sweeps
        from taggram.studies._rese_pictures import draw_blocks

        here = self.data_facts()["title"]
        known: dict[str, Area] = {method: (area, None, None) for method, area in PUBLISHED.items()}
        panels = {here: areas_of(rows), "published, MagnaTagATune": known}
        figures = {"blocks": draw_blocks(panels, title="Tagging by block")}
        excited = {row["method"]: row for row in rows if "spread" in row}
        if excited:
            spreads = {title_of(name): row["spread"] for name, row in excited.items()}
            spreads[f"published, {title_of('se_multi')}"] = SPREAD
            curves = {
                name: {float(block): float(value) for block, value in enumerate(values, start=1)}
                for name, values in spreads.items()
            }
            unit = "standard deviation over tags, % of full excitation"
            figures["tag_dependence"] = draw_sweeps(
                {here: curves}, title="How much excitations depend on the tag", x="block", unit=unit
            )
        for method in excited:
            found = replace(load_excitations(self._excitations_path(method)), model=title_of(method))
            figures |= {f"excitations_{method}": found.plot(), f"loudness_{method}": found.plot_loudness()}
        return figures


# -- inside ------------------------------------------------------------------------------------------------------------


def _now_s(device: torch.device) -> float:
    """Tell the time, on a GPU when all that was asked for is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()
