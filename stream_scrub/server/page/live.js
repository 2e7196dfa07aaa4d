// Keeps the status up to date. Without this script the page is complete, and shows the moment that it was loaded.
"use strict";
const live = document.getElementById("live");
if (live && window.EventSource) {
  const events = new EventSource(live.dataset.events);
  events.onmessage = (event) => {
    if (live.contains(document.activeElement)) return; // somebody reads with the keyboard there
    live.innerHTML = JSON.parse(event.data);
    document.title = live.querySelector("h1").textContent + " - stream-scrub";
  };
  events.onerror = () => live.classList.add("old");
  events.onopen = () => live.classList.remove("old");
}
