// Keeps the page up to date. Without this script the page is complete, as of the time it was loaded.
"use strict";

// Times are in UTC: add the viewer's own, where it differs.
function addLocalTimes(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!at.getTimezoneOffset()) continue;
    const own = at.toLocaleString("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit" });
    time.append(" (" + own + " here)");
  }
}
addLocalTimes(document);

const names = new Intl.DisplayNames("en", { type: "region" });
for (const option of document.querySelectorAll("select[data-regions] option")) {
  if (option.value) option.textContent = names.of(option.value) + " (" + option.value + ")";
}

const parts = document.querySelectorAll("[data-live]");
if (parts.length && window.EventSource) {
  const events = new EventSource("/events");
  for (const part of parts) {
    events.addEventListener(part.dataset.live, (event) => {
      // Leave a part alone while the viewer has focus in it or a table open.
      if (part.contains(document.activeElement) || part.querySelector("details[open]")) return;
      part.innerHTML = JSON.parse(event.data);
      addLocalTimes(part);
      const safe = document.getElementById("safe").textContent;
      const title = safe + " - stream-scrub";
      if (document.title !== title) {
        document.title = title;
        document.getElementById("announcement").textContent = safe; // for screen readers
      }
    });
  }
  const old = document.getElementById("old");
  events.onerror = async () => {
    old.hidden = false;
    const answer = await fetch(location.pathname).catch(() => null);
    if (answer && answer.redirected) document.getElementById("signed-out").hidden = false;
  };
  events.onopen = () => { old.hidden = true; };
}
