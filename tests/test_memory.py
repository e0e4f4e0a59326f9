"""The C library keeps memory for a training, and is as before behind it."""

from __future__ import annotations

import ctypes

import pytest
import torch

from taggram.errors import ConfigError
from taggram.learning import memory
from taggram.learning.config import FitConfig
from taggram.learning.fit import _keeps_memory
from taggram.learning.memory import KEEPING, USUAL, memory_kept


class Malloc:
    """Stands for the C library, and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.n_trims = 0

    def mallopt(self, name: int, value: int) -> None:
        self.told.append((name, value))

    def malloc_trim(self, _: int) -> None:
        self.n_trims += 1


@pytest.fixture
def malloc(monkeypatch) -> Malloc:
    stand_in = Malloc()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: stand_in)
    return stand_in


def test_memory_is_kept_for_a_while_and_given_back(malloc):
    with memory_kept(True):
        assert malloc.told == [*KEEPING.items()]
        assert malloc.n_trims == 0
    assert malloc.told[len(KEEPING) :] == [*USUAL.items()]
    assert malloc.n_trims == 1


def test_memory_is_given_back_behind_an_error(malloc):
    with pytest.raises(ZeroDivisionError), memory_kept(True):
        raise ZeroDivisionError
    assert malloc.n_trims == 1


def test_nothing_is_changed_where_it_is_not_asked_for(malloc):
    with memory_kept(False):
        pass
    assert not malloc.told
    assert malloc.n_trims == 0


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    with memory_kept(True):
        pass


@pytest.mark.parametrize(
    ("asked", "device", "has_gpu", "keeps"),
    [
        (None, "cpu", True, True),
        (None, "auto", False, True),
        (None, "auto", True, False),
        (None, "cuda:1", True, False),
        (False, "cpu", False, False),
        (True, "cuda", True, True),
    ],
)
def test_a_training_on_a_cpu_keeps_memory_unless_told_otherwise(asked, device, has_gpu, keeps, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: has_gpu)
    assert _keeps_memory(FitConfig(keep_memory=asked), device) is keeps


def test_a_word_for_keep_memory_is_refused():
    with pytest.raises(ConfigError, match="keep_memory"):
        FitConfig(keep_memory="yes")
