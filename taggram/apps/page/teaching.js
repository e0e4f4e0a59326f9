// Own tags: sounds in rows, a row a tag; the service makes a kit of them.

import { bytesOf, element, find, recordButton, shortened } from './dom.js';
import * as service from './service.js';
import { Recorder } from './sound.js';

const NAME_LETTERS = 28;

// `model()` names the model whose features are used; `learned(kit)` gets {name, base, title, tags, blob}; `denied(error)`
// asks for a token.
export function startTeaching({ model, learned, denied }) {
  const rows = [];

  function addRow() {
    const row = find('tag-row').content.firstElementChild.cloneNode(true);
    const examples = [];
    const field = row.querySelector('.name');
    const take = sounds => {
      for (const sound of sounds) {
        const example = exampleOf(sound, () => examples.splice(examples.indexOf(example), 1));
        examples.push(example);
        row.querySelector('.examples').append(example.line);
      }
    };
    row.querySelector('.files').addEventListener('change', event => {
      take(event.target.files);
      event.target.value = '';
    });
    row.addEventListener('drop', event => {
      event.preventDefault();
      take(event.dataTransfer.files);
    });
    const stopRecording = recordButton(row.querySelector('.record'), Recorder, () => `recording ${examples.length + 1}.wav`, sound => take([sound]), failed);
    row.querySelector('.remove').addEventListener('click', () => {
      stopRecording();
      rows.splice(rows.findIndex(one => one.row === row), 1);
      row.remove();
    });
    rows.push({ row, field, examples });
    find('taught').append(row);
    return field;
  }

  const say = text => { find('taught-status').textContent = text; };
  function failed(error) {
    say('');
    find('taught-error').textContent = error.message;
    if (error.status === 401) denied(error);
  }

  async function learn() {
    find('taught-error').textContent = '';
    const lessons = rows.map(({ field, examples }) => ({ tag: field.value.trim().normalize(), examples: [...examples] }))
      .filter(({ tag, examples }) => tag || examples.length);
    const fault = faultOf(lessons);
    if (fault) return failed(new Error(fault));
    find('learn').disabled = true;
    try {
      const base = model();
      await listen(lessons.flatMap(({ examples }) => examples), base, say);
      checkHeard(lessons, base);
      say('Learning …');
      const heard = lessons.flatMap(({ tag, examples }) => examples.filter(({ heard }) => heard.has(base))
        .map(({ sound, heard }) => ({ name: sound.name, tags: [tag], example: heard.get(base) })));
      const answer = await service.teach(heard, { several: find('several').checked, model: base });
      const blob = new Blob([bytesOf(answer.kit)], { type: 'application/octet-stream' });
      const link = find('save-kit');
      if (link.href) URL.revokeObjectURL(link.href);
      link.href = URL.createObjectURL(blob);
      link.hidden = false;
      say([answer.summary, ...answer.notes].join('; '));
      find('taught-error').textContent = passedOver(lessons);
      learned({ name: answer.model, base, title: 'your kit', tags: answer.tags, blob });
    } catch (error) {
      failed(error);
    } finally {
      find('learn').disabled = false;
    }
  }

  find('add-tag').addEventListener('click', () => addRow().focus());
  find('learn').addEventListener('click', learn);
  addRow();
  addRow();
}

// A sound with its line in the row; `heard` has its vectors by model, so that none is sent twice.
function exampleOf(sound, removed) {
  const gone = element('button', {
    type: 'button', className: 'quiet', textContent: '×', ariaLabel: `remove ${sound.name}`,
    onclick: () => { removed(); line.remove(); },
  });
  const name = element('span', { title: sound.name, textContent: shortened(sound.name, NAME_LETTERS) });
  const line = element('li', {}, [name, ' ', gone]);
  return { sound, line, heard: new Map(), wrong: '' };
}

// What is seen to be wrong before any sound is sent, or nothing.
function faultOf(lessons) {
  if (!lessons.length) return 'Name a tag and give it a sound or more.';
  const bare = lessons.find(({ tag, examples }) => !tag || !examples.length);
  if (bare) return bare.tag ? `${bare.tag} has no sound yet.` : 'One tag with sounds has no name yet.';
  const tags = lessons.map(({ tag }) => tag), twice = tags.find((tag, place) => tags.indexOf(tag) < place);
  if (twice) return `Two tags are named ${twice}.`;
  if (tags.length === 1) return `${tags[0]} is the only tag, and a tag is learned by what it is not: add another, such as “other”.`;
  return '';
}

// Have sounds turned into vectors; one that cannot be read is marked and passed over.
async function listen(examples, model, say) {
  const left = examples.filter(({ heard }) => !heard.has(model));
  for (const [place, example] of left.entries()) {
    say(`Listening to ${place + 1} of ${left.length} sounds …`);
    example.wrong = '';
    try {
      example.heard.set(model, await service.listenTo(example.sound, model));
    } catch (error) {
      if (!service.isOfSound(error)) throw error;
      example.wrong = error.message;
    }
    example.line.classList.toggle('unread', Boolean(example.wrong));
    example.line.title = example.wrong;
  }
}

function checkHeard(lessons, model) {
  const lost = lessons.find(({ examples }) => !examples.some(({ heard }) => heard.has(model)));
  if (lost) throw new Error(`${passedOver(lessons)} So ${lost.tag} has no sound.`);
}

const passedOver = lessons => lessons.flatMap(({ examples }) => examples).filter(({ wrong }) => wrong)
  .map(({ sound, wrong }) => `${sound.name} was passed over: ${wrong}`).join(' ');
