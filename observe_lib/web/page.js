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

// --- the rows ---

const condition = it => silent[it.row.stack] ? "stale" : it.row.condition;
const rank = it => CONDITIONS.indexOf(condition(it));

function makeItem(key) {
  const it = {key, points: [], tr: el("tr", {role: "row"}), cells: []};
  for (const [kind] of COLUMNS) {
    it.cells.push(kind === "name" ? el("th", {class: kind, scope: "row", role: "rowheader"})
      : el("td", {class: kind, role: "cell"}));
  }
  it.button = el("button", {type: "button"});
  it.stack = el("span", {});
  it.cells[0].append(it.button, it.stack);
  it.tr.append(...it.cells);
  it.tr.addEventListener("click", () => { if (!String(getSelection())) set("open", key, true); });
  return it;
}
function drawRow(it) {
  const row = it.row, how = condition(it), stale = how === "stale";
  mark(it.tr, "data-condition", how);
  if (it.button.title !== nameOf(row)) {
    it.button.replaceChildren(el("i", {}, clean(row.namespace) + "/"), el("bdi", {}, clean(row.process)));
    it.button.title = nameOf(row);
  }
  put(it.stack, head.stacks.length > 1 ? clean(row.stack) : "");
  put(it.cells[1], stale ? "stale" : statusWords(row));
  it.cells[1].title = (stale ? "it was " : "") + clean(row.status);
  put(it.cells[2], stale ? "" : clean(row.health) || "–");
  it.cells[2].className = "health" + (row.health === "Not Ready" ? " warn" : row.health ? "" : " none zero");
  count(it.cells[4], "restarts", row.restarts, "");
  count(it.cells[5], "crashes", row.crashes_24h, " bad");
  drawAge(it);
  drawLine(it);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (it.flash && it.tr.isConnected && !calm)
    it.tr.animate({background: ["var(--flash)", "transparent"]}, {duration: 1500, easing: "ease-out"});
  it.dirty = it.flash = false;
}
function statusWords(row) {
  const failed = row.condition === "crashed" && row.status === "Completed" && row.exit_code !== undefined;
  return failed ? "exit " + row.exit_code : clean(row.status);
}
function count(cell, name, number, loud) {
  put(cell, String(number));
  cell.className = "number " + name + (number ? loud : " zero");
}
function drawAge(it) {
  const since = it.row.alive ? it.since : it.ended, stale = silent[it.row.stack];
  put(it.cells[3], stale || !since ? "–" : age(now() - since) + (it.row.alive ? "" : " ago"));
  mark(it.cells[3], "title", since ? (it.row.alive ? "up since " : "ended ") + clock(since) : "");
}
function accepts(it) {
  return (!view.show || condition(it) === view.show)
    && (!view.q || matches(it.name, it.row.stack, it.row.status));
}
let asked = {q: null, tests: []};
function matches(name, ...others) {
  if (asked.q !== view.q) {
    const tests = view.q.toLowerCase().split(/\s+/).filter(Boolean).map(word => {
      if (!/[*?]/.test(word)) return hay => hay.some(one => one.includes(word));
      const glob = word.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".");
      const test = new RegExp("^" + glob + "$", "s"), bare = !word.includes("/");
      return hay => hay.some(one => test.test(one) || (bare && test.test(one.slice(one.indexOf("/") + 1))));
    });
    asked = {q: view.q, tests};
  }
  const hay = [name, ...others].map(one => text(one).toLowerCase());
  return asked.tests.every(test => test(hay));
}

// --- drawing, as often as the browser has time for it ---

let drawTimer = 0, drawPause = 0, limit = ROWS, shown = [];
function soon() {
  drawTimer = drawTimer || setTimeout(draw, document.hidden ? 1000 : drawPause);
}
function draw() {
  const began = performance.now();
  drawChips();
  drawRows();
  drawEvents();
  drawTimer = 0;
  // what the browser itself needs counts too
  requestAnimationFrame(() => setTimeout(() => {
    drawPause = Math.min(2000, Math.max(20, 3 * (performance.now() - began)));
  }));
}
function drawRows() {
  const matched = inOrder([...items.values()].filter(accepts)), wanted = new Set(matched.slice(0, limit));
  // rows do not move away from under the pointer
  const held = matchMedia("(hover: hover)").matches && $("rows").matches(":hover")
    && shown.length === wanted.size && shown.every(it => wanted.has(it));
  if (!held) shown = [...wanted];
  shown.filter(it => it.dirty).forEach(drawRow);
  if (!held) arrange($("rows"), shown.map(it => it.tr));
  $("more").hidden = matched.length <= limit;
  put($("more"), "Show all " + matched.length);
  $("empty").hidden = matched.length > 0;
  if (matched.length) return;
  $("empty").replaceChildren(...(items.size ? ["No process matches this filter."]
    : ["No process yet. Start an adapter: ", el("code", {}, "python observe.py adapter")]));
}
function inOrder(found) {
  const [kind, , compare] = COLUMNS[Number(view.sort.replace("-", ""))];
  const flip = view.sort.startsWith("-") ? -1 : 1;
  const byName = kind === "name" ? flip : 1, names = (a, b) => a.key < b.key ? -byName : byName;
  return found.sort((a, b) => flip * compare(a, b) || names(a, b));
}
function arrange(parent, nodes) {
  const wanted = new Set(nodes), focused = document.activeElement;
  [...parent.children].forEach(node => { if (!wanted.has(node)) node.remove(); });
  let at = parent.firstChild;
  for (const node of nodes) {
    if (at && node !== at && node === at.nextSibling) { at.remove(); at = node; }  // it moved down
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
  if (focused !== document.activeElement && focused.isConnected) focused.focus({preventScroll: true});
}

// --- timelines ---

function spansOf(points, from, to) {
  const found = [];
  points.forEach(([start, shade], at) => {
    const end = at + 1 < points.length ? points[at + 1][0] : to;
    if (shade < 0 || end < from || start > to) return;
    found.push([Math.max(start, from), Math.min(end, to), shade]);
  });
  return found;
}
function drawLine(it, cell = it.cells[6], pixels = 180) {
  const hours = Number(view.range), to = now() / 1000, from = to - hours * 3600;
  const spans = spansOf(it.points, from, to), blind = blindOf(it.row.stack, from, to);
  const paths = linePaths(spans, blind, from, to, 2500 / pixels), label = lineLabel(spans, blind, hours);
  const node = cell.querySelector("svg") || cell.appendChild(emptyLine());
  for (const path of node.children) mark(path, "d", paths[path.getAttribute("class")]);
  mark(node, "aria-label", label);
  mark(cell, "title", label);
}
function blindOf(stack, from, to) {
  return (head.blind[stack] || []).filter(([start]) => start > knownSince)  // none was there before
    .map(([start, end]) => [Math.max(start, from), Math.min(end === null ? to : end, to)])
    .filter(([start, end]) => start < end);
}
function linePaths(spans, blind, from, to, least) {
  const paths = {up: "", unhealthy: "", down: "", outage: "", blind: ""};
  const at = moment => (moment - from) * 1000 / (to - from);
  const box = (x, wide, top, high) =>
    "M" + x.toFixed(1) + " " + top + "h" + wide.toFixed(1) + "v" + high + "h-" + wide.toFixed(1) + "z";
  let since = from;
  for (const [until, next] of [...blind, [to, to]]) {
    for (const [start, end, shade] of spans) {
      const a = Math.max(start, since), b = Math.min(end, until), wide = at(b) - at(a);
      if (a > b || (a === b && start < end)) continue;
      if (shade === 2) paths.down += box(at(a), wide, 7, 2);
      else if (shade % 2 === 1 && wide < least) {
        // trouble is seen, however short: as a mark at the bottom, over no time that was not seen
        const most = Math.min(least, at(until) - at(since));
        paths[SHADES[shade]] += box(Math.min(at(a), at(until) - most), most, 10, 6);
      } else paths[SHADES[shade]] += box(at(a), wide, 0, 16);
    }
    since = next;
  }
  for (const [start, end] of blind) paths.blind += "M" + at(start).toFixed(1) + " 8H" + at(end).toFixed(1);
  return paths;
}
function emptyLine() {
  const node = svg("svg", {class: "line", viewBox: "0 0 1000 16", preserveAspectRatio: "none", role: "img"});
  node.append(...["up", "unhealthy", "down", "blind", "outage"].map(name => svg("path", {class: name})));
  return node;
}
function lineLabel(spans, blind, hours) {
  let up = 0, known = 0, outages = 0;
  for (const [start, end, shade] of spans) {
    const unseen = blind.map(([from, to]) => Math.max(0, Math.min(to, end) - Math.max(from, start)));
    const seen = unseen.reduce((left, one) => left - one, end - start);
    known += seen;
    up += shade < 2 ? seen : 0;
    outages += shade === 3;
  }
  return (known ? Math.floor(1000 * up / known) / 10 + "% up" : "nothing known")
    + " in the last " + (hours === 1 ? "hour" : hours + " hours")
    + (outages ? ", " + outages + (outages === 1 ? " outage" : " outages") : "");
}

// --- events ---

function eventLine(event, named) {
  const kind = TYPES.includes(event.type) ? event.type : "";
  const type = el("span", {class: "type " + kind}, clean(event.type));
  const time = el("time", {datetime: event.timestamp}, clock(event.timestamp));
  const stack = named && head.stacks.length > 1 ? clean(event.stack) + " \u00b7 " : "";
  const rest = stack + words(event);
  const first = named ? [el("b", {}, el("bdi", {}, nameOf(event))), type, time] : [time, type];
  return el("li", {}, el("p", {}, ...first), rest ? el("p", {class: "words"}, rest) : null);
}
function drawEvents() {
  const wanted = events.filter(event => (!view.type || event.type === view.type)
    && (!view.q || matches(nameOf(event), event.stack, event.type))).slice(0, LOGGED);
  const lines = wanted.map(event => event.line = event.line || eventLine(event, true));
  const none = el("li", {class: "soft"}, events.length ? "None of these." : "None yet.");
  arrange($("log"), lines.length ? lines : [none]);
}

// --- details of one process ---

async function askDetail() {
  const key = view.open, it = items.get(key);
  if (!key) return;
  const asked = ++detailAsked;
  const [stack, namespace, process] = key.split("/").map(decodeURIComponent);
  const query = new URLSearchParams({stack, namespace, process});
  try {
    const reply = await fetch("api/process?" + query), found = await reply.json();
    if (asked !== detailAsked || view.open !== key) return;
    if (reply.ok) drawDetail(found, items.get(key) || it);
    else drawNoDetail(process, found.error);
  } catch (error) {
    if (asked === detailAsked && !shownDetail) drawNoDetail(process, "observe does not answer just now");
  }
}
function drawNoDetail(name, why) {
  $("detail-body").replaceChildren(detailTop(clean(name), ""), el("p", {}, clean(why)));
  openDetail();
}
function detailTop(name, below) {
  const close = el("button", {type: "button", class: "close", "aria-label": "Close"}, "\u00d7");
  close.addEventListener("click", () => $("detail").close());
  return el("div", {class: "top"}, el("div", {}, el("h2", {id: "detail-title"}, el("bdi", {}, name)),
    el("p", {class: "soft"}, below)), close);
}
function openDetail() {
  if (!$("detail").open) { $("detail").showModal(); $("detail").scrollTop = 0; }
  shownDetail = view.open;
}
function drawDetail(found, it) {
  const section = (title, ...children) => el("section", {}, el("h3", {}, title), ...children);
  const crash = found.last_crash, body = $("detail-body"), before = $("detail").scrollTop;
  const rawWasOpen = Boolean(body.querySelector("details[open]"));
  const focused = body.contains(document.activeElement);
  const raw = el("details", rawWasOpen ? {open: ""} : {}, el("summary", {}, "As process-compose sent it"),
    el("pre", {tabindex: "0"}, clean(JSON.stringify(found.state || {}, null, 2))));
  const list = el("ol", {}, ...found.events.slice().reverse().map(event => eventLine(event, false)));
  const tail = crash && el("pre", {tabindex: "0", class: "tail", "aria-label": "The end of its log"},
    clean((crash.log_tail || []).join("\n")) || "(no log was sent along)");
  body.replaceChildren(
    detailTop(nameOf(found), "on " + clean(found.stack)), facts(found),
    it ? section("Last " + (view.range === "1" ? "hour" : view.range + " hours"), ...bigLine(it)) : "",
    crash ? section("Last crash, " + clock(crash.timestamp), el("p", {}, words(crash)), tail) : "",
    section("Last events", found.events.length ? list : el("p", {class: "soft"}, "None stored any more.")),
    el("section", {}, raw));
  drawAges();
  openDetail();
  if (focused) body.querySelector(".close").focus({preventScroll: true});
  $("detail").scrollTop = before;
}
function facts(found) {
  const stale = silent[found.stack];
  const listed = [
    ["Status", (stale ? "stale: " + silenceWords(stale) + "; it was " : "") + text(found.status)],
    ["Health", found.health || (found.state && found.state.has_ready_probe ? "not known yet" : "no probe")],
    ["Up since", found.alive && found.since],
    ["Ended", !found.alive && found.ended_at],
    ["Exit code", found.exit_code], ["Reason", found.reason], ["Pid", found.pid],
    ["Restarts", found.restarts], ["Crashes in 24 h", found.crashes_24h],
    ["Log file", found.state && found.state.log_location],
  ].filter(([, value]) => value || value === 0);
  return el("dl", {class: "facts"}, ...listed.flatMap(([name, value]) => [el("dt", {}, name),
    el("dd", name === "Up since" || name === "Ended" ? {"data-since": value} : {}, clean(value))]));
}
function drawAges() {
  shown.forEach(drawAge);
  document.querySelectorAll("[data-since]").forEach(node =>
    put(node, clock(node.dataset.since) + " (" + age(now() - Date.parse(node.dataset.since)) + " ago)"));
}
function bigLine(it) {
  const cell = el("div", {}), hours = Number(view.range);
  const ticks = el("div", {class: "ticks", "aria-hidden": "true"});
  drawLine(it, cell, 590);
  for (let part = 0; part <= 4; part++) {
    const at = new Date(now() - hours * 3600000 * (1 - part / 4));
    ticks.append(el("span", {}, part === 4 ? "now" : clock(at).slice(-8, -3)));
  }
  const legend = el("div", {class: "legend"}, ...Object.entries(MEANING).map(([name, what]) =>
    el("span", {class: name}, what)));
  return [cell, ticks, legend];
}

// --- the person ---

function drawAll() {
  mark(document.body, "data-view", view.view);
  document.querySelectorAll("#views button").forEach(one =>
    mark(one, "aria-pressed", String(one.dataset.view === view.view)));
  if ($("q").value !== view.q) $("q").value = view.q;
  $("range").value = view.range;
  $("type").value = view.type;
  drawHeadings();
  items.forEach(it => { it.dirty = true; });
  drawPause = 0;
  if (!drawTimer) draw();
  if (view.open && view.open !== shownDetail) askDetail();
  if (!view.open && $("detail").open) $("detail").close();
}
function drawHeadings() {
  const cells = [...$("head").children], at = Number(view.sort.replace("-", ""));
  cells.forEach((cell, number) => {
    const how = number === at ? (view.sort.startsWith("-") ? "descending" : "ascending") : null;
    if (how) mark(cell, "aria-sort", how); else cell.removeAttribute("aria-sort");
  });
  put(cells[6], "Last " + (view.range === "1" ? "hour" : view.range + " hours"));
}
function makeHeadings() {
  COLUMNS.forEach(([kind, title, compare, down], number) => {
    const cell = el("th", {class: kind, scope: "col", role: "columnheader"});
    if (!compare) return $("head").append(cell);
    const button = el("button", {type: "button"}, title), usual = (down ? "-" : "") + number;
    const other = (down ? "" : "-") + number;
    button.addEventListener("click", () => set("sort", view.sort === usual ? other : usual));
    cell.append(button);
    $("head").append(cell);
  });
  const types = TYPES.map(one => el("option", {value: one}, one));
  $("type").append(el("option", {value: ""}, "all types"), ...types);
}
function moveFocus(step) {
  const rows = [...$("rows").children];
  const at = rows.findIndex(tr => tr.contains(document.activeElement));
  const next = rows[at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + step))];
  if (next) next.querySelector("button").focus();
}
function onKey(event) {
  const typing = ["INPUT", "SELECT"].includes(event.target.tagName);
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (event.key === "Escape" && event.target === $("q")) { set("q", ""); $("q").blur(); return; }
  if (typing || !plain || $("detail").open) return;
  const steps = {j: 1, ArrowDown: 1, k: -1, ArrowUp: -1};
  if (event.key === "/") $("q").focus();
  else if (event.key in steps && !$("log").contains(event.target)) moveFocus(steps[event.key]);
  else return;
  event.preventDefault();
}
function begin() {
  readUrl();
  makeHeadings();
  $("q").addEventListener("input", () => set("q", $("q").value));
  for (const name of ["range", "type"]) $(name).addEventListener("change", () => set(name, $(name).value));
  document.querySelectorAll("#views button").forEach(one =>
    one.addEventListener("click", () => set("view", one.dataset.view)));
  $("detail").addEventListener("close", () => { shownDetail = ""; if (view.open) set("open", ""); });
  $("detail").addEventListener("click", event => { if (event.target === $("detail")) $("detail").close(); });
  document.addEventListener("keydown", onKey);
  addEventListener("popstate", () => { readUrl(); drawAll(); });
  $("rows").addEventListener("mouseleave", soon);
  $("more").addEventListener("click", () => { limit = Infinity; draw(); });
  setInterval(() => { drawAges(); lookAfterStream(); }, 1000);
  setInterval(() => { items.forEach(it => { it.dirty = true; }); drawNotes(); soon(); }, 15000);
  drawAll();
  connect();
}
begin();
