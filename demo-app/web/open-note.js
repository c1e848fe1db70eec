// The note that is open: what is typed into it, what comes in from elsewhere, and the talk with the server about both.
//
// One request at a time. An answer that was on its way while another request changed the note could show it as it was
// before, and the next save would then take that for the person's wish.
//
// Knows nothing of the page: `view` has the functions `note(note)`, `title(text)`, `body(text)`, `state(word)`,
// `gone(unsaved)` and `trouble(error)`.

import { Draft, Field } from "./draft.js";
import { Pace } from "./pace.js";

// A body is saved while it is typed: it is merged by the letter. Of titles that were written apart one shows, so a title is
// saved less often, and, where its writer pauses at all, not in the middle of a word.
const BODY = { quiet: 250, most: 1000 };
const TITLE = { quiet: 600, most: 3000 };

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 5000;

const SILENT = { note() {}, title() {}, body() {}, state() {}, gone() {}, trouble() {} };

export class OpenNote {
  #api;
  #view;
  #titlePace = new Pace(() => this.#save({ title: true }), TITLE);
  #bodyPace = new Pace(() => this.#save({ body: true }), BODY);
  #working = false;
  #asked = [];
  // What is to be saved as soon as no other request is under way.
  #due = { title: false, body: false };
  #stale = false;
  #composing = false;
  #retry = null;
  #wait = FIRST_RETRY_MS;
  #closed = false;

  constructor(note, api, view) {
    this.id = note.id;
    this.#api = api;
    this.#view = view;
    this.title = new Field(note.title ?? "");
    this.body = new Draft(note.body ?? "");
    view.note(note);
  }

  get unsaved() {
    return this.title.unsaved || this.body.unsaved;
  }

  typeTitle(text) {
    this.title.mine = text;
    this.#typed(this.#titlePace);
  }

  typeBody(text) {
    this.body.mine = text;
    this.#typed(this.#bodyPace);
  }

  // While a word is being composed (Chinese, Japanese, accents), changing the textarea would tear it apart.
  compose(active) {
    this.#composing = active;
    if (!active) this.#work();
  }

  // Somebody wrote the note, perhaps we did.
  changed() {
    this.#stale = true;
    this.#work();
  }

  // A change of anything but title and body: `call` does the request. Its place in the row of requests is kept.
  perform(call) {
    return new Promise((done) => {
      this.#asked.push(async () => {
        try {
          const answer = await call();
          if (answer?.id === this.id) this.#show(answer);
        } catch (error) {
          this.#view.trouble(error);
        }
        this.#stale = true;
        done();
      });
      this.#work();
    });
  }

  // Save what there is now.
  flush() {
    this.#rest();
    return this.#save({ title: true, body: true });
  }

  // The person goes to another note: the last words are saved, and nothing is shown any more but what goes wrong.
  close() {
    const { gone, trouble } = this.#view;
    this.#view = { ...SILENT, gone, trouble };
    this.#closed = true;
    this.flush();
  }

  // It is deleted: nothing is to be saved any more, nor to be said about it.
  drop() {
    this.#view = SILENT;
    this.#closed = true;
    this.#rest();
    this.title.mine = this.title.base;
    this.body.mine = this.body.base;
  }

  // The page goes away: no time for answers. What is under way already is kept going by the browser.
  leave() {
    if (this.title.unsaved) this.#api.patchNote(this.id, this.title.send()).catch(() => {});
    if (this.body.unsaved) this.#api.saveBody(this.id, this.body.send()).catch(() => {});
  }

  #typed(pace) {
    this.#view.state("unsaved");
    pace.key();
  }

  #save(due) {
    this.#due = { ...this.#due, ...due };
    return this.#work();
  }

  #rest() {
    this.#titlePace.stop();
    this.#bodyPace.stop();
  }

  async #work() {
    if (this.#working) return;
    this.#working = true;
    clearTimeout(this.#retry);
    try {
      for (let step; (step = this.#next()); ) await step();
      this.#wait = FIRST_RETRY_MS;
      this.#view.state(this.unsaved ? "unsaved" : "saved");
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#working = false;
    }
  }

  #next() {
    if (this.#asked.length) return this.#asked.shift();
    if (this.#due.title && this.title.unsaved) return () => this.#saveTitle();
    if (this.#due.body && this.body.unsaved) return () => this.#saveBody();
    this.#due = { title: false, body: false };
    if (this.#stale && !this.#composing && !this.#closed) return () => this.#load();
    return null;
  }

  async #load() {
    this.#stale = false;
    const note = await this.#api.note(this.id);
    this.#show(note);
    // A word was begun meanwhile: the texts are loaded again when it is done.
    if (this.#composing) return void (this.#stale = true);
    this.title.receive(note.title ?? "");
    this.#view.title(this.title.mine);
    this.#receive(note.body ?? "");
  }

  async #saveTitle() {
    this.#view.state("saving");
    this.#due.title = false;
    const note = await this.#api.patchNote(this.id, this.title.send());
    this.title.saved();
    this.#stale = true;
    if (this.#composing) return;
    this.title.receive(note.title ?? "");
    this.#view.title(this.title.mine);
  }

  async #saveBody() {
    this.#view.state("saving");
    this.#due.body = false;
    const answer = await this.#api.saveBody(this.id, this.body.send());
    this.body.saved();
    this.#receive(answer.body);
  }

  // Not over what the person has done since, such as a box that was ticked: what comes of that is shown after it.
  #show(note) {
    if (this.#asked.length === 0) this.#view.note(note);
  }

  #receive(text) {
    if (this.#composing) {
      this.#stale ||= text !== this.body.base;
    } else if (this.body.receive(text)) {
      this.#view.body(this.body.mine);
    } else {
      this.#due.body = true;
    }
  }

  #failed(error) {
    if (error.status === 404) {
      const unsaved = this.unsaved ? { title: this.title.mine, body: this.body.mine } : null;
      const { gone } = this.#view;
      this.#stale = false;
      this.drop();
      gone(unsaved);
      return;
    }
    this.#view.state("trouble");
    // No answer, or the server is in difficulties: again, later. Refused: again when something else was typed.
    if (error.status && error.status < 500) {
      this.#due = { title: false, body: false };
      this.#view.trouble(error);
      return;
    }
    this.#due = { title: true, body: true };
    this.#retry = setTimeout(() => this.#work(), this.#wait);
    this.#wait = Math.min(2 * this.#wait, LONGEST_RETRY_MS);
  }
}
