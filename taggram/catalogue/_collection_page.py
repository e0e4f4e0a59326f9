"""The page of a collection's map: it stands alone, fetches nothing, and draws points that the mouse names."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from taggram.learning._report import Html, element, join, page

MOST_SCORE = 255  # scores travel as a byte each
MOST_PLACE = 65_535  # and places as two

STYLE = """
body { max-width: none; }
#map { position: relative; height: min(78vh, 62rem); border: 1px solid var(--line); border-radius: 8px;
  overflow: hidden; background: #fff; }
canvas { width: 100%; height: 100%; display: block; cursor: grab; touch-action: none; }
#name { position: absolute; pointer-events: none; background: var(--ink); color: #fff; border-radius: 6px;
  padding: .3rem .6rem; font-size: .82rem; max-width: 26rem; overflow-wrap: anywhere; display: none;
  white-space: pre-line; }
.controls { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin: .6rem 0; }
select, input { font: inherit; padding: .2rem .4rem; } #legend { display: flex; flex-wrap: wrap; gap: .2rem .9rem; }
#legend span::before { content: ""; display: inline-block; width: .7rem; height: .7rem; border-radius: 50%;
  margin-right: .3rem; background: var(--dot); }
"""

SCRIPT = r"""
const data = JSON.parse(document.getElementById('data').textContent);
const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const places = new Uint16Array(bytes(data.places).buffer), scores = bytes(data.scores);
const n = data.paths.length, nTags = data.tags.length, best = new Uint16Array(n);
for (let i = 0; i < n; i++) for (let t = 1; t < nTags; t++) {
  if (scores[i * nTags + t] > scores[i * nTags + best[i]]) best[i] = t;
}
const counts = new Array(nTags).fill(0);
for (const tag of best) counts[tag]++;
const colours = [
  '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8a2a6b', '#6b8e23', '#b22222', '#444c8f',
];
const found = [...counts.keys()].filter(t => counts[t]).sort((a, b) => counts[b] - counts[a]);
const commonest = found.slice(0, colours.length), find = id => document.getElementById(id);
const canvas = document.querySelector('canvas'), context = canvas.getContext('2d'), box = find('map');
const name = find('name'), by = find('by'), search = find('search');
const state = { zoom: 1, x: 0.5, y: 0.5 };  // what of the unit square is in the middle
let chosen = -1, words = '';

const side = () => Math.min(canvas.clientWidth, canvas.clientHeight) * 0.94 * state.zoom;
const screen = i => [
  canvas.clientWidth / 2 + (places[2 * i] / 65535 - state.x) * side(),
  canvas.clientHeight / 2 + (places[2 * i + 1] / 65535 - state.y) * side(),
];
function colour(i) {
  if (chosen < 0) { const place = commonest.indexOf(best[i]); return place < 0 ? '#b8c0c8' : colours[place]; }
  const score = scores[i * nTags + chosen] / 255;
  return `hsl(${Math.round(215 - 190 * score)} ${Math.round(20 + 65 * score)}% ${Math.round(80 - 35 * score)}%)`;
}
function draw() {
  const scale = devicePixelRatio || 1, radius = Math.max(2, Math.min(6, 60 / Math.sqrt(n) * Math.sqrt(state.zoom)));
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  for (let i = 0; i < n; i++) {
    const [x, y] = screen(i);
    if (x < -9 || y < -9 || x > canvas.clientWidth + 9 || y > canvas.clientHeight + 9) continue;
    const fits = !words || data.paths[i].toLowerCase().includes(words);
    context.globalAlpha = fits ? 0.85 : 0.08;
    context.fillStyle = colour(i);
    context.beginPath();
    context.arc(x, y, words && fits ? radius + 2 : radius, 0, 7);
    context.fill();
  }
}
function nearest(clientX, clientY) {
  const frame = canvas.getBoundingClientRect();
  let found = -1, least = 14 * 14;
  for (let i = 0; i < n; i++) {
    const [x, y] = screen(i), far = (x - clientX + frame.left) ** 2 + (y - clientY + frame.top) ** 2;
    if (far < least) [found, least] = [i, far];
  }
  return found;
}
function show(clientX, clientY) {
  const i = nearest(clientX, clientY);
  name.style.display = i < 0 ? 'none' : 'block';
  if (i < 0) return;
  const order = [...data.tags.keys()].sort((a, b) => scores[i * nTags + b] - scores[i * nTags + a]).slice(0, 3);
  const named = chosen < 0 ? order : [chosen, ...order.filter(t => t !== chosen)];  // what its colour means goes first
  const tags = named.map(t => `${data.tags[t]} ${(scores[i * nTags + t] / 255).toFixed(2)}`);
  name.textContent = `${data.paths[i]}\n${tags.join(', ')}`;
  const frame = box.getBoundingClientRect(), x = clientX - frame.left, y = clientY - frame.top;
  name.style.left = `${Math.max(0, Math.min(x + 14, frame.width - name.offsetWidth - 4))}px`;
  name.style.top = `${y + 18 + name.offsetHeight > frame.height ? y - name.offsetHeight - 10 : y + 18}px`;
}
function legend() {
  const dots = chosen < 0
    ? [...commonest.map((t, place) => [`${data.tags[t]} (${counts[t]})`, colours[place]]),
      ...(found.length > commonest.length ? [['others', '#b8c0c8']] : [])]
    : [['0', 'hsl(215 20% 80%)'], ['0.5', 'hsl(120 53% 63%)'], ['1', 'hsl(25 85% 45%)']];
  find('legend').replaceChildren(...dots.map(([text, dot]) => {
    const one = document.createElement('span');
    one.textContent = text;
    one.style.setProperty('--dot', dot);
    return one;
  }));
}
function zoom(clientX, clientY, times) {
  const frame = canvas.getBoundingClientRect(), before = side();
  const x = clientX - frame.left - frame.width / 2, y = clientY - frame.top - frame.height / 2;
  state.zoom = Math.max(0.5, Math.min(200, state.zoom * times));
  const change = 1 / before - 1 / side();
  state.x += x * change;
  state.y += y * change;
  draw();
}
const option = (value, textContent) => Object.assign(document.createElement('option'), { value, textContent });
by.append(option(-1, 'the best tag'), ...data.tags.map((tag, t) => option(t, tag)));
by.value = String(data.chosen);
by.addEventListener('change', () => { chosen = Number(by.value); legend(); draw(); });
search.addEventListener('input', () => { words = search.value.toLowerCase(); draw(); });
canvas.addEventListener('wheel', event => {
  event.preventDefault();
  zoom(event.clientX, event.clientY, event.deltaY < 0 ? 1.25 : 0.8);
}, { passive: false });
canvas.addEventListener('dblclick', () => { Object.assign(state, { zoom: 1, x: 0.5, y: 0.5 }); draw(); });
const held = new Map();
const apart = () => { const [a, b] = held.values(); return Math.hypot(a.x - b.x, a.y - b.y) || 1; };
canvas.addEventListener('pointerdown', event => held.set(event.pointerId, { x: event.clientX, y: event.clientY }));
for (const kind of ['pointerup', 'pointercancel']) addEventListener(kind, event => held.delete(event.pointerId));
canvas.addEventListener('pointermove', event => {
  const last = held.get(event.pointerId);
  if (!last) return show(event.clientX, event.clientY);
  const before = held.size === 2 ? apart() : 0;
  held.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (held.size === 2) return zoom(event.clientX, event.clientY, apart() / before);
  state.x -= (event.clientX - last.x) / side();
  state.y -= (event.clientY - last.y) / side();
  draw();
});
canvas.addEventListener('pointerleave', () => { name.style.display = 'none'; });
addEventListener('resize', draw);
chosen = data.chosen;
legend();
draw();
"""


def collection_page(
    title: str,
    paths: Sequence[str],
    places: NDArray[np.float32],
    tags: Sequence[str],
    scores: NDArray[np.float32],
    notes: Sequence[str],
    chosen: str | None = None,
) -> bytes:
    """Make the page.

    Args:
        title: what it is a map of.
        paths: of the tracks.
        places: (tracks, 2).
        tags: names of the tags.
        scores: (tracks, tags), 0 to 1.
        notes: what stands below it.
        chosen: the tag that colours mean at first; None is the best tag of each track.

    Returns:
        The bytes of the file.
    """
    low = places.min(axis=0)
    span = max(float((places.max(axis=0) - low).max()), 1e-12)
    offset = (1 - (places.max(axis=0) - low) / span) / 2  # so that the narrower side lies in the middle
    at = np.round(((places - low) / span + offset) * MOST_PLACE).clip(0, MOST_PLACE)
    at[:, 1] = MOST_PLACE - at[:, 1]  # on a page, down is more
    data = {
        "paths": list(paths),
        "tags": list(tags),
        "places": base64.b64encode(at.astype("<u2").tobytes()).decode("ascii"),
        "scores": base64.b64encode(_as_bytes(scores)).decode("ascii"),
        "chosen": -1 if chosen is None else list(tags).index(chosen),
    }
    text = json.dumps(data, ensure_ascii=True).replace("<", "\\u003c")  # so that nothing in it ends the element
    controls = element(
        "div",
        element("label", "Colours by ", element("select", id="by")),
        element("label", "Paths with ", element("input", type="search", id="search")),
        element("div", id="legend"),
        class_="controls",
    )
    drawing = element("div", element("canvas", role="img", aria_label=title), element("div", id="name"), id="map")
    how = (
        "The mouse on a point shows its file. The wheel or two fingers zoom, dragging moves, a double click goes back."
    )
    lines = [element("p", note, class_="where") for note in notes]
    return page(
        title, element("h1", title), element("p", how), controls, drawing, join(lines),
        element("script", Html(text), type="application/json", id="data"), style=STYLE, script=SCRIPT,
    )  # fmt: skip


def _as_bytes(scores: NDArray[np.float32]) -> bytes:
    return np.round(np.nan_to_num(scores).clip(0, 1) * MOST_SCORE).astype(np.uint8).tobytes()
