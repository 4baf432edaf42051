"""The first half of the script of `web`'s page: helpers, what the URL holds, the stream, the header.
It runs in the browser. Every text from outside becomes a text node; nothing here parses HTML.
"""

SCRIPT_STREAM = r"""
"use strict";
const $ = id => document.getElementById(id);
const CONDITIONS = ["crashed", "unhealthy", "stale", "down", "up", "done", "idle"];
const TYPES = ["crashed", "unhealthy", "restarted", "started", "stopped", "healthy", "status_changed"];
const SHADES = ["up", "unhealthy", "down", "outage"];  // as the points' second numbers; -1 is nothing
const MEANING = {
  up: "up", unhealthy: "unhealthy", down: "down", outage: "down after a crash", blind: "not seen",
};
const KEPT = 400, LOGGED = 200, ROWS = 400, SILENT_MS = 25000, HIDDEN_MS = 60000;
const COLUMNS = [  // class, title, what it sorts by (the greatest first where descending)
  ["name", "Process", (a, b) => 0, false],
  ["state", "Status", (a, b) => rank(a) - rank(b), false],
  ["health", "Health", (a, b) => text(a.row.health).localeCompare(text(b.row.health)), false],
  ["up-cell", "Up", (a, b) => (a.since || 9e15) - (b.since || 9e15), true],
  ["number restarts", "Restarts", (a, b) => a.row.restarts - b.row.restarts, true],
  ["number crashes", "Crashes/24h", (a, b) => a.row.crashes_24h - b.row.crashes_24h, true],
  ["line-cell", "Last hour", null, false],
];
const items = new Map();     // key -> {key, row, points, since, tr, cells...}
let events = [], head = {figures: {counts: {}}, stacks: [], blind: {}}, silent = {}, knownSince = 0;
let skew = 0, lastId = "", heardAt = 0, source = null, shownDetail = "", detailAsked = 0;
let view = {};               // what the URL holds

// --- small things ---

const text = value => value === undefined || value === null ? "" : String(value);
const now = () => Date.now() + skew;
const keyOf = it => [it.stack, it.namespace, it.process].map(encodeURIComponent).join("/");
const nameOf = it => clean(it.namespace + "/" + it.process);
// what could hide, turn round or break a line is spelled out, as on a terminal
const clean = value => text(value).replace(/\x1b\[[0-9;:]*m/g, "")
  .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    letter => "\\u" + letter.charCodeAt(0).toString(16).padStart(4, "0"));

function el(tag, options, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(options || {})) found.setAttribute(name, value);
  found.append(...children.filter(child => child !== null));
  return found;
}
function put(node, value) { if (node.textContent !== value) node.textContent = value; }
function mark(node, name, value) { if (node.getAttribute(name) !== value) node.setAttribute(name, value); }
function svg(tag, options) {
  const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(options)) found.setAttribute(name, value);
  return found;
}
function age(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (big, unit, small, below) => big + unit + (small ? small + below : "");
  if (s < 60) return s + "s";
  if (s < 3600) return two(Math.floor(s / 60), "m", s % 60, "s");
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor(s % 3600 / 60), "m");
  return two(Math.floor(s / 86400), "d", Math.floor(s % 86400 / 3600), "h");
}
function clock(moment) {
  const at = new Date(moment), two = number => String(number).padStart(2, "0");
  if (isNaN(at)) return clean(moment);
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  return at.toDateString() === new Date(now()).toDateString() ? time
    : at.getFullYear() + "-" + two(at.getMonth() + 1) + "-" + two(at.getDate()) + " " + time;
}
const words = event => clean(event.words.replace(/\u2063([^\u2063]*)\u2063/g, (_, moment) => clock(moment)));

// --- what the URL holds ---

function readUrl() {
  const found = new URLSearchParams(location.search), pick = (name, allowed, usual) =>
    allowed.includes(found.get(name)) ? found.get(name) : usual;
  const sorts = COLUMNS.map((_, at) => [String(at), "-" + at]).flat();
  view = {
    q: found.get("q") || "", show: pick("show", CONDITIONS, ""), type: pick("type", TYPES, ""),
    range: pick("range", ["6", "24"], "1"), sort: pick("sort", sorts, "1"),
    view: pick("view", ["events"], "processes"), open: found.get("open") || "",
  };
}
function writeUrl(step) {
  const usual = {range: "1", sort: "1", view: "processes"}, found = new URLSearchParams();
  for (const [name, value] of Object.entries(view))
    if (value && value !== usual[name]) found.set(name, value);
  const address = location.pathname + (String(found) ? "?" + found : "");
  if (address === location.pathname + location.search) return;
  history[step ? "pushState" : "replaceState"](null, "", address);
}
function set(name, value, step) {
  view[name] = value;
  writeUrl(step);
  drawAll();
}

// --- the stream ---

function connect() {
  if (source) source.close();
  heardAt = Date.now();
  source = new EventSource("api/stream" + (lastId ? "?last=" + encodeURIComponent(lastId) : ""));
  const take = handler => message => {
    heardAt = Date.now();
    lastId = message.lastEventId || lastId;
    handler(JSON.parse(message.data));
  };
  source.addEventListener("hello", take(hello));
  source.addEventListener("update", take(update));
  source.addEventListener("sign", () => { heardAt = Date.now(); });
  source.onerror = () => setLink(false);
}
function lookAfterStream() {
  const hidden = document.hidden && Date.now() - hiddenAt > HIDDEN_MS;
  if (hidden) { if (source) source.close(); source = null; setLink(false); return; }
  const stuck = source && source.readyState === 1 && Date.now() - heardAt > SILENT_MS;
  const closed = source && source.readyState === 2 && Date.now() - heardAt > 2000;
  if (!source || stuck || closed) connect();
}
let hiddenAt = 0;
document.addEventListener("visibilitychange", () => {
  hiddenAt = Date.now();
  if (!document.hidden) lookAfterStream();
});

function hello(found) {
  const gone = new Set(items.keys());
  knownSince = found.since;
  for (const row of found.rows) gone.delete(keyOf(row));
  items.forEach(it => { it.points = []; });
  gone.forEach(key => items.delete(key));
  if (!found.resumed) events = [];
  update(found);
  setLink(true);
  drawAll();
}
function update(found) {
  skew = found.now * 1000 - Date.now();
  if (found.head) takeHead(found.head);
  for (const row of found.rows || []) takeRow(row);
  for (const key of found.gone || []) items.delete(key.map(encodeURIComponent).join("/"));
  if (found.events && found.events.length) takeEvents(found.events);
  soon();
  if (found.rows && shownDetail && found.rows.some(row => keyOf(row) === shownDetail)) askDetail();
}
function takeHead(found) {
  head = {...found, seen: head.seen};
  silent = {};
  for (const stack of head.stacks) if (stack.silence) silent[stack.name] = stack.silence;
  const seen = JSON.stringify([silent, head.blind, head.stacks.length > 1]);
  if (seen !== head.seen) items.forEach(it => { it.dirty = true; });
  head.seen = seen;
  setLink(source && source.readyState === 1);
  drawHead();
}
function takeRow(row) {
  const key = keyOf(row);
  if (row.condition === "gone") return items.delete(key);
  let it = items.get(key);
  if (!it) items.set(key, it = makeItem(key));
  it.flash = it.flash || Boolean(it.row && it.row.condition !== row.condition);
  it.dirty = true;
  it.name = nameOf(row);
  it.points = it.points.concat(row.points).slice(-600);
  it.row = row;
  it.since = row.since ? Date.parse(row.since) : 0;
  it.ended = row.ended_at ? Date.parse(row.ended_at) : 0;
}
function takeEvents(found) {
  const had = new Set(events.slice(0, 2 * found.length).map(event => event.id));
  const fresh = found.filter(event => !had.has(event.id)).reverse();
  events = fresh.concat(events).slice(0, KEPT);
  const trouble = fresh.find(event => event.type === "crashed" || event.type === "unhealthy");
  if (trouble && source && heardAt - startedAt > 2000) put($("said"), nameOf(trouble) + " " + trouble.type);
}
const startedAt = Date.now();

// --- the head ---

function setLink(live) {
  const node = $("link"), state = live ? (head.nats === false ? "lost" : "live") : "lost";
  node.className = state;
  const trouble = live ? "NATS is away, trying again" : "no connection, trying again";
  put(node, state === "live" ? "live" : trouble);
}
function drawHead() {
  const found = head.figures, wanted = [
    ["Adapters", found.adapters + " of " + found.stacks],
    ["Events/min", found.events_per_minute],
    ["Crashes/24h", found.crashes],
  ];
  $("figures").replaceChildren(...wanted.map(([title, value]) =>
    el("div", {}, el("dt", {}, title), el("dd", {}, String(value)))));
  drawNotes();
}
function drawNotes() {
  const notes = head.stacks.filter(stack => stack.silence).map(stack =>
    el("p", {}, el("b", {}, clean(stack.name)), ": " + silenceWords(stack.silence)));
  const texts = notes.map(note => note.textContent).join();
  if ($("notes").dataset.texts !== texts) $("notes").replaceChildren(...notes);
  $("notes").dataset.texts = texts;
}
function silenceWords(silence) {
  const since = silence.since ? " since " + clock(silence.since) : "";
  if (silence.about === "adapter")
    return (silence.kind === "stopped" ? "its adapter was stopped" : "no word from its adapter") + since;
  if (silence.kind === "stopped") return "its process-compose is gone" + since;
  return "its process-compose does not answer" + since + (silence.error ? ": " + clean(silence.error) : "");
}
function drawChips() {
  const counts = {};
  items.forEach(it => { const one = condition(it); counts[one] = (counts[one] || 0) + 1; });
  const shown = CONDITIONS.filter(one => counts[one] || one === view.show);
  const wanted = ["", ...shown].join();
  if ($("conditions").dataset.wanted !== wanted) {
    $("conditions").dataset.wanted = wanted;
    $("conditions").replaceChildren(...["", ...shown].map(one => {
      const options = {type: "button", ...(one ? {"data-condition": one} : {})};
      const chip = el("button", options, one || "all", el("b", {}));
      chip.addEventListener("click", () => set("show", view.show === one ? "" : one));
      return chip;
    }));
  }
  for (const chip of $("conditions").children) {
    const one = chip.dataset.condition || "";
    put(chip.lastChild, String(one ? counts[one] || 0 : items.size));
    mark(chip, "aria-pressed", String(view.show === one));
  }
  const trouble = (counts.crashed || 0) + (counts.unhealthy || 0);
  document.title = (trouble ? "(" + trouble + ") " : "") + "observe";
}
"""
