// The built program as a person starts it, on a free port and a folder of its own.

import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const START_MS = 60_000;

const target = (profile) => fileURLToPath(new URL(`../../target/${profile}/driftless-notes`, import.meta.url));

// What DRIFTLESS_NOTES names, or the first that was built of `profiles`.
export function builtProgram(profiles = ["debug"]) {
  const candidates = process.env.DRIFTLESS_NOTES ? [process.env.DRIFTLESS_NOTES] : profiles.map(target);
  const found = candidates.find(isExecutable);
  if (!found) throw new Error(`there is no ${candidates.join(" nor ")}: cargo build -p driftless-notes`);
  return found;
}

// Where a command is, or undefined.
export const onThePath = (name) =>
  (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, name)).find(isExecutable);

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

// A folder that is gone when the test is over.
export async function freshFolder(t) {
  const folder = await mkdtemp(join(tmpdir(), "driftless-notes-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

// A port for a program that is to come back at the same address. Below those that systems hand out by themselves, so
// that nobody gets it while the program is dead.
export async function lastingPort() {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000);
    const server = createServer();
    const free = await new Promise((done) => {
      server.once("error", () => done(false));
      server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
    });
    if (free) return port;
  }
}

export class Program {
  // Two people's notes in `folder`.
  static stage(folder, { port = 0, more = [], program, patience } = {}) {
    return Program.start(["--listen", `127.0.0.1:${port}`, "--no-browser", "--folder", folder, ...more], { program, patience });
  }

  // One person's notes in `db`, shared through a relay.
  static alone(db, relay, name) {
    return Program.start(["--listen", "127.0.0.1:0", "--no-browser", "--db", db, "--relay", relay, "--name", name]);
  }

  static async start(args, { program = builtProgram(), patience = START_MS } = {}) {
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    const started = new Program(child);
    await started.#ready(patience);
    return started;
  }

  #child;
  #ended;
  #printed = "";
  complaints = "";

  constructor(child) {
    this.#child = child;
    this.#ended = new Promise((done) => {
      child.once("exit", done);
      child.once("error", (error) => {
        this.complaints += `${error}\n`;
        done();
      });
    });
    child.stderr.setEncoding("utf8").on("data", (text) => (this.complaints += text));
    // A test run that is interrupted leaves nothing running.
    const goAlong = () => child.kill("SIGKILL");
    process.once("exit", goAlong);
    this.#ended.then(() => process.off("exit", goAlong));
  }

  // The address of the page, with a slash at its end.
  get url() {
    return /^open (\S+)/m.exec(this.#printed)[1];
  }

  // The relay that it started for its two people.
  get relay() {
    return /^relay: (\S+)/m.exec(this.#printed)[1];
  }

  // As a crash or a power cut would.
  async kill() {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  #ready(patience) {
    return new Promise((done, failed) => {
      const fail = (why) => failed(new Error(`the program ${why}\n${this.#printed}${this.complaints}`));
      const timer = setTimeout(() => {
        this.#child.kill("SIGKILL");
        fail("did not start in time");
      }, patience);
      this.#ended.then(() => {
        clearTimeout(timer);
        fail("ended before it printed an address");
      });
      this.#child.stdout.setEncoding("utf8").on("data", (text) => {
        this.#printed += text;
        // The rest of what it prints is of no interest, but has to be read.
        if (!/^open \S+ /m.test(this.#printed)) return;
        clearTimeout(timer);
        done();
      });
    });
  }
}
