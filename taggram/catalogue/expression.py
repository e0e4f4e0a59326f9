"""What a catalogue can be asked, as a person writes it, and what becomes of it.

    query      = [condition] ["order" "by" key {"," key}] ["limit" N]
    condition  = all {"or" all}
    all        = one {"and" one}
    one        = "not" one | "(" condition ")" | comparison
    comparison = value ("<" | "<=" | ">" | ">=" | "=" | "!=" | "contains") value
    value      = tag or column | number | text
    key        = tag or column ["asc" | "desc"]

A name with blanks, and any text, stands in quotes, single or double. Beside a column that holds text, what stands in
quotes is text; everywhere else it is a name. What a file does not have fits no comparison, so that `not` finds exactly
the files that what follows it does not find. Nothing that was written becomes a part of the SQL: names are looked up in
the catalogue's own list, numbers and texts are parameters, and all else is one of a few fixed words.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from taggram._files import utf8
from taggram.errors import ConfigError, printable, unknown_name

LONGEST = 10_000  # characters
DEEPEST = 50  # brackets and "not" within each other
SHOWN = 60  # characters of what was not understood
MOST_WORDS = 5  # of a name that may have been meant without its quotes
LARGEST_FLOAT = 3.4028234663852886e38  # that 32 bits hold
MOST_ROWS = 2**63 - 1
TAG_PREFIX = "tag:"
EXAMPLE = "An example: guitar > 0.5 and not 'male vocal' > 0.2 order by piano desc limit 20"

NUMBER, TEXT, TIME, LIST = "number", "text", "time", "list"
COLUMNS = {
    "path": TEXT, "sha256": TEXT, "size": NUMBER, "modified": TIME, "duration_s": NUMBER, "model": TEXT,
    "weights": TEXT, "notes": LIST, "error": TEXT,
}  # fmt: skip
"""Columns that can be asked for beside tags, and what they hold."""
OF_TEXT = ", ".join(name for name, kind in COLUMNS.items() if kind in (TEXT, TIME, LIST))
KEYWORDS = frozenset({"and", "or", "not", "order", "by", "asc", "desc", "limit", "contains"})
UNLIKE = "IS DISTINCT FROM"  # also what is not there at all
OPERATORS = {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "=": "=", "==": "=", "!=": UNLIKE, "<>": UNLIKE}
TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[-+]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?(?![\w.]))
    | (?P<word>\w[\w.&/:+-]*)
    | (?P<quoted>"(?:[^"]|"")*"|'(?:[^']|'')*')
    | (?P<sign><=|>=|!=|<>|==|[<>=(),])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Column:
    """A column that was named.

    Attributes:
        name: of the column, which is that of the tag unless another column is called so.
        kind: what it holds.
        is_tag: whether it holds the scores of a tag.
    """

    name: str
    kind: str
    is_tag: bool = False

    @property
    def sql(self) -> str:
        """The column in a query."""
        quoted = '"' + self.name.replace('"', '""') + '"'
        return f"epoch_us({quoted})" if self.kind == TIME else quoted

    @property
    def finite_sql(self) -> str:
        """The column in a query, with NULL for a score that is NaN, which DuckDB takes for more than any number."""
        return f"CASE WHEN isnan({self.sql}) THEN NULL ELSE {self.sql} END" if self.is_tag else self.sql


@dataclass(frozen=True)
class Query:
    """An expression that was understood.

    Attributes:
        columns: that it names, in their order.
        where: the condition in SQL, with a question mark for each value; "" for none.
        values: of the question marks.
        order: keys in SQL; "" for none.
        limit: at most so many rows, or None for all.
        n_terms: how many comparisons and keys of the order there are, from which its cost follows.
    """

    columns: tuple[Column, ...]
    where: str
    values: tuple[Any, ...]
    order: str
    limit: int | None
    n_terms: int

    @property
    def names(self) -> list[str]:
        """What a track that is found comes with: its path, then the columns that are named."""
        return list(dict.fromkeys(["path", *(column.name for column in self.columns)]))

    @property
    def takes_failures(self) -> bool:
        """Whether files that failed are asked for too, because their error is named."""
        return any(column.name == "error" for column in self.columns)

    def at_most(self, limit: int | None) -> Query:
        """Give the same query with at most so many rows; None is as it is."""
        if limit is None or (self.limit is not None and self.limit <= limit):
            return self
        return replace(self, limit=limit)


def column_of(name: str, tags: Mapping[str, str]) -> Column:
    """Give the column that is called so, or that of a tag.

    Args:
        name: of either.
        tags: the column of each tag.

    Returns:
        The column.

    Raises:
        UnknownNameError: there is none.
    """
    if name in COLUMNS:
        return Column(name, COLUMNS[name])
    if name not in tags:
        raise unknown_name("tag or column", name, [*tags, *COLUMNS], f"columns are {', '.join(COLUMNS)}")
    return Column(tags[name], NUMBER, is_tag=True)


def parse(text: str, tags: Mapping[str, str], *, listed_by: str = "`taggram catalogue stats CATALOGUE` shows") -> Query:
    """Understand an expression.

    Args:
        text: such as "guitar > 0.5 and not 'male vocal' > 0.2 order by piano desc limit 20".
        tags: the column of each tag.
        listed_by: what shows all tags, for who names one that is not there.

    Returns:
        What is asked.

    Raises:
        ConfigError: it is no expression; the message says where.
        UnknownNameError: it names a tag that the catalogue does not have.
    """
    return _Parser(text, tags, listed_by).query()


@dataclass(frozen=True)
class _Token:
    kind: str  # "number", "word", "quoted", "sign", or "end"
    text: str
    at: int

    @property
    def keyword(self) -> str:
        word = self.text.lower()
        return word if self.kind == "word" and word in KEYWORDS else ""

    @property
    def content(self) -> str:
        """What stands in the quotes, or the word."""
        if self.kind != "quoted":
            return self.text
        mark = self.text[0]
        return self.text[1:-1].replace(mark * 2, mark)


class _Parser:
    """Reads one expression from left to right, by the rules at the top of this file."""

    def __init__(self, text: str, tags: Mapping[str, str], listed_by: str) -> None:
        if len(text) > LONGEST:
            raise ConfigError(f"the expression has {len(text)} characters; at most {LONGEST} are taken.")
        self._text = text
        self._tags = tags
        self._listed_by = listed_by
        self._without_case: dict[str, list[str]] = {}
        for tag in tags:
            self._without_case.setdefault(tag.casefold(), []).append(tag)
        self._tokens = self._split()
        self._place = 0
        self._depth = 0
        self._columns: dict[str, Column] = {}
        self._values: list[Any] = []
        self._n_terms = 0

    def query(self) -> Query:
        where = "" if self._now.kind == "end" or self._now.keyword in ("order", "limit") else self._condition()
        order = self._order() if self._take("order") else ""
        limit = self._limit() if self._take("limit") else None
        if self._now.kind != "end":
            self._fail("wanted " + ("its end" if limit else "and, or, order by, limit or its end"))
        return Query(tuple(self._columns.values()), where, tuple(self._values), order, limit, self._n_terms)

    # -- conditions ----------------------------------------------------------------------------------------------------

    def _condition(self) -> str:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"

    def _all(self) -> str:
        parts = [self._one()]
        while self._take("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else f"({' AND '.join(parts)})"

    def _one(self) -> str:
        if self._take("not"):
            self._go_down()
            found = f"({self._one()} IS NOT TRUE)"
        elif self._take("("):
            self._go_down()
            found = self._condition()
            if not self._take(")"):
                self._fail("wanted ) and, before it, whole comparisons")
        else:
            return self._comparison()
        self._depth -= 1
        return found

    def _go_down(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            self._fail(f"wanted at most {DEEPEST} brackets and nots within each other")

    def _comparison(self) -> str:
        self._n_terms += 1
        text = self._text_on_the_left()
        left = self._value(None) if text is None else text
        operator = self._now
        if operator.keyword != "contains" and operator.text not in OPERATORS:
            self._fail("wanted one of < <= > >= = != contains" + (self._between_hint() or self._quotes_hint()))
        self._place += 1
        right = self._value(left)
        if self._now.kind == "sign" and self._now.text in OPERATORS:
            hint = self._chain_hint() if isinstance(right, Column) else ""
            self._fail("wanted one sign in each comparison" + hint)
        if isinstance(left, Column):
            return self._compare(left, operator, right)
        if isinstance(right, Column) and operator.text in OPERATORS:
            return self._compare(right, _Token("sign", _turned(operator.text), operator.at), left)
        return self._fail("wanted a tag or a column on one side", operator)

    def _text_on_the_left(self) -> str | None:
        """Read what stands in quotes as text, where a column that holds text or a time follows on its right."""
        token, *after = self._tokens[self._place : self._place + 3]
        if token.kind != "quoted" or len(after) < 2 or after[0].text not in OPERATORS:
            return None
        right = self._find(after[1].content)
        if right is None or right.kind not in (TEXT, TIME) or self._find(token.content) is not None:
            return None
        self._place += 1
        return utf8(token.content)

    def _compare(self, column: Column, operator: _Token, other: Column | float | str) -> str:
        """Write a comparison, whose value becomes a parameter."""
        if operator.keyword == "contains":
            return self._contains(column, operator, other)
        if column.kind == LIST:
            self._fail(f"{column.name} holds a list; wanted contains", operator)
        sign = OPERATORS[operator.text]
        if isinstance(other, Column):
            if other.kind != column.kind:
                self._fail(f"{column.name} holds a {column.kind} and {other.name} a {other.kind}", operator)
            return self._of_numbers(f"{column.sql} {sign} {other.sql}", sign, column, other)
        if column.kind == TEXT and (sign not in ("=", UNLIKE) or not isinstance(other, str)):
            self._fail(f"{column.name} holds text; wanted =, != or contains, and a text in quotes", operator)
        self._values.append(self._time(other, operator) if column.kind == TIME else other)
        if not column.is_tag:
            return f"{column.sql} {sign} ?"
        if abs(self._values[-1]) > LARGEST_FLOAT:
            self._values[-1] = math.copysign(math.inf, self._values[-1])
        # as wide as the scores, so that whole blocks can be passed over
        return self._of_numbers(f"{column.sql} {sign} CAST(? AS FLOAT)", sign, column)

    def _of_numbers(self, comparison: str, sign: str, *columns: Column) -> str:
        """Let no score fit that is NaN."""
        if sign == UNLIKE or (len(columns) == 1 and sign not in (">", ">=")):
            return comparison
        tags = [column.sql for column in columns if column.is_tag]
        return f"({' AND '.join([comparison, *(f'NOT isnan({tag})' for tag in tags)])})" if tags else comparison

    def _contains(self, column: Column, operator: _Token, other: Column | float | str) -> str:
        """Write a search for a part of a text, whatever the case."""
        if column.kind not in (TEXT, LIST) or not isinstance(other, str):
            self._fail("contains looks for a text in quotes in path, notes, error, model, weights or sha256", operator)
        self._values.append(other)
        text = f"array_to_string({column.sql}, '; ')" if column.kind == LIST else column.sql
        return f"contains(lower({text}), lower(?))"

    def _value(self, left: Column | float | str | None) -> Column | float | str:
        """Read a side of a comparison; what its quotes mean hangs on what stands on the left."""
        token = self._now
        if token.kind == "number":
            self._place += 1
            return float(token.text)
        is_text = isinstance(left, Column) and left.kind in (TEXT, TIME, LIST)
        if token.kind == "quoted" and is_text:
            self._place += 1
            return utf8(token.content)
        if token.kind == "quoted" or (token.kind == "word" and not token.keyword):
            return self._named(left if token.kind == "quoted" else None)
        if is_text:
            return self._fail("wanted a text in quotes")
        return self._fail(
            "wanted a tag or a column" + (" or a number" if left is not None else " to compare, such as guitar > 0.5")
        )

    def _time(self, value: object, operator: _Token) -> int:
        """Turn a date into microseconds since 1970; without a zone it is UTC."""
        try:
            moment = dt.datetime.fromisoformat(str(value))
        except ValueError:
            self._fail('modified holds a time; wanted one such as "2026-01-31" or "2026-01-31T12:00"', operator)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)

    # -- order and limit -----------------------------------------------------------------------------------------------

    def _order(self) -> str:
        if not self._take("by"):
            self._fail("wanted by")
        keys = []
        while True:
            if self._now.kind not in ("word", "quoted") or self._now.keyword:
                self._fail("wanted a tag or a column to order by")
            column = self._named()
            if column.kind == LIST:
                self._fail(f"{column.name} holds a list, which has no order")
            down = self._take("desc")
            if not down:
                self._take("asc")
            self._n_terms += 1
            keys.append(f"{column.finite_sql} {'DESC' if down else 'ASC'} NULLS LAST")
            if not self._take(","):
                return ", ".join(keys)

    def _limit(self) -> int:
        token = self._now
        if not re.fullmatch("[0-9]{1,19}", token.text) or not 1 <= int(token.text) <= MOST_ROWS:
            self._fail("wanted a whole number from 1 on")
        self._place += 1
        return int(token.text)

    # -- names ---------------------------------------------------------------------------------------------------------

    def _named(self, left: Column | float | str | None = None) -> Column:
        """Read the name of a tag or of a column; in quotes it may have been meant as text, beside what holds none."""
        token = self._now
        found = self._find(token.content)
        if found is None:
            hint = self._quotes_hint()
            if hint:
                self._fail("wanted a tag or a column" + hint)
            about = f"{self._listed_by} all {len(self._tags)} tags; columns are {', '.join(COLUMNS)}"
            if isinstance(left, Column):
                about = f"{left.name} holds a number, and text is compared with {OF_TEXT} alone; {about}"
            raise unknown_name("tag or column", _shortened(token.content), [*self._tags, *COLUMNS], about)
        self._place += 1
        return self._columns.setdefault(found.name, found)

    def _find(self, name: str) -> Column | None:
        """Find a column or a tag: the one of just this name, else of this name in other letters; columns go first."""
        column = name if name in self._tags else name.lower()
        if column in COLUMNS:
            return Column(column, COLUMNS[column])
        for one in (name, name.removeprefix(TAG_PREFIX)):
            same = [one] if one in self._tags else self._without_case.get(one.casefold(), [])
            if len(same) == 1:
                return Column(self._tags[same[0]], NUMBER, is_tag=True)
        return None

    def _quotes_hint(self) -> str:
        """Say that quotes are wanted, where words around this one make a tag together."""
        first = self._place
        while first > max(0, self._place - MOST_WORDS) and self._is_plain_word(first - 1):
            first -= 1
        for start in range(first, self._place + 1):
            words = []
            for place in range(start, min(start + MOST_WORDS, len(self._tokens))):
                if not self._is_plain_word(place):
                    break
                words.append(self._tokens[place].text)
                if len(words) > 1 and place >= self._place and self._find(" ".join(words)):
                    return f'; a name with blanks stands in quotes: "{" ".join(words)}"'
        return ""

    def _between_hint(self) -> str:
        """Say how `piano between 0.2 and 0.3` is written."""
        if self._now.text.lower() != "between":
            return ""
        name, _, low, _, high = self._five(self._place - 1)
        return f"; write: {name} >= {low or '0.2'} and {name} <= {high or '0.3'}"

    def _chain_hint(self) -> str:
        """Say how `0.2 <= piano <= 0.3` is written."""
        low, sign, name, other, high = self._five(self._place - 3)
        return f"; write: {name} {_turned(sign)} {low} and {name} {other} {high or '0.3'}"

    def _five(self, first: int) -> list[str]:
        """Give what five tokens say, "" beyond the last."""
        texts = [_shortened(token.text) for token in self._tokens[first : first + 5]]
        return texts + [""] * (5 - len(texts))

    def _is_plain_word(self, place: int) -> bool:
        return self._tokens[place].kind == "word" and not self._tokens[place].keyword

    # -- tokens --------------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> _Token:
        return self._tokens[self._place]

    def _take(self, word: str) -> bool:
        """Take a keyword or a sign, if it comes now."""
        token = self._now
        if token.keyword != word and not (token.kind == "sign" and token.text == word):
            return False
        self._place += 1
        return True

    def _split(self) -> list[_Token]:
        tokens, at, end = [], 0, len(self._text.rstrip())
        while at < end:
            match = TOKEN.match(self._text, at)
            if match is None or match.lastgroup is None:
                rest = self._text[at:].lstrip()
                self._refuse(rest, len(self._text) - len(rest))
            tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            at = match.end()
        return [*tokens, _Token("end", "", end)]

    def _refuse(self, rest: str, at: int) -> NoReturn:
        """Refuse a sign that has no meaning here."""
        if rest[0] in "\"'":
            raise ConfigError(f"the expression has a quote at place {at + 1} that is never closed.")
        plain = " Quotes are \" or '." if "QUOTATION" in unicodedata.name(rest[0], "") else ""
        raise ConfigError(
            f"the expression has {_shortened(rest)!r} at place {at + 1}, which means nothing there.{plain} {EXAMPLE}"
        )

    def _fail(self, wanted: str, token: _Token | None = None) -> NoReturn:
        token = token or self._now
        came = f"has {_shortened(self._text[token.at :])!r} at place {token.at + 1}"
        if token.kind == "end":
            came = "ends too soon"
        raise ConfigError(f"the expression {came}; {wanted}. {EXAMPLE}")


def _turned(sign: str) -> str:
    """Turn a sign around, as its sides change places."""
    return sign if sign == "<>" else sign.translate(str.maketrans("<>", "><"))


def _shortened(text: str) -> str:
    plain = printable(text)
    return plain if len(plain) <= SHOWN else f"{plain[:SHOWN]}..."
