// Uploads files one after the other, and shows the progress of a job. Without this script a plain form and a link do it.
"use strict";
const shown = document.getElementById("progress");
const upload = document.getElementById("upload");
const unfinished = ["receiving", "waiting", "working"];

async function stateAt(path) {
  const answer = await fetch(path + "/state").catch(() => null);
  if (answer?.redirected) document.getElementById("signed-out").hidden = false;
  return answer && { ok: answer.ok, isSignedOut: answer.redirected, job: answer.ok && !answer.redirected ? await answer.json() : null };
}

async function look() {
  const state = await stateAt(location.pathname);
  if (state?.isSignedOut) return;
  if (state && (!state.ok || !unfinished.includes(state.job.stage))) return location.reload();
  if (state) {
    const percent = Math.round(state.job.share * 100);
    shown.querySelector("progress").value = percent;
    const step = state.job.why || (state.job.stage === "working" ? "" : shown.dataset.waiting || "");
    shown.querySelector("span").textContent = state.job.stage === "working" ? (step && step + ", ") + percent + " %" : step;
  }
  setTimeout(look, 1000);
}

// Sends one file; resolves with the address of its job, or "" if there is none.
function send(file, line) {
  const [bar, bytes, cancel] = ["progress", "b", "button"].map((name) => line.querySelector(name));
  const words = upload.querySelector("template[data-lost]").dataset;
  const mib = (size) => (size / 1048576).toLocaleString(document.documentElement.lang, { maximumFractionDigits: 1 });
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const end = (text, path = "") => { bytes.textContent = text; cancel.remove(); resolve(path); };
    request.upload.onprogress = (sent) => {
      bar.value = (100 * sent.loaded) / sent.total;
      bytes.textContent = `${mib(sent.loaded)} / ${mib(sent.total)} MiB`;
    };
    request.onload = () => {
      if (request.status === 200) return end("✓", new URL(request.responseURL).pathname);
      const page = new DOMParser().parseFromString(request.response, "text/html");
      end(page.querySelector(".verdict p")?.textContent || words.lost);
    };
    request.onerror = () => end(words.lost);
    request.onabort = () => end(words.cancelled);
    cancel.onclick = () => request.abort();
    const form = new FormData();
    form.append("file", file);
    request.open("POST", "/files");
    request.send(form);
  });
}

async function sendAll(files) {
  const list = document.getElementById("uploads");
  list.hidden = false;
  upload.querySelector("button").disabled = true;
  const waiting = [...files].map((file) => {
    const line = upload.querySelector("template").content.firstElementChild.cloneNode(true);
    line.querySelector("span").textContent = file.name;
    list.append(line);
    return [file, line];
  });
  const jobs = [];
  for (const [file, line] of waiting) {
    const path = await send(file, line);
    if (path) jobs.push(path);
    // The server reads one file of a token at a time.
    while (path && unfinished.includes((await stateAt(path))?.job?.stage)) await new Promise((next) => setTimeout(next, 300));
  }
  if (jobs.length === files.length) location.assign(jobs.length === 1 ? jobs[0] : "/files");
  upload.querySelector("button").disabled = false;
}

function takeFiles() {
  const field = document.getElementById("file");
  field.multiple = true;
  upload.querySelector("[hidden]").hidden = false;
  upload.onsubmit = (event) => { event.preventDefault(); sendAll(field.files); };
  const box = upload.closest("section");
  box.ondragover = (event) => event.preventDefault();
  box.ondrop = (event) => { event.preventDefault(); sendAll(event.dataTransfer.files); };
}

if (shown) look();
if (upload) takeFiles();
