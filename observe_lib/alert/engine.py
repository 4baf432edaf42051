"""Decides what is told: opens troubles by what rows and leases say, holds them, groups them, sees them end.
Pure: the clock is handed in, what to send is handed out. One engine per receiver; the bucket keeps its state.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ..broker.loop import ignore
from ..reader.silences import Silence, silences_for
from ..rows import Place
from ..subjects import process_matches
from ..times import format_time, parse_time
from .condition import Condition, StackCondition
from .trouble import KINDS, Notice, OpenTrouble, Rules, after_s

#: what was observed longer ago than this, and comes only now, opens nothing
BACKLOG = timedelta(minutes=15)
#: rows of one stack overtake each other by no more than this
OVERTAKING = timedelta(minutes=1)

ENGINE_SCHEMA = 1


class Engine:
    """What one receiver is told. `say(topic, text)` hears what nobody else is told: missed, silenced.

    Over and over: `look`, `next_notice`; with a notice `begin`, the state saved, the notice sent, `done`.
    """

    def __init__(
        self,
        rules: Rules,
        name: str = "alert",
        state: Mapping[str, Any] | None = None,
        say: Callable[[str, str], object] = ignore,
    ) -> None:
        self._rules, self._name, self._say = rules, name, say
        self.troubles: dict[Place, OpenTrouble] = {}
        self.sending: Notice | None = None  #: begun and not done: after a restart it is sent again
        self.failed = 0  #: how many messages were given up
        self._sent: list[datetime] = []
        self._held_told = False
        self._marks: dict[str, datetime] = {}  # by stack: the newest crash that was looked at, its own clock
        self._recent: dict[Place, tuple[str, datetime]] = {}  # the last crash of a trouble that is over
        self._crash_ids: dict[Place, str] = {}  # of every wanted process
        self._conditions: dict[Place, Condition] = {}  # of those in trouble
        self._missed: list[Place] = []
        self._is_first, self._is_new = True, state is None
        if state is not None:
            self._restore(state)
        self._marks_before = dict(self._marks)

    # --- looking ---

    def look(
        self,
        changes: Mapping[Place, Condition | None],
        stacks: Mapping[str, StackCondition],
        silences: Sequence[Silence],
        now: datetime,
    ) -> None:
        """Take what has changed: a process that is no more is None; at first everything that there is."""
        for place, condition in changes.items():
            if not self._wants(place):
                continue
            if condition is None:
                self._crash_ids.pop(place, None)
                self._conditions.pop(place, None)
            else:
                self._note(condition, now)
        counts = Counter(place.stack for place in self._crash_ids)
        for stack in stacks.values():
            if stack.about and not stack.ended and counts[stack.stack]:
                self._note_stack(stack, counts[stack.stack], now)
        for place, trouble in list(self.troubles.items()):
            self._keep(place, self._judged(trouble, stacks.get(place.stack), now))
        for place, trouble in list(self.troubles.items()):
            self.troubles[place] = self._readied(trouble, silences, now)
        self._is_first = self._is_new = False
        self._say_missed()

    def _wants(self, place: Place) -> bool:
        patterns, stack = self._rules.patterns, self._rules.stack
        named = not patterns or any(process_matches(one, place.namespace, place.process) for one in patterns)
        return named and stack in (None, place.stack)

    def _note(self, condition: Condition, now: datetime) -> None:
        place, is_crash = condition.place, self._is_new_crash(condition)
        self._crash_ids[place] = condition.crash_id
        if condition.crash_seen_at is not None:
            mark = self._marks.get(place.stack, condition.crash_seen_at)
            self._marks[place.stack] = max(mark, condition.crash_seen_at)
        kind = self._kind_of(condition, is_crash, now)
        is_late = bool(kind) and self._is_backlog(condition, kind, now)
        if is_late:
            self._missed.append(place)
            kind = kind if kind == "unhealthy" else ""
        trouble = self.troubles.get(place)
        if kind and (trouble is None or (trouble.before and is_crash)):
            is_quiet = is_late or (self._is_first and self._is_new and not self._rules.also_open)
            trouble = self._opened(condition, kind, now, is_quiet and not is_crash)
        elif (
            kind and trouble is not None and (is_crash or trouble.over_at is not None or kind != trouble.kind)
        ):
            start = now if not self._is_first else self._seen_at(condition, kind, now)
            trouble = trouble.worse(kind, after_s(start, self._rules.hold_s[kind])).open_again()
        if trouble is None:
            return
        if is_crash:
            trouble = replace(trouble, crash_id=condition.crash_id, crash_seen_at=condition.crash_seen_at)
            trouble = trouble.open_again() if trouble.over_at is None else trouble
        self._conditions[place] = condition
        self.troubles[place] = replace(trouble, facts={**trouble.facts, **_crash_facts(condition)})

    def _is_new_crash(self, condition: Condition) -> bool:
        """Whether its last crash is one that was not looked at, by this run or by one before."""
        place, crash, seen_at = condition.place, condition.crash_id, condition.crash_seen_at
        trouble = self.troubles.get(place)
        known = {self._crash_ids.get(place), self._recent.get(place, ("",))[0], trouble and trouble.crash_id}
        if not crash or crash in known or seen_at is None:
            return False
        if not self._is_first:
            return True
        if self._is_new:
            return self._rules.also_open and condition.is_down
        mark = self._marks_before.get(place.stack)
        return mark is None or seen_at > mark - OVERTAKING

    def _kind_of(self, condition: Condition, is_crash: bool, now: datetime) -> str:
        """Return the worst trouble that it is in by now; "" for none that is asked for."""
        holds = {
            "flapping": is_crash and condition.flapping(now),
            "crashed": is_crash,
            "unhealthy": condition.unhealthy,
        }
        return next((kind for kind in KINDS if holds.get(kind) and kind in self._rules.types), "")

    def _is_backlog(self, condition: Condition, kind: str, now: datetime) -> bool:
        """Whether it comes too late: seen long ago, unless it lasts, and it was us who were away."""
        trouble = self.troubles.get(condition.place)
        opens = trouble is None or (trouble.before and kind != "unhealthy")
        if not opens or (self._is_first and self._is_new):
            return False
        lasts = condition.is_down or kind == "unhealthy"
        return now - self._seen_at(condition, kind, now) > BACKLOG and not (self._is_first and lasts)

    @staticmethod
    def _seen_at(condition: Condition, kind: str, now: datetime) -> datetime:
        seen_at = condition.unhealthy_at if kind == "unhealthy" else condition.crash_seen_at
        return min(now, seen_at or now)

    def _opened(self, condition: Condition, kind: str, now: datetime, before: bool) -> OpenTrouble:
        seen_at = self._seen_at(condition, kind, now)
        happened = condition.unhealthy_at if kind == "unhealthy" else condition.crashed_at
        due = after_s(seen_at if self._is_first else now, self._rules.hold_s[kind])
        count = condition.crash.get("count", 1) if kind != "unhealthy" else 0
        crashes = max(0, condition.crashes - (count if isinstance(count, int) else 1))
        began = min(now, happened or now)
        return OpenTrouble(condition.place, kind, began, due, crashes_before=crashes, before=before)

    def _note_stack(self, stack: StackCondition, processes: int, now: datetime) -> None:
        if "stale" not in self._rules.types or self._stale_of(stack.stack):
            return
        before = self._is_first and self._is_new and not self._rules.also_open
        began = min(now, stack.since or now)
        due = after_s(now, self._rules.hold_s["stale"])  # after a start its adapter may start, too
        facts = {"about": stack.about, "error": stack.error, "processes": processes}
        place = stack.place
        self.troubles[place] = OpenTrouble(place, "stale", began, due, facts=facts, before=before)

    def _stale_of(self, stack: str) -> OpenTrouble | None:
        found = (one for one in self.troubles.values() if one.kind == "stale" and one.place.stack == stack)
        return next((one for one in found if one.over_at is None), None)

    # --- seeing it end ---

    def _judged(self, trouble: OpenTrouble, stack: StackCondition | None, now: datetime) -> OpenTrouble:
        if trouble.over_at is not None:
            return trouble
        well = self._well(trouble, stack, now)
        if well is None:
            return trouble.open_again()
        words, for_s = well
        since = trouble.well_since or now
        if now < after_s(since, for_s):
            return replace(trouble, well_since=since)
        facts = {**trouble.facts, "over": words}
        ready_at = trouble.ready_at if trouble.told_at is None else None
        return replace(trouble, well_since=since, over_at=since, ready_at=ready_at, facts=facts)

    def _well(
        self, trouble: OpenTrouble, stack: StackCondition | None, now: datetime
    ) -> tuple[str, float] | None:
        """Return why it looks as if it were over, and how many seconds that has to last; None: it is not."""
        settle_s = max(self._rules.settle_s, self._rules.hold_s[trouble.kind])
        if stack is not None and stack.ended:
            return "its process-compose was stopped", settle_s
        if trouble.kind == "stale":
            return ("heard of again", 0.0) if stack is None or not stack.about else None
        if trouble.place not in self._crash_ids:
            return "is no more", settle_s
        condition = self._conditions.get(trouble.place)
        if condition is None or (stack is not None and stack.about):
            return None  # nothing is known of it now
        if condition.well_ended:
            return "ended as it should", 0.0
        if not condition.alive or condition.health == "Not Ready":
            return None
        if condition.health == "Ready":
            is_told = trouble.kind in ("crashed", "flapping") and now >= trouble.due
            return "is healthy", settle_s if is_told or condition.flapping(now) else 0.0
        return "runs", settle_s

    def _keep(self, place: Place, trouble: OpenTrouble) -> None:
        """Keep a trouble, unless it is over and nobody is told of it: it was too short, or kept back."""
        in_flight = self.sending is not None and place in self.sending.places
        kept_back = trouble.before or bool(trouble.silenced_by) or self._held_told
        too_short = trouble.over_at is not None and trouble.over_at < trouble.due
        untold = trouble.over_at is not None and trouble.told_at is None and not in_flight
        if untold and (kept_back or too_short):
            self._drop(trouble)
        else:
            self.troubles[place] = trouble

    def _drop(self, trouble: OpenTrouble) -> None:
        self.troubles.pop(trouble.place, None)
        self._conditions.pop(trouble.place, None)
        if trouble.crash_seen_at is not None:
            self._recent[trouble.place] = (trouble.crash_id, trouble.crash_seen_at)

    # --- telling ---

    def _readied(self, trouble: OpenTrouble, silences: Sequence[Silence], now: datetime) -> OpenTrouble:
        """Return it with the moment since when it waits to be told."""
        if not self._is_due(trouble, now):
            return replace(trouble, ready_at=None) if trouble.ready_at else trouble
        silence = next(iter(silences_for(silences, trouble.place, now)), None) if not trouble.is_end else None
        if silence is None:
            return replace(trouble, silenced_by="", ready_at=trouble.ready_at or now)
        words = f"{silence.pattern} until {format_time(silence.until)}"
        if trouble.silenced_by != words:
            by = f"{silence.who} until {silence.until.astimezone():%H:%M}"
            why = f"{by}: {silence.reason}" if silence.reason else by
            self._say("silenced", f"{trouble.place} {trouble.kind} ({why})")
        return replace(trouble, silenced_by=words, ready_at=None)

    def _is_due(self, trouble: OpenTrouble, now: datetime) -> bool:
        if trouble.is_end:
            return True
        if trouble.before:
            return False
        if trouble.told_at is None:
            return now >= trouble.due
        return now >= after_s(trouble.told_at, self._rules.repeat_s)

    def next_notice(self, now: datetime) -> Notice | None:
        """Return what is to be sent now, None while there is nothing, or something is under way."""
        if self.sending is not None:
            return None
        waiting = sorted(
            (one for one in self.troubles.values() if one.ready_at is not None),
            key=lambda one: (one.is_end, one.ready_at, one.place),
        )
        group = self._group_of(waiting, now)
        if not group:
            return None
        room, is_end = self._room(now), group[0].is_end
        if room > 0 or (is_end and self._rules.counts_each):
            self._held_told &= room <= 0
            places = [one.place for one in group]
            most = room if self._rules.counts_each and not is_end else len(places)
            status = "resolved" if is_end else "firing"
            key = group[0].group or f'{{}}:{{alerter="{self._name}", opened="{format_time(now)}"}}'
            return Notice(status, key, now, tuple(places[:most]))
        if self._held_told:
            return None
        if self._rules.counts_each:
            self._held_told = True
            self._say("limit", f"{len(waiting)} held back: {self._rules.limit} were done within the limit")
            return None
        return Notice(
            "firing", f'{{}}:{{alerter="{self._name}", limit="{self._rules.limit}"}}', now, held=len(waiting)
        )

    def _group_of(self, waiting: Sequence[OpenTrouble], now: datetime) -> list[OpenTrouble]:
        """Return what goes into one message: all that opened, or is over of what was told in one message."""
        for first in waiting:
            if first.ready_at is None or now < after_s(first.ready_at, self._rules.group_s):
                continue
            if not first.is_end:
                return [one for one in waiting if not one.is_end]
            return [one for one in waiting if one.is_end and one.group == first.group]
        return []

    def _room(self, now: datetime) -> int:
        """Return how many messages may still be sent."""
        self._sent = [at for at in self._sent if now < after_s(at, self._rules.limit_s)]
        return self._rules.limit - len(self._sent)

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
        if self._rules.counts_each:
            self._sent += [now] * len(notice.places) if notice.status == "firing" else []
        elif not notice.held:
            self._sent.append(now)
        for place in notice.places:
            trouble = self.troubles.get(place)
            if trouble is None:
                continue
            if notice.status == "firing":
                told = replace(trouble, told_at=now, group=notice.group, ready_at=None, silenced_by="")
                self.troubles[place] = told
            elif trouble.over_at is not None:
                self._drop(trouble)
            else:  # it began again meanwhile
                self.troubles[place] = replace(trouble, told_at=None, group="", due=min(trouble.due, now))

    def _say_missed(self) -> None:
        missed, self._missed = list(dict.fromkeys(self._missed)), []
        if missed:
            shown = ", ".join(str(place) for place in missed[:5]) + (", …" if len(missed) > 5 else "")
            minutes = int(BACKLOG.total_seconds() // 60)
            self._say("missed", f"{shown}: seen over {minutes} minutes ago, nobody is told")

    # --- what the bucket keeps ---

    def to_dict(self) -> dict[str, Any]:
        """Return what has to survive."""
        oldest = {stack: mark - OVERTAKING for stack, mark in self._marks.items()}
        self._recent = {
            place: (crash, at)
            for place, (crash, at) in self._recent.items()
            if at >= oldest.get(place.stack, at)
        }
        return {
            "schema": ENGINE_SCHEMA,
            "troubles": [trouble.to_dict() for trouble in self.troubles.values()],
            "sending": self.sending.to_dict() if self.sending else None,
            "failed": self.failed,
            "sent": [format_time(at) for at in self._sent],
            "held_told": self._held_told,
            "marks": {stack: format_time(mark) for stack, mark in self._marks.items()},
            "recent": [[*place, crash, format_time(at)] for place, (crash, at) in self._recent.items()],
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.troubles = {one.place: one for one in map(OpenTrouble.from_dict, state["troubles"])}
        self.sending = Notice.from_dict(state["sending"]) if state.get("sending") else None
        self.failed, self._held_told = int(state["failed"]), bool(state["held_told"])
        self._sent = [parse_time(at) for at in state["sent"]]
        self._marks = {stack: parse_time(at) for stack, at in state["marks"].items()}
        self._recent = {Place(*one[:3]): (one[3], parse_time(one[4])) for one in state["recent"]}


def _crash_facts(condition: Condition) -> dict[str, Any]:
    """Return what a summary tells of a process."""
    crash = {
        name: condition.crash[name] for name in ("exit_code", "reason", "why") if name in condition.crash
    }
    last = {"crashed_at": format_time(condition.crashed_at)} if condition.crashed_at else {}
    return {"crashes": condition.crashes, **crash, **last}
