// Numbers and times in words.

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

// To make one of these takes a browser a hundred times as long as to use it.
const TIME = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const DAY_AND_YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

export function ago(ms, now = Date.now()) {
  const seconds = (now - ms) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 3570) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  const then = new Date(ms);
  const today = new Date(now);
  if (then.toDateString() === today.toDateString()) return TIME.format(then);
  if (seconds < 7 * 86400) return `${DAY.format(then)}, ${TIME.format(then)}`;
  return (then.getFullYear() === today.getFullYear() ? DAY : DAY_AND_YEAR).format(then);
}

export function span(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 90_000) return `${Math.round(ms / 1000)} s`;
  return count(Math.round(ms / 60_000), "minute");
}
