// The live part of a page; without this script the page is complete, but static.
"use strict";

const AGAIN_MS = 5000;

let newest = null; // what was received and is not shown yet

// Text of a part without what its reader has unfolded.
function content(part) {
  const copy = part.cloneNode(true);
  for (const one of copy.querySelectorAll("details")) one.removeAttribute("open");
  return copy.innerHTML;
}

// Nothing is exchanged under the keyboard's focus, or where it is the same.
function renew(part) {
  if (!newest || part.contains(document.activeElement)) return;
  if (content(newest.body) !== content(part)) {
    const open = new Set([...part.querySelectorAll("details[open][id]")].map((one) => one.id));
    part.replaceChildren(...newest.body.childNodes);
    for (const id of open) part.querySelector("#" + CSS.escape(id))?.setAttribute("open", "");
  }
  newest = null;
}

function follow(part) {
  const state = document.getElementById("live-state");
  const show = (text) => { if (state) state.textContent = text; };
  const feed = new EventSource("/live" + location.pathname + location.search);
  feed.onopen = () => show(state.dataset.on);
  feed.onmessage = (message) => {
    newest = new DOMParser().parseFromString(JSON.parse(message.data), "text/html");
    const age = newest.getElementById("age"); // how old the data are stands above the part
    if (age) document.getElementById("age")?.replaceWith(age);

    renew(part);
  };
  feed.addEventListener("ended", () => { feed.close(); show(state.dataset.ended); });
  feed.onerror = () => {
    show(state.dataset.off);
    if (feed.readyState === EventSource.CLOSED) setTimeout(() => follow(part), AGAIN_MS); // refused: too many follow
  };
}

const part = document.querySelector("[data-live]");
if (part) {
  part.addEventListener("focusout", () => setTimeout(renew, 0, part));
  follow(part);
}
