"""The checks of options: what fits, what does not, and the words it is refused with."""

from __future__ import annotations

import pytest

from taggram._checks import check_choice, check_count, check_flag, check_share, is_number, whole_numbers
from taggram.errors import ConfigError


@pytest.mark.parametrize("limits", [{"least": 3}, {"most": 3}, {"least": 3, "most": 3}], ids=str)
def test_count_may_be_at_its_limits(limits):
    check_count("n", 3, **limits)


@pytest.mark.parametrize(
    ("came", "limits", "wanted"),
    [
        (0, {}, "from 1 on"),
        (True, {}, "from 1 on"),
        (1.0, {}, "from 1 on"),
        ("1", {}, "from 1 on"),
        (None, {}, "from 1 on"),
        (2, {"least": 3}, "from 3 on"),
        (4, {"least": 0, "most": 3}, "from 0 to 3"),
    ],
    ids=str,
)
def test_what_is_no_count_within_limits_is_refused(came, limits, wanted):
    with pytest.raises(ConfigError, match=f"^n is {came!r}; wanted a whole number {wanted}.$"):
        check_count("n", came, **limits)


@pytest.mark.parametrize("came", [0, 0.0, 0.5, 0.999])
def test_share_is_from_0_to_below_1(came):
    check_share("dropout", came)


@pytest.mark.parametrize("came", [-0.1, 1, float("nan"), True, "0.5", None], ids=str)
def test_what_is_no_share_is_refused(came):
    with pytest.raises(ConfigError, match=f"^dropout is {came!r}; wanted a number from 0 to below 1.$"):
        check_share("dropout", came)


@pytest.mark.parametrize("came", [0, 1, None, "yes"], ids=str)
def test_what_is_no_flag_is_refused(came):
    with pytest.raises(ConfigError, match=f"^option is {came!r}; wanted True or False.$"):
        check_flag("option", came)


@pytest.mark.parametrize(
    ("came", "choices", "wanted"),
    [
        ("mean", ("max", "avg"), "'max', 'avg'"),
        ("", {"max": 1, "avg": 2}, "'max', 'avg'"),
        (["max"], ("max", "avg"), "'max', 'avg'"),
        (True, (1, 2), "1, 2"),
        (1.0, (1, 2), "1, 2"),
        ("", ("max", None), "'max', None"),
    ],
    ids=str,
)
def test_what_is_no_choice_is_refused_with_the_choices(came, choices, wanted):
    with pytest.raises(ConfigError) as refused:
        check_choice("option", came, choices)
    assert str(refused.value) == f"option is {came!r}; wanted one of {wanted}."


@pytest.mark.parametrize("value", [float("inf"), float("nan"), False, "1", None], ids=str)
def test_what_is_no_number(value):
    assert not is_number(value)


@pytest.mark.parametrize(
    ("came", "numbers"),
    [
        ("18,27", (18, 27)),
        ("18, -27", (18, -27)),
        ([18, 27], (18, 27)),
        ((18,), (18,)),
        (18, (18,)),
        ("", ()),
        ("18,x", ()),
        ([18, 2.5], ()),
        ([18, True], ()),
        (1.5, ()),
        (None, ()),
        ((), ()),
    ],
    ids=str,
)
def test_whole_numbers(came, numbers):
    assert whole_numbers(came) == numbers
