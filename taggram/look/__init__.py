"""What a network learned: the filters that see its input, what its units want to hear, and how it scales channels.

`first_filters` takes the kernels as they are. `ascend` changes noise until a unit of some layer answers it most.
`excitations` averages the excitations of squeeze-and-excitation blocks by tag, and sets those of the first block beside
the loudness of the sound; `tagged_excitations` does so with clips that come one by one. Each gives arrays, and a
picture of them by `plot()`.

Source: for `ascend` Lee, Park, Kim and Nam, "Sample-level deep convolutional neural networks for music auto-tagging
    using raw waveforms", SMC 2017, and its code; for `excitations` Kim, Lee and Nam, "Sample-level CNN architectures
    for music auto-tagging using raw waveforms", ICASSP 2018, with its code and poster.
Differs: the code of the ascent has batch norms take the statistics of the one signal, which brings every layer to the
    same level; here they are those that were learned, unless `batch_statistics` is chosen. Its spectrum is that of a
    frame centred on the first sample, which hears half of the signal mirrored; here it is that of the whole signal. All
    units start from the same noise. It is for waveforms; spectrograms are climbed in a like way, see `ascend`. What the
    poster calls loudness is not said; here it is the root mean square of a segment.
"""

from __future__ import annotations

from taggram.look._ascent import Ascent, ascend, layers_to_show
from taggram.look._excitation import ClipExcitations, Excitations, excitations, excite, tagged_excitations
from taggram.look._filters import FilterGroup, Filters, first_filters
from taggram.look._network import Bands, time_layers

__all__ = [
    "Ascent",
    "Bands",
    "ClipExcitations",
    "Excitations",
    "FilterGroup",
    "Filters",
    "ascend",
    "excitations",
    "excite",
    "first_filters",
    "layers_to_show",
    "tagged_excitations",
    "time_layers",
]
