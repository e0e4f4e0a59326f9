"""The second half of a catalogue on a GPU: rows that came with frames get their scores, many files in a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from taggram.catalogue.rows import Row, in_groups

GROUP_ROWS = 64  # files that wait for each other
GROUP_BYTES = 2**27  # of their frames


class Network:
    """Gives rows their scores, on the device of a tagger in this process. Its `fingerprint` is as on the card.

    Args:
        settings: those of `Tagger`.
        card: what catalogue.json holds.
    """

    def __init__(self, settings: Mapping[str, Any], card: Mapping[str, Any]) -> None:
        from taggram.catalogue._worker import describe_tagger
        from taggram.tagger import Tagger

        self._tagger = Tagger(**settings)
        self._over_time = card["settings"]["over_time"]
        self.fingerprint: str = describe_tagger(self._tagger, settings, over_time=self._over_time)["fingerprint"]

    def finished(self, rows: Sequence[Row]) -> list[Row]:
        """Make scores of frames.

        Args:
            rows: of files, with frames or without.

        Returns:
            The same rows in order, none with frames.
        """
        from taggram._two_stages import scores_and_features

        open_ = [row.frames for row in rows if row.frames is not None]
        results = iter(scores_and_features(self._tagger, open_))
        return [row if row.frames is None else self._with_scores(row, *next(results)) for row in rows]

    def all_finished(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Make scores of frames as they come.

        Args:
            rows: of files, with frames or without.

        Yields:
            The same rows in order, none with frames.
        """
        for group in in_groups(rows, most_bytes=GROUP_BYTES, most_rows=GROUP_ROWS):
            yield from self.finished(group)

    def _with_scores(self, row: Row, scores: Any, features: Any) -> Row:
        return replace(
            row,
            scores=scores.mean(axis=0),
            embedding=features.mean(axis=0),
            taggram=scores if self._over_time else None,
            frames=None,
        )


def goes_in_two(settings: Mapping[str, Any], has_gpu: bool) -> bool:
    """Tell whether files are decoded on CPUs and their frames sent to a GPU.

    Kits look at the sound of each patch and not at frames, and onnxruntime computes on the CPU. Long tracks stay on the
    CPU, which may not have the numbers that a GPU has.

    Args:
        settings: those of `Tagger`.
        has_gpu: whether there is one.

    Returns:
        Whether a catalogue by these settings takes two stages.
    """
    wanted = has_gpu if settings["device"] == "auto" else settings["device"] != "cpu"
    is_usual = settings["engine"] == "torch" and settings["precision"] == "float32"
    return wanted and is_usual and settings["kit"] is None
