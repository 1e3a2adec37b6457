// Keys become decisions. A decision waits in the browser until the server has it on disk; the next window is fetched before
// it is asked for.
"use strict";

const byId = (id) => document.getElementById(id);
const content = byId("content");
const { session, command } = document.body.dataset;
const store = "moola-review:"; // how names in the browser's storage begin
const kept = `${store}${session}:`; // those of this review
const ahead = 3; // windows fetched before they are asked for
const patience = 8000; // ms for an answer
let revision = 0;
let shownAt = performance.now();
let marked = false; // somebody moved a handle of this window
let goal = null; // the window that is on its way
let going = Promise.resolve();
let sending = null;
let toastTimer = 0;
const done = new Set(); // decided here: what was fetched before may still call them undecided

// ---- what the server is asked -------------------------------------------------------------------------------------

function filters() {
  const wanted = new URLSearchParams(location.search);
  wanted.delete("window");
  wanted.delete("token");
  return wanted;
}

function address(path, values) {
  const query = filters();
  query.set("session", session);
  for (const [name, value] of Object.entries(values)) query.set(name, value);
  return `${path}?${query}`;
}

// Why the server did not do what it was asked; only 422 is about the wish itself.
class Refusal extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

async function refusal(answer) {
  if (answer.status === 403) return new Refusal(403, "The server was started again: open the address that it printed. Here on the same port, what is kept is sent from there");
  const said = await answer.json().catch(() => ({ what: `The server failed (status ${answer.status})` }));
  return new Refusal(answer.status, [said.what, said.why, said.way_out].filter(Boolean).join(": "));
}

async function ask(path, values, body) {
  const options = { signal: AbortSignal.timeout(patience) };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  const answer = await fetch(address(path, values), options);
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

// ---- windows --------------------------------------------------------------------------------------------------------

const windows = new Map(); // window id -> promise of its fragment

function fragment(id) {
  if (!windows.has(id)) {
    const coming = ask("/fragment", id ? { window: id } : {}).then((answer) => answer.text());
    windows.set(id, coming);
    coming.catch(() => windows.delete(id));
  }
  return windows.get(id);
}

function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

const current = () => document.querySelector("#window:not(.leaving)"); // one key decides once, however late the next comes
const links = (article) => ["before", "after", "undecided"].map((name) => article.dataset[name]).filter(Boolean);

async function prefetch(article) {
  links(article).forEach((id) => fragment(id).catch(() => {}));
  let next = article.dataset.undecided;
  for (let i = 0; i < ahead && next; i += 1) next = parsed(await fragment(next)).dataset.undecided;
}

function go(id) {
  goal = id;
  going = arrive(id);
  return going;
}

async function arrive(id) {
  let html;
  try {
    html = await fragment(id);
  } catch (error) {
    if (id && error.status === 412) {
      toast(error.message, true);
      return go("");
    }
    offline(error);
    return; // `again` goes there when the server is back
  }
  if (goal !== id) return;
  goal = null;
  if (!id) windows.delete(id);
  show(parsed(html));
}

function show(article) {
  content.replaceChildren(article);
  const query = filters();
  if (article.dataset.window) query.set("window", article.dataset.window);
  history.replaceState(null, "", `/?${query}`);
  shown(article);
}

function shown(article) {
  shownAt = performance.now();
  marked = false;
  document.querySelectorAll(".handle").forEach((handle) => place(handle, Number(handle.dataset.bar)));
  if (article.dataset.window) prefetch(article).catch(() => {});
}

function told(news) {
  revision = news.revision;
  byId("progress").value = news.decided;
  byId("progress").max = Math.max(news.total, 1);
  byId("decided").textContent = `${news.decided} of ${news.total}`;
  byId("pace").textContent = news.pace ? `${news.pace} a minute` : "";
  if (news.lost !== undefined) byId("gone").textContent = news.lost;
  byId("gone").hidden = !byId("gone").textContent;
  const changed = new Set(news.changed ?? []);
  if (!changed.size) return;
  for (const [id, coming] of windows) {
    coming.then((html) => {
      if (changed.has(id) || links(parsed(html)).some((link) => changed.has(link))) windows.delete(id);
    }).catch(() => {});
  }
  const article = current();
  if (article && (changed.has(article.dataset.window) || links(article).some((link) => changed.has(link)))) renew(article);
}

// What others decided meanwhile; marks, hindsight and the clock of this window stay as they are.
async function renew(article) {
  const id = article.dataset.window;
  windows.delete(id);
  const fresh = parsed(await fragment(id));
  if (current() !== article || fresh.dataset.window !== id) return;
  for (const name of ["before", "after", "undecided"]) article.dataset[name] = fresh.dataset[name];
  article.querySelector(".outcome").replaceWith(fresh.querySelector(".outcome"));
  article.querySelector("[data-act=before]").disabled = !fresh.dataset.before;
  article.querySelector("[data-act=after]").disabled = !fresh.dataset.after;
  prefetch(article).catch(() => {});
}

// ---- decisions --------------------------------------------------------------------------------------------------------

const outbox = Object.keys(localStorage).filter((name) => name.startsWith(kept)).sort()
  .map((name) => [name, JSON.parse(localStorage.getItem(name))]);

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function post(path, body) {
  const wish = { path, command, body: { event_id: newId(), ...body } };
  const name = `${kept}${String(Date.now()).padStart(15, "0")}:${wish.body.event_id}`;
  localStorage.setItem(name, JSON.stringify(wish));
  outbox.push([name, wish]);
  return flush();
}

function flush() {
  sending ??= send().finally(() => { sending = null; });
  return sending;
}

async function send() {
  while (outbox.length) {
    const [name, wish] = outbox[0];
    let said = null;
    try {
      said = await (await ask(wish.path, { since: revision }, wish.body)).json();
    } catch (error) {
      if (error.status !== 412 && error.status !== 422) {
        offline(error);
        return;
      }
      outbox.shift();
      refused(name, wish, error);
      continue;
    }
    outbox.shift();
    localStorage.removeItem(name);
    byId("lost").hidden = !outbox.length;
    await taken(wish, said);
  }
}

// What makes no sense is dropped; what is about a window that has changed stays, for its reviewer to look at.
function refused(name, wish, error) {
  const id = wish.body.window_id;
  if (error.status === 422) {
    localStorage.removeItem(name);
    toast(`Not taken: ${error.message}`, true);
    if (id) go(id);
    return;
  }
  windows.delete(id);
  strays.push([name, `${described(wish)}: ${error.message}`]);
  tellStrays();
}

async function taken(wish, said) {
  told(said);
  if (wish.path !== "/undo") return;
  toast(said.undone ? "Taken back" : "There is nothing to take back", !said.undone);
  if (said.undone) {
    windows.delete(said.undone);
    done.delete(said.undone);
    await go(said.undone);
  }
}

async function decide(decision, values = {}, words = decision) {
  const article = current();
  if (!article) return;
  const seconds = Math.round(performance.now() - shownAt) / 1000;
  const { window: id, digest, blind, given } = article.dataset;
  const body = { window_id: id, window_digest: digest, given: given ?? null, blind: Boolean(blind), decision, seconds, ...values };
  if (marked && decision !== "note") Object.assign(body, marks());
  const stored = post("/decisions", body);
  toast(words);
  if (decision === "note") return;
  article.classList.add("leaving");
  done.add(id);
  const { undecided: next } = article.dataset;
  const known = next && !done.has(next);
  if (!known) await stored; // what is left, or that nothing is, the server knows when it knows the last decision
  await go(known ? next : "");
}

function accept() {
  if (!current()) return;
  const { blind, accepts } = current().dataset;
  if (accepts) decide("accept", {}, "accepted");
  else toast(blind ? "Blind: choose a label by its number" : "There is no label to accept: choose one by its number", true);
}

// ---- decisions that are not of this review --------------------------------------------------------------------------------

const strays = Object.keys(localStorage).filter((name) => name.startsWith(store) && !name.startsWith(kept)).sort()
  .map((name) => [name, `of another review, sent when it is opened here: ${JSON.parse(localStorage.getItem(name)).command}`]);

const described = ({ body }) => [body.decision, body.label, body.window_id].filter(Boolean).join(" ");

function tellStrays() {
  const reasons = [...new Set(strays.map(([, why]) => why))].join("; ");
  byId("stray").firstElementChild.textContent = `${strays.length} decision${strays.length > 1 ? "s" : ""} kept in this browser: ${reasons}`;
  byId("stray").hidden = !strays.length;
}

function discard() {
  strays.splice(0).forEach(([name]) => localStorage.removeItem(name));
  tellStrays();
}

// ---- connection ---------------------------------------------------------------------------------------------------------

function offline(error) {
  const waiting = outbox.length;
  const words = error instanceof Refusal ? error.message : "No connection to the server";
  const when = error.status === 409 ? `when their own review is opened here: ${command}` : "when it is back";
  byId("lost").textContent = `${words}. ${waiting ? `${waiting} decision${waiting > 1 ? "s are" : " is"} kept in this browser and sent ${when}` : "Nothing is lost"}.`;
  byId("lost").hidden = false;
}

async function again() {
  if (document.hidden && !outbox.length) return;
  await flush();
  if (outbox.length) return;
  try {
    const news = await (await ask("/news", { since: revision })).json();
    told(news);
    byId("lost").hidden = true;
    if (goal !== null) go(goal);
    else if (byId("end") && news.decided < news.total) go(""); // somebody took a decision back
  } catch (error) {
    offline(error);
  }
}

// ---- marks --------------------------------------------------------------------------------------------------------------

const frame = () => document.querySelector(".handles");

function place(handle, bar) {
  const { left, right, bars } = frame().dataset;
  const x = Number(left) + ((bar + 0.5) / Number(bars)) * (right - left);
  handle.setAttribute("transform", `translate(${x} 0)`);
  handle.setAttribute("aria-valuenow", bar);
  handle.dataset.bar = bar;
}

function marks() {
  const [start, end] = ["start", "end"].map((name) => Number(document.querySelector(`.handle[data-end=${name}]`).dataset.bar));
  return { start, end };
}

function move(handle, bar) {
  const { first, last } = frame().dataset;
  const other = marks();
  const low = handle.dataset.end === "start" ? Number(first) : other.start + 1;
  const high = handle.dataset.end === "start" ? other.end - 1 : Number(last);
  place(handle, Math.min(Math.max(bar, low), high));
  marked = true;
  frame().dataset.marked = "1";
}

function barAt(event) {
  const box = frame().getBoundingClientRect();
  const { left, right, bars } = frame().dataset;
  const x = ((event.clientX - box.left) / box.width) * frame().viewBox.baseVal.width;
  return Math.round(((x - left) / (right - left)) * bars - 0.5);
}

// The bar under the pointer, in figures; of bars that are held back none.
function read(event) {
  const box = document.querySelector(".readout");
  if (!box) return;
  const bar = event.target.closest?.(".chart") ? barAt(event) : -1;
  const { left, right, bars, last, readings } = frame().dataset;
  const held = document.querySelector(".picture.after")?.hidden && bar > last;
  const words = held ? "" : (readings.split("|")[bar] ?? "");
  box.textContent = words;
  const cross = frame().querySelector(".cross");
  cross.toggleAttribute("hidden", !words);
  cross.setAttribute("transform", `translate(${Number(left) + ((bar + 0.5) / bars) * (right - left)} 0)`);
}
document.addEventListener("pointermove", read);

content.addEventListener("pointerdown", (event) => {
  const handle = event.target.closest(".handle");
  if (!handle) return;
  event.preventDefault();
  handle.setPointerCapture(event.pointerId);
  handle.classList.add("dragged");
  const drag = (moved) => move(handle, barAt(moved));
  const drop = () => {
    handle.classList.remove("dragged");
    handle.removeEventListener("pointermove", drag);
  };
  handle.addEventListener("pointermove", drag);
  handle.addEventListener("pointerup", drop, { once: true });
  handle.addEventListener("pointercancel", drop, { once: true });
});

// ---- keys and buttons -----------------------------------------------------------------------------------------------------

function toast(words, bad = false) {
  const box = byId("toast");
  box.textContent = words;
  box.className = bad ? "shown bad" : "shown";
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.classList.remove("shown"), bad ? 6000 : 1200);
}

function hindsight() {
  const after = document.querySelector(".picture.after");
  if (!after) return;
  after.hidden = !after.hidden;
  document.querySelector(".picture.before").hidden = !after.hidden;
  document.querySelector("[data-act=hindsight]").setAttribute("aria-pressed", String(!after.hidden));
}

function saveNote() {
  if (!noteFits()) return;
  const text = byId("note-text").value.trim();
  byId("note").close();
  if (text) decide("note", { note: text }, "noted");
}

function openNote() {
  if (!current()) return;
  byId("note-text").value = "";
  noteFits();
  byId("note").showModal();
}

// A note that is too long is not cut: its writer shortens it.
function noteFits() {
  const { value, dataset } = byId("note-text");
  const [length, most] = [[...value.trim()].length, Number(dataset.longest)];
  const words = byId("note-length");
  words.textContent = length > most ? `${length - most} letters too long: a note has at most ${most}` : `${length} of ${most} letters`;
  words.classList.toggle("warn", length > most);
  return length <= most;
}
byId("note-text").addEventListener("input", noteFits);

// More windows like this one, among all of the run.
async function similar() {
  const article = current();
  if (!article) return;
  if (!document.body.dataset.similar) {
    const again = `moola review ${document.body.dataset.run} --embeddings vectors.npy`;
    toast(`Needs embeddings of all windows: moola encoders embed NAME --out vectors.npy --index, then ${again}`, true);
    return;
  }
  const box = byId("similar-windows");
  box.textContent = "…";
  byId("similar").showModal();
  try {
    const html = await (await ask("/similar", { window: article.dataset.window })).text();
    if (current() === article) box.replaceChildren(parsed(html));
  } catch (error) {
    byId("similar").close();
    offline(error);
  }
}

function scheme() {
  const root = document.documentElement;
  const next = { "": "dark", dark: "light", light: "" }[root.dataset.scheme ?? ""];
  root.dataset.scheme = next;
  localStorage.setItem("moola-review-scheme", next);
  toast(next || "colours of the system");
}

async function step(name) {
  await going; // two quick steps are two, where two quick decisions would be one about a window that nobody saw
  const id = (current() ?? byId("end"))?.dataset[name];
  if (id) go(id);
  else toast(name === "after" ? "This is the last window" : "This is the first window");
}

const acts = {
  accept,
  label: (button) => decide("label", { label: button.dataset.label }, button.dataset.label),
  skip: () => decide("skip", {}, "left out"),
  blacklist: () => decide("blacklist", {}, "blacklisted"),
  undo: () => post("/undo", {}),
  note: openNote,
  "save-note": saveNote,
  "cancel-note": () => byId("note").close(),
  hindsight,
  similar,
  discard,
  before: () => step("before"),
  after: () => step("after"),
  help: () => byId("help").showModal(),
  scheme,
};
const keys = { a: "accept", s: "skip", b: "blacklist", u: "undo", n: "note", h: "hindsight", m: "similar", j: "after", k: "before", "?": "help" };

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  const link = event.target.closest("a[data-window]");
  if (button) {
    button.blur(); // or the next Enter would press it again
    acts[button.dataset.act](button);
  } else if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    byId("similar").close();
    go(link.dataset.window);
  }
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const writing = byId("note").open; // a closed dialog's text keeps the focus until the next frame
  if (writing && event.target === byId("note-text") && event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    saveNote();
    return;
  }
  if (event.key === "m" && !event.repeat && byId("similar").open) {
    byId("similar").close();
    return;
  }
  const handle = event.target.closest?.(".handle");
  const turn = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (handle && turn) {
    event.preventDefault();
    move(handle, Number(handle.dataset.bar) + turn);
    return;
  }
  if (event.repeat || document.querySelector("dialog[open]") || event.target.closest?.("select, input:not([type=checkbox])")) return;
  const name = keys[event.key];
  const button = /^[1-9]$/.test(event.key) && document.querySelector(`[data-act=label][data-key="${event.key}"]`);
  if (/^[1-9]$/.test(event.key) && !button && current()) toast(`No label has the key ${event.key}`, true);
  if (!name && !button) return;
  event.preventDefault();
  if (button) acts.label(button);
  else acts[name]();
});

byId("filters").addEventListener("change", (event) => {
  const wanted = new URLSearchParams(new FormData(event.currentTarget));
  for (const [name, value] of [...wanted]) if (!value) wanted.delete(name);
  location.assign(`/?${wanted}`);
});
document.addEventListener("visibilitychange", again);
setInterval(again, 2500);

// ---- start ------------------------------------------------------------------------------------------------------------------

document.documentElement.dataset.scheme = localStorage.getItem("moola-review-scheme") ?? "";
const start = content.firstElementChild;
told({ ...start.dataset, revision: Number(start.dataset.revision), decided: Number(start.dataset.decided), total: Number(start.dataset.total) });
show(start);
if (document.body.dataset.told) toast(document.body.dataset.told, true);
tellStrays();
flush();
