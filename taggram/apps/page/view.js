// The result: waveform and taggrams on one time axis, and a table of tags for each model.

import { clock, element } from './dom.js';

const WAVE_PX = 90, ROW_PX = 17, TITLE_PX = 34, AXIS_PX = 36, LEFT_PX = 130, RIGHT_PX = 52;
const LEAST_TOP = 0.2;  // of the colour scale: most taggers rarely come near 1
const NAME_LETTERS = 18;

export class View {
  // `place` has the elements of the page; `seek(time_s)` moves the player.
  constructor(place, seek) {
    this.place = place;
    this.seek = seek;
    this.answers = [];
    this.search = '';
    this.threshold = 0;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
    place.timeline.addEventListener('click', event => {
      const time = this.timeAt(event.clientX);
      if (time !== null) seek(time);
    });
  }

  // `answers`: [{model, duration_s, patch_s, times_s, names, scores, mean, peak}]; `wave`: an outline, or null.
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

  // Tags of an answer that are wanted, the best first: [{name, index, mean, peak, peak_s}].
  wanted(answer) {
    return answer.ranked.filter(tag => tag.peak >= this.threshold && tag.name.toLowerCase().includes(this.search));
  }

  draw() {
    if (!this.answers.length) return;
    const shown = this.answers.map(answer => ({ answer, tags: this.wanted(answer) }));
    this.drawFigure(shown);
    this.place.tables.replaceChildren(...shown.map(({ answer, tags }) => this.table(answer, tags)));
  }

  drawFigure(shown) {
    const style = getComputedStyle(document.documentElement), colour = name => style.getPropertyValue(name).trim();
    const dark = matchMedia('(prefers-color-scheme: dark)').matches;
    const heights = shown.map(({ tags }) => Math.max(1, tags.length) * ROW_PX);
    const inner = WAVE_PX + heights.reduce((sum, height) => sum + height + TITLE_PX, 0);
    const top = Math.max(LEAST_TOP, Math.ceil(10 * Math.max(...shown.flatMap(({ tags }) => tags.map(tag => tag.peak)), 0)) / 10);
    const end = Math.max(...shown.map(({ answer }) => answer.duration_s));
    const ink = colour('--ink'), line = colour('--line');
    const layout = {
      height: inner + AXIS_PX + 10, margin: { l: LEFT_PX, r: RIGHT_PX, t: 10, b: AXIS_PX }, showlegend: false, dragmode: 'zoom',
      paper_bgcolor: colour('--paper'), plot_bgcolor: colour('--paper'), font: { color: ink, size: 11 }, annotations: [], hoverlabel: { align: 'left' },
      xaxis: { range: [0, end], title: { text: 'seconds', standoff: 4 }, gridcolor: line, zeroline: false, anchor: `y${shown.length + 1}` },
    };
    const traces = [];
    const below = px => 1 - px / inner;
    layout.yaxis = { domain: [below(WAVE_PX), 1], range: [-1.05, 1.05], fixedrange: true, showticklabels: false, zeroline: false, showgrid: false };
    if (this.wave) {
      traces.push({
        type: 'scatter', mode: 'lines', line: { width: 0.8, color: ink }, hoverinfo: 'skip', fill: 'toself', fillcolor: ink,
        x: [...this.wave.times, ...this.wave.times.toReversed()], y: [...this.wave.highs, ...this.wave.lows.toReversed()],
      });
    } else {
      traces.push({ type: 'scatter', x: [0, end], y: [0, 0], mode: 'lines', line: { width: 0.8, color: ink }, hoverinfo: 'skip' });
      layout.annotations.push(note('no waveform: this browser cannot decode the file, or it is long', 0.5, below(WAVE_PX / 2), 'middle', ink));
    }
    let y = WAVE_PX;
    shown.forEach(({ answer, tags }, index) => {
      const axis = index + 2;
      y += TITLE_PX;
      const domain = [below(y + heights[index]), below(y)];
      y += heights[index];
      layout[`yaxis${axis}`] = { domain, autorange: 'reversed', fixedrange: true, automargin: false, ticks: '', showgrid: false, type: 'category' };
      layout.annotations.push(note(tags.length ? `<b>${escaped(answer.title)}</b>` : `<b>${escaped(answer.title)}</b>: no such tag`, 0, domain[1], 'bottom', ink));
      if (!tags.length) {
        Object.assign(layout[`yaxis${axis}`], { showticklabels: false, range: [0, 1], autorange: false, type: 'linear' });
        traces.push({ type: 'scatter', x: [0], y: [0], yaxis: `y${axis}`, mode: 'markers', opacity: 0, hoverinfo: 'skip' });
        return;
      }
      traces.push({
        type: 'heatmap', yaxis: `y${axis}`, zmin: 0, zmax: top, colorscale: dark ? DARK : LIGHT, showscale: index === 0,
        colorbar: { thickness: 8, lenmode: 'pixels', len: Math.min(heights[index], 160), y: domain[1], yanchor: 'top', ypad: 0, outlinewidth: 0, nticks: 4 },
        x: edges(answer), y: tags.map(tag => shortened(tag.name)), z: tags.map(tag => answer.scores.map(row => row[tag.index])),
        customdata: tags.map(tag => answer.scores.map(() => escaped(tag.name))),
        hovertemplate: '%{customdata} %{z:.2f}<extra></extra>',
      });
    });
    Plotly.react(this.place.figure, traces, layout, { responsive: true, displayModeBar: false, doubleClick: 'reset', scrollZoom: false });
    if (!this.listens) {
      this.listens = true;
      this.place.figure.on('plotly_relayout', () => this.moveTo(this.time || 0));
      this.place.figure.on('plotly_afterplot', () => this.moveTo(this.time || 0));
    }
  }

  table(answer, tags) {
    const rows = tags.map(tag => element('tr', {}, [
      element('th', { scope: 'row', textContent: tag.name }),
      element('td', { className: 'number' }, [
        element('meter', { min: 0, max: 1, value: tag.mean, ariaLabel: `score of ${tag.name}` }), ` ${tag.mean.toFixed(2)}`,
      ]),
      element('td', {}, [
        element('button', {
          type: 'button', className: 'quiet', textContent: clock(tag.peak_s), ariaLabel: `hear ${tag.name} at ${clock(tag.peak_s)}`,
          onclick: () => this.seek(tag.peak_s, true),
        }),
      ]),
    ]));
    const head = ['tag', 'score', 'strongest at'].map(textContent => element('th', { scope: 'col', textContent }));
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
    const best = this.answers.map(answer => {
      const row = answer.scores[patchAt(answer, time)];
      return answer.ranked.map(tag => [tag.name, row[tag.index]]).sort((a, b) => b[1] - a[1]).slice(0, 3);
    });
    this.here = best.map(tags => tags.map(([name, score]) => `${name} ${score.toFixed(2)}`).join(', ')).join('  |  ');
    this.place.nowTags.textContent = `${clock(time)}  ${this.here}`;
    this.place.timeline.setAttribute('aria-valuemax', Math.max(...this.answers.map(answer => answer.duration_s)).toFixed(1));
    this.place.timeline.setAttribute('aria-valuenow', time.toFixed(1));
    this.place.timeline.setAttribute('aria-valuetext', `${clock(time)}: ${this.here}`);
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
const shortened = name => name.length > NAME_LETTERS ? `${escaped(name.slice(0, NAME_LETTERS - 1))}…` : escaped(name);
const note = (text, x, y, yanchor, color) => ({
  text, x, y, yanchor, xref: 'paper', yref: 'paper', xanchor: x ? 'center' : 'left', showarrow: false, font: { color, size: 12 },
});

// Edges of the columns: from the start of a patch to that of the next, the last to its own end.
function edges(answer) {
  const last = answer.times_s[answer.times_s.length - 1];
  return [...answer.times_s, Math.min(last + answer.patch_s, Math.max(answer.duration_s, last + answer.hop_s))];
}

function patchAt(answer, time) {
  const after = answer.times_s.findIndex(start => start > time);
  return after === -1 ? answer.times_s.length - 1 : Math.max(0, after - 1);
}
