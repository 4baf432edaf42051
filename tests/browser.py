"""A headless Chromium for tests, driven over its DevTools protocol: one tab, its console and its requests."""

import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
#: why tests in a browser are skipped, "" where there is one
NO_BROWSER = ""
if not CHROMIUM:
    NO_BROWSER = "there is no chromium on PATH"
elif find_spec("websocket") is None:
    NO_BROWSER = "there is no websocket-client (extra test)"

_FLAGS = """
--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0 about:blank
"""


class Browser:
    """One tab; `errors` is what its console complained of, `requests` every address that it asked."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._number = 0
        self._home = tempfile.mkdtemp(prefix="observe-test-chromium-")
        command = [str(CHROMIUM), f"--user-data-dir={self._home}", *_FLAGS.split()]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        try:
            self._socket = self._connect()
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
            self.resize(1280, 800)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Any:
        import websocket

        port_file, end = Path(self._home) / "DevToolsActivePort", time.monotonic() + 30
        while True:
            assert time.monotonic() < end and self._process.poll() is None, "chromium does not start"
            with suppress(OSError, ValueError, IndexError, StopIteration):  # the file is not whole yet
                port = int(port_file.read_text().split()[0])
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as reply:
                    tab = next(one for one in json.load(reply) if one["type"] == "page")
                return websocket.create_connection(
                    tab["webSocketDebuggerUrl"], timeout=30, suppress_origin=True
                )
            time.sleep(0.05)

    def call(self, method: str, **params: Any) -> Any:
        """Send one command and return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            found = json.loads(self._socket.recv())
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]
            self._note(found["method"], found["params"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(str(params["args"]))

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        """Return what an expression is worth in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str, timeout_s: float = 15.0) -> Any:
        """Wait until an expression is true, and return it."""
        end = time.monotonic() + timeout_s
        while True:
            with suppress(AssertionError):  # between two pages there is nothing to ask
                if found := self.js(expression):
                    return found
            assert time.monotonic() < end, f"not in time: {expression}; {self.errors}"
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Click on the middle of what a selector finds, as a mouse does."""
        self.wait(f"document.querySelector({selector!r}) !== null")
        where = f"document.querySelector({selector!r})"
        self.js(f"{where}.scrollIntoView({{block: 'center'}})")
        x, y = self.js(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({where}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, *keys: str) -> None:
        """Press keys: a letter, or Enter, Escape, ArrowDown, ..."""
        codes = {"Enter": 13, "Escape": 27, "ArrowUp": 38, "ArrowDown": 40, "Tab": 9}
        for key in keys:
            text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
            number = {"windowsVirtualKeyCode": codes.get(key, 0)}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **number, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **number)

    def resize(self, width: int, height: int, scheme: str = "light") -> None:
        """Take another size and colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def close(self) -> None:
        with suppress(Exception):
            self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)
