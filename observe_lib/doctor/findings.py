"""What `doctor` finds: one finding, its line for people and its object for programs.
Pure; whichever thread asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"

#: clocks that differ by more are said to differ; HTTP tells whole seconds only
CLOCKS_DIFFER_S = 2.0

_MARK_WIDTH = 6
_TOPIC_WIDTH = 18


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `result` is ok, warn, fail or skip, `hint` what to do, `facts` for programs."""

    result: str
    check: str
    text: str
    hint: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return the finding for the screen, the hint below the text."""
        if self.result == SKIP:
            return [f"{SKIP:<{_MARK_WIDTH}}{self.check}: {self.text}"]
        first = f"{self.result:<{_MARK_WIDTH}}{self.check:<{_TOPIC_WIDTH}}{self.text}"
        return [first, *([" " * (_MARK_WIDTH + _TOPIC_WIDTH) + self.hint] if self.hint else [])]

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON tells it; no hint where there is nothing to do."""
        found = {"check": self.check, "result": self.result, "text": self.text, "hint": self.hint}
        return {**{name: text for name, text in found.items() if text}, **self.facts}


def clock_finding(skews: Sequence[tuple[str, float]]) -> Finding:
    """Return what is to be said of others' clocks: pairs of whose and how many seconds it is ahead."""
    told, differ = list[str](), False
    for whose, ahead_s in skews:
        side = "ahead of" if ahead_s > 0 else "behind"
        is_off = abs(ahead_s) > CLOCKS_DIFFER_S
        told.append(f"{whose} {f'{abs(ahead_s):.1f}s {side} here' if is_off else 'as here'}")
        differ |= is_off
    facts = {f"{whose.replace('-', '_')}_ahead_s": round(ahead_s, 3) for whose, ahead_s in skews}
    hint = "set the clocks by NTP (timedatectl set-ntp true): times of events are the sender's"
    return Finding(WARN if differ else OK, "clock", ", ".join(told), hint if differ else "", facts)
