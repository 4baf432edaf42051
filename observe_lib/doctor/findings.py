"""What `doctor` finds: one finding, its line for people and its object for programs.
Pure; whichever thread asks.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"

#: clocks that differ by more are said to differ; HTTP tells whole seconds only
CLOCKS_DIFFER_S = 2.0

_MARK_WIDTH = 6
_TOPIC_WIDTH = 18


class Finding(NamedTuple):
    """One thing looked at: `result` is ok, warn, fail or skip, `hint` what to do, `facts` for programs."""

    result: str
    check: str
    text: str
    hint: str = ""
    facts: tuple[tuple[str, Any], ...] = ()

    def lines(self) -> list[str]:
        """Return the finding for the screen, the hint below the text."""
        if self.result == SKIP:
            return [f"{SKIP:<{_MARK_WIDTH}}{self.check}: {self.text}"]
        first = f"{self.result:<{_MARK_WIDTH}}{self.check:<{_TOPIC_WIDTH}}{self.text}"
        return [first, *([" " * (_MARK_WIDTH + _TOPIC_WIDTH) + self.hint] if self.hint else [])]

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON tells it; no hint where there is nothing to do."""
        found: dict[str, Any] = {"check": self.check, "result": self.result, "text": self.text}
        return {**found, **({"hint": self.hint} if self.hint else {}), **dict(self.facts)}


def clock_finding(skews: Sequence[tuple[str, float]]) -> Finding:
    """Return what is to be said of others' clocks: pairs of whose and how many seconds it is ahead."""
    told = ", ".join(f"{whose} {_skew_words(ahead_s)}" for whose, ahead_s in skews)
    facts = tuple((f"{whose.replace('-', '_')}_ahead_s", round(ahead_s, 3)) for whose, ahead_s in skews)
    if all(abs(ahead_s) <= CLOCKS_DIFFER_S for _, ahead_s in skews):
        return Finding(OK, "clock", told, facts=facts)
    hint = "set the clocks by NTP (timedatectl set-ntp true): times of events are the sender's"
    return Finding(WARN, "clock", told, hint, facts)


def _skew_words(ahead_s: float) -> str:
    if abs(ahead_s) <= CLOCKS_DIFFER_S:
        return "as here"
    return f"{abs(ahead_s):.1f}s {'ahead of' if ahead_s > 0 else 'behind'} here"
