// The result: waveform and taggrams on one time axis, and a table of tags for each model.

import { clock, element, shortened } from './dom.js';

const TOP_PX = 24, WAVE_PX = 90, ROW_PX = 17, TITLE_PX = 38, AXIS_PX = 36, RIGHT_PX = 14;
const NARROW_PX = 560, NARROW = { leftPx: 86, letters: 12 }, WIDE = { leftPx: 130, letters: 18 };
const LEAST_TOP = 0.2;  // of the colour scale: most taggers rarely come near 1
const N_ROWS = 10;  // of a table, until all are asked for
const QUIETEST = 1e-5;  // of samples that are drawn at all: -100 dBFS

export class View {
  // `place` has the elements of the page; `seek(time_s)` moves the player.
  constructor(place, seek) {
    this.place = place;
    this.seek = seek;
    this.answers = [];
    this.search = '';
    this.threshold = 0;
    this.all = false;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
    new ResizeObserver(() => {
      if (this.answers.length && place.figure.clientWidth !== this.width) this.drawFigure();
    }).observe(place.figure);
    place.timeline.addEventListener('click', event => {
      const time = this.timeAt(event.clientX);
      if (time !== null) seek(time);
    });
  }

  // `answers`: [{model, duration_s, patch_s, times_s, names, scores, mean, peak}]; `wave`: an outline, null where there is none, and undefined before
  // that is known.
  show(answers, wave) {
    this.answers = answers;
    this.wave = wave;
    this.draw();
  }

  filter(search, threshold) {
    this.search = search.trim().toLowerCase();
    this.threshold = threshold;
    this.draw();
  }

  toggleAll() {
    this.all = !this.all;
    this.drawTables();
  }

  // Tags of an answer that are wanted, the best first: [{name, index, mean, peak, peak_s}].
  wanted(answer) {
    return answer.ranked.filter(tag => tag.peak >= this.threshold && tag.name.toLowerCase().includes(this.search));
  }

  draw() {
    if (!this.answers.length) return;
    this.shown = this.answers.map(answer => ({ answer, tags: this.wanted(answer) }));
    this.drawFigure();
    this.drawTables();
  }

  drawFigure() {
    const { shown, wave } = this;
    this.width = this.place.figure.clientWidth;
    const { leftPx, letters } = this.width < NARROW_PX ? NARROW : WIDE;
    const style = getComputedStyle(document.documentElement), colour = name => style.getPropertyValue(name).trim();
    const dark = matchMedia('(prefers-color-scheme: dark)').matches;
    const heights = shown.map(({ tags }) => Math.max(1, tags.length) * ROW_PX);
    const inner = WAVE_PX + heights.reduce((sum, height) => sum + height + TITLE_PX, 0);
    const top = Math.max(LEAST_TOP, Math.ceil(10 * Math.max(...shown.flatMap(({ tags }) => tags.map(tag => tag.peak)), 0)) / 10);
    const end = Math.max(...shown.map(({ answer }) => answer.duration_s));
    const ink = colour('--ink'), line = colour('--line'), soft = colour('--soft');
    const layout = {
      width: this.width, height: TOP_PX + inner + AXIS_PX, margin: { l: leftPx, r: RIGHT_PX, t: TOP_PX, b: AXIS_PX, autoexpand: false },
      showlegend: false, dragmode: 'zoom', uirevision: `${shown[0].answer.path} ${end}`,
      paper_bgcolor: colour('--paper'), plot_bgcolor: colour('--paper'), font: { color: ink, size: 11 }, annotations: [], hoverlabel: { align: 'left' },
      xaxis: { range: [0, end], title: { text: 'seconds', standoff: 4 }, gridcolor: line, zeroline: false, anchor: `y${shown.length + 1}` },
    };
    const traces = [];
    const below = px => 1 - px / inner;
    layout.yaxis = { domain: [below(WAVE_PX), 1], range: [-1.05, 1.05], fixedrange: true, showticklabels: false, zeroline: false, showgrid: false };
    if (wave) {
      const loudest = wave.highs.reduce((most, high, i) => Math.max(most, high, -wave.lows[i]), 0);
      const level = loudest > QUIETEST ? `peak ${(20 * Math.log10(loudest)).toFixed(0).replace('-', '−')} dBFS` : 'silence';
      layout.annotations.push({ ...note(level, 0, 1, 'bottom', soft), font: { color: soft, size: 11 } });
      if (loudest > QUIETEST) layout.yaxis.range = [-1.05 * loudest, 1.05 * loudest];
      traces.push({
        type: 'scatter', mode: 'lines', line: { width: 0.8, color: ink }, hoverinfo: 'skip', fill: 'toself', fillcolor: ink,
        x: [...wave.times, ...wave.times.toReversed()], y: [...wave.highs, ...wave.lows.toReversed()],
      });
    } else {
      traces.push({ type: 'scatter', x: [0, end], y: [0, 0], mode: 'lines', line: { width: 0.8, color: ink }, hoverinfo: 'skip' });
      if (wave === null) layout.annotations.push(note('no waveform: this browser cannot decode the file, or it is long', 0.5, below(WAVE_PX / 2), 'middle', ink));
    }
    const scaled = shown.findIndex(({ tags }) => tags.length);  // the one that has the colour scale above it
    let y = WAVE_PX;
    shown.forEach(({ answer, tags }, index) => {
      const axis = index + 2;
      y += TITLE_PX;
      const domain = [below(y + heights[index]), below(y)];
      y += heights[index];
      layout[`yaxis${axis}`] = {
        domain, range: [Math.max(1, tags.length) - 0.5, -0.5], fixedrange: true, ticks: '', showgrid: false, zeroline: false,
        tickvals: [...tags.keys()], ticktext: tags.map(tag => escaped(shortened(tag.name, letters))),
      };
      layout.annotations.push(note(tags.length ? `<b>${escaped(answer.title)}</b>` : `<b>${escaped(answer.title)}</b>: no such tag`, 0, domain[1], 'bottom', ink));
      if (!tags.length) {
        traces.push({ type: 'scatter', x: [0], y: [0], yaxis: `y${axis}`, mode: 'markers', opacity: 0, hoverinfo: 'skip' });
        return;
      }
      traces.push({
        type: 'heatmap', yaxis: `y${axis}`, zmin: 0, zmax: top, colorscale: dark ? DARK : LIGHT, showscale: index === scaled,
        colorbar: {
          orientation: 'h', thickness: 6, lenmode: 'pixels', len: 110, x: 1, xanchor: 'right', xpad: 0, y: domain[1] + 14 / inner, yanchor: 'bottom', ypad: 2,
          outlinewidth: 0, tickvals: [0, top], tickfont: { size: 10 },
        },
        x: edges(answer), z: tags.map(tag => answer.scores.map(row => row[tag.index])),
        customdata: tags.map(tag => answer.scores.map(() => escaped(tag.name))),
        hovertemplate: '%{customdata} %{z:.2f}<extra></extra>',
      });
    });
    this.place.playhead.style.height = `${TOP_PX + inner}px`;
    Plotly.react(this.place.figure, traces, layout, { displayModeBar: false, doubleClick: 'reset', scrollZoom: false });
    if (!this.listens) {
      this.listens = true;
      this.place.figure.on('plotly_relayout', () => this.moveTo(this.time || 0));
      this.place.figure.on('plotly_afterplot', () => this.moveTo(this.time || 0));
    }
  }

  drawTables() {
    const found = this.shown.filter(({ tags }) => tags.length);
    const tables = found.map(({ answer, tags }) => this.table(answer, this.all ? tags : tags.slice(0, N_ROWS)));
    const none = element('p', { className: 'hint', textContent: 'No tag with such a name reaches so high.' });
    this.place.tables.replaceChildren(...(tables.length ? tables : [none]));
    this.place.showAll.hidden = !found.some(({ tags }) => tags.length > N_ROWS);
    this.place.showAll.textContent = this.all ? `Show the first ${N_ROWS}` : 'Show all';
  }

  table(answer, tags) {
    const rows = tags.map(tag => element('tr', {}, [
      element('th', { scope: 'row', textContent: tag.name }),
      element('td', { className: 'mean number' }, [
        element('meter', { min: 0, max: 1, value: tag.mean, ariaLabel: `mean score of ${tag.name}` }), ` ${tag.mean.toFixed(2)}`,
      ]),
      element('td', { className: 'peak number' }, [
        `${tag.peak.toFixed(2)} `,
        element('button', {
          type: 'button', className: 'quiet', textContent: `▸ ${clock(tag.peak_s)}`, ariaLabel: `hear ${tag.name} at ${clock(tag.peak_s)}`,
          onclick: () => this.seek(tag.peak_s, true),
        }),
      ]),
    ]));
    const head = ['tag', 'mean', 'peak'].map(textContent => element('th', { scope: 'col', textContent }));
    return element('table', {}, [
      element('caption', { textContent: answer.title }),
      element('thead', {}, [element('tr', {}, head)]),
      element('tbody', {}, rows),
    ]);
  }

  // Move the playhead; say what is heard there.
  moveTo(time) {
    this.time = time;
    const full = this.place.figure._fullLayout;
    if (!full || !this.answers.length) return;
    const px = full.xaxis.l2p(time), inside = px >= 0 && px <= full.xaxis._length;
    this.place.playhead.style.display = inside ? 'block' : 'none';
    this.place.playhead.style.transform = `translateX(${full.xaxis._offset + px}px)`;
    const here = byModel(this.answers, answer => {
      const row = answer.scores[patchAt(answer, time)];
      return bestOf(answer.ranked, tag => row[tag.index]);
    });
    this.place.nowTags.textContent = [clock(time), ...here].join(here.length > 1 ? '\n' : '  ');
    this.place.timeline.setAttribute('aria-valuemax', Math.max(...this.answers.map(answer => answer.duration_s)).toFixed(1));
    this.place.timeline.setAttribute('aria-valuenow', time.toFixed(1));
    this.place.timeline.setAttribute('aria-valuetext', `${clock(time)}: ${here.join('; ')}`);
  }

  timeAt(clientX) {
    const full = this.place.figure._fullLayout;
    const px = clientX - this.place.figure.getBoundingClientRect().left - full.xaxis._offset;
    return px < 0 || px > full.xaxis._length ? null : Math.max(0, full.xaxis.p2l(px));
  }
}

const LIGHT = [[0, '#ffffff'], [0.2, '#fcd5a2'], [0.4, '#f8765c'], [0.6, '#b63679'], [0.8, '#641a80'], [1, '#0b0724']];
const DARK = [[0, '#14171a'], [0.2, '#3b0f6f'], [0.4, '#8c2981'], [0.6, '#de4968'], [0.8, '#fe9f6d'], [1, '#fcfdbf']];

const escaped = text => text.replace(/[&<>]/g, letter => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[letter]);
const note = (text, x, y, yanchor, color) => ({
  text, x, y, yanchor, xref: 'paper', yref: 'paper', xanchor: x ? 'center' : 'left', xshift: x ? 0 : 3, showarrow: false, font: { color, size: 12 },
});

// The three best tags by a score: "guitar 0.52, strings 0.30, slow 0.21".
export const bestOf = (tags, score) => tags.toSorted((a, b) => score(b) - score(a)).slice(0, 3)
  .map(tag => `${tag.name} ${score(tag).toFixed(2)}`).join(', ');

// A text about each answer, with the name of its model where there are several.
export const byModel = (answers, text) => answers.map(answer => (answers.length > 1 ? `${answer.title}: ` : '') + text(answer));

// Edges of the columns: from the start of a patch to that of the next, the last to its own end.
function edges(answer) {
  const last = answer.times_s[answer.times_s.length - 1];
  return [...answer.times_s, Math.min(last + answer.patch_s, Math.max(answer.duration_s, last + answer.hop_s))];
}

function patchAt(answer, time) {
  const after = answer.times_s.findIndex(start => start > time);
  return after === -1 ? answer.times_s.length - 1 : Math.max(0, after - 1);
}
