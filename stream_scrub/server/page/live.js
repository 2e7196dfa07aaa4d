// Keeps the page up to date. Without this script it is complete, and shows the moment that it was loaded.
"use strict";
const parts = document.querySelectorAll("[data-live]");
if (parts.length && window.EventSource) {
  const events = new EventSource("/events");
  for (const part of parts) {
    events.addEventListener(part.dataset.live, (event) => {
      // Somebody reads there with the keyboard, or has opened a table.
      if (part.contains(document.activeElement) || part.querySelector("details[open]")) return;
      part.innerHTML = JSON.parse(event.data);
      const safe = document.getElementById("safe").textContent;
      const title = safe + " - stream-scrub";
      if (document.title !== title) {
        document.title = title;
        document.getElementById("said").textContent = safe; // screen readers say it
      }
    });
  }
  const old = document.getElementById("old");
  events.onerror = () => { old.hidden = false; };
  events.onopen = () => { old.hidden = true; };
}
