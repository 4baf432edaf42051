"""The alerter: looks at the rows again and again, saves what it decided, then has it told.
Runs in the main thread; receivers have a thread each, NATS has the loop's.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from ..errors import NatsError
from ..log import Say, log
from ..times import format_time
from .engine import Engine
from .message import LogOf, payload_of
from .receiver import Receiver
from .row_feed import News
from .trouble import Rules

#: what changed without a message is saved this often
SAVE_EACH = timedelta(seconds=5)


class Rows(Protocol):
    """What tells of rows: `RowFeed`."""

    @property
    def is_current(self) -> bool:
        """Whether what it says is what there is now."""

    def take(self, now: datetime, *, whole: bool = False) -> News:
        """Return what has changed, or everything."""


class Keeps(Protocol):
    """What keeps the state: `Store`."""

    @property
    def rows(self) -> Rows:
        """The rows."""

    @property
    def is_ours(self) -> bool:
        """Whether messages may be sent."""

    def load(self) -> Mapping[str, Any] | None:
        """Return the state, None for none; NatsError."""

    def save(self, state: Mapping[str, Any]) -> bool:
        """Write it; False where it is another's by now; NatsError."""


class Alerter:
    """All receivers of one name. `tick` is called several times a second; it never waits for a receiver."""

    def __init__(
        self,
        store: Keeps,
        receivers: Sequence[tuple[Receiver, Rules]],
        name: str,
        say: Say,
        *,
        log_of: LogOf = lambda trouble: (),
        link: str = "",
        where: str = "",
    ) -> None:
        self._store, self._receivers, self._name, self._say = store, receivers, name, say
        self._log_of, self._link, self._where = log_of, link, where
        self._is_loaded = False
        self._complained = set[str]()
        self._saved: Mapping[str, Any] = {}
        self._saved_at: datetime | None = None

    def tick(self, now: datetime) -> None:
        """Look once. While NATS is away nothing is known, and nothing is decided."""
        if not (self._store.is_ours and self._store.rows.is_current):
            return
        try:
            if not self._is_loaded:
                self._load(now)
            else:
                self._look(self._store.rows.take(now), now)
            self._tell(now)
        except NatsError as error:
            if str(error) not in self._complained:
                self._complained.add(str(error))
                self._say("nats", f"{error}; {error.hint}; nobody is told meanwhile")

    def end(self, now: datetime) -> None:
        """Save what is known by now; what is under way goes out again at the next start."""
        if self._is_loaded and self._store.is_ours:
            try:
                for receiver, _ in self._receivers:
                    receiver.settle(now, self._say)
                self._save(now)
            except NatsError as error:
                log.info("alerter: not saved: %s", error)

    def _load(self, now: datetime) -> None:
        """Begin with what the bucket says, and with all rows."""
        state = self._store.load()
        engines = (state or {}).get("receivers", {})
        for at, (receiver, rules) in enumerate(self._receivers):
            say = self._say if at == 0 else _nobody
            receiver.engine = self._engine(rules, engines.get(receiver.sends.name), say)
        self._look(self._store.rows.take(now, whole=True), now)
        self._is_loaded = True
        self._say("alert", f'watching all{self._where} as "{self._name}"; {self._open_words()}')
        self._save(now)

    def _engine(self, rules: Rules, state: Mapping[str, Any] | None, say: Say) -> Engine:
        try:
            return Engine(rules, self._name, state, say)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self._say("alert", f"its state in the bucket makes no sense, begun anew: {error!r}")
            return Engine(rules, self._name, None, say)

    def _open_words(self) -> str:
        engine = self._receivers[0][0].engine
        told = [one for one in engine.troubles.values() if not one.before] if engine else []
        return f"{len(told)} open" if told else "nothing is open"

    def _look(self, news: News, now: datetime) -> None:
        for receiver, _ in self._receivers:
            if receiver.engine is not None:
                receiver.engine.look(news.changes, news.stacks, news.silences, now)

    def _tell(self, now: datetime) -> None:
        """Note what came of messages, begin new ones; each state is saved before its message goes out."""
        is_news = False
        for receiver, _ in self._receivers:
            is_news |= receiver.settle(now, self._say)
        for receiver, _ in self._receivers:
            if receiver.engine is not None and (notice := receiver.engine.next_notice(now)) is not None:
                receiver.engine.begin(notice)
                is_news = True
        is_news |= any(receiver.is_due for receiver, _ in self._receivers)
        if (is_news or self._is_save_due(now)) and not self._save(now):
            return
        for receiver, rules in self._receivers:
            engine = receiver.engine
            if receiver.is_due and engine is not None and engine.sending is not None:
                payload = payload_of(
                    engine.sending,
                    engine.troubles,
                    rules,
                    receiver=self._name,
                    link=self._link,
                    log_of=self._log_of,
                )
                receiver.start(payload)

    def _is_save_due(self, now: datetime) -> bool:
        return self._saved_at is None or now - self._saved_at >= SAVE_EACH or now < self._saved_at

    def _save(self, now: datetime) -> bool:
        """Write the state where it changed; False: another alerter wrote its own, and that counts."""
        engines = {one.sends.name: one.engine.to_dict() for one, _ in self._receivers if one.engine}
        self._saved_at = now
        if engines == self._saved:
            return True
        if not self._store.save({"receivers": engines, "at": format_time(now)}):
            self._is_loaded = False
            return False
        self._saved = engines
        return True


def _nobody(topic: str, text: str) -> None:
    """Somebody else says it."""
