// The catalogue of the service: tracks by their tags, and tracks that sound like the one that is shown.

import { element, find, save } from './dom.js';
import { findTracks, similarTracks } from './service.js';

const N_ALIKE = 20;
let tracks = [], asked = 0;

// `catalogue` is what the service says of it, or null; `most` how many tracks it gives; `sound()` gives the file that is
// shown, or null.
export function showCollection(catalogue, most, sound) {
  find('collection').hidden = !catalogue;
  if (!catalogue) return;
  const named = tag => catalogue.columns.includes(tag) ? `tag:${tag}` : tag;
  const quoted = tag => `'${named(tag).replaceAll("'", "''")}'`;  // a tag may be called like a word of the expression
  const names = catalogue.tags.map(quoted), [first = 'duration_s', second = 'duration_s'] = names;
  find('question-tags').replaceChildren(...names.map(name => element('option', { value: `${name} > 0.5` })));
  find('question').placeholder = `${first} > 0.5`;
  find('question-hint').textContent = `Such as: ${first} > 0.5 and not ${second} > 0.2 order by ${first} desc limit 20. `
    + `Tags are those of ${catalogue.model}; columns are ${catalogue.columns.join(', ')}.`;
  find('find-form').onsubmit = event => {
    event.preventDefault();
    show(() => findTracks(find('question').value));
  };
  find('alike').onclick = () => show(() => {
    if (!sound()) throw new Error('Choose a sound first, at the top of this page.');
    return similarTracks(sound(), Math.min(N_ALIKE, most));
  });
}

async function show(ask) {
  const number = ++asked;
  find('collection-error').textContent = '';
  find('collection-status').textContent = 'Asking …';
  try {
    const answer = await ask();
    if (number !== asked) return;
    tracks = answer.tracks;
    find('collection-status').textContent = answer.more ? `The first ${tracks.length} tracks; there are more.`
      : tracks.length === 1 ? '1 track' : `${tracks.length} tracks`;
  } catch (error) {
    if (number !== asked) return;
    tracks = [];
    find('collection-status').textContent = '';
    find('collection-error').textContent = error.message;
  }
  find('save-playlist').hidden = !tracks.length;
  find('tracks').replaceChildren(...(tracks.length ? [table()] : []));
}

function table() {
  const names = Object.keys(tracks[0]);
  const shown = (value, name) => typeof value === 'number' ? value.toFixed(name === 'size' ? 0 : 2) : String(value ?? '');
  const cell = (track, name) => name === 'path' ? element('th', { scope: 'row', textContent: track.path })
    : element('td', { className: typeof track[name] === 'number' ? 'number' : '', textContent: shown(track[name], name) });
  return element('table', {}, [
    element('thead', {}, [element('tr', {}, names.map(name => element('th', { scope: 'col', textContent: name })))]),
    element('tbody', {}, tracks.map(track => element('tr', {}, names.map(name => cell(track, name))))),
  ]);
}

find('save-playlist').addEventListener('click', () => {
  // a line break would end an entry, bytes that are no UTF-8 name no file, and # would begin a comment
  const held = tracks.filter(({ path }) => !/[\r\n]|\\udc[89a-f][0-9a-f]/.test(path));
  const entries = held.map(({ path, duration_s: length }) =>
    `#EXTINF:${length == null ? -1 : Math.round(length)},${path.split('/').pop().replace(/\.[^.]*$/, '')}\n`
    + `${path.startsWith('#') ? './' : ''}${path}\n`);
  save(new Blob([`#EXTM3U\n${entries.join('')}`], { type: 'audio/x-mpegurl' }), 'tracks.m3u8');
  const nLeftOut = tracks.length - held.length;
  find('collection-error').textContent = nLeftOut ? `A playlist cannot hold the paths of ${nLeftOut} of these.` : '';
});
