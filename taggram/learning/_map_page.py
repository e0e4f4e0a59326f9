"""The page of a tag map: it stands alone, the wheel zooms, and the mouse on a tag shows its nearest ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taggram.learning._report import element, join, page

if TYPE_CHECKING:
    from taggram.learning.tag_map import TagVectors

SIDE = 1000.0  # of the map, in units of the page
SIZE = 15.0  # of its letters
EDGE = 0.08  # of the side, around the points
N_NEAR = 5
LETTER = 0.58  # width of a letter, as a share of its size
MIDDLE = 0.35  # of a letter, above its foot
FAR = 1.5  # letters from a point to its label, from where on a line leads there
NEAR_SHIFTS = ((0.4, 0.3), (-0.4, 0.3), (0.4, -1.0), (-0.4, -1.0), (0.2, 1.2), (-0.2, 1.2), (0.2, -2.0), (-0.2, -2.0))
FAR_SHIFTS = tuple(
    (side * right, 1.1 * up - 0.35) for right in (1.0, 2.5, 4.5) for up in range(-6, 7) for side in (1, -1)
)
SHIFTS = np.array([*NEAR_SHIFTS, *FAR_SHIFTS])  # of a label from its point, right and up, in letters
PULL = 0.3  # what a letter's distance costs, in letters that are covered
ROUNDS = 3  # in which labels are placed, from the second on with all others in view

STYLE = """
svg { width: 100%; height: auto; border: 1px solid var(--line); border-radius: 8px; cursor: grab; touch-action: none;
  user-select: none; -webkit-user-select: none; }
circle { fill: var(--blue); } path { stroke: #9aa4ae; stroke-width: .8; }
svg text { font-size: 15px; fill: var(--ink); }
g.tag { cursor: default; } svg.busy g.tag { opacity: .18; } svg.busy g.near { opacity: 1; }
svg.busy g.here { opacity: 1; font-weight: bold; }
"""

SCRIPT = """
const map = document.querySelector('svg'), tags = [...map.querySelectorAll('g.tag')];
for (const tag of tags) {
  tag.addEventListener('mouseenter', () => {
    map.classList.add('busy');
    tag.classList.add('here');
    for (const place of tag.dataset.near.split(' ').filter(Boolean)) tags[place].classList.add('near');
  });
  tag.addEventListener('mouseleave', () => {
    map.classList.remove('busy');
    for (const other of tags) other.classList.remove('near', 'here');
  });
}
const box = map.viewBox.baseVal, whole = box.width, places = tags.map(tag => tag.getAttribute('transform'));
const unit = () => box.width / map.getBoundingClientRect().width;  // of the map, in a pixel
const draw = () => {  // letters keep their size, which small screens may not make less than 11 of 15
  const scale = Math.max(box.width / whole, unit() * 11 / 15);
  tags.forEach((tag, i) => tag.setAttribute('transform', `${places[i]} scale(${scale})`));
};
const zoom = (clientX, clientY, by) => {
  const frame = map.getBoundingClientRect(), width = Math.min(whole, box.width * by), scale = unit();
  const x = box.x + (clientX - frame.left) * scale, y = box.y + (clientY - frame.top) * scale;
  box.x = width < whole ? x - (x - box.x) * width / box.width : 0;
  box.y = width < whole ? y - (y - box.y) * width / box.width : 0;
  box.width = box.height = width;
  draw();
};
map.addEventListener('wheel', event => {
  event.preventDefault();
  zoom(event.clientX, event.clientY, event.deltaY < 0 ? 0.8 : 1.25);
}, { passive: false });
map.addEventListener('dblclick', event => zoom(event.clientX, event.clientY, Infinity));
const held = new Map();  // where fingers or the mouse are
const apart = () => { const [a, b] = held.values(); return Math.hypot(a.x - b.x, a.y - b.y) || 1; };
map.addEventListener('pointerdown', event => held.set(event.pointerId, { x: event.clientX, y: event.clientY }));
for (const kind of ['pointerup', 'pointercancel']) addEventListener(kind, event => held.delete(event.pointerId));
addEventListener('pointermove', event => {
  const last = held.get(event.pointerId), scale = unit();
  if (!last || !event.buttons) return void held.delete(event.pointerId);  // it was let go outside of the page
  const before = held.size === 2 ? apart() : 0;
  held.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (held.size === 2) zoom(event.clientX, event.clientY, before / apart());
  if (held.size > 1) return;
  box.x -= (event.clientX - last.x) * scale;
  box.y -= (event.clientY - last.y) * scale;
});
addEventListener('resize', draw);
draw();
"""


def map_page(vectors: TagVectors, places: NDArray[Any], title: str, notes: Sequence[str]) -> bytes:
    """Make the page.

    Args:
        vectors: what was mapped; the nearest tags are those with the smallest angle between vectors.
        places: (tags, 2).
        title: what it is a map of.
        notes: what stands below it.

    Returns:
        The bytes of the file.
    """
    points = []
    layout = lay_out(places, vectors.tags, SIDE, SIZE)
    for place, (label, near) in enumerate(zip(vectors.tags, nearest(vectors.vectors))):
        (x, y), (right, up) = layout.at[place], layout.offsets[place]
        anchor = "end" if layout.is_left[place] else "start"
        lead = element("path", d=f"M0 0L{right:.1f} {-up - MIDDLE * SIZE:.1f}") if layout.is_far[place] else ""
        points.append(
            element(
                "g",
                element("title", f"{label}: {', '.join(vectors.tags[other] for other in near)}"),
                lead,
                element("circle", r="4"),
                element("text", label, x=f"{right:.1f}", y=f"{-up:.1f}", text_anchor=anchor),
                class_="tag",
                transform=f"translate({x:.1f} {SIDE - y:.1f})",  # on a page, down is more
                data_near=" ".join(map(str, near)),
            )
        )
    drawing = element("svg", *points, viewBox=f"0 0 {SIDE:g} {SIDE:g}", role="img", aria_label=title)
    how = (
        "The mouse on a tag shows those with the nearest vectors; some lie far off. The wheel or two fingers zoom, "
        "dragging moves, and a double click goes back."
    )
    lines = [element("p", note, class_="where") for note in notes]
    return page(title, element("h1", title), element("p", how), drawing, join(lines), style=STYLE, script=SCRIPT)


@dataclass(frozen=True)
class Layout:
    """Where points and labels are on a square.

    Attributes:
        at: (points, 2) of the points, up is more.
        offsets: (points, 2) from the point to the corner of its label: the lower left one, or the lower right one.
        is_left: whether a label ends at its corner and does not begin there.
        is_far: whether a label is so far off that a line is to lead to it.
    """

    at: NDArray[np.float64]
    offsets: NDArray[np.float64]
    is_left: list[bool]
    is_far: list[bool]


def lay_out(places: NDArray[Any], labels: Sequence[str], side: float, size: float) -> Layout:
    """Fit points into a square, with the same scale on both axes, and put each label where it covers least.

    Args:
        places: (points, 2).
        labels: of the points.
        side: of the square.
        size: of the letters.

    Returns:
        The layout.
    """
    low, high = places.min(axis=0), places.max(axis=0)
    span = max(float((high - low).max()), 1e-12)
    at = side / 2 + (places - (low + high) / 2) / span * side * (1 - 2 * EDGE)
    points = np.column_stack([at - size / 4, at + size / 4])  # left, lower, right, upper
    taken, chosen = np.zeros(points.shape), np.zeros(len(at), dtype=int)
    distances = np.hypot(SHIFTS[:, 0], SHIFTS[:, 1] + MIDDLE)
    for place in list(range(len(at))) * ROUNDS:
        boxes = _boxes(at[place], LETTER * size * len(labels[place]), size)
        costs = _covered(
            boxes, np.concatenate([_near(boxes, points, place), _near(boxes, taken, place)]), side
        ) + PULL * size**2 * np.maximum(0, distances - 1)
        chosen[place] = costs.argmin()
        taken[place] = boxes[chosen[place]]
    shifts = SHIFTS[chosen]
    return Layout(at, shifts * size, (shifts[:, 0] < 0).tolist(), (distances[chosen] >= FAR).tolist())


def _boxes(at: NDArray[np.float64], width: float, size: float) -> NDArray[np.float64]:
    """Give the box of a label for each shift: left, lower, right, upper."""
    left = at[0] + SHIFTS[:, 0] * size - np.where(SHIFTS[:, 0] < 0, width, 0.0)
    lower = at[1] + SHIFTS[:, 1] * size
    return np.column_stack([left, lower, left + width, lower + size])


def _near(boxes: NDArray[np.float64], taken: NDArray[np.float64], place: int) -> NDArray[np.float64]:
    """Give what may lie under one of the boxes, without what lies at this place."""
    is_near = (taken[:, :2] < boxes[:, 2:].max(axis=0)).all(axis=1) & (taken[:, 2:] > boxes[:, :2].min(axis=0)).all(
        axis=1
    )
    is_near[place] = False
    near: NDArray[np.float64] = taken[is_near]
    return near


def _covered(boxes: NDArray[np.float64], taken: NDArray[np.float64], side: float) -> NDArray[np.float64]:
    """Add up what a label in each box would cover of points and labels, and what would be off the square."""
    width = np.minimum(boxes[:, None, 2], taken[:, 2]) - np.maximum(boxes[:, None, 0], taken[:, 0])
    height = np.minimum(boxes[:, None, 3], taken[:, 3]) - np.maximum(boxes[:, None, 1], taken[:, 1])
    off = np.maximum(0, -boxes[:, :2]).sum(axis=1) + np.maximum(0, boxes[:, 2:] - side).sum(axis=1)
    covered: NDArray[np.float64] = (np.maximum(0, width) * np.maximum(0, height)).sum(axis=1) + side * off
    return covered


def nearest(vectors: NDArray[Any], n: int = N_NEAR) -> list[list[int]]:
    """Find the vectors with the smallest angle to each.

    Args:
        vectors: (points, dimensions).
        n: how many.

    Returns:
        Places of the others, the nearest first; none for a vector of zeros.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    likeness = units @ units.T
    np.fill_diagonal(likeness, -np.inf)
    order = np.argsort(-likeness, axis=1, kind="stable")[:, : min(n, len(vectors) - 1)]
    return [row.tolist() if length else [] for row, length in zip(order, lengths[:, 0])]
