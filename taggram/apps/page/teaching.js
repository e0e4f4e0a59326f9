// Own tags: sounds in rows, a row a tag; the service makes a kit of them.

import { bytesOf, element, find, recordButton } from './dom.js';
import { teach } from './service.js';
import { Recorder } from './sound.js';

// `model()` names the model whose features are used; `learned(kit)` gets {name, base, title, tags, blob}.
export function startTeaching({ model, learned }) {
  const rows = [];

  function addRow(name = '') {
    const row = find('tag-row').content.firstElementChild.cloneNode(true);
    const examples = [];
    const field = row.querySelector('.name'), list = row.querySelector('.examples');
    const take = sounds => {
      for (const sound of sounds) {
        const item = { sound };
        const gone = element('button', {
          type: 'button', className: 'quiet', textContent: '×', ariaLabel: `remove ${sound.name}`,
          onclick: () => { examples.splice(examples.indexOf(item), 1); line.remove(); },
        });
        const line = element('li', {}, [`${sound.name} `, gone]);
        examples.push(item);
        list.append(line);
      }
    };
    field.value = name;
    row.querySelector('.files').addEventListener('change', event => {
      take(event.target.files);
      event.target.value = '';
    });
    row.addEventListener('dragover', event => event.preventDefault());
    row.addEventListener('drop', event => {
      event.preventDefault();
      event.stopPropagation();
      document.body.classList.remove('dropping');
      take(event.dataTransfer.files);
    });
    recordButton(row.querySelector('.record'), Recorder, () => `recording ${examples.length + 1}.wav`, sound => take([sound]), failed);
    row.querySelector('.remove').addEventListener('click', () => {
      rows.splice(rows.findIndex(one => one.row === row), 1);
      row.remove();
    });
    rows.push({ row, field, examples });
    find('taught').append(row);
    return field;
  }

  function failed(error) {
    find('taught-status').textContent = '';
    find('taught-error').textContent = error.message;
  }

  async function learn() {
    find('taught-error').textContent = '';
    const filled = rows.filter(({ field, examples }) => field.value.trim() || examples.length);
    const bare = filled.find(({ field, examples }) => !field.value.trim() || !examples.length);
    if (filled.length < 1) return failed(new Error('Name a tag and give it a sound or more.'));
    if (bare) {
      const name = bare.field.value.trim();
      return failed(new Error(name ? `${name} has no sound yet.` : 'One tag with sounds has no name yet.'));
    }
    const lessons = filled.flatMap(({ field, examples }) => examples.map(({ sound }) => ({ sound, tags: [field.value.trim()] })));
    const base = model();
    const told = n => { find('taught-status').textContent = `Listening to ${n} of ${lessons.length} sounds …`; };
    find('learn').disabled = true;
    try {
      const answer = await teach(lessons, { several: find('several').checked, model: base }, told);
      const blob = new Blob([bytesOf(answer.kit)], { type: 'application/octet-stream' });
      const link = find('save-kit');
      if (link.href) URL.revokeObjectURL(link.href);
      link.href = URL.createObjectURL(blob);
      link.hidden = false;
      find('taught-status').textContent = [answer.summary, ...answer.notes].join('; ');
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
