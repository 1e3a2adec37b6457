// What is new on a page comes as fragments of HTML, by the id of the element that they fill.
"use strict";

const byId = (id) => document.getElementById(id);

// What a person did with the old content stays: ticks, open details, the focus.
function fill(box, html) {
  const ticked = new Set(Array.from(box.querySelectorAll("input:checked"), (input) => input.value));
  const open = new Set(Array.from(box.querySelectorAll("details[open]"), (details) => details.id));
  const active = box.contains(document.activeElement) ? document.activeElement : null;
  const place = active && Array.from(box.querySelectorAll(active.tagName)).indexOf(active);
  const log = box.querySelector("pre");
  const above = log && log.scrollHeight - log.clientHeight - log.scrollTop > 4 ? log.scrollTop : null;
  const fresh = document.createElement("template");
  fresh.innerHTML = html; // escaped by the server
  for (const input of fresh.content.querySelectorAll("input[type=checkbox]")) input.checked = ticked.has(input.value);
  for (const details of fresh.content.querySelectorAll("details")) details.open = open.has(details.id);
  box.replaceChildren(fresh.content);
  toEnd(box, above);
  if (!active) return;
  const same = Array.from(box.querySelectorAll(active.tagName));
  const found = same.find((one) => (one.href ?? one.value) && one.href === active.href && one.value === active.value);
  (found ?? same[place])?.focus({ preventScroll: true });
}

// What is under a pressed button of the mouse stays until it is let go: else the click would meet nothing.
const waiting = {};
let pressed = false;

function show() {
  for (const [id, html] of Object.entries(waiting)) {
    delete waiting[id];
    if (byId(id)) fill(byId(id), html);
  }
  count();
}

addEventListener("pointerdown", () => { pressed = true; });
for (const name of ["click", "pointercancel", "dragend", "contextmenu"]) {
  addEventListener(name, () => {
    pressed = false;
    setTimeout(show);
  });
}
addEventListener("pointerup", () => setTimeout(() => { pressed = false; }, 50)); // where no click follows

// A log shows its end, unless somebody has scrolled up in it.
function toEnd(box, above = null) {
  for (const log of box.querySelectorAll(".log")) log.scrollTop = above ?? log.scrollHeight;
}

function told(words, lost) {
  byId("link").textContent = words;
  byId("link").classList.toggle("lost", lost);
}

// A browser opens six connections to a host, and a stream holds one for as long as it is open: a tab that nobody sees
// has none. What it missed comes when it is shown, by the digest of what it has.
function follow(address) {
  const place = new URL(address, location.href);
  let stream = null;

  function open() {
    if (stream || document.hidden) return;
    stream = new EventSource(place);
    stream.onopen = () => told("live", false);
    stream.onmessage = (event) => {
      place.searchParams.set("seen", event.lastEventId);
      Object.assign(waiting, JSON.parse(event.data));
      if (!pressed) show();
    };
    stream.onerror = () => {
      const ended = stream.readyState === EventSource.CLOSED;
      told(ended ? "moola dash was begun anew: open the address that it printed" : "no connection: trying again", true);
    };
  }

  function close() {
    stream?.close();
    stream = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  open();
}

// How many runs are ticked, and for what that is too few or too many.
function count() {
  const number = document.querySelectorAll("#choose input:checked").length;
  if (byId("ticked") && number) byId("ticked").textContent = `${number} ticked`;
  const compare = document.querySelector("[formaction='/compare']");
  if (compare) compare.disabled = number !== 2;
  const curves = document.querySelector("[formaction='/curves']");
  if (curves) curves.disabled = !number || number > Number(curves.dataset.most);
}

document.addEventListener("change", count);
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
count();
toEnd(document);
if (document.body.dataset.events) follow(document.body.dataset.events);
