"""Sample-level filters: SampleCNN in all depths and lengths, beside networks that see frames of sound or of mels.

Source: Lee, Park, Kim and Nam, "Sample-level deep convolutional neural networks for music auto-tagging using raw
    waveforms", SMC 2017, arXiv 1703.01789; the authors' code, github.com/jongpillee/sampleCNN.
Differs: an epoch is shuffled as a whole, and not part by part of the training set. All of a clip is cut into patches,
    where the source takes its first 640,000 samples; of the clips of MagnaTagATune this makes a difference of one patch
    of 15,625 samples. Layers and filters of the members of three and four modules are assumed; see
    `taggram/models/samplecnn.py`. For the filters see `taggram.look`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from taggram._checks import check_count
from taggram.errors import ConfigError, did_you_mean
from taggram.look import ascend, layers_to_show
from taggram.look._ascent import LEAST_LIVE
from taggram.models._saved import load_model
from taggram.studies._base import Cell, Claim, Row
from taggram.studies._sample_level_filters import load_ascents, save_ascents
from taggram.studies._sample_level_members import ALL, DEFAULT, FAMILIES, published_rows
from taggram.studies._sample_level_results import FILTERS, claims_of, draw, tables_of
from taggram.studies._tables import Table
from taggram.studies._trained_grid import Net, TrainedGrid, TrainedGridConfig, n_parameters
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKED_AT = "m3n9_59049"  # as in the paper; where it is not trained, the deepest that is


@dataclass(frozen=True, kw_only=True)
class SampleLevelConfig(TrainedGridConfig):
    """The settings of the study, those of `TrainedGridConfig` and a few more.

    Attributes:
        METHODS: all networks: `m3n9_59049` is 3^9, nine modules of filters and pools of 3, on 59,049 samples;
            `mel_243_81` sees mel spectrograms of window 243 and hop 81, `raw_243_81` the waveform likewise. Where none
            is named, the deepest of each kernel and length, all of 3^n on 59,049 samples, and one on mels are measured.
        GROUPS: `all`; `m3_59049` and the like are all depths of a kernel and a length; `mel` and `raw`.
        filters_of: the network whose filters are looked at; "" is 3^9 on 59,049 samples, or the deepest of those that
            are measured.
        n_units: of each layer of it that are looked at; 0 is all.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = tuple(ALL)
    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {"all": METHODS, **FAMILIES}

    filters_of: str = field(default="", metadata={"grid": True})
    n_units: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("n_units", self.n_units, 0)
        on_samples = [name for name in self.METHODS if ALL[name].kind != "mel"]
        if self.filters_of and self.filters_of not in on_samples:
            raise ConfigError(
                f"filters_of is {self.filters_of!r}.{did_you_mean(self.filters_of, on_samples)} It is the name of a "
                "network on samples, such as m3n9_59049."
            )


class SampleLevel(TrainedGrid):
    """ROC-AUC over tags, by depth, first filter and length."""

    name = "sample_level"
    title = "Sample-level filters: tagging music from the waveform"
    paper = "Lee et al., SMC 2017"
    paper_data = ("mtt",)
    config_kind = SampleLevelConfig
    published = tuple(published_rows())

    def net(self, method: str) -> Net:
        """Say what a method trains."""
        return ALL[method].net

    def phases(self) -> list[list[Cell]]:
        """List the cells: a network each, then the filters of one."""
        networks = self.networks(DEFAULT)
        name = self._looked_at([cell.method for cell in networks])
        looking = [Cell(method=name, details={"of": FILTERS})] if name else []
        return [networks, looking] if looking else [networks]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Train and test a network, or look at the filters of one; see `Study.measure`."""
        if cell.details:
            return self._look(cell)
        found = super().measure(cell)
        model = load_model(self.network_of(cell))
        return {**found, "parameters_without_norms": n_parameters(model, with_norms=False)}

    def _looked_at(self, methods: Sequence[str]) -> str:
        """Name the network whose filters are looked at, or "" where none sees samples."""
        wanted = self.config.filters_of or LOOKED_AT
        if wanted in methods:
            return wanted
        if self.config.filters_of:
            raise ConfigError(f"filters_of is {wanted!r}, which is none of methods: {', '.join(methods)}.")
        on_samples = [name for name in methods if ALL[name].kind != "mel"]
        return max(on_samples, key=lambda name: ALL[name].n_layers) if on_samples else ""

    def _look(self, cell: Cell) -> dict[str, Any]:
        """Find what the units of the first layers want to hear, and keep it."""
        model = load_model(self.network_of(Cell(method=cell.method, run=cell.run)))
        model = model.to(find_device(self.config.device))
        seed = self.seed_of(FILTERS)
        layers = layers_to_show(model)
        ascents = [ascend(model, layer, units=self.config.n_units or None, seed=seed) for layer in layers]
        save_ascents(ascents, self._filters_path(cell.method))
        return {
            "layers": layers,
            "convexity": [ascent.convexity if (~ascent.dead).sum() >= LEAST_LIVE else None for ascent in ascents],
            "n_dead": [int(ascent.dead.sum()) for ascent in ascents],
        }

    def _filters_path(self, method: str) -> Path:
        return self.files / f"{FILTERS}-{method}.npz"

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the table of networks, and that of filters."""
        return tables_of(rows)

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold what the paper says against what was measured."""
        return claims_of(rows)

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw ROC-AUC over the first filter; and filters in order of frequency, as spectra and by their peaks."""
        from taggram.look._draw_ascents import draw_ascents, draw_peaks

        figures = draw(rows, self.data_facts()["title"])
        for row in rows:
            if "convexity" in row:
                kept, member = load_ascents(self._filters_path(row["method"])), ALL[row["method"]]
                ascents = [replace(one, model=f"{member.title} on {member.n_samples:,} samples") for one in kept]
                figures |= {"filters": draw_ascents(ascents), "filter_peaks": draw_peaks(ascents)}
        return figures
