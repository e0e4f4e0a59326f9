"""Tags of what is heard now, with how long they took."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from taggram.apps._outputs import SCORE_DIGITS, TIME_DIGITS, Format, clock
from taggram.apps._progress import say
from taggram.apps._sound_in import BLOCK_S, list_inputs, open_input
from taggram.errors import ConfigError, check_above_zero
from taggram.results import best_tags

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.table import Table

    from taggram.apps._tagging import TaggerSettings

BAR_LETTERS = 30
HELD_S = 600.0  # of arrival times, far more than any patch lasts
HELD_LATENCIES = 10_000  # the last ones


@dataclass
class _Arrivals:
    """When each stretch of sound was there.

    Attributes:
        ends: (seconds of sound until then, when that was).
        heard_s: seconds of sound so far.
    """

    ends: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=round(HELD_S / BLOCK_S)))
    heard_s: float = 0.0

    def add(self, length_s: float, at_s: float) -> None:
        """Take in that so much more sound is there."""
        self.heard_s += length_s
        self.ends.append((self.heard_s, at_s))

    def of(self, time_s: float) -> float:
        """Say when the sound up to a time was there."""
        while len(self.ends) > 1 and self.ends[0][0] < time_s:
            self.ends.popleft()
        return self.ends[0][1]


class _Show:
    """Shows the tags of a moment: bars that stay in place on a terminal, lines elsewhere.

    Args:
        kind: text or JSON.
        top: at most so many tags.
        threshold: least score.
        patch_s: length of what is looked at, in seconds.
    """

    def __init__(self, kind: Format, top: int | None, threshold: float, patch_s: float) -> None:
        self._kind = kind
        self._top = top
        self._threshold = threshold
        self._patch_s = patch_s
        self._live: Any = None
        if kind is Format.text and sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(auto_refresh=False)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, tags: tuple[str, ...], scores: NDArray[np.float32], time_s: float, latency_s: float) -> None:
        """Show one moment.

        Args:
            tags: names.
            scores: (tags,).
            time_s: where the patch starts.
            latency_s: from its last sample to now.
        """
        best = best_tags(tags, scores, self._top, self._threshold)
        if self._live:
            self._live.update(_bars(best, time_s + self._patch_s, latency_s), refresh=True)
            return
        if self._kind is Format.json:
            fields = {
                "time_s": round(time_s, TIME_DIGITS),
                "patch_s": round(self._patch_s, TIME_DIGITS),
                "latency_s": round(latency_s, 3),
                "tags": [{"tag": tag, "score": round(score, SCORE_DIGITS)} for tag, score in best],
            }
            print(json.dumps(fields, ensure_ascii=False), flush=True)
        else:
            print("\t".join([clock(time_s), *(f"{tag}={score:.2f}" for tag, score in best)]), flush=True)


def listen_to(
    source: str,
    settings: TaggerSettings,
    *,
    kind: Format,
    top: int | None,
    threshold: float,
    sample_rate: int | None,
    n_channels: int,
) -> None:
    """Tag sound while it comes in, and say at the end how quick that was.

    Args:
        source: number or name of a microphone, "" for the system's own, or "-" for a pipe.
        settings: of the tagger.
        kind: text or JSON.
        top: at most so many tags a moment.
        threshold: least score.
        sample_rate: in Hz, of samples through a pipe without a header; None wants a WAV file.
        n_channels: of such samples.

    Raises:
        ConfigError: an option makes no sense, or there is no such input.
        AudioError: the input cannot be opened or read.
        MissingExtraError: sounddevice is not installed.
        UnknownNameError: there is no such model.
        WeightsError: its weights cannot be had.
    """
    if kind not in (Format.text, Format.json):
        raise ConfigError(f"--format {kind} is for files; listen has text and json.")
    check_above_zero(sample_rate=sample_rate)
    ready = settings.ready()
    sound = open_input(source, sample_rate=sample_rate, n_channels=n_channels)
    from taggram.tagger import Tagger  # torch loads when all else is right

    tagger = Tagger(**ready)
    arrivals = _Arrivals()
    latencies_s: deque[float] = deque(maxlen=HELD_LATENCIES)
    n_tagged = n_skipped = 0

    def blocks() -> Iterator[NDArray[np.float32]]:
        for block in sound:
            arrivals.add(len(block.samples) / sound.sample_rate, block.at_s)
            yield block.samples

    def is_late() -> bool:
        nonlocal n_skipped
        late = sound.is_live and sound.waiting_s > tagger.hop_s
        n_skipped += late
        return late

    say(f"listening to {sound.name}; the first tags come after {tagger.patch_s:.1f} s, then every {tagger.hop_s:.2g} s")
    try:
        with sound, _Show(kind, top, threshold, tagger.patch_s) as screen:
            for time_s, scores in tagger.tag_live(blocks(), sample_rate=sound.sample_rate, skip=is_late):
                latencies_s.append(time.monotonic() - arrivals.of(time_s + tagger.patch_s))
                n_tagged += 1
                screen.show(tagger.tags, scores, time_s, latencies_s[-1])
    finally:
        say(_summary(arrivals.heard_s, latencies_s, n_tagged, n_skipped, sound.n_lost))


def print_inputs() -> None:
    """Print the microphones, a line each.

    Raises:
        MissingExtraError: sounddevice is not installed.
        AudioError: the system's part of it is missing.
    """
    print(*list_inputs() or ["there is no microphone here"], sep="\n")


def _bars(best: list[tuple[str, float]], now_s: float, latency_s: float) -> Table:
    """Draw the tags of a moment as bars."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, title=f"{clock(now_s)}   {latency_s:.2f} s behind", title_justify="left")
    for tag, score in best:
        table.add_row(Text(tag), f"{score:.2f}", Text("█" * round(BAR_LETTERS * score), style="magenta"))
    return table


def _summary(heard_s: float, latencies_s: Sequence[float], n_tagged: int, n_skipped: int, n_lost: int) -> str:
    """Say in one line what was heard, and how quickly it was tagged."""
    line = f"heard {heard_s:.1f} s, {n_tagged} times tagged"
    if latencies_s:
        median, most = np.percentile(latencies_s, [50, 95])
        line += f"; from a patch's last sample to its tags {median:.2f} s (95 % within {most:.2f} s)"
    if n_skipped:
        line += f"; {n_skipped} patches were skipped, since this machine is too slow for so small a --hop-s"
    if n_lost:
        line += f"; sound was lost {n_lost} times on its way in, since this machine was too slow to take it"
    return line
