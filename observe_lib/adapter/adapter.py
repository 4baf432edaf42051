"""The adapter: wires outbox, comparison, poller and publisher with what it is handed, and ends them in order.
Runs in the thread that calls `run_adapter`; signals are the caller's business.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..broker.lease import identity
from ..broker.loop import ignore
from ..broker.stream import StreamOptions
from ..calling import how_to_call
from ..compose.client import ComposeClient, Reply, other_answers
from ..compose.state import ProcessState
from ..detect.changes import Change
from ..errors import EXIT_OK, ComposeError, ObserveError
from ..events import EventType
from ..log import Say, log
from ..settings import USUAL_COMPOSE_PORT, ComposeSettings, NatsSettings
from ..signals import Stop
from ..times import format_duration, format_time, now_utc
from .comparison import Comparison
from .delivery import Delivery
from .observer import ADAPTER, SOURCE
from .outbox import MOST_EVENTS, Outbox
from .parts import AdapterParts, PushListener
from .poller import ASK_AGAIN_S, Poller

#: the last poll at the end takes no longer, nor does asking for the project's name
SHORT_S = 1.0


@dataclass(frozen=True)
class AdapterOptions:
    """What the adapter is to do; times in seconds. `state_dir`: where the outbox is, None: nowhere."""

    compose: ComposeSettings
    nats: NatsSettings
    stack: str
    state_dir: Path | None = None
    poll_interval_s: float = 2.0
    log_lines: int = 20
    drain_timeout_s: float = 5.0
    max_waiting: int = MOST_EVENTS
    takeover: bool = False
    end_with_project: bool = False
    stream: StreamOptions = StreamOptions()
    version: str = ""
    born: datetime | None = None  # when the program began: what began later is news (None: now)


def run_adapter(options: AdapterOptions, say: Say, stop: Stop, parts: AdapterParts) -> int:
    """Watch process-compose until `stop` is set; return the exit code. StackHeldError: another one does."""
    say(f"observe {options.version}", f"stack {options.stack}")
    with ExitStack() as ends:
        outbox = Outbox.open(
            options.state_dir,
            options.stack,
            takeover=options.takeover,
            say=say,
            most_events=options.max_waiting,
        )
        ends.callback(outbox.close)
        if parts.server is not None:  # until all else has ended there may be something to send
            ends.callback(parts.server.stop)
        adapter = _Adapter(options, outbox, say, stop, parts)
        adapter.start()
        parts.notify("READY=1")
        try:
            parts.stay(stop, adapter.works)
        finally:
            parts.notify("STOPPING=1")
            left = adapter.end()
    if adapter.delivery.failure is not None:
        raise adapter.delivery.failure
    kept = f", {left} not yet: they are kept, and sent by the next start" if left else ""
    say("stopped", f"{adapter.delivery.published} events published{kept}")
    return EXIT_OK


class _Adapter:
    """One adapter's parts; `answered`, `silent` and `compared` are called in the poller's thread."""

    def __init__(
        self, options: AdapterOptions, outbox: Outbox, say: Say, stop: Stop, parts: AdapterParts
    ) -> None:
        compose, interval_s = options.compose, options.poll_interval_s
        self._options, self._outbox, self._say, self._parts = options, outbox, say, parts
        self._server, self._identity, self._stop = parts.server, identity(), stop
        self._born = options.born or now_utc()
        self._met = self._ready = self._connected = self._knew = False
        self._blind_s: float | None = None  # until what changed meanwhile can be said too
        self._client = ComposeClient(compose.address, compose.port, compose.socket, compose.token)
        self._comparison = Comparison(
            outbox,
            options.stack,
            say,
            born=self._born,
            interval_s=interval_s,
            logs=parts.logs,
            log_lines=options.log_lines,
            committed=lambda processes: self.delivery.wake(processes),
            ring=lambda: self._poller.ring(),
        )
        self.delivery = Delivery(
            outbox,
            self._comparison,
            options.nats,
            options.stream,
            options.stack,
            self._say_for_delivery,
            about=self._about,
            takeover=options.takeover,
            on_failure=stop.set,
            on_connect=self._say_connected,
            on_no_writes=ignore if self._server is None else self._server.takes_no_writes,
        )
        self._poller = Poller(self._client, self._comparison, self, interval_s=interval_s)
        self.works = self._poller.works  # what systemd's watchdog wants to know
        self._push: PushListener | None = None

    def start(self) -> None:
        """Say what there is, and start everything; nothing waits for anything else."""
        known, waiting = len(self._comparison.records.known), self._outbox.waiting()
        self._knew = known > 0
        where = _short(self._outbox.path) if self._outbox.path else "in memory"
        waits = f", {_how_many(waiting, 'event')} wait{'s' if waiting == 1 else ''}"
        self._say("outbox", f"{where}, {_how_many(known, 'process', 'es')} known{waits}")
        self._tell_start()
        if self._parts.push is not None:
            self._push = self._parts.push(self._hear, self._on_push, self._poller.ring)
        if self._server is not None:
            self._server.start()
        self.delivery.start()
        self._listen(())
        self._poller.start()

    def end(self) -> int:
        """Poll once more, send what there is to send, end everything; return how many events are left."""
        self._poller.stop()
        if self._push is not None:
            self._push.stop()
        self._poller.join(SHORT_S)
        if self.delivery.failure is None:
            self._poller.poll(SHORT_S)
        self._comparison.settle()
        self._comparison.records.tell(ADAPTER, EventType.STOPPED)
        left, timeout_s = 0, self._options.drain_timeout_s
        if self.delivery.failure is None and (left := self.delivery.flush(min(SHORT_S, timeout_s))):
            self._say("nats", f"{left} events on their way, waiting {timeout_s:g}s at most")
            left = self.delivery.flush(max(0.0, timeout_s - SHORT_S))
        self.delivery.stop()
        if self._parts.logs is not None:
            self._parts.logs.stop()
        self._client.close()
        return left

    def _tell_start(self) -> None:
        """Tell that there is an adapter, and when the last one was alive if that was killed."""
        last, good = self._comparison.records.observed(ADAPTER), self._outbox.last_good
        alive = None
        if last is not None and last.type != EventType.STOPPED:
            alive = max(last.timestamp, format_time(good) if good else "")
        self._comparison.records.tell(ADAPTER, EventType.STARTED, last_alive=alive)

    # --- called by the poller ---

    def answered(self, reply: Reply, blind_s: float | None) -> None:
        """The first good reply, or the first one after an outage."""
        self._blind_s = blind_s
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

    def compared(self, changes: Sequence[Change]) -> None:
        """A reply was compared, and what it told is in the outbox."""
        self._say_seeing(changes)
        if not self._comparison.is_compared:  # the file took no commit
            return
        if not self._ready:
            self._ready = True
            if self._options.log_lines and self._parts.logs is not None:
                lines = f"last {self._options.log_lines} lines"
                self._say("crash logs", f"{lines} go to NATS with each crash (--log-lines 0: none)")
            processes = _how_many(len(self._comparison.records.known), "process", "es")
            now = how_to_call("watch", self._options.nats.as_flag)
            ready = f"{processes} {'followed' if self._knew else 'announced'}. Now: {now}"
            self.delivery.when_sent(lambda: self._say("ready", ready))
        self.delivery.compared()
        if changes:
            self._listen(key.process for key in self._comparison.records.known)

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

    def _hear(self, raw: Mapping[str, Any], arrived_at: datetime) -> None:
        try:
            self._comparison.hear(ProcessState.from_raw(raw), arrived_at)
        except ValueError as error:
            log.info("push: not a state: %s", error)

    def _say_connected(self, url: str, version: str) -> None:
        if self._connected:
            return
        self._connected = True
        if self._server is not None:
            self._server.connected(url, version)
        else:
            self._say("nats", f"{url}, version {version}")

    def _say_for_delivery(self, topic: str, text: str) -> None:
        """Pass it on; that there is no NATS is no news before it is clear who will start one."""
        if topic == "nats" and self._server and not (self._connected or self._server.settled.is_set()):
            return
        self._say(topic, text)

    def _on_push(self, since: datetime | None) -> None:
        self._comparison.listening_since = since
        log.info("push: %s", "connected" if since else "not connected")

    def _listen(self, names: Iterable[str]) -> None:
        if self._push is not None:
            self._push.listen(names)

    def _about(self) -> Mapping[str, Any]:
        """Return what the lease tells of this adapter, and of process-compose: its last event, and why."""
        records = self._comparison.records
        last_good, source = records.last_good, records.observed(SOURCE)
        told: dict[str, Any] = {}
        if source is not None:
            since = source.extra.get("since") or source.timestamp
            told = {"source": source.type, "source_since": since, "source_error": source.extra.get("error")}
        return {
            **self._identity,
            "version": self._options.version,
            "watches": self._options.compose.url.removeprefix("http://"),
            "interval_s": self._options.poll_interval_s,
            "push": self._comparison.listening_since is not None,
            "last_reply": format_time(last_good) if last_good else None,
            **told,
        }

    def source_told(self) -> None:
        """There is news of process-compose itself: the lease tells readers so."""
        self.delivery.renew_lease()
        last = self._comparison.records.observed(SOURCE)
        if self._options.end_with_project and last is not None and last.type == EventType.STOPPED:
            self._say("process-compose", "the project has ended, and so does this (--end-with-project)")
            self._stop.set()

    def _project(self) -> list[str]:
        try:
            name = self._client.project_name(SHORT_S)
        except ObserveError:
            return []
        return [f"project {name}"] if name else []


def _short(path: Path) -> str:
    """Return a path as people write it, with ~ for their home."""
    with suppress(RuntimeError, ValueError):
        return f"~/{path.relative_to(Path.home())}"
    return str(path)


def _how_many(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{plural if number != 1 else ''}"
