// The script of the page: keeps the rows and events that the stream sends, and draws them.
// Every text from outside becomes a text node; nothing here parses HTML.
// The first part knows neither document nor state, and is tested without a browser.
"use strict";

const CONDITIONS = [
  "flapping", "crashed", "unhealthy", "stale", "starting", "up", "idle", "done", "down", "ended",
];
const TYPES = ["crashed", "unhealthy", "restarted", "started", "stopped", "healthy", "status_changed"];
const SHADES = ["up", "unhealthy", "down", "outage"];  // as the points' second numbers; -1 is nothing
const MEANING = {
  up: "up", unhealthy: "unhealthy", down: "down", outage: "down after a crash", blind: "not seen",
};
const USUAL_VIEW = {q: "", show: "", type: "", range: "1", sort: "1", view: "processes", open: ""};
const EVENTS_KEPT = 400, EVENTS_SHOWN = 40, ROWS_SHOWN = 400, POINTS_KEPT = 600;
// so many starts or ends of one process are one line: what runs on a schedule hides nothing else
const ROUTINE = 3;
const SILENT_MS = 25000, HIDDEN_MS = 60000;
// `compare` is null where nothing can be sorted; the first click shows the greatest first where `falling`
const COLUMNS = [
  {kind: "name", title: "Process", compare: () => 0},
  {kind: "state", title: "Status", compare: (a, b, silent) => rank(a.row, silent) - rank(b.row, silent)},
  {kind: "health", title: "Health", compare: (a, b) => text(a.row.health).localeCompare(text(b.row.health))},
  {kind: "up-cell", title: "Up", compare: (a, b) => (a.since || 9e15) - (b.since || 9e15), falling: true},
  {
    kind: "number restarts", title: "Restarts", compare: (a, b) => a.row.restarts - b.row.restarts,
    falling: true,
  },
  {
    kind: "number crashes", title: "Crashes/24h", compare: (a, b) => a.row.crashes_24h - b.row.crashes_24h,
    falling: true,
  },
  {kind: "line-cell", title: "Last hour", compare: null},
];

// --- texts and times ---

const text = value => value === undefined || value === null ? "" : String(value);
const twoDigits = number => String(number).padStart(2, "0");

// what could hide, turn round or break a line is spelled out, as on a terminal: controls but tab and line end,
// formats (none of them is seen: U+00AD, U+200B, tags), halves of letters, separators other than a space
const HIDDEN = /(?![\t\n ])[\p{Cc}\p{Cf}\p{Cs}\p{Z}\u{e0000}-\u{e0fff}]/gu;
const spelled = letter => {
  const hex = letter.codePointAt(0).toString(16);
  return hex.length > 4 ? "\\U" + hex.padStart(8, "0") : "\\u" + hex.padStart(4, "0");
};
const clean = value => text(value).replace(/\x1b\[[0-9;:]*m/g, "").replace(HIDDEN, spelled);

const keyOf = place => [place.stack, place.namespace, place.process].map(encodeURIComponent).join("/");
const nameOf = place => clean(place.namespace + "/" + place.process);

// a duration in its two greatest units, the second left out where it is 0
function age(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (big, unit, small, below) =>
    Math.floor(big) + unit + (small >= 1 ? Math.floor(small) + below : "");
  if (s < 60) return s + "s";
  if (s < 3600) return two(s / 60, "m", s % 60, "s");
  if (s < 86400) return two(s / 3600, "h", s % 3600 / 60, "m");
  return two(s / 86400, "d", s % 86400 / 3600, "h");
}

// a moment in this browser's zone, with its day unless that is today's
function clock(moment, present) {
  const at = new Date(moment);
  if (isNaN(at)) return clean(moment);
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(twoDigits).join(":");
  if (at.toDateString() === new Date(present).toDateString()) return time;
  return [at.getFullYear(), twoDigits(at.getMonth() + 1), twoDigits(at.getDate())].join("-") + " " + time;
}

// the server marks moments in an event's words: which zone they are read in is only known here
const words = (event, present) =>
  clean(event.words.replace(/\u2063([^\u2063]*)\u2063/g, (_, moment) => clock(moment, present)));

const rangeWords = hours => Number(hours) === 1 ? "hour" : hours + " hours";

// --- what the address holds ---

function viewOf(search) {
  const found = new URLSearchParams(search);
  const pick = (name, allowed) => allowed.includes(found.get(name)) ? found.get(name) : USUAL_VIEW[name];
  return {
    q: found.get("q") || "", show: pick("show", CONDITIONS), type: pick("type", TYPES),
    range: pick("range", ["6", "24"]), sort: pick("sort", COLUMNS.flatMap((_, at) => [String(at), "-" + at])),
    view: pick("view", ["events"]), open: found.get("open") || "",
  };
}

function searchOf(view) {
  const unusual = Object.entries(view).filter(([name, value]) => value && value !== USUAL_VIEW[name]);
  return unusual.length ? "?" + new URLSearchParams(unusual) : "";
}

// --- what a row says ---

const silencesOf = stacks =>
  Object.fromEntries(stacks.filter(stack => stack.silence).map(stack => [stack.name, stack.silence]));
const silentWord = silence => silence.kind === "stopped" ? "ended" : "stale";
const conditionOf = (row, silent) => silent[row.stack] ? silentWord(silent[row.stack]) : row.condition;
const rank = (row, silent) => CONDITIONS.indexOf(conditionOf(row, silent));

function statusWords(row) {
  if (row.condition === "flapping") return "flapping";
  return clean(row.status) + (row.exit_code === undefined ? "" : " " + row.exit_code);
}

function silenceWords(silence, present) {
  const since = silence.since ? " since " + clock(silence.since, present) : "";
  if (silence.about === "adapter")
    return (silence.kind === "stopped" ? "its adapter was stopped" + (since && ",")
      : "no word from its adapter") + since;
  if (silence.kind === "stopped") return "its process-compose is gone" + since;
  return "its process-compose does not answer" + since + (silence.error ? ": " + clean(silence.error) : "");
}

// what follows a pattern of which nobody is told for a while
function untoldWords({stack, until, who, reason}, present) {
  const why = [who, reason].filter(Boolean).map(clean).join(": ");
  return (stack ? " on " + clean(stack) : "") + " silent until " + clock(until, present) + (why ? " (" + why + ")" : "");
}

// what is known of one process, as names and values; a value that is missing takes its line along
function factsOf(found, silence, present) {
  const stale = silence ? silentWord(silence) + ": " + silenceWords(silence, present) + "; it was " : "";
  const state = found.state || {};
  return [
    ["Status", stale + text(found.status) + (found.flapping ? ", flapping" : "")],
    ["Health", found.health || (state.has_ready_probe ? "not known yet" : "no probe")],
    ["Up since", found.alive && found.since],
    ["Ended", !found.alive && found.ended_at],
    ["Exit code", found.exit_code],
    ["Reason", found.reason],
    ["Pid", found.pid],
    ["Restarts", found.restarts],
    ["Crashes in 24 h", found.crashes_24h],
    ["Log file", state.log_location],
  ].filter(([, value]) => value || value === 0);
}

// --- which rows and events are shown, and in which order ---

function countConditions(items, silent) {
  const counts = {};
  for (const it of items) {
    const condition = conditionOf(it.row, silent);
    counts[condition] = (counts[condition] || 0) + 1;
  }
  return counts;
}

function titleOf(counts) {
  const trouble = (counts.flapping || 0) + (counts.crashed || 0) + (counts.unhealthy || 0);
  return (trouble ? "(" + trouble + ") " : "") + "observe";
}

// a test for lists of texts, the name first: each word of the query is found in one of them, after ! in none.
// A word with * or ? is a pattern for a whole text; without a / it may leave out the namespace.
function matcher(query) {
  const words = query.toLowerCase().split(/\s+/).filter(word => word && word !== "!");
  const tests = words.map(whole => {
    const word = whole.replace(/^!/, "");
    if (!/[*?]/.test(word)) return one => one.includes(word);
    const glob = word.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".");
    const pattern = new RegExp("^" + glob + "$", "s"), bare = !word.includes("/");
    return one => pattern.test(one) || (bare && pattern.test(one.slice(one.indexOf("/") + 1)));
  });
  return texts => {
    const lower = texts.map(one => text(one).toLowerCase());
    return tests.every((test, at) => lower.some(test) !== words[at].startsWith("!"));
  };
}

const sortedColumn = sort => Number(sort.replace("-", ""));
const isFalling = sort => sort.startsWith("-");

// equal ones are ordered by their keys, which turn round only where names are what is sorted by
function inOrder(items, sort, silent) {
  const {kind, compare} = COLUMNS[sortedColumn(sort)];
  const flip = isFalling(sort) ? -1 : 1, flipNames = kind === "name" ? flip : 1;
  const byKey = (a, b) => a.key < b.key ? -flipNames : flipNames;
  return items.sort((a, b) => flip * compare(a, b, silent) || byKey(a, b));
}

// of events, newest first: those to show, each with how many it stands for;
// `ROUTINE` or more starts, or ends, of one process are its newest one
function folded(found) {
  const kindOf = event => keyOf(event) + " " + event.type, counts = new Map(), had = new Set();
  const quiet = found.filter(event => event.type === "started" || event.type === "stopped");
  for (const event of quiet) counts.set(kindOf(event), (counts.get(kindOf(event)) || 0) + 1);
  const told = [];
  for (const event of found) {
    const kind = kindOf(event), number = counts.get(kind) || 0;
    if (number < ROUTINE) told.push([event, 1]);
    else if (!had.has(kind)) told.push([event, number]);
    had.add(kind);
  }
  return told;
}

// of events, oldest first, those that are not among the known ones, newest first
function freshEvents(found, known) {
  const had = new Set(known.slice(0, 2 * found.length).map(event => event.id));
  return found.filter(event => !had.has(event.id)).reverse();
}

// --- timelines: moments in seconds, drawn on 1000 by 16 ---

// [start, end, shade] of what the points say from one moment to another; a point lasts until the next one
function spansOf(points, from, to) {
  const found = [];
  points.forEach(([start, shade], at) => {
    const end = at + 1 < points.length ? points[at + 1][0] : to;
    if (shade < 0 || end < from || start > to) return;
    found.push([Math.max(start, from), Math.min(end, to), shade]);
  });
  return found;
}

// [start, end] of the times between two moments that nobody saw; the page knows of none before `knownSince`
function blindOf(times, knownSince, from, to) {
  return times.filter(([start]) => start > knownSince)
    .map(([start, end]) => [Math.max(start, from), Math.min(end === null ? to : end, to)])
    .filter(([start, end]) => start < end);
}

function boxPath(x, width, top, height) {
  const wide = width.toFixed(1);
  return "M" + x.toFixed(1) + " " + top + "h" + wide + "v" + height + "h-" + wide + "z";
}

// a path per shade: nothing is drawn over times that nobody saw; trouble is at least `least` wide
function linePaths(spans, blind, from, to, least) {
  const paths = {up: "", unhealthy: "", down: "", outage: "", blind: ""};
  const at = moment => (moment - from) * 1000 / (to - from);
  let since = from;
  for (const [until, next] of [...blind, [to, to]]) {
    for (const [start, end, shade] of spans) {
      const a = Math.max(start, since), b = Math.min(end, until), wide = at(b) - at(a);
      if (a > b || (a === b && start < end)) continue;
      if (shade === 2) paths.down += boxPath(at(a), wide, 7, 2);
      else if (shade % 2 === 1 && wide < least) {
        // trouble is seen, however short: as a mark at the bottom, over no time that was not seen
        const most = Math.min(least, at(until) - at(since));
        paths[SHADES[shade]] += boxPath(Math.min(at(a), at(until) - most), most, 10, 6);
      } else paths[SHADES[shade]] += boxPath(at(a), wide, 0, 16);
    }
    since = next;
  }
  for (const [start, end] of blind) paths.blind += "M" + at(start).toFixed(1) + " 8H" + at(end).toFixed(1);
  return paths;
}

// what the timeline shows, in words; time that nobody saw counts neither as up nor as down
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
    + " in the last " + rangeWords(hours)
    + (outages ? ", " + outages + (outages === 1 ? " outage" : " outages") : "");
}

// five texts below a timeline that ends now
function tickWords(present, hours) {
  const moments = [1, 3 / 4, 1 / 2, 1 / 4].map(part => present - hours * 3600000 * part);
  return [...moments.map(moment => clock(new Date(moment), present).slice(-8, -3)), "now"];
}

// === from here on: the page's state, and what is drawn of it ===

const items = new Map();  // by key: {key, row, points, since, ended, tr, cells, ...}
let events = [], head = {figures: {counts: {}}, stacks: [], blind: {}}, silent = {}, knownSince = 0;
let skewMs = 0, lastId = "", heardAt = 0, hiddenAt = 0, source = null;
let view = USUAL_VIEW, asked = {q: null, test: null};
let drawTimer = 0, drawPause = 0, rowLimit = ROWS_SHOWN, eventLimit = EVENTS_SHOWN;
let shown = [], shownDetail = "", detailAsked = 0;
const startedAt = Date.now();

const now = () => Date.now() + skewMs;  // by the server's clock
const condition = it => conditionOf(it.row, silent);

// --- elements ---

const $ = id => document.getElementById(id);

function el(tag, options, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) made.setAttribute(name, value);
  made.append(...children.filter(child => child !== null));
  return made;
}

function svg(tag, options) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(options)) made.setAttribute(name, value);
  return made;
}

// both touch only what changes: the browser lays out less, and a selection stays
function put(node, value) { if (node.textContent !== value) node.textContent = value; }
function mark(node, name, value) { if (node.getAttribute(name) !== value) node.setAttribute(name, value); }

// the children become these nodes in this order; the fewest move, and the focus stays where it is
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

function setDirty() { items.forEach(it => { it.dirty = true; }); }

// --- the view ---

function writeAddress(step) {
  const search = searchOf(view);
  if (search === location.search) return;
  history[step ? "pushState" : "replaceState"](null, "", location.pathname + search);
}

// `step` is one that the browser's back button takes back
function set(name, value, step) {
  view[name] = value;
  writeAddress(step);
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

// a page that nobody looks at leaves; one that hears nothing, or was refused, begins anew
function lookAfterStream() {
  if (document.hidden && Date.now() - hiddenAt > HIDDEN_MS) {
    if (source) source.close();
    source = null;
    setLink(false);
    return;
  }
  const stuck = source && source.readyState === 1 && Date.now() - heardAt > SILENT_MS;
  const closed = source && source.readyState === 2 && Date.now() - heardAt > 2000;
  if (!source || stuck || closed) connect();
}

function onVisibility() {
  hiddenAt = Date.now();
  if (!document.hidden) lookAfterStream();
}

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
  skewMs = found.now * 1000 - Date.now();
  if (found.head) takeHead(found.head);
  for (const row of found.rows || []) takeRow(row);
  for (const place of found.gone || []) items.delete(place.map(encodeURIComponent).join("/"));
  if (found.events && found.events.length) takeEvents(found.events);
  drawSoon();
  if (found.rows && shownDetail && found.rows.some(row => keyOf(row) === shownDetail)) askDetail();
}

function takeHead(found) {
  head = {...found, seen: head.seen};
  silent = silencesOf(head.stacks);
  const seen = JSON.stringify([silent, head.blind, head.stacks.length > 1]);
  if (seen !== head.seen) setDirty();
  head.seen = seen;
  setLink(source && source.readyState === 1);
  drawHead();
}

function takeRow(row) {
  const key = keyOf(row);
  if (!items.has(key)) items.set(key, makeItem(key));
  const it = items.get(key);
  it.dirty = true;
  it.name = nameOf(row);
  it.points = (row.whole ? [] : it.points).concat(row.points).slice(-POINTS_KEPT);
  it.row = row;
  it.since = row.since ? Date.parse(row.since) : 0;
  it.ended = row.ended_at ? Date.parse(row.ended_at) : 0;
}

function takeEvents(found) {
  const fresh = freshEvents(found, events);
  events = fresh.concat(events).slice(0, EVENTS_KEPT);
  const trouble = fresh.find(event => event.type === "crashed" || event.type === "unhealthy");
  // a screen reader says what is new, not what was there when the page was opened
  if (trouble && source && heardAt - startedAt > 2000) put($("said"), nameOf(trouble) + " " + trouble.type);
}

// --- the head ---

function setLink(connected) {
  const live = connected && head.nats !== false;
  const trouble = connected ? "NATS is away, trying again" : "no connection, trying again";
  $("link").className = live ? "live" : "lost";
  put($("link"), live ? "live" : trouble);
}

function drawHead() {
  const figures = head.figures;
  const wanted = [
    ["Adapters", figures.adapters + " of " + figures.stacks],
    ["Events/min", figures.events_per_minute],
    ["Crashes/24h", figures.crashes],
  ];
  $("figures").replaceChildren(...wanted.map(([title, value]) =>
    el("div", {}, el("dt", {}, title), el("dd", {}, String(value)))));
  drawNotes();
}

function drawNotes() {
  const notes = head.stacks.filter(stack => stack.silence).map(stack =>
    el("p", stack.silence.kind === "stopped" ? {class: "soft"} : {}, el("b", {}, clean(stack.name)),
      ": " + silenceWords(stack.silence, now())));
  for (const one of (head.silences || []).filter(one => Date.parse(one.until) > now()))
    notes.push(el("p", {}, el("b", {}, clean(one.pattern)), untoldWords(one, now())));
  const texts = notes.map(note => note.textContent).join();
  if ($("notes").dataset.texts !== texts) $("notes").replaceChildren(...notes);
  $("notes").dataset.texts = texts;
}

function drawChips() {
  const counts = countConditions(items.values(), silent);
  const wanted = ["", ...CONDITIONS.filter(one => counts[one] || one === view.show)];
  if ($("conditions").dataset.wanted !== wanted.join()) {
    $("conditions").dataset.wanted = wanted.join();
    $("conditions").replaceChildren(...wanted.map(makeChip));
  }
  for (const chip of $("conditions").children) {
    const one = chip.dataset.condition || "";
    put(chip.lastChild, String(one ? counts[one] || 0 : items.size));
    mark(chip, "aria-pressed", String(view.show === one));
  }
  document.title = titleOf(counts);
}

function makeChip(one) {
  const options = {type: "button", ...(one ? {"data-condition": one} : {})};
  const chip = el("button", options, one || "all", el("b", {}));
  chip.addEventListener("click", () => set("show", view.show === one ? "" : one));
  return chip;
}

// --- the rows ---

function makeItem(key) {
  const it = {key, points: [], tr: el("tr", {role: "row"})};
  it.cells = COLUMNS.map(({kind}) => kind === "name"
    ? el("th", {class: kind, scope: "row", role: "rowheader"}) : el("td", {class: kind, role: "cell"}));
  it.button = el("button", {type: "button"});
  it.stack = el("span", {});
  it.cells[0].append(it.button, it.stack);
  it.tr.append(...it.cells);
  // who marks a text to copy it does not want details
  it.tr.addEventListener("click", () => { if (!String(getSelection())) set("open", key, true); });
  return it;
}

function drawRow(it) {
  const row = it.row, silence = silent[row.stack], stale = Boolean(silence);
  const [, status, health, , restarts, crashes] = it.cells;
  mark(it.tr, "data-condition", condition(it));
  if (it.button.title !== nameOf(row)) {
    it.button.replaceChildren(el("i", {}, clean(row.namespace) + "/"), el("bdi", {}, clean(row.process)));
    it.button.title = nameOf(row);
  }
  put(it.stack, head.stacks.length > 1 ? clean(row.stack) : "");
  put(status, stale ? silentWord(silence) : statusWords(row));
  status.title = (stale ? "it was " : "") + clean(row.status);
  put(health, stale ? "" : clean(row.health) || "–");
  health.className = "health" + (row.health === "Not Ready" && !row.starting ? " warn" : row.health ? "" : " none zero");
  drawCount(restarts, "restarts", row.restarts, "");
  drawCount(crashes, "crashes", row.crashes_24h, " bad");
  drawAge(it);
  drawLine(it);
  it.dirty = false;
}

function drawCount(cell, kind, number, loud) {
  put(cell, String(number));
  cell.className = "number " + kind + (number ? loud : " zero");
}

function drawAge(it) {
  const {alive, stack} = it.row, since = alive ? it.since : it.ended, cell = it.cells[3];
  const runs = alive && since && !silent[stack];
  put(cell, runs ? age(now() - since) : "–");
  cell.className = "up-cell" + (runs ? "" : " none");
  mark(cell, "title", since ? (alive ? "up since " : "ended ") + clock(since, now()) : "");
}

function drawLine(it, cell = it.cells[6], pixels = 180) {
  const hours = Number(view.range), to = now() / 1000, from = to - hours * 3600;
  const spans = spansOf(it.points, from, to);
  const blind = blindOf(head.blind[it.row.stack] || [], knownSince, from, to);
  const paths = linePaths(spans, blind, from, to, 2500 / pixels), label = lineLabel(spans, blind, hours);
  const node = cell.querySelector("svg") || cell.appendChild(emptyLine());
  for (const path of node.children) mark(path, "d", paths[path.getAttribute("class")]);
  mark(node, "aria-label", label);
  mark(cell, "title", label);
}

function emptyLine() {
  const node = svg("svg", {class: "line", viewBox: "0 0 1000 16", preserveAspectRatio: "none", role: "img"});
  node.append(...["up", "unhealthy", "down", "blind", "outage"].map(name => svg("path", {class: name})));
  return node;
}

function matches(...texts) {
  if (asked.q !== view.q) asked = {q: view.q, test: matcher(view.q)};
  return asked.test(texts);
}

function accepts(it) {
  return (!view.show || condition(it) === view.show)
    && (!view.q || matches(it.name, it.row.stack, it.row.status));
}

// --- drawing, as often as the browser has time for it ---

function drawSoon() {
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
  const matched = inOrder([...items.values()].filter(accepts), view.sort, silent);
  const wanted = new Set(matched.slice(0, rowLimit));
  // rows do not move away from under the pointer
  const held = matchMedia("(hover: hover)").matches && $("rows").matches(":hover")
    && shown.length === wanted.size && shown.every(it => wanted.has(it));
  if (!held) shown = [...wanted];
  shown.filter(it => it.dirty).forEach(drawRow);
  if (!held) arrange($("rows"), shown.map(it => it.tr));
  $("more").hidden = matched.length <= rowLimit;
  put($("more"), "Show all " + matched.length);
  $("nothing").hidden = items.size > 0 || !knownSince;  // before the first hello nobody knows
  $("unmatched").hidden = matched.length > 0 || !items.size;
}

function drawAges() {
  shown.forEach(drawAge);
  document.querySelectorAll("[data-since]").forEach(node => {
    const since = node.dataset.since;
    put(node, clock(since, now()) + " (" + age(now() - Date.parse(since)) + " ago)");
  });
}

// --- events ---

function eventLine(event, named, times = 1) {
  const kind = TYPES.includes(event.type) && !event.starting ? event.type : "";
  const type = el("span", {class: "type " + kind}, clean(event.type));
  const time = el("time", {datetime: event.timestamp}, clock(event.timestamp, now()));
  const stack = named && head.stacks.length > 1 ? clean(event.stack) + " \u00b7 " : "";
  const rest = stack + words(event, now()) + (times > 1 ? " \u00b7 " + times + " times lately" : "");
  const first = named ? [el("b", {}, el("bdi", {}, nameOf(event))), type, time] : [time, type];
  return el("li", {}, el("p", {}, ...first), rest ? el("p", {class: "words"}, rest) : null);
}

function drawEvents() {
  const wanted = events.filter(event => (!view.type || event.type === view.type)
    && (!view.q || matches(nameOf(event), event.stack, event.type)));
  const told = folded(wanted), lines = told.slice(0, eventLimit).map(([event, times]) => {
    if (!event.line || event.times !== times) event.line = eventLine(event, true, times);
    event.times = times;
    return event.line;
  });
  $("older").hidden = told.length <= eventLimit;
  put($("older"), "Show all " + told.length);
  const none = el("li", {class: "soft"}, events.length ? "None of these." : "None yet.");
  arrange($("log"), lines.length ? lines : [none]);
}

// --- details of one process ---

async function askDetail() {
  const key = view.open, it = items.get(key);
  if (!key) return;
  const number = ++detailAsked;  // of several answers only the last one asked for is drawn
  const [stack, namespace, process] = key.split("/").map(decodeURIComponent);
  const query = new URLSearchParams({stack, namespace, process});
  try {
    const reply = await fetch("api/process?" + query), found = await reply.json();
    if (number !== detailAsked || view.open !== key) return;
    if (reply.ok) drawDetail(found, items.get(key) || it);
    else drawNoDetail(process, found.error);
  } catch (error) {
    if (number === detailAsked && !shownDetail) drawNoDetail(process, "observe does not answer just now");
  }
}

function openDetail() {
  if (!$("detail").open) { $("detail").showModal(); $("detail").scrollTop = 0; }
  shownDetail = view.open;
}

function drawNoDetail(name, why) {
  $("detail-body").replaceChildren(detailTop(clean(name), ""), el("p", {}, clean(why)));
  openDetail();
}

// drawn anew with each change: what was open, in focus or scrolled to stays so
function drawDetail(found, it) {
  const body = $("detail-body"), before = $("detail").scrollTop;
  const rawWasOpen = Boolean(body.querySelector("details[open]"));
  const focused = body.contains(document.activeElement);
  body.replaceChildren(
    detailTop(nameOf(found), "on " + clean(found.stack)),
    factList(found),
    it ? section("Last " + rangeWords(view.range), ...bigLine(it)) : "",
    found.last_crash ? crashSection(found.last_crash) : "",
    section("Last events", eventList(found.events)),
    el("section", {}, rawState(found.state || {}, rawWasOpen)));
  drawAges();
  openDetail();
  if (focused) body.querySelector(".close").focus({preventScroll: true});
  $("detail").scrollTop = before;
}

function section(title, ...children) {
  return el("section", {}, el("h3", {}, title), ...children);
}

function detailTop(name, below) {
  const close = el("button", {type: "button", class: "close", "aria-label": "Close"}, "\u00d7");
  close.addEventListener("click", () => $("detail").close());
  const title = el("h2", {id: "detail-title"}, el("bdi", {}, name));
  return el("div", {class: "top"}, el("div", {}, title, el("p", {class: "soft"}, below)), close);
}

function factList(found) {
  const facts = factsOf(found, silent[found.stack], now());
  return el("dl", {class: "facts"}, ...facts.flatMap(([name, value]) => {
    const ages = name === "Up since" || name === "Ended";  // filled in by `drawAges`, each second
    return [el("dt", {}, name), el("dd", ages ? {"data-since": value} : {}, clean(value))];
  }));
}

function bigLine(it) {
  const cell = el("div", {}), ticks = tickWords(now(), Number(view.range));
  drawLine(it, cell, 590);
  const legend = Object.entries(MEANING).map(([name, what]) => el("span", {class: name}, what));
  return [
    cell,
    el("div", {class: "ticks", "aria-hidden": "true"}, ...ticks.map(tick => el("span", {}, tick))),
    el("div", {class: "legend"}, ...legend),
  ];
}

function crashSection(crash) {
  const tail = clean((crash.log_tail || []).join("\n")) || "(no log was sent along)";
  return section("Last crash, " + clock(crash.timestamp, now()), el("p", {}, words(crash, now())),
    el("pre", {tabindex: "0", class: "tail", "aria-label": "The end of its log"}, tail));
}

function eventList(found) {
  if (!found.length) return el("p", {class: "soft"}, "None stored any more.");
  return el("ol", {}, ...found.slice().reverse().map(event => eventLine(event, false)));
}

function rawState(state, open) {
  return el("details", open ? {open: ""} : {}, el("summary", {}, "As process-compose sent it"),
    el("pre", {tabindex: "0"}, clean(JSON.stringify(state, null, 2))));
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
  setDirty();
  drawPause = 0;
  clearTimeout(drawTimer);
  draw();
  if (view.open && view.open !== shownDetail) askDetail();
  if (!view.open && $("detail").open) $("detail").close();
}

function drawHeadings() {
  const cells = [...$("head").children];
  cells.forEach((cell, at) => {
    if (at === sortedColumn(view.sort))
      mark(cell, "aria-sort", isFalling(view.sort) ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
  put(cells[6], "Last " + rangeWords(view.range));
}

function makeHeading({kind, title, compare, falling}, at) {
  const cell = el("th", {class: kind, scope: "col", role: "columnheader"});
  if (!compare) return cell;
  const button = el("button", {type: "button"}, title);
  const usual = (falling ? "-" : "") + at, other = (falling ? "" : "-") + at;
  button.addEventListener("click", () => set("sort", view.sort === usual ? other : usual));
  cell.append(button);
  return cell;
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

function listen() {
  $("q").addEventListener("input", () => set("q", $("q").value));
  for (const name of ["range", "type"]) $(name).addEventListener("change", () => set(name, $(name).value));
  document.querySelectorAll("#views button").forEach(one =>
    one.addEventListener("click", () => set("view", one.dataset.view)));
  $("detail").addEventListener("close", () => { shownDetail = ""; if (view.open) set("open", ""); });
  $("detail").addEventListener("click", event => { if (event.target === $("detail")) $("detail").close(); });
  $("rows").addEventListener("mouseleave", drawSoon);
  $("more").addEventListener("click", () => { rowLimit = Infinity; draw(); });
  $("older").addEventListener("click", () => { eventLimit = Infinity; draw(); });
  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", onVisibility);
  addEventListener("popstate", () => { view = viewOf(location.search); drawAll(); });
}

function start() {
  view = viewOf(location.search);
  $("head").append(...COLUMNS.map(makeHeading));
  const types = TYPES.map(one => el("option", {value: one}, one));
  $("type").append(el("option", {value: ""}, "all types"), ...types);
  listen();
  setInterval(() => { drawAges(); lookAfterStream(); }, 1000);
  setInterval(() => { setDirty(); drawNotes(); drawSoon(); }, 15000);
  drawAll();
  connect();
}

if (typeof document !== "undefined") start();  // a test without a browser takes the first part only
