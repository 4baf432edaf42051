"""A small stand-in for process-compose, for the demo: real child processes, and the API that is polled.
A thread per process and those of HTTP, from `start()` to `stop()`; leaves no process behind.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..times import format_time, now_utc

#: what the real one has besides, for people
LACKS = "no push, no dependencies, no liveness probes, no scaling"
#: who does not end on SIGTERM within this time is killed
KILL_AFTER_S = 5.0


class StandInCompose:
    """Runs processes written as in process-compose.yaml, and answers on 127.0.0.1:`port`."""

    def __init__(self, processes: Mapping[str, Mapping[str, Any]], directory: Path) -> None:
        self._children = {name: _Child(name, spec, directory) for name, spec in processes.items()}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_", (_Api,), {"answer": self._answer}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="stand-in", daemon=True)
        self.port = int(self._server.server_address[1])

    def start(self) -> None:
        """Start every process, and answer from now on."""
        for child in self._children.values():
            child.start()
        self._thread.start()

    def stop(self) -> None:
        """End every process, then the API."""
        for child in self._children.values():
            child.stop()
        for child in self._children.values():
            child.join()
        if self._thread.ident:
            self._server.shutdown()
        self._server.server_close()

    def _answer(self, method: str, parts: list[str]) -> Any:
        """Return the answer's JSON; KeyError where there is no such path or process."""
        match [method, *parts]:
            case ["GET", "processes"]:
                return {"data": [child.state() for child in self._children.values()]}
            case ["GET", "project", "name"]:
                return {"projectName": "stand-in"}
            case ["GET", "process", "logs", name, "0", limit]:
                return {"logs": self._children[name].log(int(limit))}
            case ["PATCH", "process", "stop", name]:
                self._children[name].stop()
            case ["POST", "process", "start", name]:
                self._children[name].start()
            case _:
                raise KeyError(f"no {method} {'/'.join(parts)} here")
        return {"name": parts[-1]}


class _Child:
    """One process: its thread launches it, again where the policy says so, until its final end."""

    def __init__(self, name: str, spec: Mapping[str, Any], directory: Path) -> None:
        self._spec, self._directory, self._log = spec, directory, directory / f"{name}.log"
        self._policy, self._probe = spec.get("availability", {}), spec.get("readiness_probe", {})
        self._asked, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread()
        self._run: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._state = {"name": name, "namespace": spec.get("namespace", "default"), "status": "Pending"}
        self._state |= {"pid": 0, "restarts": 0, "exit_code": 0, "age": 0, "is_running": False}
        self._state |= {"is_ready": "-", "has_ready_probe": bool(self._probe)}

    def state(self) -> dict[str, Any]:
        """Return it as /processes shows it."""
        with self._lock:
            if self._state["is_running"]:
                self._state["age"] = int((time.monotonic() - self._began) * 1e9)
            return dict(self._state)

    def log(self, lines: int) -> list[str]:
        """Return the last lines that it printed."""
        return self._log.read_text(errors="replace").splitlines()[-lines:] if self._log.exists() else []

    def start(self) -> None:
        """Begin anew, unless it lives."""
        if not self._thread.is_alive():
            self._asked.clear()
            self._thread = threading.Thread(target=self._live, name="stand-in-process", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask it to end, and do not wait for it."""
        with self._lock:
            self._asked.set()
            if self._run is not None:
                self._state.update(status="Terminating", is_running=False, is_ready="-")
                self._send(signal.SIGTERM)

    def join(self) -> None:
        """Wait until it has ended after `stop()`; it is killed if that takes too long."""
        if self._thread.ident:
            self._thread.join(KILL_AFTER_S)
            with self._lock:
                self._send(signal.SIGKILL)
            self._thread.join()

    def _live(self) -> None:
        self._show("Pending", restarts=0, exit_code=0, process_start_time=format_time(now_utc()))
        while (run := self._launch()) is not None:
            code = self._wait_for(run)
            policy = self._policy.get("restart", "no")
            if self._asked.is_set() or not (policy == "always" or (policy == "on_failure" and code)):
                break
            self._show("Restarting", restarts=self._state["restarts"] + 1)
            if self._asked.wait(self._policy.get("backoff_seconds", 1)):
                break
        self._show("Completed", process_end_time=format_time(now_utc()))

    def _launch(self) -> "subprocess.Popen[bytes] | None":
        with self._lock, self._log.open("ab") as log:
            if self._asked.is_set():
                return None
            command, none = ["/bin/sh", "-c", self._spec["command"]], subprocess.DEVNULL
            self._run = subprocess.Popen(
                command, cwd=self._directory, stdin=none, stdout=log, stderr=log, start_new_session=True
            )
            self._began = time.monotonic()
            self._state.update(status="Running", is_running=True, pid=self._run.pid)
            return self._run

    def _wait_for(self, run: "subprocess.Popen[bytes]") -> int:
        while True:
            with suppress(subprocess.TimeoutExpired):
                code = run.wait(self._probe.get("period_seconds", 1) if self._probe else None)
                break
            probe = subprocess.run(["/bin/sh", "-c", self._probe["exec"]["command"]], cwd=self._directory)
            with self._lock:
                if self._state["is_running"]:
                    self._state["is_ready"] = "Not Ready" if probe.returncode else "Ready"
        with self._lock:
            self._run, self._state["exit_code"] = None, max(code, -1)
        return code

    def _show(self, status: str, **fields: Any) -> None:
        with self._lock:
            self._state.update(status=status, is_running=False, is_ready="-", **fields)

    def _send(self, number: signal.Signals) -> None:
        if self._run is not None and self._run.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._run.pid, number)


class _Api(BaseHTTPRequestHandler):
    """Requests of one connection, which is kept."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answer: Any

    def do_GET(self) -> None:
        """Answer a request of any method."""
        status, path = 200, self.path.partition("?")[0]
        try:
            found = self.answer(self.command, [unquote(part) for part in path.split("/")[1:]])
        except (KeyError, ValueError) as error:
            status, found = 404, {"error": str(error)}
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PATCH = do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
