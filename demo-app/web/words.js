// Numbers and times in words.

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export function ago(ms, now = Date.now()) {
  const seconds = (now - ms) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 3570) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  const then = new Date(ms);
  const time = then.toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hour12: false });
  if (then.toDateString() === new Date(now).toDateString()) return time;
  const year = then.getFullYear() === new Date(now).getFullYear() ? undefined : "numeric";
  const day = then.toLocaleDateString("en", { day: "numeric", month: "short", year });
  return seconds < 7 * 86400 ? `${day}, ${time}` : day;
}

export function span(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 90_000) return `${Math.round(ms / 1000)} s`;
  return count(Math.round(ms / 60_000), "minute");
}
