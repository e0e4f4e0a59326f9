// The page: a sound comes in, is tagged by the chosen models, and is shown.

import { showCollection } from './collection.js';
import { bytesOf, element, find, recordButton, save } from './dom.js';
import * as service from './service.js';
import { outline, Recorder } from './sound.js';
import { startTeaching } from './teaching.js';
import { View } from './view.js';

const player = find('player');
const view = new View(
  { timeline: find('timeline'), figure: find('figure'), playhead: find('playhead'), nowTags: find('now-tags'), tables: find('tables') },
  (time, play = false) => {
    player.currentTime = time;
    view.moveTo(time);
    if (play) player.play().catch(() => {});
  },
);
let sound = null, wave = null, kit = null, asked = 0, raw = [];
const tagsOf = new Map();  // of each model, in the order of its scores

const say = text => { find('status').textContent = text; };
function complain(error) {
  say('');
  find('error').textContent = error ? error.message : '';
  if (error instanceof service.ServiceError && error.status === 401) {
    find('token-form').hidden = false;
    find('token').focus();
  }
}

// -- models ------------------------------------------------------------------------------------------------------------

async function listModels() {
  try {
    const { models, catalogue, limits } = await service.listModels();
    showCollection(catalogue, limits.max_tracks, () => sound);
    for (const { name, tags } of models) tagsOf.set(name, tags);
    find('models').append(...models.map(({ name }, place) => choice(name, name, place === 0)));
    find('token-form').hidden = true;
    complain(null);
  } catch (error) {
    complain(error);
  }
}

function choice(value, text, checked) {
  return element('label', {}, [element('input', { type: 'checkbox', value, checked, onchange: tagAgain }), ` ${text}`]);
}

const chosen = () => [...find('models').querySelectorAll('input:checked')].map(box => box.value);

async function tagWith(model, file) {
  const hopS = find('hop').value;
  if (model === 'kit:') return prepared(await tagWithKit(file, hopS), kit.tags, kit.title);
  return prepared(await service.tagSound(file, { model, hopS }), tagsOf.get(model), model);
}

// The service keeps a kit for a while only, so it may have to be sent once more.
async function tagWithKit(file, hopS) {
  try {
    return await service.tagSound(file, { model: kit.name, hopS });
  } catch (error) {
    if (error.status !== 422 || !error.message.includes(kit.name)) throw error;
    await service.sendKit(kit.blob, kit.base);
    return service.tagSound(file, { model: kit.name, hopS });
  }
}

// The answer of the service with what the view needs beside it.
function prepared(answer, tags, title) {
  const ranked = tags.map((name, index) => {
    const column = answer.scores.map(row => row[index]), peak = Math.max(...column);
    const mean = column.reduce((sum, score) => sum + score, 0) / column.length;
    return { name, index, mean, peak, peak_s: answer.times_s[column.indexOf(peak)] };
  }).sort((a, b) => b.mean - a.mean);
  return { ...answer, title, ranked, answer };
}

// -- a sound -----------------------------------------------------------------------------------------------------------

async function take(file) {
  if (!file) return;
  sound = file;
  if (player.src) URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(file);
  wave = null;
  outline(file).then(found => {
    if (sound !== file) return;
    wave = found;
    if (raw.length) view.show(raw, wave);
  });
  await tagAgain();
  if (sound === file && raw.length) find('result').focus();
}

async function tagAgain() {
  if (!sound) return;
  const models = chosen(), number = ++asked, file = sound;
  complain(null);
  if (!models.length) return complain(new Error('Choose a model.'));
  say(`Tagging ${file.name} …`);
  try {
    const answers = await Promise.all(models.map(model => tagWith(model, file)));
    if (number !== asked) return;
    raw = answers;
    find('result').hidden = false;
    find('result-title').textContent = file.name;
    find('notes').textContent = [...new Set(answers.flatMap(answer => answer.notes))].join('; ');
    view.show(answers, wave);
    view.moveTo(player.currentTime);
    say(`${file.name}: ${answers[0].ranked.slice(0, 3).map(tag => `${tag.name} ${tag.mean.toFixed(2)}`).join(', ')}`);
  } catch (error) {
    if (number !== asked) return;
    raw = [];
    find('result').hidden = true;
    complain(error);
  }
}

find('file').addEventListener('change', event => {
  take(event.target.files[0]);
  event.target.value = '';
});
find('example').addEventListener('click', () => service.exampleSound().then(take).catch(complain));
recordButton(find('record'), Recorder, () => 'recording.wav', take, complain);
find('hop').addEventListener('change', tagAgain);

let depth = 0;
addEventListener('dragenter', event => {
  event.preventDefault();
  depth++;
  document.body.classList.add('dropping');
});
addEventListener('dragleave', () => { if (--depth <= 0) document.body.classList.remove('dropping'); });
addEventListener('dragover', event => event.preventDefault());
addEventListener('drop', event => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove('dropping');
  take(event.dataTransfer.files[0]);
});

// -- the player --------------------------------------------------------------------------------------------------------

function follow() {
  view.moveTo(player.currentTime);
  if (!player.paused) requestAnimationFrame(follow);
}
player.addEventListener('play', follow);
for (const event of ['timeupdate', 'seeked', 'pause']) player.addEventListener(event, () => view.moveTo(player.currentTime));

find('timeline').addEventListener('keydown', event => {
  const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 };
  if (event.key in steps) player.currentTime = Math.max(0, player.currentTime + steps[event.key]);
  else if (event.key === 'Home') player.currentTime = 0;
  else if (event.key === ' ') player.paused ? player.play().catch(() => {}) : player.pause();
  else return;
  event.preventDefault();
});

function filter() {
  const threshold = Number(find('threshold').value);
  find('threshold-value').textContent = threshold.toFixed(2);
  view.filter(find('search').value, threshold);
}
find('search').addEventListener('input', filter);
find('threshold').addEventListener('input', filter);

// -- saving ------------------------------------------------------------------------------------------------------------

const stem = () => sound.name.replace(/\.[^.]*$/, '') || 'taggram';
find('save-json').addEventListener('click', () => {
  save(new Blob(raw.map(({ answer }) => `${JSON.stringify(answer)}\n`), { type: 'application/json' }), `${stem()}.json`);
});
find('save-csv').addEventListener('click', () => {
  const cell = text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const lines = raw.flatMap(({ title, times_s, ranked, scores }) => times_s.flatMap((time, patch) => ranked.map(
    tag => [title, time.toFixed(3), cell(tag.name), scores[patch][tag.index].toFixed(6)].join(','),
  )));
  save(new Blob([`model,time_s,tag,score\n${lines.join('\n')}\n`], { type: 'text/csv' }), `${stem()}.csv`);
});
find('save-picture').addEventListener('click', async () => {
  const { width, height } = find('figure').getBoundingClientRect();
  const address = await Plotly.toImage(find('figure'), { format: 'png', width, height, scale: 2 });
  save(new Blob([bytesOf(address.split(',')[1])], { type: 'image/png' }), `${stem()}.png`);
});

// -- start -------------------------------------------------------------------------------------------------------------

find('token-form').addEventListener('submit', event => {
  event.preventDefault();
  service.useToken(find('token').value);
  listModels();
});
startTeaching({
  model: () => chosen().find(model => model !== 'kit:') || find('models').querySelector('input').value,
  learned(made) {
    kit = made;
    if (!find('models').querySelector('input[value="kit:"]')) find('models').append(choice('kit:', made.title, true));
    tagAgain();
  },
});
filter();
listModels();
