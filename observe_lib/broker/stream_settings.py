"""What a stream of events that somebody else made may be set to: what that costs, and what mends it.
Pure: one table, for whoever ensures the stream and whoever examines it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Trouble(NamedTuple):
    """One setting that is not as it must be; `fatal`: nothing gets in, or nobody finds it."""

    setting: str
    cost: str
    mend: str
    fatal: bool

    def __str__(self) -> str:
        return f"{self.setting}: {self.cost}"


_EDIT = "nats stream edit {name}"
_ANEW = "nats stream rm {name} (with all that it holds), the adapter makes it anew"

#: whether a config is so, given the subject that is wanted; what that is, costs, and how to mend it
_SETTINGS: tuple[tuple[Callable[[Mapping[str, Any], str], bool], Trouble], ...] = (
    (
        lambda config, subject: not any(covers(one, subject) for one in config.get("subjects", (subject,))),
        Trouble("does not take {subject}", "no event gets in", _EDIT + " --subjects {subject}", True),
    ),
    (
        lambda config, _: bool(config.get("sealed")),
        Trouble("sealed", "it takes nothing, for ever", _ANEW, True),
    ),
    (
        lambda config, _: bool(config.get("no_ack")),
        Trouble("no_ack", "it answers nothing: what is stored is not known", _EDIT + " --ack", True),
    ),
    (
        lambda config, _: bool(config.get("subject_transform")),
        Trouble("subject transform", "nobody finds an event under its own subject", _ANEW, True),
    ),
    (
        lambda config, _: config.get("retention") == "workqueue",
        Trouble("retention workqueue", "an event is gone once one reader had it", _ANEW, True),
    ),
    (
        lambda config, _: config.get("retention") == "interest",
        Trouble("retention interest", "what nobody reads is not kept", _EDIT + " --retention limits", False),
    ),
    (
        lambda config, _: config.get("max_msgs_per_subject", -1) > 0,
        Trouble("max_msgs_per_subject", "older events go early", _EDIT + " --max-msgs-per-subject=-1", False),
    ),
    (
        lambda config, _: config.get("discard") == "new",
        Trouble("discard new", "it takes nothing more when it is full", _EDIT + " --discard old", False),
    ),
)


def stream_troubles(config: Mapping[str, Any], subject: str) -> list[Trouble]:
    """Return what is not as it must be of a stream that is for this subject, the worst first."""
    names = {"name": config.get("name", ""), "subject": subject}
    return [
        trouble._replace(setting=trouble.setting.format(**names), mend=trouble.mend.format(**names))
        for is_so, trouble in _SETTINGS
        if is_so(config, subject)
    ]


def covers(wide: str, narrow: str) -> bool:
    """Whether every subject of `narrow` is one of `wide`."""
    ours, theirs = wide.split("."), narrow.split(".")
    for at, token in enumerate(ours):
        if token == ">":
            return len(theirs) > at
        if at >= len(theirs) or theirs[at] == ">" or token not in ("*", theirs[at]):
            return False
    return len(ours) == len(theirs)
