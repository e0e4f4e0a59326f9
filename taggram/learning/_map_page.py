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
SHIFTS = ((0.4, 0.3), (-0.4, 0.3), (0.4, -1.0), (-0.4, -1.0), (0.2, 1.2), (-0.2, 1.2), (0.2, -2.0), (-0.2, -2.0))

STYLE = """
svg { width: 100%; height: auto; border: 1px solid var(--line); border-radius: 8px; cursor: grab; touch-action: none; }
circle { fill: var(--blue); } svg text { font-size: 15px; fill: var(--ink); }
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
const box = map.viewBox.baseVal, whole = box.width, sizes = tags.map(tag => tag.getAttribute('transform'));
const draw = () => tags.forEach((tag, i) => tag.setAttribute('transform', `${sizes[i]} scale(${box.width / whole})`));
map.addEventListener('wheel', event => {
  event.preventDefault();
  const frame = map.getBoundingClientRect(), by = event.deltaY < 0 ? 0.8 : 1.25;
  const width = Math.min(whole, box.width * by), scale = box.width / frame.width;
  const x = box.x + (event.clientX - frame.left) * scale, y = box.y + (event.clientY - frame.top) * scale;
  box.x = x - (x - box.x) * width / box.width;
  box.y = y - (y - box.y) * width / box.width;
  box.width = box.height = width;
  draw();
}, { passive: false });
map.addEventListener('pointermove', event => {
  if (!event.buttons) return;
  const scale = box.width / map.getBoundingClientRect().width;
  box.x -= event.movementX * scale;
  box.y -= event.movementY * scale;
});
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
        points.append(
            element(
                "g",
                element("title", f"{label}: {', '.join(vectors.tags[other] for other in near)}"),
                element("circle", r="4"),
                element("text", label, x=f"{right:.1f}", y=f"{-up:.1f}", text_anchor=anchor),
                class_="tag",
                transform=f"translate({x:.1f} {SIDE - y:.1f})",  # on a page, down is more
                data_near=" ".join(map(str, near)),
            )
        )
    drawing = element("svg", *points, viewBox=f"0 0 {SIDE:g} {SIDE:g}", role="img", aria_label=title)
    how = "The wheel zooms, dragging moves. The mouse on a tag shows those with the nearest vectors; some lie far off."
    lines = [element("p", note, class_="where") for note in notes]
    return page(title, element("h1", title), element("p", how), drawing, join(lines), style=STYLE, script=SCRIPT)


@dataclass(frozen=True)
class Layout:
    """Where points and labels are on a square.

    Attributes:
        at: (points, 2) of the points, up is more.
        offsets: (points, 2) from the point to the corner of its label: the lower left one, or the lower right one.
        is_left: whether a label ends at its corner and does not begin there.
    """

    at: NDArray[np.float64]
    offsets: NDArray[np.float64]
    is_left: list[bool]


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
    taken = np.column_stack([at - size / 4, at + size / 4])  # left, lower, right, upper
    offsets, is_left = np.zeros(at.shape), []
    for place, label in enumerate(labels):
        width = LETTER * size * len(label)
        boxes = []
        for right, up in SHIFTS:
            left = at[place, 0] + right * size - (width if right < 0 else 0)
            boxes.append((left, at[place, 1] + up * size, left + width, at[place, 1] + (up + 1) * size))
        costs = [_covered(np.array(box), np.delete(taken, place, axis=0), side) for box in boxes]
        best = int(np.argmin(costs))
        taken = np.vstack([taken, boxes[best]])
        offsets[place] = np.array(SHIFTS[best]) * size
        is_left.append(SHIFTS[best][0] < 0)
    return Layout(at, offsets, is_left)


def _covered(box: NDArray[np.float64], taken: NDArray[np.float64], side: float) -> float:
    """Add up what a label would cover of points and labels, and what would be off the square."""
    width = np.minimum(box[2], taken[:, 2]) - np.maximum(box[0], taken[:, 0])
    height = np.minimum(box[3], taken[:, 3]) - np.maximum(box[1], taken[:, 1])
    off = np.maximum(0, -box[:2]).sum() + np.maximum(0, box[2:] - side).sum()
    return float((np.maximum(0, width) * np.maximum(0, height)).sum() + side * off)


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
