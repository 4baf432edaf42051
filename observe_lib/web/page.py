"""The page of `web`: one HTML document, its style and script inside, and the policy that permits no other.
Text only. Whatever comes from outside is put in by the script (`web_script`, `web_drawing`), as text.
"""

import base64
import hashlib

from .drawing import SCRIPT_DRAWING
from .script import SCRIPT_STREAM

#: one icon for the tab, so that the browser asks for none
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='4' fill='%23227a52'/%3E"
    "%3Cpath d='M2 9h3l2-5 3 8 1.5-3H14' fill='none' stroke='white' stroke-width='1.5'/%3E%3C/svg%3E"
)

_STYLE = """
:root {
  color-scheme: light dark;
  --bg: #f4f5f7; --panel: #fff; --ink: #1a1f26; --soft: #57616e; --line: #dfe3e8; --hover: #eef2f7;
  --up: #1f8a57; --unhealthy: #b26b00; --crashed: #cc2f36; --down: #8a94a0; --accent: #1d63c4;
  --note: #fdf4e3; --flash: #dbe8fb; --track: #edf0f3;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #0e1116; --panel: #161b22; --ink: #e6eaf0; --soft: #9aa5b3; --line: #29313b; --hover: #1d242d;
    --up: #3fb57c; --unhealthy: #e0a43a; --crashed: #f2686d; --down: #6d7885; --accent: #76adf5;
    --note: #2a2317; --flash: #1f3350; --track: #20272f;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body {
  margin: 0; background: var(--bg); color: var(--ink); font: 14px/1.45 system-ui, -apple-system, "Segoe UI",
  Roboto, "Noto Sans", "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums;
}
h1, h2, h3, p, dl, dd, ol, pre { margin: 0; padding: 0; }
button, input, select { font: inherit; color: inherit; }
button { background: none; border: 0; padding: 0; cursor: pointer; text-align: inherit; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
.skip, .aside { position: absolute; left: -10000px; width: 1px; height: 1px; overflow: hidden; }
.skip:focus {
  left: 8px; top: 8px; width: auto; height: auto; background: var(--panel); padding: 8px; z-index: 9;
}
.soft { color: var(--soft); }

header {
  display: flex; flex-wrap: wrap; align-items: center; gap: 6px 24px; padding: 12px 20px;
  background: var(--panel); border-bottom: 1px solid var(--line);
}
h1 { font-size: 17px; letter-spacing: -.01em; }
#link { display: flex; align-items: center; gap: 7px; color: var(--soft); }
#link::before { content: ""; width: 8px; height: 8px; border-radius: 50%; background: var(--down); }
#link.live::before { background: var(--up); }
#link.lost { color: var(--crashed); }
#link.lost::before { background: var(--crashed); }
#figures { display: flex; flex-wrap: wrap; gap: 4px 24px; margin-left: auto; }
#figures div { display: flex; gap: 6px; align-items: baseline; }
#figures dt { color: var(--soft); }
#figures dd { font-weight: 600; }
#notes p { padding: 8px 20px; background: var(--note); border-bottom: 1px solid var(--line); }
#notes b { font-weight: 600; }

main {
  display: grid; grid-template-columns: minmax(0, 1fr) 380px; gap: 16px; padding: 16px 20px 32px;
  align-items: start; max-width: 1800px; margin: 0 auto;
}
.tools { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; }
.tools input { flex: 0 1 260px; min-width: 160px; }
input, select {
  height: 34px; padding: 0 10px; border: 1px solid var(--line); border-radius: 8px; background: var(--panel);
}
select { padding-right: 6px; }
.tools label { margin-left: auto; display: flex; gap: 8px; align-items: center; color: var(--soft); }
.tools select { color: var(--ink); }
.chips { display: flex; flex-wrap: wrap; gap: 6px; }
.chips button {
  height: 34px; padding: 0 12px; border: 1px solid var(--line); border-radius: 17px; background: var(--panel);
  white-space: nowrap;
}
.chips button:hover { background: var(--hover); }
.chips button[aria-pressed=true] { border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent); }
.chips b { font-weight: 600; margin-left: 4px; }
#views { display: none; }
.panel { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; overflow: clip; }

table { width: 100%; border-collapse: collapse; table-layout: fixed; }
col:nth-child(2) { width: 118px; }
col:nth-child(3) { width: 96px; }
col:nth-child(4) { width: 112px; }
col:nth-child(5) { width: 72px; }
col:nth-child(6) { width: 98px; }
col:nth-child(7) { width: 21%; }
thead th {
  position: sticky; top: 0; z-index: 1; background: var(--panel); text-align: left; font-weight: 500;
  color: var(--soft); font-size: 12.5px; padding: 9px 8px; box-shadow: inset 0 -1px var(--line);
}
thead button:hover { color: var(--ink); }
th[aria-sort] { color: var(--ink); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
tbody th, td {
  padding: 7px 8px; text-align: left; font-weight: 400; border-top: 1px solid var(--line); overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap;
}
tbody tr:first-child > * { border-top: 0; }
th:first-child, td:first-child { padding-left: 16px; }
th:last-child, td:last-child { padding-right: 16px; }
.number { text-align: right; }
tbody tr { cursor: pointer; }
tbody tr:hover { background: var(--hover); }
tbody tr[data-condition=crashed] th { box-shadow: inset 3px 0 var(--crashed); }
tbody tr[data-condition=unhealthy] th { box-shadow: inset 3px 0 var(--unhealthy); }
tbody .name button {
  display: block; max-width: 100%; overflow: hidden; text-overflow: ellipsis; font-weight: 600;
}
.name i { font-style: normal; font-weight: 400; color: var(--soft); }
.name span { display: block; font-size: 12px; color: var(--soft); overflow: hidden; text-overflow: ellipsis; }
tbody .state::before, .chips [data-condition]::before {
  content: ""; display: inline-block; width: 8px; height: 8px; margin-right: 7px;
  background: var(--dot, var(--down)); border-radius: var(--round, 50%); box-shadow: var(--ring, none);
  transform: rotate(var(--turn, 0deg));
}
[data-condition=up] { --dot: var(--up); }
[data-condition=unhealthy] { --dot: var(--unhealthy); --round: 2px; }
[data-condition=crashed] { --dot: var(--crashed); --round: 0; --turn: 45deg; }
[data-condition=done], [data-condition=idle], [data-condition=stale] {
  --dot: none; --ring: inset 0 0 0 2px var(--down);
}
tr[data-condition=stale] td { color: var(--soft); }
.bad { color: var(--crashed); font-weight: 600; }
.warn { color: var(--unhealthy); }
.zero { color: var(--down); }
svg.line { display: block; width: 100%; height: 16px; border-radius: 3px; background: var(--track); }
.up { --shade: var(--up); }
.unhealthy { --shade: var(--unhealthy); }
.outage { --shade: var(--crashed); }
.down { --shade: var(--down); }
svg path { fill: var(--shade, var(--track)); }
svg .blind { stroke: var(--soft); stroke-width: 2; stroke-dasharray: 2 4; vector-effect: non-scaling-stroke; }
#more {
  width: 100%; padding: 12px; border-top: 1px solid var(--line); text-align: center; color: var(--accent);
}
#more:hover { background: var(--hover); }
.empty { padding: 48px 20px; text-align: center; color: var(--soft); }
.empty code { color: var(--ink); }

#events {
  position: sticky; top: 16px; max-height: calc(100vh - 32px); display: flex; flex-direction: column;
}
#events > div {
  display: flex; align-items: center; justify-content: space-between; padding: 7px 8px 7px 16px;
}
h2 { font-size: 14px; font-weight: 600; }
ol { list-style: none; overflow-y: auto; }
#events ol { border-top: 1px solid var(--line); }
li { padding: 7px 16px; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
li:first-child { border-top: 0; }
li p:first-child { display: flex; gap: 8px; align-items: baseline; }
li time { color: var(--soft); font-size: 12.5px; white-space: nowrap; }
li b { font-weight: 600; flex: 1; min-width: 0; }
li .words { color: var(--soft); font-size: 13px; }
.type { font-size: 12.5px; font-weight: 600; white-space: nowrap; color: var(--soft); }
.type.started, .type.healthy { color: var(--up); }
.type.restarted, .type.unhealthy { color: var(--unhealthy); }
.type.crashed { color: var(--crashed); }

dialog {
  width: min(640px, 100vw); height: 100vh; height: 100dvh; max-width: none; max-height: none;
  margin: 0 0 0 auto; padding: 0; border: 0; border-left: 1px solid var(--line);
  background: var(--panel); color: var(--ink);
  overflow-y: auto; overscroll-behavior: contain;
}
dialog::backdrop { background: rgb(0 0 0 / .35); }
dialog > div { padding: 0 24px 32px; }
.top {
  position: sticky; top: 0; display: flex; gap: 12px; align-items: start; justify-content: space-between;
  padding: 18px 0 12px; background: var(--panel); z-index: 1;
}
.top h2 { font-size: 18px; overflow-wrap: anywhere; }
.close {
  flex: none; width: 34px; height: 34px; border-radius: 8px; text-align: center; font-size: 20px;
  line-height: 1;
}
.close:hover { background: var(--hover); }
dialog section { margin-top: 24px; }
dialog h3 { font-size: 13px; font-weight: 600; margin-bottom: 8px; }
dialog p + pre { margin-top: 8px; }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 5px 20px; }
.facts dt { color: var(--soft); }
.facts dd { overflow-wrap: anywhere; }
dialog svg.line { height: 36px; }
.ticks, .legend { display: flex; font-size: 12px; color: var(--soft); margin-top: 4px; }
.ticks { justify-content: space-between; }
.legend { flex-wrap: wrap; gap: 4px 16px; margin-top: 8px; }
.legend span::before {
  content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px;
  background: var(--shade, var(--track)); vertical-align: -1px;
}
.legend .down::before { height: 4px; vertical-align: 2px; }
.legend .blind::before {
  background: none; height: 0; border-top: 2px dotted var(--soft); vertical-align: 3px;
}
dialog ol { border: 1px solid var(--line); border-radius: 8px; }
dialog li { padding: 7px 12px; }
pre {
  font: 12.5px/1.5 var(--mono); padding: 12px; border: 1px solid var(--line); border-radius: 8px;
  background: var(--bg); overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 60vh;
}
summary { cursor: pointer; color: var(--soft); margin-bottom: 8px; }
footer { padding: 0 20px 24px; color: var(--soft); font-size: 12.5px; text-align: center; }
kbd { font: 11.5px var(--mono); padding: 1px 5px; border: 1px solid var(--line); border-radius: 4px; }
@media (min-width: 1500px) { main { grid-template-columns: minmax(0, 1fr) 460px; } }
@media (max-width: 1100px) {
  main { grid-template-columns: minmax(0, 1fr); }
  #views { display: flex; grid-column: 1 / -1; }
  #views button { flex: 1; text-align: center; }
  body[data-view=processes] #events, body[data-view=events] #processes { display: none; }
  #events { position: static; max-height: none; }
}
@media (max-width: 700px) {
  header { padding: 10px 14px; gap: 4px 14px; }
  #notes p { padding: 8px 14px; }
  #figures { margin-left: 0; width: 100%; gap: 2px 16px; font-size: 13px; }
  #link { margin-left: auto; }
  main { padding: 12px 14px 24px; gap: 12px; }
  .tools input { flex: 1 1 0; min-width: 0; }
  .tools label { order: 1; }
  .tools label span { position: absolute; left: -10000px; }
  #conditions {
    order: 2; flex: 1 0 calc(100% + 28px); flex-wrap: nowrap; overflow-x: auto; margin: 0 -14px;
    padding: 2px 14px;
    scrollbar-width: none;
  }
  input, select { font-size: 16px; }
  .tools label { margin-left: 0; }
  thead { position: absolute; left: -10000px; }
  table, tbody { display: block; }
  tbody tr {
    display: flex; flex-wrap: wrap; align-items: baseline; gap: 3px 12px; padding: 10px 14px;
    border-top: 1px solid var(--line);
  }
  tbody tr:first-child { border-top: 0; }
  tbody tr[data-condition] th { box-shadow: none; }
  tbody tr[data-condition=crashed] { box-shadow: inset 3px 0 var(--crashed); }
  tbody tr[data-condition=unhealthy] { box-shadow: inset 3px 0 var(--unhealthy); }
  tbody th, tbody td { display: block; border: 0; padding: 0 !important; }
  .name { flex: 1 1 50%; }
  tbody td.state { padding: 0 0 0 4px !important; }
  .line-cell { flex: 1 0 100%; }
  .line-cell, .name, .state { order: -1; }
  .health { order: 1; margin-left: auto; }
  .up-cell, .health, .number { font-size: 12.5px; color: var(--soft); }
  td.bad { color: var(--crashed); }
  td.warn { color: var(--unhealthy); }
  .restarts::before { content: "restarts "; }
  .crashes::before { content: "crashes/24h "; }
  .health.none { display: none; }
  dialog { border-left: 0; }
  dialog > div { padding: 0 16px 24px; }
  footer { display: none; }
}
"""

_BODY = """
<a class="skip" href="#processes">To the processes</a>
<header>
  <h1>observe</h1>
  <p id="link" role="status">connecting</p>
  <dl id="figures"></dl>
</header>
<div id="notes" role="status"></div>
<main>
  <div class="tools" role="search">
    <input id="q" type="search" placeholder="Filter, as api or shop/*" autocomplete="off" spellcheck="false"
      aria-label="Filter by name, stack or status">
    <div class="chips" id="conditions" role="group" aria-label="Show only"></div>
    <label><span>Timeline</span> <select id="range">
      <option value="1">1 hour</option><option value="6">6 hours</option><option value="24">24 hours</option>
    </select></label>
  </div>
  <div class="chips" id="views" role="group" aria-label="View">
    <button type="button" data-view="processes">Processes</button>
    <button type="button" data-view="events">Events</button>
  </div>
  <section id="processes" class="panel" aria-label="Processes" tabindex="-1">
    <table role="table">
      <colgroup><col><col><col><col><col><col><col></colgroup>
      <thead role="rowgroup"><tr role="row" id="head"></tr></thead>
      <tbody role="rowgroup" id="rows"></tbody>
    </table>
    <button type="button" id="more" hidden></button>
    <p class="empty" id="empty" hidden></p>
  </section>
  <section id="events" class="panel" aria-label="Latest events">
    <div><h2>Latest events</h2><select id="type" aria-label="Events of type"></select></div>
    <ol id="log" tabindex="0" aria-label="Latest events, the newest first"></ol>
  </section>
</main>
<footer><kbd>/</kbd> filter &ensp; <kbd>j</kbd> <kbd>k</kbd> or arrows move &ensp;
  <kbd>Enter</kbd> details &ensp; <kbd>Esc</kbd> back</footer>
<dialog id="detail" aria-labelledby="detail-title"><div id="detail-body"></div></dialog>
<p class="aside" id="said" role="log" aria-live="polite"></p>
"""


_SCRIPT = SCRIPT_STREAM + SCRIPT_DRAWING


def page_html() -> bytes:
    """Return the whole document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>observe</title><link rel="icon" href="{_ICON}"><style>{_STYLE}</style></head>'
        f'<body data-view="processes">{_BODY}<script>{_SCRIPT}</script></body></html>\n'
    ).encode()


def page_policy() -> str:
    """Return its Content-Security-Policy: this style, this script, this server, and nothing else."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_sha256(_SCRIPT)}'",
            f"style-src '{_sha256(_STYLE)}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
