// Sound in the browser: the microphone, and the outline of a waveform.

const PEAKS = 1500;  // points of an outline
const LONGEST_S = 1800;  // a longer sound is not decoded here: it would need gigabytes

// Records until told to stop; gives a WAV file, which every service reads.
export class Recorder {
  async start() {
    if (!navigator.mediaDevices) throw new Error('This browser records on https pages and on localhost alone.');
    const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: raw });
    if (this.cancelled) return this.cancel();
    this.parts = [];
    try {
      this.recorder = new MediaRecorder(this.stream);
      this.recorder.ondataavailable = event => this.parts.push(event.data);
      this.recorder.start();
    } catch (error) {
      this.cancel();
      throw error;
    }
  }

  // Lets go of the microphone.
  cancel() {
    this.cancelled = true;
    for (const track of this.stream ? this.stream.getTracks() : []) track.stop();
  }

  async stop(name) {
    await new Promise(done => {
      this.recorder.onstop = done;
      this.recorder.stop();
    });
    this.cancel();
    const sound = await decode(new Blob(this.parts));
    return new File([wav(mono(sound), sound.sampleRate)], name, { type: 'audio/wav' });
  }
}

// (low, high) of each stretch of a sound, or null where this browser cannot decode it.
export async function outline(file) {
  try {
    if (!(await durationOf(file) <= LONGEST_S)) return null;
    const sound = await decode(file);
    const samples = mono(sound), step = Math.max(1, samples.length / PEAKS);
    const times = [], lows = [], highs = [];
    for (let start = 0; start < samples.length; start += step) {
      let low = 1, high = -1;
      for (let i = Math.floor(start); i < Math.min(samples.length, start + step); i++) {
        low = Math.min(low, samples[i]);
        high = Math.max(high, samples[i]);
      }
      times.push(start / sound.sampleRate);
      lows.push(low);
      highs.push(high);
    }
    return { times, lows, highs };
  } catch {
    return null;
  }
}

// In seconds, as its header says; nothing is decoded for that.
async function durationOf(file) {
  const audio = new Audio(), address = URL.createObjectURL(file);
  try {
    return await new Promise((resolve, reject) => {
      audio.onloadedmetadata = () => resolve(audio.duration);
      audio.onerror = reject;
      audio.src = address;
    });
  } finally {
    URL.revokeObjectURL(address);
  }
}

async function decode(blob) {
  const context = new AudioContext();
  try {
    return await context.decodeAudioData(await blob.arrayBuffer());
  } finally {
    context.close();
  }
}

function mono(sound) {
  const mixed = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    const samples = sound.getChannelData(channel);
    for (let i = 0; i < mixed.length; i++) mixed[i] += samples[i] / sound.numberOfChannels;
  }
  return mixed;
}

function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, 'RIFF'); view.setUint32(4, 36 + 2 * samples.length, true); text(8, 'WAVEfmt ');
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, 'data'); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => view.setInt16(44 + 2 * i, 32767 * Math.max(-1, Math.min(1, value)), true));
  return view.buffer;
}
