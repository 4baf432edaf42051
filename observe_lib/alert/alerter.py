"""The alerter: looks at the rows again and again, saves what it decided, then has it told.
Runs in the main thread; receivers have a thread each, NATS has the loop's.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ..broker.loop import ignore
from ..errors import NatsError
from ..log import Say, log
from ..times import format_time
from .engine import Engine
from .message import payload_of
from .receiver import Receiver
from .store import Store

#: what changed without a message is saved this often
SAVE_EACH = timedelta(seconds=5)


class Alerter:
    """All receivers of one name. `tick` is called several times a second; it never waits for a receiver."""

    def __init__(
        self, store: Store, receivers: Sequence[Receiver], name: str, say: Say, link: str = ""
    ) -> None:
        self._store, self._receivers, self._name, self._say = store, receivers, name, say
        self._link = link
        self._is_loaded = False
        self._complained = set[str]()
        self._saved: Mapping[str, Any] = {}
        self._saved_at: datetime | None = None

    def tick(self, now: datetime) -> None:
        """Look once. While NATS is away nothing is known, and nothing is decided."""
        try:
            if self._store.is_ours and self._store.is_current:
                self._look(now)
                self._tell(now)
        except NatsError as error:
            if str(error) not in self._complained:
                self._complained.add(str(error))
                self._say("nats", f"{error}; {error.hint}; nobody is told meanwhile")

    def end(self, now: datetime) -> None:
        """Save what is known by now; what is under way goes out again at the next start."""
        for receiver in self._receivers:
            receiver.stop()
        if self._is_loaded and self._store.is_ours:
            try:
                for receiver in self._receivers:
                    receiver.settle(now)
                self._save(now)
            except NatsError as error:
                log.info("alerter: not saved: %s", error)

    def _look(self, now: datetime) -> None:
        """Have all engines look at what there is; at first with the state that the bucket has."""
        if begins := not self._is_loaded:
            for receiver, engine in zip(self._receivers, self._engines(), strict=True):
                receiver.begin(engine)
            self._is_loaded = True
        for receiver in self._receivers:
            receiver.engine.look(self._store.states, now, self._store.up_at)
        if begins:
            opened = self._counts()["open"]
            what = f"{opened} open" if opened else "nothing is open"
            self._say("alert", f'watching all of {self._store.url} as "{self._name}"; {what}')

    def _engines(self) -> list[Engine]:
        """Return an engine for each receiver, that goes on with what the bucket holds; NatsError."""
        says = [self._say, *[ignore] * len(self._receivers)]  # what nobody is told is said once
        pairs = list(zip(self._receivers, says, strict=False))
        try:
            kept = (self._store.load() or {}).get("receivers", {})
            return [Engine(one.rules, self._name, kept.get(one.sends.name), say) for one, say in pairs]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self._say("alert", f"its state in the bucket makes no sense, begun anew: {error!r}")
            return [Engine(one.rules, self._name, None, say) for one, say in pairs]

    def _counts(self) -> dict[str, int]:
        """Return how many troubles are open, and how many messages nobody took."""
        engines = [receiver.engine for receiver in self._receivers]
        opened = (sum(not one.before for one in engine.troubles.values()) for engine in engines)
        return {"open": max(opened), "failed": max(engine.failed for engine in engines)}

    def _tell(self, now: datetime) -> None:
        """Note what came of messages, begin new ones; each state is saved before its message goes out."""
        is_news = any([receiver.settle(now) for receiver in self._receivers])
        for receiver in self._receivers:
            if (notice := receiver.engine.next_notice(now)) is not None:
                receiver.engine.begin(notice)
        due = [receiver for receiver in self._receivers if receiver.is_due]
        if (is_news or due or self._is_save_due(now)) and not self._save(now):
            self._is_loaded = False
            return
        for receiver in due:
            receiver.hand_over(receiver.payload or self._payload(receiver))

    def _payload(self, receiver: Receiver) -> Mapping[str, Any]:
        engine, link = receiver.engine, self._link
        assert engine.sending is not None  # it is due
        log_of = self._store.crash_log
        return payload_of(
            engine.sending, engine.troubles, receiver.rules, receiver=self._name, link=link, log_of=log_of
        )

    def _is_save_due(self, now: datetime) -> bool:
        return self._saved_at is None or now - self._saved_at >= SAVE_EACH or now < self._saved_at

    def _save(self, now: datetime) -> bool:
        """Write the state where it changed; False: another alerter wrote its own, and that counts."""
        engines = {one.sends.name: one.engine.to_dict() for one in self._receivers}
        self._saved_at = now
        if engines == self._saved:
            return True
        if not self._store.save({"receivers": engines, "at": format_time(now)}, self._counts()):
            return False
        self._saved = engines
        return True
