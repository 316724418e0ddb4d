// What the page does beyond links and forms. Without it, all of them still work.
"use strict";

const clockDelay = 1000; // milliseconds between looks at the state of the index

/** Lets one video play at a time, within the span of its clip. */
function watchVideos() {
  document.addEventListener("play", (event) => {
    for (const other of document.querySelectorAll("video")) {
      if (other !== event.target) other.pause();
    }
    const { start, end } = event.target.dataset;
    const now = event.target.currentTime;
    if (start && (now < start - 0.5 || now >= end - 0.05)) event.target.currentTime = start;
  }, true);
  document.addEventListener("timeupdate", (event) => {
    const { target: video } = event;
    const end = Number(video.dataset.end);
    if (end && video.currentTime >= end && !video.paused && !video.seeking) video.pause();
  }, true);
  document.addEventListener("error", (event) => {
    if (!event.target.matches("video")) return;
    event.target.closest("article").querySelector(".silent").hidden = false;
    event.target.controls = false;
    event.target.parentElement.querySelector(".play")?.remove();
  }, true);
}

/** Puts one large button on each video that has not been played, in place of its controls. */
function coverVideos() {
  for (const video of document.querySelectorAll("video[controls]:not([data-covered])")) {
    video.dataset.covered = "";
    video.controls = false;
    const button = document.createElement("button");
    const mark = document.createElement("span");
    button.type = "button";
    button.className = "play";
    mark.textContent = "▶\uFE0E";
    mark.ariaHidden = "true";
    const name = video.closest("article").querySelector("h2").textContent;
    button.ariaLabel = `Play ${name}`;
    button.append(mark);
    button.addEventListener("click", () => {
      video.controls = true;
      button.remove();
      video.focus();
      video.play().catch(() => {}); // an error event follows
    });
    video.after(button);
  }
}

/** Adds the next clips to the page, and their number to its address. */
async function showMore(button) {
  if (button.ariaBusy === "true") return;
  button.ariaBusy = "true";
  try {
    const answer = await fetch(button.dataset.fragment);
    if (!answer.ok) throw new Error(answer.status);
    const added = new DOMParser().parseFromString(await answer.text(), "text/html");
    const list = added.querySelector("ol");
    const first = list.querySelector("h2");
    history.replaceState(null, "", list.dataset.page);
    document.querySelector("#hits").append(...list.children);
    coverVideos();
    document.querySelector("#more").replaceWith(added.querySelector("#more"));
    first?.focus({ preventScroll: true });
  } catch {
    location.assign(button.href); // the page of the server says what is wrong
  }
}

/** Shows the state of the index until searches are answered. */
async function waitForIndex() {
  const bar = document.querySelector("#progress");
  const count = document.querySelector("#count");
  for (;;) {
    await new Promise((done) => setTimeout(done, clockDelay));
    try {
      const answer = await fetch("/api/health");
      if (answer.ok) return location.reload();
      const { indexed, clips } = await answer.json();
      if (!clips) continue;
      bar.max = clips;
      bar.value = indexed;
      count.textContent = `${indexed.toLocaleString("en")} of ${clips.toLocaleString("en")} clips`;
    } catch {
      count.textContent = "The server does not answer.";
    }
  }
}

const form = document.querySelector("form.ask");
form?.addEventListener("submit", () => {
  const button = form.querySelector("button");
  button.ariaBusy = "true";
  button.textContent = "Searching…";
  // Empty choices would only make the address longer.
  for (const choice of form.querySelectorAll("select")) choice.disabled = !choice.value;
});
addEventListener("pageshow", () => { // also after going back
  if (!form) return;
  form.querySelector("button").ariaBusy = null;
  form.querySelector("button").textContent = "Search";
  for (const choice of form.querySelectorAll("select")) choice.disabled = false;
});
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("a[data-fragment]");
  if (!button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  showMore(button);
});
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches?.("input, select, textarea");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  document.querySelector("#text")?.select();
});
watchVideos();
coverVideos();
if (document.querySelector("[data-wait]")) waitForIndex();
