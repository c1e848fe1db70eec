// A real browser, without a window: the one that is installed.

import { chromium } from "playwright-core";
import { onThePath } from "./program.js";

export function startBrowser() {
  // `run` looks for the same.
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const executablePath = process.env.CHROMIUM || names.map(onThePath).find(Boolean);
  if (!executablePath) throw new Error(`there is no ${names.join(", ")} on the PATH, and CHROMIUM names none`);
  return chromium.launch({ executablePath });
}
