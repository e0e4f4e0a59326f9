"""What a catalogue can be asked: what is understood, and that nothing else ever reaches the database."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taggram.catalogue.expression import DEEPEST, LONGEST, TOKEN, parse
from taggram.errors import ConfigError, UnknownNameError

TAGS = {
    "guitar": "guitar", "piano": "piano", "male vocal": "male vocal", "80s": "80s", "r&b": "r&b", "path": "tag:path",
    'say "no"': 'say "no"', "limit": "limit",
}  # fmt: skip


def where(text):
    query = parse(text, TAGS)
    return query.where, query.values


def test_numbers_are_parameters():
    assert where("guitar < 0.5") == ('"guitar" < CAST(? AS FLOAT)', (0.5,))


def test_and_binds_closer_than_or():
    assert where("guitar < 1 or piano < 2 and 80s < 3")[0].replace(" CAST(? AS FLOAT)", "") == (
        '("guitar" < OR ("piano" < AND "80s" <))'
    )


def test_brackets_and_not_are_kept():
    assert where("not (size > duration_s or size < 1)")[0] == '(("size" > "duration_s" OR "size" < ?) IS NOT TRUE)'


@pytest.mark.parametrize("name", ['"male vocal"', "'male vocal'", "'Male Vocal'", '"tag:male vocal"'])
def test_name_with_blanks_stands_in_quotes(name):
    assert where(f"{name} < 0.5")[0] == '"male vocal" < CAST(? AS FLOAT)'


def test_quote_in_a_name_is_doubled():
    assert where('"say ""no""" < 0.5')[0] == '"say ""no""" < CAST(? AS FLOAT)'


def test_keyword_in_quotes_is_a_name():
    assert where("'limit' < 0.5 limit 3")[0] == '"limit" < CAST(? AS FLOAT)'


def test_column_goes_before_a_tag_of_its_name():
    assert [parse(f"{name} = 'a'", TAGS).columns[0].is_tag for name in ("path",)] == [False]
    assert parse("tag:path > 0.5", TAGS).columns[0].name == "tag:path"


def test_case_of_a_column_does_not_matter_and_a_tag_of_just_that_name_goes_first():
    assert where("Duration_S > 1 and PATH contains 'a'")[0] == where("duration_s > 1 and path contains 'a'")[0]
    assert parse("Path > 0.5", {"Path": "tag"}).columns[0].is_tag


@pytest.mark.parametrize("text", ["0.2 <= piano <= 0.3", "piano between 0.2 and 0.3", "piano BETWEEN 0.2, 0.3"])
def test_both_ends_of_a_range_are_told_how_to_be_written(text):
    with pytest.raises(ConfigError, match=r"write: piano >= 0\.2 and piano <= 0\.3"):
        parse(text, TAGS)


def test_text_beside_a_tag_is_told_where_text_belongs():
    with pytest.raises(UnknownNameError, match="piano holds a number, and text is compared with path, "):
        parse("piano > 'x'", TAGS)


def test_number_may_stand_on_the_left():
    assert where("0.2 >= guitar") == ('"guitar" <= CAST(? AS FLOAT)', (0.2,))


@pytest.mark.parametrize("text", ["'2026-01-31' < modified", "'x' = path", "'' != error", "'x' = \"path\""])
def test_text_may_stand_on_the_left(text):
    left, operator, right = text.split()
    turned = {"<": ">", "=": "=", "!=": "!="}[operator]
    assert where(text) == where(f"{right.strip(chr(34))} {turned} {left}")


def test_score_that_is_no_number_fits_nothing():
    assert where("guitar >= 0.2")[0] == '("guitar" >= CAST(? AS FLOAT) AND NOT isnan("guitar"))'
    assert where("guitar < piano")[0] == '("guitar" < "piano" AND NOT isnan("guitar") AND NOT isnan("piano"))'


def test_unlike_takes_in_what_is_not_there():
    assert where("error != 'x'")[0] == '"error" IS DISTINCT FROM ?'


def test_text_is_a_parameter():
    assert where('path contains "it\'s; drop"')[1] == ("it's; drop",)


def test_text_that_is_no_utf8_is_looked_for_as_the_catalogue_has_it():
    assert where("path = '/caf\udce9'") == ('"path" = ?', ("/caf\\udce9",))


def test_time_without_a_zone_is_utc():
    assert where("modified >= '1970-01-02'")[1] == (86_400 * 10**6,)


def test_order_and_limit():
    query = parse("guitar > 0.5 order by piano desc, duration_s limit 20", TAGS)
    assert (query.order, query.limit) == (
        'CASE WHEN isnan("piano") THEN NULL ELSE "piano" END DESC NULLS LAST, "duration_s" ASC NULLS LAST', 20,
    )  # fmt: skip


def test_names_come_in_their_order_and_once():
    names = [column.name for column in parse("piano > guitar or guitar > 80s order by piano", TAGS).columns]
    assert names == ["piano", "guitar", "80s"]


def test_number_too_large_for_32_bits_is_infinite():
    assert where("guitar < -1e300")[1] == (float("-inf"),)


@pytest.mark.parametrize(
    "text",
    [
        *("guitar > 0.5; drop table rows", "guitar > 0.5 -- and more", "guitar > 0.5 /* x */ and piano > 0.5"),
        *("guitar > (select 1)", "guitar in (1, 2)", "guitar > 0.5 union select 1", "select * from rows"),
        *("guitar > 0.5 or 1 = 1", "1 < 2", "guitar > ?", "guitar > $1", "guitar > 0.5 limit 1; select 2"),
        *("“male vocal” > 0.5", "«piano» > 0.5", "guitar\x00 > 0.5", "guitar\u037e > 0.5", "guitar > ½", "guitar > ٣"),
        *("'guitar > 0.5", 'guitar > "0.5', "guitar > piano > 80s", "guitar", "guitar >", "> 0.5", "(guitar > 0.5"),
        *("guitar > 0.5)", "not", "guitar > 0.5 and", "guitar > 0.5 or or piano > 0.5", "guitar == == 0.5", "()"),
        *("guitar > 0.5 limit 0", "guitar > 0.5 limit -1", "limit 1.5", "limit 99999999999999999999", "limit guitar"),
        *(
            "order by",
            "order guitar",
            "order by 1",
            "order by notes",
            "order by guitar desc desc",
            "limit 5 order by 1",
        ),
        *("path > 'a'", "path = 3", "notes = 'x'", "duration_s = 'x' or", "modified > 3", "modified = 'soon'"),
        *("guitar contains 'x'", "path contains guitar", "path = modified", "path = (path)", "guitar = path"),
        *("CAST(guitar AS INT) > 0", "guitar::int > 0", "guitar + piano > 1", "guitar @> 1", "\\", "guitar > 0x10"),
    ],
)
def test_all_else_is_refused(text):
    with pytest.raises((ConfigError, UnknownNameError), match=r"the expression|no tag or column"):
        parse(text, TAGS)


@pytest.mark.parametrize("text", ["read_csv('/etc/passwd')", "abs(guitar) > 1", "guitar > abs(80s)", "rows.guitar > 1"])
def test_functions_and_tables_are_unknown_names(text):
    with pytest.raises(UnknownNameError):
        parse(text, TAGS)


def test_text_cannot_leave_its_quotes():
    assert where("path = 'a'' or 1 = 1 --'") == ('"path" = ?', ("a' or 1 = 1 --",))


def test_unknown_tag_gets_the_nearest_names():
    with pytest.raises(UnknownNameError, match=r"no tag or column named 'guitr'\. Did you mean guitar\?"):
        parse("guitr > 0.5", TAGS)


def test_missing_quotes_are_told():
    with pytest.raises(ConfigError, match='stands in quotes: "male vocal"'):
        parse("piano > 0.5 and male vocal > 0.5", TAGS)


def test_unicode_quotes_are_told():
    with pytest.raises(ConfigError, match="Quotes are"):
        parse("“male vocal” > 0.5", TAGS)


def test_place_of_the_fault_is_told():
    with pytest.raises(ConfigError, match="at place 14"):
        parse("guitar > 0.5 ; x", TAGS)


@pytest.mark.parametrize("opened", ["(", "not "])
def test_nesting_as_deep_as_the_document_says_is_taken(opened):
    assert parse(opened * DEEPEST + "guitar > 0" + ")" * (DEEPEST if opened == "(" else 0), TAGS).n_terms == 1


@pytest.mark.parametrize("opened", ["(", "not ", "not ("])
def test_deep_nesting_is_refused(opened):
    with pytest.raises(ConfigError, match="within each other"):
        parse(opened * (DEEPEST + 1) + "guitar > 0", TAGS)


def test_long_expression_is_refused():
    with pytest.raises(ConfigError, match="characters"):
        parse("guitar > 0 or " * LONGEST, TAGS)


def test_long_name_is_shortened_in_the_error():
    with pytest.raises(UnknownNameError) as caught:
        parse("x" * 5000 + " > 1", TAGS)
    assert len(str(caught.value)) < 500


LONG = {
    "digits": "1" * (LONGEST - 2) + "x", "digits on both sides": "1" * 4000 + "." + "1" * 4000 + "x",
    "exponents": "1e" * 4999, "quotes": "'" * (LONGEST - 1), "words": "a " * 4999, "blanks": " " * 9999 + ";",
    "quotes and blanks": '" ' * 4999, "dots": "." * LONGEST, "signs": "<" * LONGEST, "points": "1." * 4999,
}  # fmt: skip


@pytest.mark.parametrize("kind", LONG)
def test_longest_expressions_are_refused_and_do_not_hang(kind):
    with pytest.raises((ConfigError, UnknownNameError)):
        parse(LONG[kind], TAGS)


def test_no_two_runs_of_digits_of_a_number_touch():
    """So that no text of digits can be divided between them in many ways."""
    number = TOKEN.pattern.split("(?P<number>")[1].split("(?![")[0]
    runs = re.findall(r"\[0-9\]([*+]+)", number)
    assert runs == ["++", "*+", "++", "++"]


def test_terms_are_counted():
    assert parse("guitar > 0 and (piano > 1 or not 80s < 2) order by piano, guitar", TAGS).n_terms == 5


WORDS = (
    *("guitar", "'male vocal'", '"say ""no"""', "path", "notes", "80s", "and", "or", "not", "order", "by", "limit"),
    *("desc", "contains", "<", ">=", "=", "!=", "(", ")", ",", "0.5", "-3", "1e9", "'", '"', ";", "--", "/*", "'x'"),
    *("select", "?"),
)
PIECES = st.sampled_from(WORDS)
SQL = re.compile(
    r'"(?:[^"]|"")*"|\?|<|>|<=|>=|=|<>|[(),]|AND|OR|CAST\(\? AS FLOAT\)|ASC|DESC|NULLS LAST|\s+'
    r"|IS DISTINCT FROM|IS NOT TRUE|NOT isnan\(|CASE WHEN isnan\(|THEN NULL ELSE|END\b"
    r"|contains\(|lower\(|epoch_us\(|array_to_string\(|'; '"
)


@settings(deadline=None, derandomize=True)
@given(st.one_of(st.lists(PIECES, max_size=30).map(" ".join), st.text(max_size=60)))
def test_whatever_is_written_the_query_holds_fixed_words_and_known_columns(text):
    try:
        query = parse(text, TAGS)
    except (ConfigError, UnknownNameError):
        return
    written = f"{query.where} {query.order}"
    assert SQL.sub("", written) == ""
    known = {column.sql.replace("epoch_us(", "").rstrip(")") for column in query.columns}
    assert set(re.findall(r'"(?:[^"]|"")*"', written)) <= known
