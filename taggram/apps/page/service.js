// What the page asks of the service. Errors carry the service's own message.

export class ServiceError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let token = sessionStorage.getItem('token') || '';

export function useToken(given) {
  token = given;
  sessionStorage.setItem('token', given);
}

async function ask(path, options = {}) {
  const headers = { ...(options.headers || {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new ServiceError(0, 'The service cannot be reached. Is `taggram serve` still running?');
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ServiceError(response.status, answer.message || `The service answered ${response.status}.`);
  return answer;
}

export const listModels = () => ask('v1/models');

export async function exampleSound() {
  const response = await fetch('static/example.flac');
  if (!response.ok) throw new ServiceError(response.status, 'The example could not be had.');
  return new File([await response.blob()], 'example.flac', { type: 'audio/flac' });
}

// A sound is sent as it is; with a kit beside it, as a form.
export function tagSound(sound, { model, kit, hopS }) {
  const query = new URLSearchParams({ over_time: 'true', top: '100000' });
  if (hopS) query.set('hop_s', hopS);
  if (!kit) {
    query.set('model', model);
    query.set('name', sound.name);
    return ask(`v1/tag?${query}`, { method: 'POST', body: sound, headers: { 'Content-Type': 'application/octet-stream' } });
  }
  const form = new FormData();
  form.append('file', sound, sound.name);
  form.append('kit', kit, 'kit.safetensors');
  return ask(`v1/tag?${query}`, { method: 'POST', body: form });
}

export function teach(examples, { several, model }) {
  const form = new FormData();
  for (const { tag, sound } of examples) {
    form.append('tags', tag);
    form.append('files', sound, sound.name);
  }
  const query = new URLSearchParams({ task: several ? 'several' : 'one', model });
  return ask(`v1/teach?${query}`, { method: 'POST', body: form });
}
