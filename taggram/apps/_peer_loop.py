"""Paths in, seconds and scores out: the loop of all programs that `_peer.Peer` runs with another Python.

It takes a path a line, as JSON, on standard input. On standard output it says that it is ready, once everything is
imported and loaded, and then answers each path with a JSON object: for each way to tag it the seconds, the CPU seconds
of all threads, and the scores (patches, tags) where the way gives them. It imports nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

Ways = dict[str, Callable[[str], Any]]
"""What tags a path, by name, and gives (patches, tags) or None."""


def answer_paths(make_ways: Callable[[], Ways]) -> None:
    """Answer paths until standard input ends.

    Args:
        make_ways: imports and loads what is needed.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print how far they are
    warnings.filterwarnings("ignore")
    ways = make_ways()
    _answer(answers, {"ready": True})
    for line in sys.stdin:
        try:
            _answer(answers, {name: _measure(way, json.loads(line)) for name, way in ways.items()})
        except Exception as error:  # libraries raise whatever their decoders raise, often without a message
            _answer(answers, {"error": f"{type(error).__name__}: {error}".rstrip(": ")})


def _measure(way: Callable[[str], Any], path: str) -> dict[str, Any]:
    """Tag one path in one way."""
    began, began_cpu = time.perf_counter(), time.process_time()
    scores = way(path)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    rows = None if scores is None else [list(map(float, row)) for row in scores]
    return {"s": seconds, "cpu_s": cpu_s, "scores": rows}


def _answer(stream: Any, message: dict[str, Any]) -> None:
    """Write one line of JSON."""
    stream.write(json.dumps(message) + "\n")
    stream.flush()
