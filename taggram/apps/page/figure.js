// The figure, as Plotly wants it: a waveform, and below it the taggram of each model on the same time axis.

import { shortened } from './dom.js';

export const AXIS_PX = 36;
const TOP_PX = 24, WAVE_PX = 90, ROW_PX = 17, TITLE_PX = 38, RIGHT_PX = 14;
const NARROW_PX = 560, NARROW = { leftPx: 86, letters: 12 }, WIDE = { leftPx: 130, letters: 18 };
const LEAST_TOP = 0.2;  // of the colour scale: most taggers rarely come near 1
const SCALE = { orientation: 'h', thickness: 6, lenmode: 'pixels', len: 110, outlinewidth: 0, tickfont: { size: 10 } };
const SCALE_ABOVE_PX = 14;  // room for its numbers
const QUIETEST = 1e-5;  // of samples that are drawn at all: -100 dBFS
const LIGHT = [[0, '#ffffff'], [0.2, '#fcd5a2'], [0.4, '#f8765c'], [0.6, '#b63679'], [0.8, '#641a80'], [1, '#0b0724']];
const DARK = [[0, '#14171a'], [0.2, '#3b0f6f'], [0.4, '#8c2981'], [0.6, '#de4968'], [0.8, '#fe9f6d'], [1, '#fcfdbf']];

// `shown`: [{answer, tags}], the tags that are wanted; `wave`: an outline, null where there is none, undefined before
// that is known.
export function drawn(shown, wave, width) {
  const heights = shown.map(({ tags }) => Math.max(1, tags.length) * ROW_PX);
  const inner = WAVE_PX + heights.reduce((sum, height) => sum + height + TITLE_PX, 0);
  const below = px => 1 - px / inner;  // how far up that is, as Plotly counts
  const { leftPx, letters } = width < NARROW_PX ? NARROW : WIDE;
  const end = Math.max(...shown.map(({ answer }) => answer.duration_s));
  const ink = colour('--ink'), paper = colour('--paper');
  const top = Math.max(LEAST_TOP, Math.ceil(10 * Math.max(...shown.flatMap(({ tags }) => tags.map(tag => tag.peak)), 0)) / 10);
  const scaled = shown.findIndex(({ tags }) => tags.length);  // the one that has the colour scale above it
  const traces = [waveform(wave, end, ink)];
  const layout = {
    width, height: TOP_PX + inner + AXIS_PX, margin: { l: leftPx, r: RIGHT_PX, t: TOP_PX, b: AXIS_PX, autoexpand: false },
    showlegend: false, dragmode: 'zoom', uirevision: `${shown[0].answer.path} ${end}`, hoverlabel: { align: 'left' },
    paper_bgcolor: paper, plot_bgcolor: paper, font: { color: ink, size: 11 }, annotations: waveNotes(wave, below(WAVE_PX / 2)),
    xaxis: { range: [0, end], title: { text: 'seconds', standoff: 4 }, gridcolor: colour('--line'), zeroline: false, anchor: `y${shown.length + 1}` },
    yaxis: { ...axis(below(WAVE_PX), 1), range: [-1.05, 1.05].map(edge => edge * (loudness(wave) || 1)), showticklabels: false },
  };
  let y = WAVE_PX;
  shown.forEach(({ answer, tags }, index) => {
    const start = below(y + TITLE_PX);
    y += TITLE_PX + heights[index];
    layout[`yaxis${index + 2}`] = {
      ...axis(below(y), start), range: [Math.max(1, tags.length) - 0.5, -0.5],
      tickvals: [...tags.keys()], ticktext: tags.map(tag => escaped(shortened(tag.name, letters))),
    };
    layout.annotations.push(note(`<b>${escaped(answer.title)}</b>${tags.length ? '' : ': no such tag'}`, start, { size: 12 }));
    const bar = { ...SCALE, x: 1, xanchor: 'right', xpad: 0, y: start + SCALE_ABOVE_PX / inner, yanchor: 'bottom', ypad: 2, tickvals: [0, top] };
    traces.push({ ...(tags.length ? taggram(answer, tags, top) : EMPTY), yaxis: `y${index + 2}`, showscale: index === scaled, colorbar: bar });
  });
  return { traces, layout };
}

const EMPTY = { type: 'scatter', x: [0], y: [0], mode: 'markers', opacity: 0, hoverinfo: 'skip' };  // keeps its axis

function taggram(answer, tags, top) {
  return {
    type: 'heatmap', zmin: 0, zmax: top, colorscale: matchMedia('(prefers-color-scheme: dark)').matches ? DARK : LIGHT,
    x: edges(answer), z: tags.map(tag => answer.scores.map(row => row[tag.index])),
    customdata: tags.map(tag => answer.scores.map(() => escaped(tag.name))), hovertemplate: '%{customdata} %{z:.2f}<extra></extra>',
  };
}

function waveform(wave, end, ink) {
  const line = { type: 'scatter', mode: 'lines', line: { width: 0.8, color: ink }, hoverinfo: 'skip' };
  if (!wave) return { ...line, x: [0, end], y: [0, 0] };
  const x = [...wave.times, ...wave.times.toReversed()], y = [...wave.highs, ...wave.lows.toReversed()];
  return { ...line, x, y, fill: 'toself', fillcolor: ink };
}

// The waveform fills its height however quiet it is, so its level is said.
function waveNotes(wave, middle) {
  if (wave === undefined) return [];
  if (wave === null) return [{ ...note('no waveform: this browser cannot decode the file, or it is long', middle), x: 0.5, xanchor: 'center' }];
  const loudest = loudness(wave), level = (20 * Math.log10(loudest)).toFixed(0).replace('-', '−');
  return [note(loudest ? `peak ${level} dBFS` : 'silence', 1, { color: colour('--soft') })];
}

// The largest sample, 0 where there is nothing to be drawn.
function loudness(wave) {
  const loudest = wave ? wave.highs.reduce((most, high, i) => Math.max(most, high, -wave.lows[i]), 0) : 0;
  return loudest > QUIETEST ? loudest : 0;
}

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const escaped = text => text.replace(/[&<>]/g, letter => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[letter]);
const axis = (low, high) => ({ domain: [low, high], fixedrange: true, ticks: '', showgrid: false, zeroline: false });
const note = (text, y, font = {}) => ({
  text, x: 0, xanchor: 'left', xshift: 3, xref: 'paper', y, yanchor: 'bottom', yref: 'paper', showarrow: false, font,
});

// Edges of the columns: from the start of a patch to that of the next, the last to its own end.
function edges(answer) {
  const last = answer.times_s[answer.times_s.length - 1];
  return [...answer.times_s, Math.min(last + answer.patch_s, Math.max(answer.duration_s, last + answer.hop_s))];
}
