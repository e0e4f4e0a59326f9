// The result: waveform and taggrams on one time axis, and a table of tags for each model.

import { clock, element } from './dom.js';
import { AXIS_PX, drawn } from './figure.js';

const N_ROWS = 10;  // of a table, until all are asked for
const STILL_PX = 6;  // a pointer that moves more drags, and does not click

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
    // Not `click`: Plotly makes one of its own out of a tap, without a place, and lays a cover over all while it drags.
    place.timeline.addEventListener('pointerdown', event => { this.pressed = event; }, true);
    addEventListener('pointerup', event => {
      const start = this.pressed, time = this.timeAt(event.clientX);
      this.pressed = null;
      if (!start || Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > STILL_PX) return;
      if (time !== null) seek(time, true);
    }, true);
  }

  // `answers`: [{model, duration_s, patch_s, times_s, names, scores, mean, peak}]; `wave`: an outline, null where
  // there is none, and undefined before that is known.
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
    this.width = this.place.figure.clientWidth;
    const { traces, layout } = drawn(this.shown, this.wave, this.width);
    this.place.playhead.style.height = `${layout.height - AXIS_PX}px`;
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
    if (!full) return null;  // nothing is drawn yet
    const px = clientX - this.place.figure.getBoundingClientRect().left - full.xaxis._offset;
    return px < 0 || px > full.xaxis._length ? null : Math.max(0, full.xaxis.p2l(px));
  }
}

// The three best tags by a score: "guitar 0.52, strings 0.30, slow 0.21".
export const bestOf = (tags, score) => tags.toSorted((a, b) => score(b) - score(a)).slice(0, 3)
  .map(tag => `${tag.name} ${score(tag).toFixed(2)}`).join(', ');

// A text about each answer, with the name of its model where there are several.
export const byModel = (answers, text) => answers.map(answer => (answers.length > 1 ? `${answer.title}: ` : '') + text(answer));

function patchAt(answer, time) {
  const after = answer.times_s.findIndex(start => start > time);
  return after === -1 ? answer.times_s.length - 1 : Math.max(0, after - 1);
}
