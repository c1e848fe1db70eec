// A text that is edited here while others edit it too.
//
// `base` is the last text of the server's that `mine` has in it; what the person made of it is the difference. Whatever
// comes from the server goes through `receive`. Nothing here knows about the page or the network.

import { merge } from "./merge.js";

export class Draft {
  #sent = null;
  #page = crypto.getRandomValues(new Uint32Array(3)).join("-");
  #save = 1;
  #attempt = 0;

  constructor(text) {
    this.base = text;
    this.mine = text;
  }

  get unsaved() {
    return this.mine !== this.base;
  }

  // What to send. If no answer comes, what is sent the next time has the same number and begins with the same base, and the
  // server, which may have got this one, takes nothing of it twice. Attempts are counted: one may overtake another.
  send() {
    this.#sent = this.mine;
    this.#attempt += 1;
    return { base: this.base, text: this.mine, page: this.#page, save: this.#save, attempt: this.#attempt };
  }

  // The server has what was sent. From here on that is what the person's typing is a change of, whatever the text has
  // become there.
  saved() {
    this.base = this.#sent;
    this.#save += 1;
  }

  // The text as it is at the server. False if it changed where the person did: then `mine` stays as it is, and is to be
  // saved at once, so that the server merges the two.
  receive(theirs) {
    const merged = merge(this.base, this.mine, theirs);
    if (merged === null) return false;
    this.base = theirs;
    this.mine = merged;
    return true;
  }
}

// A short text, such as a title: of what was written apart one shows. What is being typed is never overwritten from outside:
// the save says what the person began with, and the server tells what comes of that.
export class Field {
  #sent = [];

  constructor(value) {
    this.base = value;
    this.mine = value;
  }

  get unsaved() {
    return this.mine !== this.base;
  }

  // What to send. What was sent before and not answered may be there by now.
  send() {
    const bases = [this.base, ...this.#sent];
    if (this.#sent.at(-1) !== this.mine) this.#sent.push(this.mine);
    return { title: this.mine, title_bases: bases };
  }

  // The server has what was sent. What came of it goes through `receive`.
  saved() {
    this.base = this.#sent.at(-1);
    this.#sent = [];
  }

  receive(theirs) {
    if (this.unsaved && this.mine !== theirs) return;
    this.base = this.mine = theirs;
  }
}
