// The live part of a page; without this script the page is complete, but static.
"use strict";

const AGAIN_MS = 5000;

function follow(part) {
  const state = document.getElementById("live-state");
  const show = (text) => { if (state) state.textContent = text; };
  const feed = new EventSource("/live" + location.pathname + location.search);
  feed.onopen = () => show(state.dataset.on);
  feed.onmessage = (message) => {
    if (part.contains(document.activeElement)) return; // the next change comes when the focus is elsewhere
    const open = new Set([...part.querySelectorAll("details[open][id]")].map((one) => one.id));
    const fresh = new DOMParser().parseFromString(JSON.parse(message.data), "text/html");
    part.replaceChildren(...fresh.body.childNodes);
    for (const id of open) part.querySelector("#" + CSS.escape(id))?.setAttribute("open", "");
  };
  feed.addEventListener("ended", () => { feed.close(); show(state.dataset.ended); });
  feed.onerror = () => {
    show(state.dataset.off);
    if (feed.readyState === EventSource.CLOSED) setTimeout(() => follow(part), AGAIN_MS); // refused: too many follow
  };
}

const part = document.querySelector("[data-live]");
if (part) follow(part);
