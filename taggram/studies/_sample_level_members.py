"""The networks of the study on sample-level filters, and what was published of them.

Source: Lee, Park, Kim and Nam, SMC 2017, the table of all members as the authors' slides have it.
Differs: of the networks on mel spectrograms only the best figure is known for certain, and not of which window it is;
    of the frame-level networks on the waveform those whose windows lie side by side are members of the table, and the
    figures of the others are not known for certain. So these have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taggram.studies._trained_grid import SAMPLE_RATE, Net

TABLE = "SMC 2017, table of all members, as the authors' slides have it"
CLIP_SAMPLES = 640_000  # that the paper cuts into segments, 29 s
BEST_MEL = 0.9059
FRAME_SAMPLES = 59_049  # of the patches of the frame-level networks

MEMBERS = {  # kernel and samples: ROC-AUC by depth, from the shallowest on
    (2, 16_384): (6, (0.8839, 0.8899, 0.8968, 0.8994, 0.9011, 0.9031, 0.9036, 0.9032)),
    (2, 32_768): (7, (0.8834, 0.8872, 0.8980, 0.8988, 0.9017, 0.9031, 0.9039, 0.9040)),
    (3, 19_683): (3, (0.8655, 0.8753, 0.8961, 0.9012, 0.9033, 0.9039)),
    (3, 59_049): (4, (0.8655, 0.8823, 0.8936, 0.9002, 0.9030, 0.9055)),
    (4, 16_384): (3, (0.8828, 0.8968, 0.9010, 0.9021)),
    (4, 65_536): (4, (0.8813, 0.8950, 0.9001, 0.9026)),
    (5, 15_625): (3, (0.8901, 0.9005, 0.9024)),
    (5, 78_125): (4, (0.8870, 0.9004, 0.9041)),
}
WINDOWS = {"mel": ((729, 729), (729, 243), (243, 243), (243, 81), (81, 81)), "raw": ((729, 243), (243, 81))}


@dataclass(frozen=True, kw_only=True)
class Member:
    """A network of the grid.

    Attributes:
        kind: "member" of the family, or its relative on frames, "mel" or "raw".
        kernel: taps and pool of each module.
        depth: number of modules.
        n_samples: length of the patch.
        window: of the first layer, in samples.
        hop: of the first layer, in samples.
        published: macro ROC-AUC, or None where it is not known.
    """

    kind: str
    kernel: int
    depth: int
    n_samples: int
    window: int
    hop: int
    published: float | None = None

    @property
    def name(self) -> str:
        """The method's name."""
        if self.kind == "member":
            return f"m{self.kernel}n{self.depth}_{self.n_samples}"
        return f"{self.kind}_{self.window}_{self.hop}"

    @property
    def family(self) -> str:
        """The name of all networks with these modules and this length."""
        return f"m{self.kernel}_{self.n_samples}" if self.kind == "member" else self.kind

    @property
    def title(self) -> str:
        """The name in tables, such as "3^9"."""
        words = {"member": "", "mel": ", mel", "raw": ", frames of the waveform"}
        return f"{self.kernel}^{self.depth}{words[self.kind]}"

    @property
    def ms(self) -> float:
        """Length of the patch in milliseconds."""
        return 1000 * self.n_samples / SAMPLE_RATE

    @property
    def n_frames(self) -> int:
        """Frames that leave the first layer."""
        return int(self.kernel**self.depth)

    @property
    def n_layers(self) -> int:
        """Convolutions, as the paper counts them: the first, the modules and the last; a mel has no first."""
        return self.depth + (1 if self.kind == "mel" else 2)

    @property
    def net(self) -> Net:
        """What is trained."""
        if self.kind == "member":
            options = {"kernel": self.kernel, "depth": self.depth, "n_samples": self.n_samples}
            return Net(recipe="samplecnn_mtt", options=options)
        recipe = {"mel": "samplecnn_mel_mtt", "raw": "samplecnn_frame_mtt"}[self.kind]
        return Net(recipe=recipe, options={"window": self.window, "hop": self.hop})

    def n_segments(self, n_samples: int = CLIP_SAMPLES) -> int:
        """Count the segments of a clip as the authors' code does: frames of the first layer, then whole patches.

        Args:
            n_samples: of the clip.

        Returns:
            How many.
        """
        return n_samples // self.hop // self.n_frames


def _all_members() -> dict[str, Member]:
    """List the networks: the members family by family, then their relatives on frames."""
    found = [
        Member(
            kind="member", kernel=kernel, depth=depth, n_samples=n_samples,
            window=n_samples // kernel**depth, hop=n_samples // kernel**depth, published=area,
        )
        for (kernel, n_samples), (least, areas) in MEMBERS.items()
        for depth, area in enumerate(areas, start=least)
    ]  # fmt: skip
    depths = {3 ** (10 - depth): depth for depth in range(4, 8)}  # by hop
    found += [
        Member(kind=kind, kernel=3, depth=depths[hop], n_samples=FRAME_SAMPLES, window=window, hop=hop)
        for kind, windows in WINDOWS.items()
        for window, hop in windows
    ]
    return {member.name: member for member in found}


ALL = _all_members()
FAMILIES = {
    family: tuple(name for name, member in ALL.items() if member.family == family)
    for family in dict.fromkeys(member.family for member in ALL.values())
}
BEST = {family: names[-1] for family, names in FAMILIES.items() if family not in WINDOWS}  # the deepest of each family
COLUMN = "m3_59049"  # the family of the network that the paper ends with
DEFAULT = tuple(name for name in ALL if name in (*BEST.values(), *FAMILIES[COLUMN], "mel_243_81"))


def published_rows() -> list[dict[str, Any]]:
    """List what was published.

    Returns:
        Rows with method, macro_roc_auc and source; the method of the mel spectrogram is "mel".
    """
    rows = [
        {"method": name, "macro_roc_auc": member.published, "source": TABLE}
        for name, member in ALL.items()
        if member.published is not None
    ]
    best = {"method": "mel", "macro_roc_auc": BEST_MEL, "source": "SMC 2017, table of results: the best of them"}
    return [*rows, best]
