// The live part of a page; without this script the page is complete, but static.
"use strict";

const AGAIN_MS = 5000;

let newest = null; // what was received and is not shown yet: heads, and the body where it is another one

// Text of a part without what its reader has unfolded.
function content(part) {
  const copy = part.cloneNode(true);
  for (const one of copy.querySelectorAll("details")) one.removeAttribute("open");
  return copy.innerHTML;
}

// Heads stand above the part: as of when it is, and how old its data are. They change only together with it.
function received(html) {
  const body = new DOMParser().parseFromString(html, "text/html").body;
  const heads = [...body.querySelectorAll("#as-of, #age")];
  for (const head of heads) head.remove();
  return { heads, body: body.childElementCount ? body : newest?.body };
}

// Nothing is exchanged under the keyboard's focus, or where it is the same.
function renew(part) {
  if (!newest || part.contains(document.activeElement)) return;
  if (newest.body && content(newest.body) !== content(part)) {
    const open = new Set([...part.querySelectorAll("details[open][id]")].map((one) => one.id));
    part.replaceChildren(...newest.body.childNodes);
    for (const id of open) part.querySelector("#" + CSS.escape(id))?.setAttribute("open", "");
  }
  for (const head of newest.heads) document.getElementById(head.id)?.replaceWith(head);
  newest = null;
}

function follow(part) {
  const state = document.getElementById("live-state");
  const show = (text) => { if (state) state.textContent = text; };
  const feed = new EventSource("/live" + location.pathname + location.search);
  feed.onopen = () => show(state.dataset.on);
  feed.onmessage = (message) => {
    newest = received(JSON.parse(message.data));
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
