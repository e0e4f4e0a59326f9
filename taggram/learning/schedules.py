"""When the learning rate drops, when training goes back to its best weights, and when it ends.

A schedule is told the losses of each epoch and decides. The rules are those of the published trainings; each is a small
machine whose state is a few numbers, so that a run that goes on decides as one that was never cut short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from taggram._checks import check, check_choice, check_count, is_number

Rule = Literal["constant", "drops", "plateau", "plateau_in_total", "stages", "on_improvement"]
RULES: tuple[Rule, ...] = ("constant", "drops", "plateau", "plateau_in_total", "stages", "on_improvement")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate changes.

    The rules: "constant" keeps it. "drops" multiplies it after the epochs `at`. "plateau" multiplies it when the loss
    has not improved for `patience` epochs in a row. "plateau_in_total" counts the epochs without improvement since the
    last drop, also where they do not follow each other, and looks before it counts (musicnn). "stages" does as
    "plateau", goes back to the best weights with a fresh optimiser, and ends after `n_drops` of them (SampleCNN).
    "on_improvement" drops at an improvement that comes after more than `patience` epochs without (Pons's first
    networks).

    Attributes:
        rule: see above.
        factor: what the rate is multiplied by.
        patience: epochs without improvement.
        at: for "drops": epochs, counted from 1, after which it drops.
        n_drops: for "stages": drops before the end.
        monitor: whose loss counts.
        stop_after: epochs without improvement after which training ends, counted as the rule counts; None is never.
        stop_after_best: epochs in a row without improvement after which training ends, whatever the rule does; None is
            never.

    Raises:
        ConfigError: some value makes no sense.
    """

    rule: Rule = "constant"
    factor: float = 0.5
    patience: int = 10
    at: tuple[int, ...] = ()
    n_drops: int = 4
    monitor: Literal["valid_loss", "train_loss"] = "valid_loss"
    stop_after: int | None = None
    stop_after_best: int | None = None

    def __post_init__(self) -> None:
        check_choice("rule", self.rule, RULES)
        check(is_number(self.factor) and 0 < self.factor < 1, "factor", self.factor, "a number between 0 and 1")
        check_count("patience", self.patience)
        check_count("n_drops", self.n_drops, 0)
        check_choice("monitor", self.monitor, ("valid_loss", "train_loss"))
        are_epochs = isinstance(self.at, tuple) and all(isinstance(at, int) and at >= 1 for at in self.at)
        check(are_epochs, "at", self.at, "epochs from 1 on, such as [20, 30]")
        if self.stop_after is not None:
            check_count("stop_after", self.stop_after)
        if self.stop_after_best is not None:
            check_count("stop_after_best", self.stop_after_best)


@dataclass(frozen=True)
class Decision:
    """What follows from an epoch.

    Attributes:
        lr_scale: what the first learning rate is multiplied by from now on.
        improved: whether the loss is the best so far.
        restart: whether to go back to the best weights with a fresh optimiser.
        stop: whether this was the last epoch.
    """

    lr_scale: float
    improved: bool
    restart: bool = False
    stop: bool = False


class Schedule:
    """The state of a schedule.

    Args:
        config: the rule.
    """

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config
        self._best = math.inf
        self._count = 0  # epochs without improvement, as the rule counts
        self._n_drops = 0
        self._n_epochs = 0
        self._n_since_best = 0

    @property
    def lr_scale(self) -> float:
        """What the first learning rate is multiplied by."""
        return float(self.config.factor**self._n_drops)

    def end_epoch(self, loss: float) -> Decision:
        """Decide what follows from an epoch.

        Args:
            loss: that the config monitors; not a number counts as no improvement.

        Returns:
            The decision.
        """
        self._n_epochs += 1
        before = self._count
        improved = loss < self._best
        if improved:
            self._best = loss
        self._n_since_best = 0 if improved else self._n_since_best + 1
        drop = self._counted(improved, before)
        stop = self.config.stop_after is not None and self._count > self.config.stop_after
        stop = stop or (self.config.stop_after_best is not None and self._n_since_best >= self.config.stop_after_best)
        restart = False
        if drop:
            stop = stop or (self.config.rule == "stages" and self._n_drops == self.config.n_drops)
            if not stop:
                self._n_drops += 1
                restart = self.config.rule == "stages"
                if restart:
                    self._best = math.inf  # each stage is measured by itself, so its first epoch improves
        return Decision(self.lr_scale, improved, restart, stop)

    def _counted(self, improved: bool, before: int) -> bool:
        """Count the epoch as the rule does, and tell whether the rate is to drop."""
        rule, patience = self.config.rule, self.config.patience
        if rule == "plateau_in_total":
            drop = before >= patience
            self._count = (0 if drop else before) + (not improved)
            return drop
        if rule == "on_improvement":
            drop = improved and before > patience
            self._count = 0 if drop else before + (not improved)
            return drop
        self._count = 0 if improved else before + 1
        if rule == "drops":
            return self._n_epochs in self.config.at
        if rule in ("plateau", "stages") and self._count >= patience:
            self._count = 0
            return True
        return False

    def state_dict(self) -> dict[str, Any]:
        """Give the state as plain numbers."""
        return {
            "best": self._best, "count": self._count, "n_drops": self._n_drops, "n_epochs": self._n_epochs,
            "n_since_best": self._n_since_best,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state.

        Args:
            state: what `state_dict` gave.
        """
        self._best, self._count = float(state["best"]), int(state["count"])
        self._n_drops, self._n_epochs = int(state["n_drops"]), int(state["n_epochs"])
        self._n_since_best = int(state.get("n_since_best", 0))  # runs that were begun earlier have none
