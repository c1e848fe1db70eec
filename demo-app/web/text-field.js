// A textarea that grows with its text, and into which text from elsewhere comes without moving the caret.
//
// Behind the textarea lies a mirror: the same text in the same type. It gives the textarea its height, and what others
// wrote glows in it for a moment (a textarea cannot colour letters).

import { edits, moved, whole } from "./merge.js";

// Beyond so many letters laying out the mirror at every key would be felt: the textarea then has a scrollbar of its own.
const GROWS_UP_TO = 20_000;

const GLOW_MS = 2600;

export class TextField {
  #area;
  #mirror;
  #timer = null;
  // What is in the textarea. To ask it takes long if the text is.
  #text = "";

  // `typed` is called with the text whenever the person has changed it.
  constructor(area, typed) {
    this.#area = area;
    this.#mirror = area.parentElement.querySelector(".mirror");
    area.addEventListener("input", () => {
      this.#text = area.value;
      this.#grow();
      typed(this.#text);
    });
  }

  // Another note: no caret to keep, nothing to point out.
  open(text) {
    this.#put(text);
    this.#area.setSelectionRange(0, 0);
    this.#area.scrollTop = 0;
    this.#grow();
  }

  // The same text, as it has become. `colour` is who wrote it.
  show(text, colour) {
    if (this.#text === text) return;
    const area = this.#area;
    const list = edits(this.#text, text);
    const { selectionStart, selectionEnd, selectionDirection, scrollTop } = area;
    this.#put(text);
    area.setSelectionRange(
      whole(text, moved(selectionStart, list, selectionStart !== selectionEnd)),
      whole(text, moved(selectionEnd, list)),
      selectionDirection,
    );
    area.scrollTop = scrollTop;
    this.#grow();
    this.#glow(text, list, colour);
  }

  #put(text) {
    this.#area.value = text;
    this.#text = text;
  }

  #grow() {
    const long = this.#text.length > GROWS_UP_TO;
    this.#area.parentElement.classList.toggle("long", long);
    clearTimeout(this.#timer);
    // Without a last line break of its own a mirror is a line short when the text ends in one.
    this.#mirror.textContent = long ? "" : `${this.#text}\n`;
  }

  #glow(text, list, colour) {
    if (text.length > GROWS_UP_TO) return;
    let from = 0;
    let shift = 0;
    const parts = [];
    for (const { at, remove, insert } of list) {
      const mark = document.createElement("mark");
      mark.textContent = insert;
      mark.style.setProperty("--colour", colour);
      parts.push(text.slice(from, at + shift), mark);
      from = at + shift + insert.length;
      shift += insert.length - remove;
    }
    this.#mirror.replaceChildren(...parts, `${text.slice(from)}\n`);
    this.#timer = setTimeout(() => this.#grow(), GLOW_MS);
  }
}
