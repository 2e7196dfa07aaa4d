// Shows the progress of a job, and its result when it is there. Without this script a link does it.
"use strict";
const shown = document.getElementById("progress");
async function look() {
  const answer = await fetch(location.pathname + "/state").catch(() => null);
  const state = answer && answer.ok ? await answer.json() : null;
  if (answer && (!state || !["receiving", "waiting", "working"].includes(state.stage))) return location.reload();
  if (state) {
    const percent = Math.round(state.share * 100);
    shown.querySelector("progress").value = percent;
    shown.querySelector("span").textContent = state.stage === "working" ? (state.why && state.why + ", ") + percent + " %" : state.why || "waiting for a place";
  }
  setTimeout(look, 1000);
}
if (shown) look();
