"use strict";
// Keeps the head of the page true while it is open: the replica goes on following the log.
const PAUSE = 5000; // milliseconds between questions

function span(seconds) {
  const parts = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const count = Math.floor(seconds / size);
    seconds %= size;
    if (count || (unit === "s" && !parts.length)) parts.push(`${count} ${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

function tell(id, text) {
  const place = document.getElementById(id);
  if (place && place.textContent !== text) place.textContent = text; // read out when it changes
}

async function look() {
  const size = document.getElementById("size");
  if (!size || document.hidden) return;
  let status;
  try {
    const answer = await fetch("/status.json", { cache: "no-store" });
    if (!answer.ok) return;
    status = await answer.json();
  } catch {
    tell("trouble", "The explorer does not answer: it may have been stopped.");
    return;
  }
  tell("age", status.age === null ? "no quorum states a time" : span(status.age));
  tell("trouble", status.trouble ? `The log is not followed now: ${status.trouble}` : "");
  const more = status.size - Number(size.dataset.size);
  const words = `${more.toLocaleString("en")} more ${more === 1 ? "leaf" : "leaves"} since this page was made; reload it to see them.`;
  tell("news", more > 0 ? words : "");
}

setInterval(look, PAUSE);
