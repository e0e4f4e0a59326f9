// The page: a sound comes in, is tagged by the chosen models, and is shown.

import { showCollection } from './collection.js';
import { bytesOf, element, find, recordButton, save } from './dom.js';
import * as service from './service.js';
import { outline, Recorder } from './sound.js';
import { startTeaching } from './teaching.js';
import { bestOf, byModel, View } from './view.js';

const player = find('player');
const view = new View(
  {
    timeline: find('timeline'), figure: find('figure'), playhead: find('playhead'), nowTags: find('now-tags'),
    tables: find('tables'), showAll: find('show-all'),
  },
  (time, play = false) => {
    player.currentTime = time;
    view.moveTo(time);
    if (play) player.play().catch(() => {});
  },
);
let wanted = null, shown = null;  // sounds, {file, aside, wave, answers}: the last that was asked for, and the one to be seen
let kit = null, asked = 0;
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
    showCollection(catalogue, limits.max_tracks, () => shown && shown.file);
    for (const { name, tags } of models) tagsOf.set(name, tags);
    find('models').querySelectorAll('label').forEach(label => label.remove());
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

async function take(files) {
  const [file] = files;
  if (!file) return complain(new Error('That was no file.'));
  const sound = { file, aside: files.length > 1 ? `\nOf the ${files.length} files the first is taken.` : '' };
  wanted = sound;
  outline(file).then(wave => {
    sound.wave = wave;
    if (shown === sound) view.show(sound.answers, wave);
  });
  await tagAgain();
  if (shown === sound) find('result-title').focus();
}

// Until the answer is there the page shows the sound before, all of it.
async function tagAgain() {
  if (!wanted) return;
  const models = chosen(), number = ++asked, sound = wanted, { file, aside } = sound;
  complain(null);
  find('result').ariaBusy = String(models.length > 0);
  if (!models.length) return complain(new Error('Choose a model.'));
  say(`Tagging ${file.name} …${aside}`);
  try {
    const answers = await Promise.all(models.map(model => tagWith(model, file)));
    if (number !== asked) return;
    show(sound, answers);
    const best = byModel(answers, answer => bestOf(answer.ranked, tag => tag.mean));
    say([file.name, ...best].join(best.length > 1 ? '\n' : ': ') + aside);
  } catch (error) {
    if (number !== asked) return;
    if (service.isOfSound(error)) error.message = `${file.name}: ${error.message}`;
    wanted = shown || sound;
    complain(error);
  }
  find('result').ariaBusy = 'false';
}

function show(sound, answers) {
  if (shown !== sound) {
    if (player.src) URL.revokeObjectURL(player.src);
    player.src = URL.createObjectURL(sound.file);
  }
  shown = Object.assign(sound, { answers });
  find('result').hidden = false;
  find('result-title').textContent = sound.file.name;
  find('notes').textContent = [...new Set(answers.flatMap(answer => answer.notes))].join('; ');
  view.show(answers, sound.wave);
  view.moveTo(player.currentTime);
}

find('file').addEventListener('change', event => {
  take([...event.target.files]);
  event.target.value = '';
});
find('example').addEventListener('click', () => service.exampleSound().then(file => take([file])).catch(complain));
recordButton(find('record'), Recorder, () => 'recording.wav', file => take([file]), complain);
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
  depth = 0;
  document.body.classList.remove('dropping');
  if (event.defaultPrevented) return;  // an example for teaching
  event.preventDefault();
  take([...event.dataTransfer.files]);
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
find('show-all').addEventListener('click', () => view.toggleAll());

// -- saving ------------------------------------------------------------------------------------------------------------

const stem = () => shown.file.name.replace(/\.[^.]*$/, '') || 'taggram';
find('save-json').addEventListener('click', () => {
  save(new Blob(shown.answers.map(({ answer }) => `${JSON.stringify(answer)}\n`), { type: 'application/json' }), `${stem()}.json`);
});
find('save-csv').addEventListener('click', () => {
  const cell = text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const lines = shown.answers.flatMap(({ title, times_s, ranked, scores }) => times_s.flatMap((time, patch) => ranked.map(
    tag => [cell(title), time.toFixed(3), cell(tag.name), scores[patch][tag.index].toFixed(6)].join(','),
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
  model() {
    const model = chosen().find(name => name !== 'kit:') || [...tagsOf.keys()][0];
    if (!model) throw new Error('No model can be had from the service.');
    return model;
  },
  denied: complain,
  learned(made) {
    kit = made;
    const box = find('models').querySelector('input[value="kit:"]');
    if (box) box.checked = true;
    else find('models').append(choice('kit:', made.title, true));
    tagAgain();
  },
});
filter();
listModels();
