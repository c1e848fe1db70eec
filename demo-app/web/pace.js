// When to save: `quiet` ms after the last key, and at most `most` ms after the first, though somebody does not stop typing.

export class Pace {
  #run;
  #quiet;
  #most;
  #timer = null;
  #first = 0;

  constructor(run, { quiet, most }) {
    this.#run = run;
    this.#quiet = quiet;
    this.#most = most;
  }

  key() {
    const now = Date.now();
    if (this.#timer === null) this.#first = now;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.now(), Math.max(0, Math.min(this.#quiet, this.#first + this.#most - now)));
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
