"""The page of `web` in a real browser: adapter, web server and processes are real ones too."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from observe_lib.demo.stand_in import StandInCompose
from tests.browser import NO_BROWSER, Browser
from tests.nats_server import RealNats, free_port
from tests.real_compose import BINARY, RealCompose

ROOT = Path(__file__).resolve().parents[2]
EVIL = "<img src=x onerror=alert(1)>"
VICTIM = "while [ ! -e victim.dies ]; do sleep 0.02; done; echo last words; exit 3"
PROCESSES = {
    "victim": {"namespace": "shop", "command": VICTIM},
    "db": {"namespace": "shop", "command": "exec sleep 1000"},
    "web": {"command": "exec sleep 1000"},
    EVIL: {"command": "exec sleep 1000"},
    "job": {"command": "true"},
}
NAME = "querySelector('bdi').textContent"
SHOWN = f"[...document.querySelectorAll('#rows tr:not([hidden])')].map(row => row.{NAME}).sort()"

pytestmark = pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)


class Lab:
    """NATS, processes, adapter and web server; `web` can be killed and started again on its port."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.nats = stack.enter_context(RealNats(directory / "nats"))
        if BINARY:
            self.compose = stack.enter_context(RealCompose({"processes": PROCESSES}, directory)).port
        else:
            stand_in = StandInCompose(PROCESSES, directory)
            stack.callback(stand_in.stop)
            stand_in.start()
            self.compose = stand_in.port
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        adapter = self.run("adapter", "-p", str(self.compose), "--stack", "lab", "--poll-interval", "200ms")
        stack.callback(end, adapter)
        self.wait(f"http://127.0.0.1:{self.compose}/processes")
        self.start()
        stack.callback(lambda: end(self.web))

    def run(self, *words: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(ROOT / "observe.py"), *words, "--nats-url", self.nats.url]
        quiet = subprocess.DEVNULL
        with (self.directory / f"{words[0]}.err").open("ab") as errors:
            return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=errors)

    def start(self) -> None:
        self.web = self.run("web", "--listen", f"127.0.0.1:{self.port}")
        self.wait(self.url + "healthz")

    def wait(self, url: str) -> None:
        stop = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                return
            except OSError:
                assert time.monotonic() < stop, f"no {url}"
                time.sleep(0.05)

    def processes(self) -> list[str]:
        with urllib.request.urlopen(self.url + "api/states", timeout=10) as reply:
            return [row["process"] for row in json.load(reply)["processes"]]


def wait_until_listening(port: int) -> None:
    stop = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < stop
        time.sleep(0.05)


def end(process: "subprocess.Popen[bytes]", how: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(how)
    process.wait(15)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with ExitStack() as stack:
        found = Lab(tmp_path_factory.mktemp("web"), stack)
        stop = time.monotonic() + 30
        while len(found.processes()) < len(PROCESSES):
            assert time.monotonic() < stop
            time.sleep(0.05)
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser, lab: Lab) -> Iterator[Browser]:
    """The page, loaded and live; it may have complained of nothing and asked nobody else."""
    chromium.errors.clear()
    chromium.requests.clear()
    chromium.resize(1280, 800)
    chromium.open(lab.url)
    chromium.wait("document.querySelector('#link').textContent === 'live'")
    chromium.wait("document.querySelectorAll('#rows tr').length > 0")
    yield chromium
    chromium.js("1")  # reads what the console said last
    assert chromium.errors == []
    assert [url for url in chromium.requests if not url.startswith((lab.url, "data:"))] == []


def row(name: str) -> str:
    return f"[...document.querySelectorAll('#rows tr')].find(row => row.{NAME} === {name!r})"


def test_the_page_loads_with_all_processes(browser):
    assert browser.js(SHOWN) == sorted(PROCESSES)
    assert browser.js("document.querySelectorAll('#rows svg[aria-label]').length") == len(PROCESSES)
    assert "1 of 1" in browser.js("document.querySelector('#figures').textContent")
    assert browser.js("document.querySelectorAll('#log li').length") >= len(PROCESSES)


def test_it_says_that_there_is_nothing_only_once_it_knows(chromium, lab):
    """From its first moment on, whatever is drawn in between."""
    watch = """new MutationObserver(() => {
      const nothing = document.querySelector('#nothing'), link = document.querySelector('#link');
      window.seen = window.seen || [];
      if (nothing && !nothing.hidden) seen.push('nothing');
      if (link && link.textContent === 'live' && !document.querySelector('#rows tr')) seen.push('no rows');
    }).observe(document, {subtree: true, childList: true, attributes: true, characterData: true})"""
    added = chromium.call("Page.addScriptToEvaluateOnNewDocument", source=watch)
    try:
        for _ in range(3):
            chromium.open(lab.url)
            chromium.wait("document.querySelectorAll('#rows tr').length > 0")
            assert chromium.js("window.seen") == []
    finally:
        chromium.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])


def test_a_stack_that_was_not_seen_marks_no_other(browser):
    """Neither does what another process was: each has a line of its own."""
    blind = "(path => path.getAttribute('d'))({}.querySelector('path.blind'))"
    change = """(at => {
      takeHead({...head, blind: {other: [[at - 900, at - 300]], %s}});
      draw();
    })(now() / 1000)"""
    others = [name for name in PROCESSES if name != "db"]
    browser.js(change % "")
    assert [browser.js(blind.format(row(name))) for name in PROCESSES] == [""] * len(PROCESSES)
    browser.js("takeRow({...items.get('lab/shop/db').row, stack: 'other', points: [], whole: true}); draw()")
    assert browser.js("items.get('other/shop/db').tr.querySelector('path.blind').getAttribute('d')")
    assert [browser.js(blind.format(row(name))) for name in others] == [""] * len(others)
    browser.js(change % "lab: [[at - 60, at - 30]]")
    assert all(browser.js(blind.format(row(name))) for name in others)


@pytest.mark.parametrize("kind, is_alarm", [("stopped", False), ("silent", True)])
def test_a_stack_that_was_stopped_is_no_alarm(browser, kind, is_alarm):
    silence = f"{{about: 'adapter', kind: '{kind}', since: null}}"
    browser.js(f"takeHead({{...head, stacks: [{{name: 'lab', silence: {silence}}}]}}); draw()")
    assert browser.js("document.querySelector('#notes p').className") == ("" if is_alarm else "soft")
    words = browser.js(f"{row('db')}.querySelector('.state').textContent")
    assert words == ("stale" if is_alarm else "ended")


def test_names_are_text(browser):
    assert browser.js("document.querySelectorAll('img').length") == 0
    browser.js(f"{row(EVIL)}.click()")
    browser.wait(f"document.querySelector('#detail-title').textContent === 'default/{EVIL}'")
    assert browser.js("document.querySelectorAll('img').length") == 0


def test_filter_chips_and_sorting_are_kept_in_the_address(browser):
    browser.press("/")
    browser.press(*"shop/*")
    browser.wait(f"{SHOWN}.length === 2")
    assert browser.js(SHOWN) == ["db", "victim"]
    browser.press("Escape")
    browser.wait(f"{SHOWN}.length === {len(PROCESSES)}")
    browser.click("[data-condition=done]")
    browser.wait(f"{SHOWN}.length === 1")
    browser.click("#head th:first-child button")
    assert browser.js("document.querySelector('#head [aria-sort]').textContent") == "Process"
    assert browser.js("location.search") == "?show=done&sort=0"
    browser.open(browser.js("location.href"))
    browser.wait(f"{SHOWN}.length === 1")
    assert (
        browser.js("document.querySelector('[data-condition=done]').getAttribute('aria-pressed')") == "true"
    )
    browser.click("#conditions button:first-child")
    browser.wait(f"{SHOWN}.length === {len(PROCESSES)}")


def test_a_filter_that_nothing_matches_says_so(browser):
    browser.press("/", *"nothing-of-that-name")
    assert browser.wait("!document.querySelector('#unmatched').hidden")
    assert browser.js("document.querySelector('#nothing').hidden")


def test_details_by_keyboard_and_back(browser):
    browser.js("document.body.focus()")
    browser.press("j", "j", "ArrowUp")
    name = browser.js("document.activeElement.closest('tr').querySelector('bdi').textContent")
    browser.press("Enter")
    browser.wait("document.querySelector('#detail').open")
    assert browser.js("document.querySelector('#detail-title').textContent").endswith(f"/{name}")
    assert "open=lab" in browser.js("location.search")
    browser.press("Escape")
    browser.wait("!document.querySelector('#detail').open && !location.search")


def test_the_browsers_back_closes_details(browser):
    browser.click("#rows tr:first-child td.state")
    browser.wait("document.querySelector('#detail').open")
    browser.js("history.back()")
    browser.wait("!document.querySelector('#detail').open && !location.search")


def test_a_crash_appears_by_itself(browser, lab):
    assert browser.js(f"{row('victim')}.dataset.condition") == "up"
    (lab.directory / "victim.dies").touch()
    began = time.monotonic()
    browser.wait(f"{row('victim')}.dataset.condition === 'crashed'")
    took_s = time.monotonic() - began
    print(f"the crash was on the page after {took_s * 1000:.0f} ms")
    browser.wait("document.querySelector('#log li').textContent.includes('crashed')")
    assert browser.wait("document.title") == "(1) observe"
    assert browser.js(f"{row('victim')}.querySelector('.state').textContent") == "Completed 3"
    browser.js(f"{row('victim')}.querySelector('button').click()")
    browser.wait(
        "(document.querySelector('#detail pre.tail') || {textContent: ''}).textContent.includes('last words')"
    )
    assert "Exit code3" in browser.js("document.querySelector('.facts').textContent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser, width, scheme):
    browser.resize(width, 800, scheme)
    assert browser.js("document.documentElement.scrollWidth") <= width
    dark = browser.js("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]) < 100")
    assert dark is (scheme == "dark")
    browser.click("#rows tr:first-child .name button")
    browser.wait("document.querySelector('#detail').open")
    assert browser.js("document.querySelector('#detail').scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 700, 901, 1400])
def test_one_scrollbar_and_whole_names(browser, width):
    browser.resize(width, 800)
    scrolls = """[...document.querySelectorAll('main *')]
      .filter(node => ['auto', 'scroll'].includes(getComputedStyle(node).overflowY)
        && node.scrollHeight > node.clientHeight + 1).length"""
    cut = """[...document.querySelectorAll('#rows .name button, #rows .state')].filter(node =>
      node.scrollWidth > node.clientWidth || node.scrollHeight > node.clientHeight + 1).length"""
    assert (browser.js(scrolls), browser.js(cut)) == (0, 0)
    thinnest = "Math.min(...[...document.querySelectorAll('#rows .name')].map(node => node.clientWidth))"
    assert browser.js(thinnest) >= 120


def test_everything_that_can_be_operated_has_a_name(browser):
    unnamed = """[...document.querySelectorAll('button, input, select, [role=img], [tabindex]')]
      .filter(node => !node.textContent.trim() && !node.getAttribute('aria-label'))
      .filter(node => !(node.labels || []).length).map(node => node.outerHTML)"""
    assert browser.js(unnamed) == []


@pytest.mark.parametrize(
    ("spans", "blind", "expected"),
    [
        ([[100, 900, 3]], [], {"outage": "M100.0 0h800.0v16h-800.0z"}),
        # nothing is drawn over what nobody saw, neither trouble nor anything else
        ([[100, 900, 3]], [[300, 800]], {"outage": "M100.0 0h200.0v16h-200.0zM800.0 0h100.0v16h-100.0z"}),
        ([[100, 900, 0]], [[300, 1000]], {"up": "M100.0 0h200.0v16h-200.0z"}),
        ([[100, 900, 3]], [[100, 900]], {}),
        # a short one is a mark, which keeps to what was seen
        ([[500, 502, 3]], [], {"outage": "M500.0 10h14.0v6h-14.0z"}),
        ([[500, 1000, 3]], [[502, 1000]], {"outage": "M488.0 10h14.0v6h-14.0z"}),
        ([[503, 503, 1]], [[0, 500], [508, 600]], {"unhealthy": "M500.0 10h8.0v6h-8.0z"}),
        ([[998, 1000, 3]], [], {"outage": "M986.0 10h14.0v6h-14.0z"}),
    ],
)
def test_a_timeline_shows_trouble_but_none_that_nobody_saw(browser, spans, blind, expected):
    found = browser.js(f"linePaths({spans}, {blind}, 0, 1000, 14)")
    dots = "".join(f"M{start}.0 8H{end}.0" for start, end in blind)
    assert found.pop("blind") == dots
    assert {name: path for name, path in found.items() if path} == expected


@pytest.mark.parametrize(
    ("spans", "blind", "expected"),
    [
        ([[0, 300, 0], [300, 400, 3]], [], "75% up in the last hour, 1 outage"),
        ([[0, 300, 0], [300, 400, 3]], [[100, 300]], "50% up in the last hour, 1 outage"),
        ([[0, 300, 0], [300, 400, 3]], [[200, 450], [500, 600]], "100% up in the last hour, 1 outage"),
        ([[100, 200, 0]], [[0, 500]], "nothing known in the last hour"),
    ],
)
def test_what_nobody_saw_is_neither_up_nor_down(browser, spans, blind, expected):
    assert browser.js(f"lineLabel({spans}, {blind}, 1)") == expected


def test_a_token_in_the_address_lets_the_page_in(browser, lab):
    (lab.directory / "token").write_text("a-token-that-nobody-guesses")
    port = free_port()
    web = lab.run("web", "--listen", f"127.0.0.1:{port}", "--web-token-file", str(lab.directory / "token"))
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_until_listening(port)
        browser.open(url + "?token=a-token-that-nobody-guesses")
        browser.wait("(document.querySelector('#link') || {}).textContent === 'live'")
        assert browser.js("location.href") == url
        assert browser.js("document.cookie") == ""  # no script can read it
    finally:
        browser.open(lab.url)
        browser.requests[:] = [one for one in browser.requests if not one.startswith(url)]
        end(web)


def test_reconnect_after_a_restart_of_the_server(chromium, lab):
    """Last of all: a browser does complain of a server that is away."""
    chromium.open(lab.url)
    chromium.wait("document.querySelector('#link').textContent === 'live'")
    chromium.js("document.body.dataset.mark = 'the same page'")
    ids = "events.map(event => event.id)"
    before = chromium.js(ids)
    end(lab.web, signal.SIGKILL)
    chromium.wait("document.querySelector('#link').textContent.startsWith('no connection')")
    lab.start()
    chromium.wait("document.querySelector('#link').textContent === 'live'", 20)
    assert chromium.js("document.body.dataset.mark") == "the same page"
    assert chromium.js(ids)[-len(before) :] == before
    assert chromium.js(SHOWN) == sorted(PROCESSES)


def test_an_outage_of_nats_is_said_and_over(browser, lab):
    lab.nats.kill()
    browser.wait("document.querySelector('#link').textContent.startsWith('NATS is away')", 30)
    lab.nats.start()
    browser.wait("document.querySelector('#link').textContent === 'live'", 30)
