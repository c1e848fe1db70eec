// When to save: soon after the last key, and now and then while somebody does not stop typing.

const QUIET_MS = 250;
const MOST_MS = 1000;

export class Pace {
  #run;
  #timer = null;
  #first = 0;

  constructor(run) {
    this.#run = run;
  }

  key() {
    const now = Date.now();
    if (this.#timer === null) this.#first = now;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.now(), Math.max(0, Math.min(QUIET_MS, this.#first + MOST_MS - now)));
  }

  now() {
    this.stop();
    this.#run();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }
}
