"""Prepared data: a data set that is decoded once, to be read many times.

`prepare` writes a folder of Arrow files, one row a track, in the order of the data set, with `card.json` beside them.
The columns are track_id, split (train, valid or test), tags (a list of names), sample_rate, those that the data set has
of its own, notes (what is unusual about the sound), sound_hash (equal for equal samples), and samples (16 bits, mono)
or features (float16, frames of values) or both. An own column of one of these names gets a "_" behind it.

The folder can be read by other tools as it is, for example

    pyarrow.dataset.dataset(folder, format="arrow", exclude_invalid_files=True)
    datasets.load_dataset(folder)

and DuckDB reads the former, where there are no features, whose type it does not know.
"""

from __future__ import annotations

from taggram.learning._preparing import LeftOut, PrepareReport, Progress, SameSound, prepare
from taggram.learning._reading import PreparedData

__all__ = ["LeftOut", "PrepareReport", "PreparedData", "Progress", "SameSound", "prepare"]
