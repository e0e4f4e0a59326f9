// Small helpers for the elements of the page.

export const find = id => document.getElementById(id);

export function element(name, properties = {}, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// m:ss.s, as on the command line.
export function clock(seconds) {
  const tenths = Math.floor(seconds * 10 + 1e-6);
  return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, '0')}`;
}

// A long name with its middle left out, since names that lie beside each other often differ at their ends.
export function shortened(name, most) {
  const letters = [...name], last = Math.floor((most - 1) / 2);
  return letters.length <= most ? name : `${letters.slice(0, most - 1 - last).join('')}…${letters.slice(-last).join('')}`;
}

export const bytesOf = base64 => Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));

export function save(blob, name) {
  const link = element('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// One button that starts and stops a recording; `took(file)` gets it.
// What it gives ends a recording that nobody wants any more.
export function recordButton(button, Recorder, name, took, failed) {
  const idle = button.textContent;
  let recorder = null;
  button.addEventListener('click', async () => {
    try {
      if (recorder === null) {
        button.disabled = true;  // the browser may ask its user first
        recorder = new Recorder();
        await recorder.start();
        button.disabled = false;
        button.textContent = 'Stop';
        button.classList.add('recording');
      } else {
        const running = recorder;
        recorder = null;
        button.textContent = idle;
        button.classList.remove('recording');
        took(await running.stop(name()));
      }
    } catch (error) {
      recorder = null;
      button.disabled = false;
      button.textContent = idle;
      button.classList.remove('recording');
      failed(error.name === 'NotAllowedError' ? new Error('The browser was not allowed to use the microphone.') : error);
    }
  });
  return () => recorder?.cancel();
}
