"""The parts of an HTML page that stands alone: nothing is fetched, pictures are inside, and all text is escaped."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from taggram.errors import printable

STYLE = """
:root { --ink: #1b1f24; --soft: #59636e; --line: #d8dee4; --tint: #f6f8fa; --blue: #0072b2; --warm: #fff8e6; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1.25rem 4rem; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .4rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .3rem; }
p { margin: .4rem 0 .7rem; max-width: 46rem; overflow-wrap: anywhere; }
.where { color: var(--soft); font-size: .86rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
code { font: .92em ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
.numbers { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.number { border: 1px solid var(--line); border-radius: 8px; padding: .6rem .9rem; min-width: 9.5rem; }
.number b { display: block; font-size: 1.6rem; font-weight: 600; line-height: 1.25; }
.number span { display: block; color: var(--soft); font-size: .8rem; }
.note { background: var(--warm); border-left: 3px solid #e0a800; padding: .45rem .8rem; margin: .5rem 0;
  max-width: 46rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .22rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top;
  white-space: nowrap; }
th { background: var(--tint); font-weight: 600; position: sticky; top: 0; }
th.sortable { cursor: pointer; } th.sortable:hover { color: var(--blue); }
td.text, th.text { text-align: left; white-space: normal; overflow-wrap: break-word; min-width: 7rem;
  max-width: 26rem; }
td.text code { white-space: nowrap; }
td .of { color: var(--soft); font-size: .92em; }
tr.ours td { background: #eef6fc; }
b.hit { color: #1a7f37; } .miss { color: #9a6700; }
img { max-width: 100%; height: auto; display: block; margin: .5rem 0; }
nav a { margin-right: 1rem; } a { color: var(--blue); }
footer { margin-top: 3rem; padding-top: .6rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .8rem; }
@media print { body { max-width: none; } th { position: static; } }
"""

# A click on the head of a column sorts its table; cells that are no numbers come last.
SORTING = """
for (const head of document.querySelectorAll('th.sortable')) {
  head.addEventListener('click', () => {
    const body = head.closest('table').tBodies[0], place = head.cellIndex;
    const up = head.dataset.up = head.dataset.up === '1' ? '0' : '1';
    const key = row => row.cells[place].dataset.value ?? row.cells[place].textContent;
    const value = row => { const number = parseFloat(key(row)); return isNaN(number) ? null : number; };
    const rows = [...body.rows], text = head.classList.contains('text');
    rows.sort((a, b) => {
      if (text) return (up === '1' ? 1 : -1) * key(a).localeCompare(key(b));
      const x = value(a), y = value(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return up === '1' ? y - x : x - y;
    });
    body.append(...rows);
  });
}
"""


class Html(str):
    """Text that is HTML already; any other text is escaped where it is put in."""

    __slots__ = ()


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its head.
        text: whether it holds text and not numbers.
        about: what it means, shown when the mouse rests on the head.
    """

    name: str
    text: bool = False
    about: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell that is sorted by something else than what it shows.

    Attributes:
        shown: what stands in it.
        value: what it is sorted by; None comes last.
    """

    shown: str
    value: float | None


def text(value: object) -> Html:
    """Make a text fit for HTML: marks are escaped, and nothing is left that moves the cursor or is no character.

    Args:
        value: anything; HTML stays as it is.

    Returns:
        HTML.
    """
    if isinstance(value, Html):
        return value
    return Html(html.escape(printable(str(value)).encode("utf-8", "replace").decode("utf-8")))


def element(name: str, *parts: object, **attributes: object) -> Html:
    """Make an element.

    Args:
        name: such as "p".
        *parts: what is in it, escaped where it is no HTML.
        **attributes: `class_` for class; None leaves one out.

    Returns:
        HTML.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(text(part) for part in parts)
    return Html(f"<{name}{given}>" if name == "img" else f"<{name}{given}>{inside}</{name}>")


def join(parts: Iterable[object], between: str = "") -> Html:
    """Put parts one after the other.

    Args:
        parts: escaped where they are no HTML.
        between: what is put between them.

    Returns:
        HTML.
    """
    return Html(text(between).join(text(part) for part in parts))


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]], *, ours: frozenset[int] = frozenset()) -> Html:
    """Make a table that can be sorted.

    Args:
        columns: their heads.
        rows: cells; None is left empty.
        ours: rows that stand out.

    Returns:
        HTML.
    """
    kinds = ["text" if column.text else None for column in columns]
    heads = [
        element("th", column.name, class_="sortable text" if column.text else "sortable", title=column.about or None)
        for column in columns
    ]
    lines = []
    for place, row in enumerate(rows):
        cells = []
        for kind, cell in zip(kinds, row):
            shown, value = (cell.shown, cell.value) if isinstance(cell, Cell) else (cell, None)
            key = ("" if value is None else value) if isinstance(cell, Cell) else None
            cells.append(element("td", "" if shown is None else shown, class_=kind, data_value=key))
        lines.append(element("tr", *cells, class_="ours" if place in ours else None))
    whole = element("table", element("thead", element("tr", *heads)), element("tbody", *lines))
    return element("div", whole, class_="scroll")


def picture(svg: bytes, about: str) -> Html:
    """Put a picture into the page.

    Args:
        svg: the file.
        about: what is on it, for those who cannot see it.

    Returns:
        HTML.
    """
    data = base64.b64encode(svg).decode("ascii")
    return element("img", src=f"data:image/svg+xml;base64,{data}", alt=about)


def page(title: str, *parts: object, style: str = "", script: str = SORTING) -> bytes:
    """Make a whole page. It may load nothing, and run nothing but its script.

    Args:
        title: of the window.
        *parts: the body, escaped where it is no HTML.
        style: CSS beside that of all pages.
        script: what it runs; that of a report sorts tables.

    Returns:
        The bytes of the file, UTF-8.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", title),
            element("style", Html(STYLE + style)),
        ]
    )
    body = element("body", *parts, element("script", Html(script)))
    return f'<!DOCTYPE html>\n<html lang="en">\n{element("head", head)}\n{body}\n</html>\n'.encode()
