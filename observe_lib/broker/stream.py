"""JetStream as observe uses it: stream and bucket, their limits, how to ensure them, how they are read.
Coroutines for the loop thread only; never deletes a stream or a bucket, never prints.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import (
    APIError,
    NotFoundError,
    ServiceUnavailableError,
)

from ..errors import NatsError, NatsRefusedError
from ..settings import DEFAULT_NATS_URL
from ..subjects import MAX_FILTERS
from ..times import UTC, format_duration
from .stream_settings import stream_troubles

#: the header that holds a message's id
MESSAGE_ID = api.Header.MSG_ID.value
STREAM = "PROCESS_EVENTS"
BUCKET = "PROCESS_STATES"
#: the stream that the bucket is
KV_STREAM = f"KV_{BUCKET}"
#: what the subjects of the stream below the bucket begin with
KEYS = f"$KV.{BUCKET}."
#: the header of a message that says what was done with its key
KV_OPERATION = "KV-Operation"
DELETE_MARK = {KV_OPERATION: "DEL"}
SUBJECTS = ["core.process.>"]
#: how long an event is kept, where no flag and no stream says otherwise
MAX_AGE_S = 86400.0
#: how long the server remembers message ids; never longer than an event is kept
DUPLICATE_WINDOW_S = 600.0
#: the server drops a reader's consumer when nothing was read for so long
FORGET_READER_S = 300.0
#: how many messages one request for what is stored asks for, and how long it may take
PAGE = 500
PAGE_S = 5.0

#: as the `nats` command makes them: it refuses to edit a bucket that differs in what cannot be changed
_BUCKET_CONFIG: dict[str, Any] = {
    "max_msgs_per_subject": 1,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_msg_size": -1,
    "max_consumers": -1,
    "max_age": 0,
    "duplicate_window": 120 * 10**9,
    "discard": "new",
    "allow_rollup_hdrs": True,
    "deny_delete": True,
    "allow_direct": True,
}

_BUILT_IN = "leave --nats-url out to use the built-in server"
_SEE_STREAMS = f"nats stream info {STREAM} shows what there is"
#: what to do about what JetStream answers, by its error code: no room for the account, subjects overlap
_HINTS_OF_API = {
    **dict.fromkeys((10002, 10026, 10027), "give this account more room: nats account info shows its limits"),
    **dict.fromkeys((10084, 10098, 10099, 10100, 10101), f"retention workqueue: nats stream rm {STREAM}"),
    10065: f"another stream takes some of {SUBJECTS[0]}: nats stream ls, and narrow or remove that one",
}
_NO_JETSTREAM = {10039, 10076}
_NAME_TAKEN = 10058


@dataclass(frozen=True)
class StreamOptions:
    """What flags ask for; None: as it is, or the default where there is nothing yet."""

    max_age_s: float | None = None
    duplicate_window_s: float | None = None
    replicas: int | None = None


@dataclass(frozen=True)
class EnsuredStream:
    """The stream as it is now, and what was done to it."""

    created: bool
    changed: bool
    max_age_s: float
    duplicate_window_s: float
    storage: str
    #: what is not as it should be
    troubles: str = ""

    @property
    def done(self) -> str:
        """What was done to it: created, changed or found."""
        return "created" if self.created else "changed" if self.changed else "found"

    @property
    def text(self) -> str:
        """What to tell people of it: `PROCESS_EVENTS created (file, 24h)`."""
        age = format_duration(self.max_age_s) if self.max_age_s else "no limit"
        age = "24h" if self.max_age_s == MAX_AGE_S else age
        return f"{STREAM} {self.done} ({self.storage}, {age})" + (self.troubles and f"; {self.troubles}")


async def ensure(js: JetStreamContext, options: StreamOptions) -> tuple[EnsuredStream, EnsuredStream]:
    """See that stream and bucket are there, see `ensure_stream`."""
    return await ensure_stream(js, options), await ensure_bucket(js, options)


async def ensure_stream(js: JetStreamContext, options: StreamOptions) -> EnsuredStream:
    """See that PROCESS_EVENTS is there, changing only what the options name.

    NatsError when the server refuses; `nats.errors.TimeoutError` and broken connections pass through.
    """
    max_age_s = MAX_AGE_S if options.max_age_s is None else options.max_age_s
    window_s = options.duplicate_window_s or min(DUPLICATE_WINDOW_S, max_age_s or DUPLICATE_WINDOW_S)
    config = {
        "name": STREAM,
        "subjects": SUBJECTS,
        "retention": "limits",
        "max_age": int(max_age_s * 1e9),
        "duplicate_window": int(window_s * 1e9),
    }
    ensured, found = await _ensure(js, config, options, f"the stream {STREAM}")
    troubles = stream_troubles(found, SUBJECTS[0])
    if fatal := next((one for one in troubles if one.fatal), None):
        what = f"there is a stream {STREAM}, but it is not as it must be: {fatal}"
        raise NatsRefusedError(f"{server_address(js)}: {what}", fatal.mend)
    return replace(ensured, troubles="; ".join(f"{one} (mend: {one.mend})" for one in troubles))


async def ensure_bucket(js: JetStreamContext, options: StreamOptions) -> EnsuredStream:
    """See that PROCESS_STATES is there, as the `nats` command makes buckets: so that it can edit it.

    Only its replicas are changed, where the options name them. Errors as `ensure_stream`.
    """
    config = {"name": KV_STREAM, "subjects": [f"{KEYS}>"], **_BUCKET_CONFIG}
    copies = StreamOptions(replicas=options.replicas)
    ensured, found = await _ensure(js, config, copies, f"the bucket {BUCKET}")
    if found.get("max_msgs_per_subject", -1) < 1:
        hint = f"nats stream rm {KV_STREAM}"
        raise NatsRefusedError(f"the stream {KV_STREAM} is no bucket", hint)
    return ensured


async def _ensure(
    js: JetStreamContext, config: dict[str, Any], options: StreamOptions, what: str
) -> tuple[EnsuredStream, dict[str, Any]]:
    created = changed = False
    try:
        try:
            info = await ask_stream(js, "INFO", stream=config["name"])
        except NotFoundError:
            config = {**config, "storage": "file", "num_replicas": options.replicas or 1}
            info, created = await _create(js, config), True
        wanted = _changes(info["config"], options)
        if wanted and not created:
            asked = {**info["config"], **wanted}
            info, changed = await ask_stream(js, "UPDATE", asked, config["name"]), True
    except APIError as error:
        raise refused(server_address(js), error, f"refuses {what}", js._nc._server_info) from error
    found = info["config"]
    window_s = found["duplicate_window"] / 1e9
    return EnsuredStream(created, changed, found["max_age"] / 1e9, window_s, found["storage"]), found


async def _create(js: JetStreamContext, config: dict[str, Any]) -> dict[str, Any]:
    try:
        return await ask_stream(js, "CREATE", config, config["name"])
    except APIError as error:
        if error.err_code != _NAME_TAKEN:  # else somebody else was faster: use it as it is
            raise
        return await ask_stream(js, "INFO", stream=config["name"])


def _changes(config: dict[str, Any], options: StreamOptions) -> dict[str, Any]:
    """Return the settings that differ from what was asked for, as the server writes them."""
    wanted: dict[str, Any] = {}
    if options.max_age_s is not None:
        wanted["max_age"] = int(options.max_age_s * 1e9)
    if options.duplicate_window_s is not None:
        wanted["duplicate_window"] = int(options.duplicate_window_s * 1e9)
    elif 0 < wanted.get("max_age", 0) < config["duplicate_window"]:
        wanted["duplicate_window"] = wanted["max_age"]  # the server takes no longer one
    if options.replicas is not None:
        wanted["num_replicas"] = options.replicas
    return {name: value for name, value in wanted.items() if config.get(name) != value}


async def ask_stream(
    js: JetStreamContext, verb: str, config: dict[str, Any] | None = None, stream: str = STREAM
) -> dict[str, Any]:
    """Return the JSON of the server's answer; nats-py drops what it does not know of it.

    Raises `APIError` (no stream: `NotFoundError`) and `nats.errors.TimeoutError`.
    """
    body = b"" if config is None else json.dumps(config).encode()
    return await js._api_request(f"{js._prefix}.STREAM.{verb}.{stream}", body, timeout=js._timeout)


async def stored_subjects(js: JetStreamContext, stream: str, pattern: str) -> list[str]:
    """Return the subjects below a pattern that the stream holds something of; none where it is not there."""
    found = dict[str, int]()
    while True:
        asked = {"subjects_filter": pattern, "offset": len(found)}
        try:
            info = await ask_stream(js, "INFO", asked, stream)
        except NotFoundError:
            return list(found)
        page = info["state"].get("subjects") or {}
        found.update(page)
        if not page or len(found) >= info.get("total", 0):
            return list(found)


def refused(where: str, error: APIError, what: str, server: Mapping[str, Any]) -> NatsError:
    """Return the two lines for what JetStream's API answered; `what` follows the server's address.

    `server` is what the server told of itself: whether JetStream is its own, or may be that of others.
    """
    if isinstance(error, ServiceUnavailableError) and error.err_code is None:  # nobody took the question
        if server.get("cluster") or server.get("jetstream"):  # a leaf that met its hub is a cluster
            hint = "is this leaf node's hub away, or its cluster without a leader? it is asked again"
            return NatsError(f"{where}: JetStream does not answer", hint)
        hint = "start it with -js; if it is a leaf node: is its hub there?"
        return NatsRefusedError(f"{where} has no JetStream", hint)
    if error.err_code in _NO_JETSTREAM:
        other = "name another one (--nats-url)" if where == DEFAULT_NATS_URL else _BUILT_IN
        return NatsRefusedError(f"{where} has no JetStream", f"start it with -js, or {other}")
    kind = NatsRefusedError if (error.code or 0) // 100 == 4 else NatsError  # 500, 503: not now
    return kind(f"{where} {what}: {error.description}", _HINTS_OF_API.get(error.err_code or 0, _SEE_STREAMS))


def server_address(js: JetStreamContext) -> str:
    """Return the address of the server that one is connected to, without secrets."""
    url = js._nc.connected_url
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}" if url else "NATS"


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
    start_seq: int | None = None,
    start_time: datetime | None = None,
    ack_wait_s: float | None = None,
) -> api.ConsumerConfig:
    """Return how a stream is read: from `start_seq` if given, else from `start_time`, else last per subject.

    With `ack_wait_s` it is a durable of that name, each message acknowledged; else it lives in the server's
    memory, acknowledges nothing, and is dropped some minutes after it was last read.
    """
    policy = api.DeliverPolicy.LAST_PER_SUBJECT
    if start_seq or start_time:
        policy = api.DeliverPolicy.BY_START_SEQUENCE if start_seq else api.DeliverPolicy.BY_START_TIME
    narrow = list(filters) if len(filters) <= MAX_FILTERS else SUBJECTS
    return ReaderConfig(
        name=name or None,
        durable_name=name if ack_wait_s else None,
        deliver_policy=policy,
        opt_start_seq=start_seq or None,
        opt_start_time=None if start_seq else start_time,
        ack_policy=api.AckPolicy.EXPLICIT if ack_wait_s else api.AckPolicy.NONE,
        ack_wait=ack_wait_s,
        filter_subject=narrow[0] if len(narrow) == 1 else None,
        filter_subjects=narrow if len(narrow) > 1 else None,
        inactive_threshold=None if ack_wait_s else FORGET_READER_S,
        mem_storage=None if ack_wait_s else True,
    )


async def read_stored(
    js: JetStreamContext,
    stream: str,
    subject: str,
    since: datetime | None = None,
    *,
    headers_only: bool = False,
) -> list[Msg]:
    """Return the last message of each subject in stream order, or all since a time, and drop the reader.

    Of a subject that is written meanwhile the later message comes too.
    """
    config = reader_config(f"observe-{secrets.token_hex(8)}", [subject], start_time=since)
    config.headers_only = headers_only or None
    info = await js.add_consumer(stream, config)
    left, found = info.num_pending or 0, list[Msg]()
    subscription = await js.pull_subscribe_bind(info.name, stream)
    try:
        while left > 0:  # not counted down: what is written while we read moves to the end
            found += await subscription.fetch(min(left, PAGE), timeout=PAGE_S)
            left = found[-1].metadata.num_pending
    finally:
        await subscription.unsubscribe()
        await js.delete_consumer(stream, info.name)
    return found


async def has_message(js: JetStreamContext, subject: str, message_id: str, since: datetime) -> bool:
    """Whether the stream has this message, which nobody else's of the same sender can have followed.

    Where somebody else's came after it on the subject, all since then are read.
    """
    sender = message_id.rsplit(".", 2)[0]
    try:
        last = await js.get_last_msg(STREAM, subject)
    except NotFoundError:
        return False
    found = (last.headers or {}).get(MESSAGE_ID, "")
    if found.rsplit(".", 2)[0] == sender:
        return bool(found == message_id)
    messages = await read_stored(js, STREAM, subject, since, headers_only=True)
    return any((message.headers or {}).get(MESSAGE_ID) == message_id for message in messages)
