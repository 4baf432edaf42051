"""How the stream and the bucket are read: the settings of the server's consumers. Pure."""

from collections.abc import Sequence
from datetime import datetime

from nats.js import api

from .stream import SUBJECTS
from .times import UTC

#: more filters than this become one wider one
MAX_FILTERS = 100


class ReaderConfig(api.ConsumerConfig):
    """As the library's, but a time to start at is written as the server reads it: nats-py < 2.12 does not."""

    def as_dict(self) -> dict[str, object]:
        found = super().as_dict()
        if self.opt_start_time is not None:
            found["opt_start_time"] = self.opt_start_time.astimezone(UTC).isoformat()
        return found


def reader_config(
    name: str,
    filters: Sequence[str],
    *,
    policy: str = api.DeliverPolicy.LAST_PER_SUBJECT,
    start_seq: int | None = None,
    start_time: datetime | None = None,
    ack_wait_s: float | None = None,
) -> api.ConsumerConfig:
    """Return how the stream is read: from `start_seq` if given, else from `start_time`, else by `policy`.

    With `ack_wait_s` it is a durable of that name, each message acknowledged; else it lives in the server's
    memory, acknowledges nothing, and is dropped five minutes after it was last read.
    """
    narrow = list(filters) if len(filters) <= MAX_FILTERS else SUBJECTS
    if start_seq or start_time:
        policy = api.DeliverPolicy.BY_START_SEQUENCE if start_seq else api.DeliverPolicy.BY_START_TIME
    return ReaderConfig(
        name=name,
        durable_name=name if ack_wait_s else None,
        deliver_policy=api.DeliverPolicy(policy),
        opt_start_seq=start_seq or None,
        opt_start_time=None if start_seq else start_time,
        ack_policy=api.AckPolicy.EXPLICIT if ack_wait_s else api.AckPolicy.NONE,
        ack_wait=ack_wait_s,
        filter_subject=narrow[0] if len(narrow) == 1 else None,
        filter_subjects=narrow if len(narrow) > 1 else None,
        inactive_threshold=None if ack_wait_s else 300.0,
        mem_storage=None if ack_wait_s else True,
    )
