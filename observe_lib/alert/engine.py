"""Decides what is told: opens troubles by what rows and leases say, holds them, groups them, sees them end.
Pure: the clock is handed in, what to send is handed out. One engine per receiver; the bucket keeps its state.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ..broker.loop import ignore
from ..events import Event, EventType
from ..log import Say
from ..reader.silences import Silence, silences_for
from ..reader.states import States, stale_stacks_of
from ..rows import STALE_S, Place, ProcessRow, Stale
from ..subjects import OBSERVE
from ..times import format_time, parse_time
from .trouble import KINDS, Notice, OpenTrouble, Rules, after_s, kept_fields, read_kept

#: what was observed longer ago than this, and comes only now, opens nothing
BACKLOG = timedelta(minutes=15)
#: rows of one stack overtake each other by no more than this
OVERTAKING = timedelta(minutes=1)
#: what opens, or is over, within this time goes into one message
GROUP_S = 5.0


class Engine:
    """What one receiver is told. `say(topic, text)` hears what nobody else is told: missed, silenced.

    Over and over: `look`, `next_notice`; with a notice `begin`, the state saved, the notice sent, `done`.
    A state that makes no sense: ValueError, LookupError, TypeError or AttributeError.
    """

    def __init__(
        self, rules: Rules, name: str = "alert", state: Mapping[str, Any] | None = None, say: Say = ignore
    ) -> None:
        self._rules, self._name, self._say = rules, name, say
        self._is_first, self._is_new = True, state is None
        self._rows: Mapping[Place, ProcessRow] = {}
        kept = state or {}
        troubles = [read_kept(OpenTrouble, one) for one in kept.get("troubles", ())]
        self.troubles = {one.place: one for one in troubles if one.kind in KINDS}
        #: begun and not done: after a restart it is sent again
        self.sending = read_kept(Notice, kept["sending"]) if kept.get("sending") else None
        self.failed = int(kept.get("failed", 0))  #: how many messages were given up
        self._sent = [parse_time(at) for at in kept.get("sent", ())]
        self._held_told = bool(kept.get("held_told"))
        # when a process's last crash was seen, on its adapter's clock; of before a restart, the newest alone
        self._crashes = {Place(*map(str, place)): parse_time(at) for place, at in kept.get("crashes", ())}
        self._newest_before = _newest_of(self._crashes)

    def to_dict(self) -> dict[str, Any]:
        """Return what has to survive."""
        newest = _newest_of(self._crashes)
        crashes = [(one, at) for one, at in self._crashes.items() if at >= newest[one.stack] - OVERTAKING]
        return {
            "troubles": [kept_fields(trouble) for trouble in self.troubles.values()],
            "sending": kept_fields(self.sending) if self.sending else None,
            "failed": self.failed,
            "sent": [format_time(at) for at in self._sent],
            "held_told": self._held_told,
            "crashes": [[place, format_time(at)] for place, at in crashes],
        }

    # --- looking ---

    def look(self, states: States, now: datetime, up_at: datetime | None = None) -> None:
        """Take what there is now; `up_at` is since when we are connected.

        Adapters renew their leases after an outage only when they are connected, too.
        """
        before, self._rows = self._rows, states.rows
        missed = list[Place]()
        if states.rows is not before:
            changed = [row for place, row in states.rows.items() if before.get(place) is not row]
            missed = [row.place for row in changed if not self._note(row, now)]
        stale = stale_stacks_of(states, now)
        self._note_stacks({name: why for name, why in stale.items() if why.word != "ended"}, now, up_at)
        for place, trouble in list(self.troubles.items()):
            judged = self._judged(trouble, stale.get(place.stack), now)
            if self._is_untold(judged):
                del self.troubles[place]
            else:
                self.troubles[place] = self._readied(judged, states.silences, now)
        self._is_first = self._is_new = False
        if missed:
            shown = ", ".join(str(place) for place in missed[:5]) + (", …" if len(missed) > 5 else "")
            minutes = int(BACKLOG.total_seconds() // 60)
            self._say("missed", f"{shown}: seen over {minutes} minutes ago, nobody is told")

    def _note(self, row: ProcessRow, now: datetime) -> bool:
        """Note what a row says by now; return whether that came in time to be told."""
        place, trouble = row.place, self.troubles.get(row.place)
        crash = row.last_crash if row.crashed_at else None
        is_crash = crash is not None and self._is_new_crash(row, parse_time(crash.seen_at), now)
        if crash is not None:
            self._crashes[place] = parse_time(crash.seen_at)
        kind = self._kind_of(row, is_crash, now)
        seen_at = row.count_of(EventType.UNHEALTHY)[1] if kind == "unhealthy" else self._crashes.get(place)
        seen_at = min(now, seen_at or now)
        is_late = bool(kind) and self._is_backlog(row, kind, seen_at, now)
        if is_late and kind != "unhealthy":
            kind = ""
        due = after_s(seen_at if self._is_first else now, self._rules.hold_s.get(kind, 0.0))
        if kind and (trouble is None or (trouble.before and is_crash)):
            happened = seen_at if kind == "unhealthy" else row.crashed_at or seen_at
            earlier = max(0, row.crashes - crash.count) if crash is not None and is_crash else row.crashes
            is_quiet = is_late or (self._is_first and self._is_new and not self._rules.also_open)
            trouble = OpenTrouble(place, kind, min(now, happened), due, crashes_before=earlier)
            trouble = replace(trouble, before=is_quiet and not is_crash)
        elif trouble is not None and (is_crash or (kind and (trouble.over_at or kind != trouble.kind))):
            trouble = (trouble.worse(kind, due) if kind else trouble).open_again()
        if trouble is not None:
            self.troubles[place] = _with_facts(trouble, row, crash)
        return not is_late

    def _is_new_crash(self, row: ProcessRow, seen_at: datetime, now: datetime) -> bool:
        """Whether its last crash is one that was not looked at, by this run or by one before."""
        if seen_at == self._crashes.get(row.place):
            return False
        if not self._is_first:
            return True
        if self._is_new:
            return self._rules.also_open and _is_down(row, now)
        newest = self._newest_before.get(row.place.stack)
        return newest is None or seen_at > newest - OVERTAKING

    def _kind_of(self, row: ProcessRow, is_crash: bool, now: datetime) -> str:
        """Return the worst trouble that it is in by now; "" for none that is asked for."""
        holds = {
            "flapping": is_crash and row.flapping_until is not None and now < row.flapping_until,
            "crashed": is_crash,
            "unhealthy": row.alive and row.health == "Not Ready" and not row.starting,
        }
        return next((kind for kind in KINDS if holds.get(kind) and kind in self._rules.types), "")

    def _is_backlog(self, row: ProcessRow, kind: str, seen_at: datetime, now: datetime) -> bool:
        """Whether it comes too late: seen long ago, unless it lasts, and it was us who were away."""
        trouble = self.troubles.get(row.place)
        opens = trouble is None or (trouble.before and kind != "unhealthy")
        if not opens or (self._is_first and self._is_new):
            return False
        lasts = kind == "unhealthy" or _is_down(row, now)
        return now - seen_at > BACKLOG and not (self._is_first and lasts)

    def _note_stacks(self, stale: Mapping[str, Stale], now: datetime, up_at: datetime | None) -> None:
        """Open what there is to tell of stacks that are not heard of."""
        told = {one.place.stack for one in self.troubles.values() if one.kind == "stale" and not one.over_at}
        new = stale.keys() - told if "stale" in self._rules.types else set()
        sizes = Counter(place.stack for place in self._rows if place.stack in new) if new else {}
        before = self._is_first and self._is_new and not self._rules.also_open
        due = max(after_s(now, self._rules.hold_s["stale"]), after_s(up_at, STALE_S) if up_at else now)
        for name, processes in sizes.items():
            why, place = stale[name], Place(name, OBSERVE, stale[name].about)
            facts = {"about": why.about, "error": why.error, "processes": processes}
            began = min(now, why.since or now)
            self.troubles[place] = OpenTrouble(place, "stale", began, due, facts=facts, before=before)

    # --- seeing it end ---

    def _judged(self, trouble: OpenTrouble, stale: Stale | None, now: datetime) -> OpenTrouble:
        if trouble.over_at is not None:
            return trouble
        well = self._well(trouble, stale, now)
        if well is None:
            return replace(trouble, well_since=None) if trouble.well_since else trouble
        words, for_s = well
        since = trouble.well_since or now
        if now < after_s(since, for_s):
            return replace(trouble, well_since=since)
        ready_at = trouble.ready_at if trouble.told_at is None else None
        return replace(trouble, well_since=since, over_at=since, ready_at=ready_at, over=words)

    def _well(self, trouble: OpenTrouble, stale: Stale | None, now: datetime) -> tuple[str, float] | None:
        """Return why it looks as if it were over, and how many seconds that has to last; None: it is not."""
        settle_s = max(self._rules.settle_s, self._rules.hold_s[trouble.kind])
        if stale is not None and stale.word == "ended":
            return "its process-compose was stopped", settle_s
        if trouble.kind == "stale":
            return ("heard of again", 0.0) if stale is None else None
        row = self._rows.get(trouble.place)
        if row is None:
            return "is no more", settle_s
        if stale is not None:
            return None  # nothing is known of it now
        if not row.alive:
            return None if _is_down(row, now) else ("ended as it should", 0.0)
        if row.health == "Not Ready":
            return None
        if row.health == "Ready":
            is_told = trouble.kind in ("crashed", "flapping") and now >= trouble.due
            return "is healthy", settle_s if is_told or row.is_flapping(now) else 0.0
        return "runs", settle_s

    def _is_untold(self, trouble: OpenTrouble) -> bool:
        """Whether it is over and nobody is told of it: it was too short, or kept back."""
        is_sent = self.sending is not None and trouble.place in self.sending.places
        if trouble.over_at is None or trouble.told_at is not None or is_sent:
            return False
        is_short = trouble.over_at < trouble.due
        return is_short or trouble.before or bool(trouble.silenced_by) or self._held_told

    # --- telling ---

    def _readied(self, trouble: OpenTrouble, silences: Sequence[Silence], now: datetime) -> OpenTrouble:
        """Return it with the moment since when it waits to be told."""
        if not self._is_due(trouble, now):
            return replace(trouble, ready_at=None) if trouble.ready_at else trouble
        row = self._rows.get(trouble.place)
        spaces = row.namespaces if row is not None else ()
        held = [] if trouble.is_end else silences_for(silences, trouble.place, now, spaces)
        if not held:
            return replace(trouble, silenced_by="", ready_at=trouble.ready_at or now)
        words = f"{held[0].pattern} until {format_time(held[0].until)}"
        if trouble.silenced_by != words:
            by = f"{held[0].who} until {held[0].until.astimezone():%H:%M}"
            why = f"{by}: {held[0].reason}" if held[0].reason else by
            self._say("silenced", f"{trouble.place} {trouble.kind} ({why})")
        return replace(trouble, silenced_by=words, ready_at=None)

    def _is_due(self, trouble: OpenTrouble, now: datetime) -> bool:
        if trouble.is_end or trouble.before:
            return trouble.is_end
        again = trouble.told_at and after_s(trouble.told_at, self._rules.repeat_s)
        return now >= (again or trouble.due)

    def next_notice(self, now: datetime) -> Notice | None:
        """Return what is to be sent now, None while there is nothing, or something is under way."""
        waiting = [one for one in self.troubles.values() if one.ready_at is not None]
        waiting.sort(key=lambda one: (one.is_end, one.ready_at, one.place))
        group = [] if self.sending is not None else self._group_of(waiting, now)
        if not group:
            return None
        self._sent = [at for at in self._sent if now < after_s(at, self._rules.limit_s)]
        first, is_room = group[0], len(self._sent) < self._rules.limit
        if is_room or not self._counts(first.is_end):
            self._held_told &= not is_room
            key = first.group or f'{{}}:{{alerter="{self._name}", opened="{format_time(now)}"}}'
            status = "resolved" if first.is_end else "firing"
            return Notice(status, key, now, tuple(one.place for one in group))
        if self._held_told:
            return None
        key = f'{{}}:{{alerter="{self._name}", limit="{self._rules.limit}"}}'
        return Notice("firing", key, now, held=len(waiting))

    def _group_of(self, waiting: Sequence[OpenTrouble], now: datetime) -> list[OpenTrouble]:
        """Return what goes into one message: all that opened, or is over of what was told in one message."""
        for first in waiting:
            if first.ready_at is None or now < after_s(first.ready_at, GROUP_S):
                continue
            if self._rules.one_each:
                return [first]
            if not first.is_end:
                return [one for one in waiting if not one.is_end]
            return [one for one in waiting if one.is_end and one.group == first.group]
        return []

    def _counts(self, is_end: bool) -> bool:
        """Whether a message counts for the limit: that it is over does not for a command that acts on one."""
        return not (is_end and self._rules.one_each)

    def begin(self, notice: Notice) -> None:
        """It is about to be sent: to be saved before that."""
        self.sending = notice
        self._held_told |= notice.held > 0

    def done(self, now: datetime, *, failed: bool = False) -> None:
        """What was begun is sent, or `failed` for good, which is counted."""
        notice, self.sending = self.sending, None
        if notice is None:
            return
        self.failed += failed
        if not notice.held and self._counts(notice.status == "resolved"):
            self._sent.append(now)
        for place in notice.places:
            trouble = self.troubles.get(place)
            if trouble is None:
                continue
            if notice.status == "firing":
                told = replace(trouble, told_at=now, group=notice.group, ready_at=None, silenced_by="")
                self.troubles[place] = told
            elif trouble.over_at is not None:
                del self.troubles[place]
            else:  # it began again meanwhile
                self.troubles[place] = replace(trouble, told_at=None, group="", due=min(trouble.due, now))


def _newest_of(crashes: Mapping[Place, datetime]) -> dict[str, datetime]:
    """Return when the newest crash of each stack was seen."""
    newest: dict[str, datetime] = {}
    for place, at in crashes.items():
        newest[place.stack] = max(at, newest.get(place.stack, at))
    return newest


def _is_down(row: ProcessRow, now: datetime) -> bool:
    """Whether no run lives, and that is not as it should be."""
    return not row.alive and row.condition(now) in ("crashed", "flapping")


def _with_facts(trouble: OpenTrouble, row: ProcessRow, crash: Event | None) -> OpenTrouble:
    """Return it with what a summary tells of a process."""
    if crash is None:
        return trouble
    told = {"exit_code": crash.exit_code, "reason": crash.reason, "why": crash.extra.get("why")}
    facts = {name: value for name, value in told.items() if value is not None}
    return replace(trouble, crashes=row.crashes, crashed_at=row.crashed_at, facts=facts)
