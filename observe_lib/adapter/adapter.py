"""The adapter: wires poller, publisher and what it is handed together, says what they do, ends them in order.
Runs in the thread that calls `run_adapter`; signals are the caller's business.
"""

import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..broker.lease import identity
from ..broker.stream import StreamOptions
from ..compose.client import ComposeClient, Reply, other_answers
from ..detect.changes import Change
from ..detect.known import Known
from ..errors import EXIT_OK, ComposeError, ObserveError
from ..events import EventType, Key
from ..log import Say, log
from ..settings import USUAL_COMPOSE_PORT, ComposeSettings, NatsSettings
from ..times import format_duration, format_time, now_utc
from .observer import ADAPTER, observer_change
from .parts import AdapterParts, PushListener
from .poller import ASK_AGAIN_S, Poller
from .publisher import Publisher

#: the last poll at the end takes no longer, nor does asking for the project's name
SHORT_S = 1.0


@dataclass(frozen=True)
class AdapterOptions:
    """What the adapter is to do; times in seconds."""

    compose: ComposeSettings
    nats: NatsSettings
    stack: str
    poll_interval_s: float = 2.0
    log_lines: int = 20
    drain_timeout_s: float = 5.0
    takeover: bool = False
    stream: StreamOptions = StreamOptions()
    version: str = ""
    born: datetime | None = None  # when the program began: what began later is news (None: now)


def run_adapter(options: AdapterOptions, say: Say, stop: threading.Event, parts: AdapterParts) -> int:
    """Watch process-compose until `stop` is set; return the exit code. StackHeldError: another one does."""
    adapter = _Adapter(options, say, stop, parts)
    try:
        adapter.start()
        parts.notify("READY=1")
        try:
            parts.stay(stop, adapter.works)
        finally:
            parts.notify("STOPPING=1")
            left = adapter.end()
    finally:
        if parts.server is not None:  # the last to go: until then there may be something to send
            parts.server.stop()
    if adapter.publisher.failure is not None:
        raise adapter.publisher.failure
    say("stopped", f"{adapter.publisher.published} events published{adapter.left_text(left)}")
    return EXIT_OK


class _Adapter:
    """One adapter's parts; `answered`, `silent` and `compared` are called in the poller's thread."""

    def __init__(self, options: AdapterOptions, say: Say, stop: threading.Event, parts: AdapterParts) -> None:
        compose = options.compose
        self._parts, self._server = parts, parts.server
        self._options, self._say, self._born = options, say, options.born or now_utc()
        self._identity = identity()
        self._met = self._ready = self._connected = False
        self._blind_s: float | None = None  # until what changed meanwhile can be said too
        self._client = ComposeClient(compose.address, compose.port, compose.socket, compose.token)
        self.publisher = Publisher(
            options.stack,
            options.nats,
            options.stream,
            self._say_for_publisher,
            self._about,
            owner=uuid.uuid4().hex,
            takeover=options.takeover,
            on_failure=stop.set,
            logs=parts.logs,
            log_lines=options.log_lines,
            on_connect=self._say_connected,
            on_recovered=self._recovered,
        )
        interval_s = options.poll_interval_s
        self._poller = Poller(self._client, self.publisher, self, interval_s=interval_s, born=self._born)
        self._push: PushListener | None = None

    def start(self) -> None:
        """Say who we are, and start publisher and poller; neither waits for the other."""
        self._say(f"observe {self._options.version}", f"stack {self._options.stack}")
        if self._parts.push is not None:
            self._push = self._parts.push(self._poller.hear, self._on_push, self._poller.ring)
        if self._server is not None:
            self._server.start()
        self.publisher.start()
        self._listen(())
        self._poller.start()

    def end(self) -> int:
        """Poll once more, send what there is to send, end everything; return how many events are left."""
        self._poller.stop()
        if self._push is not None:
            self._push.stop()
        self._poller.join(SHORT_S)
        left = 0
        if self.publisher.failure is None:
            self._poller.poll(SHORT_S)
            if self.publisher.recovered.is_set():
                self.publisher.offer([observer_change(ADAPTER, EventType.STOPPED, now_utc())])
            timeout_s = self._options.drain_timeout_s
            if left := self.publisher.flush(min(SHORT_S, timeout_s)):
                self._say("nats", f"{left} events on their way, waiting {timeout_s:g}s at most")
                left = self.publisher.flush(max(0.0, timeout_s - SHORT_S))
        self.publisher.stop()
        if self._parts.logs is not None:
            self._parts.logs.stop()
        self._client.close()
        return left

    def works(self) -> bool:
        """Whether the threads still turn: what systemd's watchdog wants to know."""
        return self._poller.works()

    def left_text(self, left: int) -> str:
        """Return what becomes of the events that are left; the records keep some of them."""
        if not left:
            return ""
        remembered = min(left, self.publisher.remembered)
        rest = left - remembered
        kept = f"{remembered} are remembered and sent by the next start" if remembered else ""
        again = f"{rest} are compared again by the next start" if rest else ""
        return f", {left} not yet: {' and '.join(filter(None, (kept, again)))}"

    def _recovered(self) -> None:
        """The records have been read: tell that there is an adapter, and whether the last one was killed."""
        last = self.publisher.observed.get(ADAPTER)
        killed = last is not None and last.type != EventType.STOPPED
        alive = self.publisher.last_alive if killed else None
        self.publisher.offer([observer_change(ADAPTER, EventType.STARTED, self._born, last_alive=alive)])
        self._poller.ring()

    # --- called by the poller ---

    def answered(self, reply: Reply, blind_s: float | None) -> None:
        """The first good reply, or the first one after an outage."""
        self._blind_s = blind_s
        if not self.publisher.recovered.is_set():
            self._say_seeing(())
        if not self._met:
            self._met = True
            how = f"poll {self._options.poll_interval_s:g}s" + (" and push" if self._push else "")
            parts = [self._client.url, *self._project(), _how_many(len(reply.states), "process", "es"), how]
            self._say("process-compose", ", ".join(parts))
        names = [str(state.get("name")) for state in reply.states]
        if self._server is not None:
            self._server.answered(names)
        self._listen(names)

    def silent(self, error: ComposeError, since: datetime | None) -> None:
        """It stopped answering, or never did; or it does so in another way than before."""
        self._say_seeing(())
        why = self._client.reason(error)
        if self._met and since:
            self._say("process-compose", f"{why}, last answer {since.astimezone():%H:%M:%S}, trying again")
        else:
            again = f"trying again every {ASK_AGAIN_S[-1]:g}s"
            self._say("process-compose", f"{self._client.url}: {why}, {again}")
        hint = error.hint if error.kind != "refused" else "" if self._met else self._other_port()
        if hint and (error.status == 401 or not self._met):
            self._say("", hint)

    def compared(self, known: Mapping[Key, Known], changes: Sequence[Change]) -> None:
        """A reply was compared, and what it told is on its way."""
        self._say_seeing(changes)
        if not self._ready:
            self._ready = True
            if self._options.log_lines and self._parts.logs is not None:
                sent = (
                    f"last {self._options.log_lines} lines go to NATS with each crash (--log-lines 0: none)"
                )
                self._say("crash logs", sent)
            told = _how_many(len(known), "process", "es")
            ready = f"{told} announced. Now: python observe.py watch"
            self.publisher.when_recorded(lambda: self._say("ready", ready))
        if changes:
            self._listen(key.process for key in known)

    def _say_seeing(self, changes: Sequence[Change]) -> None:
        """Say that it answers again, and what that brought, unless that was said."""
        if self._blind_s is None:
            return
        blind_s = float(round(self._blind_s)) if self._blind_s >= 1 else self._blind_s
        blind = format_duration(blind_s).replace(".0s", "s")
        events = (event for change in changes for event in change.events if not event.companion)
        inferred = sum(event.count or 1 for event in events if event.inferred)
        told = f", {_how_many(inferred, 'change')} inferred" if inferred else ""
        self._say("process-compose", f"answers again, blind for {blind}{told}")
        self._blind_s = None

    def _other_port(self) -> str:
        """Return what to do if one answers where process-compose usually listens; never switch to it."""
        compose = self._options.compose
        if compose.socket or compose.port == USUAL_COMPOSE_PORT:
            return ""
        others = other_answers(compose.address, USUAL_COMPOSE_PORT)
        if others is None:
            return ""
        found = f"one with {_how_many(others, 'process', 'es')} answers on port {USUAL_COMPOSE_PORT}"
        return f"{found}: use --compose-port {USUAL_COMPOSE_PORT}"

    # --- the parts' needs ---

    def _say_connected(self, url: str, version: str) -> None:
        self._connected = True
        if self._server is not None:
            self._server.connected(url, version)
        else:
            self._say("nats", f"{url}, version {version}")

    def _say_for_publisher(self, topic: str, text: str) -> None:
        """Pass it on; that there is no NATS is no news before it is clear who will start one."""
        if topic == "nats" and self._server and not (self._connected or self._server.settled.is_set()):
            return
        self._say(topic, text)

    def _on_push(self, since: datetime | None) -> None:
        self._poller.listening_since = since
        log.info("push: %s", "connected" if since else "not connected")

    def _listen(self, names: Iterable[str]) -> None:
        if self._push is not None:
            self._push.listen(names)

    def _about(self) -> Mapping[str, Any]:
        """Return what the heartbeat tells of this adapter."""
        last_good = self._poller.last_good
        return {
            **self._identity,
            "version": self._options.version,
            "watches": self._options.compose.url.removeprefix("http://"),
            "interval_s": self._options.poll_interval_s,
            "push": self._poller.listening_since is not None,
            "last_reply": format_time(last_good) if last_good else None,
        }

    def _project(self) -> list[str]:
        try:
            name = self._client.project_name(SHORT_S)
        except ObserveError:
            return []
        return [f"project {name}"] if name else []


def _how_many(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{plural if number != 1 else ''}"
