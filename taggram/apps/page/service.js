// What the page asks of the service. Errors carry the service's own message.

export class ServiceError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Whether an error is about the sound that was sent, and not about all that is asked.
export const isOfSound = error => [413, 422].includes(error.status);

const ATTEMPTS = 5;

let token = sessionStorage.getItem('token') || '';

export function useToken(given) {
  token = given;
  sessionStorage.setItem('token', given);
}

async function ask(path, options = {}) {
  const headers = { ...(options.headers || {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let response;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      response = await fetch(path, { ...options, headers });
    } catch {
      throw new ServiceError(0, 'The service cannot be reached. Is `taggram serve` still running?');
    }
    if (response.status !== 429) break;  // it has too much to do, and says for how long
    await new Promise(done => setTimeout(done, 1000 * (Number(response.headers.get('Retry-After')) || 1)));
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

const post = (path, query, body) => ask(`${path}?${new URLSearchParams(query)}`, {
  method: 'POST', body, headers: { 'Content-Type': 'application/octet-stream' },
});

export function tagSound(sound, { model, hopS }) {
  const query = { model, name: sound.name, over_time: 'true', top: '100000' };
  return post('v1/tag', hopS ? { ...query, hop_s: hopS } : query, sound);
}

export const findTracks = question => ask(`v1/find?${new URLSearchParams({ q: question })}`);

export const similarTracks = (sound, n) => post('v1/similar', { n, name: sound.name }, sound);

export const sendKit = (kit, model) => post('v1/kits', { model }, kit);

export const listenTo = (sound, model) => post('v1/examples', { model, name: sound.name }, sound).then(answer => answer.example);

// `examples`: [{name, tags, example}], the last as `listenTo` gave it.
export const teach = (examples, { several, model }) => ask('v1/teach', {
  method: 'POST', body: JSON.stringify({ model, task: several ? 'several' : 'one', examples }),
  headers: { 'Content-Type': 'application/json' },
});
