// Live updates; without this script the page is complete, but static.
"use strict";

const RENEW_MS = 5000;
const ROWS = 12;

// Sections are exchanged one by one, so that what is open stays open and what has the focus keeps it.
async function renew() {
  if (document.hidden) return;
  let fresh;
  try {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (!answer.ok) return;
    if (answer.redirected) return location.reload(); // the login form asks for the token again
    fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return; // the feed shows that the gateway does not answer
  }
  for (const old of document.querySelectorAll("[data-renewed]")) {
    const section = fresh.getElementById(old.id);
    if (!section || old.contains(document.activeElement)) continue;
    for (const details of old.querySelectorAll("details")) {
      const same = section.querySelector("#" + CSS.escape(details.id));
      if (same) same.open = details.open;
    }
    if (!section.isEqualNode(old)) old.replaceWith(section);
  }
}

function follow(table) {
  const state = document.getElementById("feed-state");
  const feed = new EventSource(table.dataset.feed);
  feed.onopen = () => { state.textContent = state.dataset.live; };
  feed.onerror = () => {
    state.textContent = state.dataset.lost;
    if (feed.readyState === EventSource.CLOSED) setTimeout(() => follow(table), RENEW_MS); // refused: too many follow
  };
  feed.onmessage = (message) => {
    const punch = JSON.parse(message.data);
    const row = document.createElement("tr");
    for (const text of [punch.time, punch.terminal, punch.person, punch.how]) {
      row.appendChild(document.createElement("td")).textContent = text;
    }
    row.cells[1].className = "name";
    for (const [text, look] of [[punch.suspect, "doubt"], [punch.noted, "more"]]) {
      if (!text) continue;
      const remark = document.createElement("span");
      remark.className = look;
      remark.textContent = text;
      row.lastChild.append(" ", remark);
    }
    const body = table.tBodies[0];
    body.prepend(row);
    while (body.rows.length > ROWS) body.lastElementChild.remove();
    document.getElementById("no-punches")?.remove();
  };
}

follow(document.querySelector("[data-feed]"));
setInterval(renew, RENEW_MS);
