"""What `doctor` looks at in NATS: server, stream, bucket, permissions, and what the adapters' leases tell.
Coroutines for the loop thread only; stores nothing, changes nothing.
"""

import asyncio
import shlex
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import nats.errors
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from ..broker.connect import connect
from ..broker.lease import LEASE_S, identity, is_alive, is_dead
from ..broker.stream import BUCKET, KEYS, KV_STREAM, STREAM, SUBJECTS, ask_stream, read_stored, refused
from ..broker.stream_settings import stream_troubles
from ..calling import how_to_call
from ..errors import NatsError
from ..reader.alerters import read_alerters
from ..reader.states_reader import LEASE_END
from ..rows import StackRow
from ..settings import NatsSettings
from ..subjects import decode_token
from ..times import UTC, format_duration, now_utc, parse_time, seconds_between
from .alerters import alerter_finding
from .findings import FAIL, OK, SKIP, WARN, Finding, clock_finding
from .room import RESTART_HINT, room_finding, write_error

#: how long one question to the server may take; what is not permitted is not answered at all
ANSWER_S = 2.0
#: a queue that is longer at a heartbeat tells that NATS, or the adapter, cannot follow
LONG_QUEUE = 1000

_OTHER_STREAM = 10060  # "expected stream does not match": it was let in, and nothing was stored
#: what one may do with which of the two, what to grant if not, and the subject that is tried, "" for reading
_RIGHTS = (
    (STREAM, "publish events", "publish on core.process.>", "core.process._observe.doctor.check"),
    (KV_STREAM, "publish rows", f"publish on {KEYS}>", f"{KEYS}_observe.doctor"),
    (STREAM, "read events", f"publish on $JS.API.CONSUMER.*.{STREAM}.>", ""),
    (KV_STREAM, "read states", f"publish on $JS.API.CONSUMER.*.{KV_STREAM}.>", ""),
)


async def examine_nats(
    settings: NatsSettings, shown: str, skews: list[tuple[str, float]], timeout_s: float
) -> list[Finding]:
    """Return what is to be said of NATS; NatsError if there is no connection. `shown` is how to name it."""
    denied: list[str] = []
    client = await connect(
        settings,
        name="observe doctor",
        timeout_s=timeout_s,
        on_error=lambda error: denied.append(str(error).removeprefix("nats: ")),
    )
    try:
        begun = time.monotonic()
        await client.flush(max(1, round(timeout_s)))
        rtt_ms = (time.monotonic() - begun) * 1000
        version = str(client._server_info.get("version", "?"))
        where = f"{shown}, version {version}, {rtt_ms:.0f} ms"
        facts = (("version", version), ("rtt_ms", round(rtt_ms, 1)))
        look = _Examination(client.jetstream(timeout=ANSWER_S), settings, denied, skews)
        return await look.run(where, facts)
    finally:
        await client.close()


@dataclass
class _Examination:
    """One look at one server; `denied` holds what it did not permit, in its words."""

    _js: JetStreamContext
    _settings: NatsSettings
    _denied: list[str]
    _skews: list[tuple[str, float]]

    @property
    def _flag(self) -> str:
        return self._settings.as_flag

    async def run(self, where: str, facts: tuple[tuple[str, Any], ...]) -> list[Finding]:
        """Ask one thing after the other."""
        rest = "stream, bucket, permissions, adapters"
        try:
            stream = await self._info(STREAM)
            bucket = await self._info(KV_STREAM)
        except NatsError as error:
            why = str(error).removeprefix(self._settings.url).lstrip(": ")
            failed = Finding(FAIL, "nats", f"{where}: {why}", error.hint, facts)
            return [failed, Finding(SKIP, rest, "need JetStream")]
        found = [
            Finding(OK, "nats", f"{where}, JetStream", facts=facts),
            _stream_finding(stream, self._flag),
            _bucket_finding(bucket, self._flag),
            await self._room({STREAM: stream, KV_STREAM: bucket}),
            await self._permissions(
                {name for name, info in ((STREAM, stream), (KV_STREAM, bucket)) if _usable(info)}
            ),
            *(await self._adapters() if bucket else [_no_adapter(self._flag)]),
            *(await self._alerters() if bucket else []),
        ]
        return [*found, clock_finding(self._skews)] if self._skews else found

    async def _info(self, stream: str) -> dict[str, Any] | None:
        """Return what the server tells of a stream, None without one; NatsError: no JetStream, or denied."""
        try:
            info = await ask_stream(self._js, "INFO", stream=stream)
        except NotFoundError:
            return None
        except APIError as error:
            raise refused(
                self._settings.url, error, f"refuses to tell of {stream}", self._js._nc._server_info
            ) from error
        except (nats.errors.Error, asyncio.TimeoutError) as error:
            hint = "grant publish on $JS.API.> and subscribe on _INBOX.>, see docs/many-hosts.md"
            why = self._denied[-1] if self._denied else "JetStream does not answer"
            raise NatsError(why, hint if self._denied else "does its cluster have a leader?") from error
        if stream == STREAM and isinstance(info.get("ts"), str):
            self._skews.append(("nats", seconds_between(now_utc(), parse_time(info["ts"]))))
        return info

    async def _room(self, streams: Mapping[str, Mapping[str, Any] | None]) -> Finding:
        """See whether there is room, and whether the server writes: only its monitoring tells that."""
        account: Mapping[str, Any] = {}
        with suppress(APIError, nats.errors.Error, asyncio.TimeoutError):  # limits are not known then
            account = await self._js._api_request(f"{self._js._prefix}.INFO", b"", timeout=ANSWER_S)
        url, server = self._js._nc.connected_url, self._js._nc._server_info
        host, server_id = str(url.hostname if url else ""), str(server.get("server_id"))
        return room_finding(account, streams, await asyncio.to_thread(write_error, host, server_id))

    async def _permissions(self, there: set[str]) -> Finding:
        """See what this user may do: an adapter publishes events and rows, a reader makes consumers."""
        may, lacks = list[str](), list[str]()
        for store, right, grant, subject in _RIGHTS:
            if store in there:
                allowed = await (self._may_publish(subject) if subject else self._may_read(store))
                (may if allowed else lacks).append(right if allowed else grant)
        if not may and not lacks:
            return Finding(SKIP, "permissions", "need stream or bucket")
        told = f"may {', '.join(may)}" if may else "may do nothing here"
        facts = (("may", may),)
        if not lacks:
            return Finding(OK, "permissions", told, facts=facts)
        readers = all("CONSUMER" not in one for one in lacks)
        told += "; enough for a reader, not for an adapter" if readers else ""
        return Finding(WARN if readers else FAIL, "permissions", told, f"lacks: {', '.join(lacks)}", facts)

    async def _may_publish(self, subject: str) -> bool:
        """Publish what the server must refuse, for it is said to be for another stream."""
        try:
            await self._js.publish(subject, b"", timeout=ANSWER_S, stream="of_doctor")
        except APIError as error:
            return bool(error.err_code == _OTHER_STREAM)
        except (nats.errors.Error, NoStreamResponseError, asyncio.TimeoutError):
            return False
        return True

    async def _may_read(self, stream: str) -> bool:
        """Make a consumer as a reader does, ask it for what it has not, and take it away."""
        name = f"observe-doctor-{uuid.uuid4().hex[:8]}"
        config = api.ConsumerConfig(
            name=name,
            deliver_policy=api.DeliverPolicy.NEW,
            ack_policy=api.AckPolicy.NONE,
            inactive_threshold=5.0,
            mem_storage=True,
        )
        try:
            info = await self._js.add_consumer(stream, config, timeout=ANSWER_S)
            await self._js.delete_consumer(stream, info.name)
        except (APIError, nats.errors.Error, asyncio.TimeoutError):
            return False
        return True

    async def _adapters(self) -> list[Finding]:
        try:
            found = await read_stored(self._js, KV_STREAM, f"{KEYS}*{LEASE_END}")
        except (APIError, nats.errors.Error, asyncio.TimeoutError) as error:
            why = self._denied[-1] if self._denied else str(error) or type(error).__name__
            return [Finding(FAIL, "adapters", f"their heartbeats cannot be read: {why}", "see permissions")]
        findings = []
        for message in found:
            name = decode_token(message.subject.removeprefix(KEYS).removesuffix(LEASE_END))
            beat_at = message.metadata.timestamp.astimezone(UTC) - timedelta(seconds=self._ahead_s)
            with suppress(ValueError):  # deleted, or not readable
                findings.append(_adapter_finding(StackRow.read(name, message.data, beat_at), self._flag))
        return findings or [_no_adapter(self._flag)]

    @property
    def _ahead_s(self) -> float:
        return dict(self._skews).get("nats", 0.0)

    async def _alerters(self) -> list[Finding]:
        """Judge the alerters there are; nobody has to have one."""
        with suppress(APIError, nats.errors.Error, asyncio.TimeoutError):
            return [alerter_finding(one, now_utc()) for one in await read_alerters(self._js)]
        return []


def _no_adapter(flag: str = "") -> Finding:
    return Finding(WARN, "adapters", "none was ever here", f"start one: {how_to_call('adapter', flag)}")


def _usable(info: Mapping[str, Any] | None) -> bool:
    """Whether what is refused there can be for want of a permission: a wrong setting was said already."""
    if info is None or info["config"]["name"] != STREAM:
        return info is not None
    return not any(one.fatal for one in stream_troubles(info["config"], SUBJECTS[0]))


def _stream_finding(info: Mapping[str, Any] | None, flag: str = "") -> Finding:
    if info is None:
        return _absent("stream", STREAM, flag)
    config, state = info["config"], info["state"]
    max_age_s, window_s = config.get("max_age", 0) / 1e9, config.get("duplicate_window", 0) / 1e9
    kept = f"kept for {format_duration(max_age_s)}" if max_age_s else "kept for ever"
    copies = f", {config['num_replicas']} replicas" if config.get("num_replicas", 1) > 1 else ""
    told = f"{kept}{copies}, {state['messages']} events, {state['bytes'] / 2**20:.1f} MiB"
    forgets = f"forgets ids after {format_duration(window_s)}: a late retry is stored twice"
    wrong = stream_troubles(config, SUBJECTS[0])
    troubles = {forgets: 0 < window_s < 60, **{str(one): True for one in wrong}}
    facts = (("messages", state["messages"]), ("bytes", state["bytes"]), ("max_age_s", max_age_s))
    found = _judged("stream", STREAM, info, told, troubles, facts)
    if not wrong:
        return found
    level = FAIL if any(one.fatal for one in wrong) else WARN
    return found._replace(result=level, hint="; ".join(dict.fromkeys(one.mend for one in wrong)))


def _bucket_finding(info: Mapping[str, Any] | None, flag: str = "") -> Finding:
    if info is None:
        return _absent("bucket", BUCKET, flag)
    rows = info["state"]["messages"]
    troubles = {"rows expire: quiet processes are not shown any more": bool(info["config"].get("max_age"))}
    return _judged("bucket", BUCKET, info, f"{rows} rows", troubles, (("rows", rows),))


def _absent(check: str, name: str, flag: str = "") -> Finding:
    return Finding(WARN, check, f"no {name} yet", f"the adapter makes it: {how_to_call('adapter', flag)}")


def _judged(
    check: str,
    name: str,
    info: Mapping[str, Any],
    told: str,
    troubles: Mapping[str, bool],
    facts: tuple[tuple[str, Any], ...],
) -> Finding:
    """Judge a stream, or the one below a bucket: by its own troubles, and those that either may have."""
    storage, leaderless = info["config"]["storage"], "cluster" in info and not info["cluster"].get("leader")
    possible = {"in memory: it is empty after a restart of NATS": storage != "file", **troubles}
    found = [text for text, is_so in {**possible, "has no leader": leaderless}.items() if is_so]
    told = f"{name}, {storage}, {told}"
    if not found:
        return Finding(OK, check, told, facts=facts)
    hint = f"nats stream edit {info['config'].get('name', name)}"
    return Finding(WARN, check, f"{told}: {'; '.join(found)}", hint, facts)


def _adapter_finding(stack: StackRow, flag: str = "") -> Finding:
    """Judge one adapter by its last heartbeat."""
    found = stack.lease
    age_s = max(0.0, seconds_between(stack.beat_at, now_utc())) if stack.beat_at else 0.0
    waiting = stack.waiting
    facts = (("stack", stack.name), ("heartbeat_age_s", round(age_s, 1)), ("waiting", waiting))
    who = f"{stack.name}: pid {found.get('pid', '?')} on {found.get('host', '?')}"
    start = f"start it, or drop it: {how_to_call('forget', shlex.quote(stack.name), flag)}"
    if found.get("stopped"):
        return Finding(WARN, "adapter", f"{who}, stopped {format_duration(age_s)} ago", start, facts)
    if is_dead(found, identity()):
        return Finding(WARN, "adapter", f"{who}, is dead, its stack unwatched", start, facts)
    if age_s > 2 * LEASE_S and is_alive(found, identity()):
        told = f"{who}, is alive, and has not written to NATS for {format_duration(age_s)}"
        return Finding(FAIL, "adapter", told, f"is its disk full? {RESTART_HINT}", facts)
    if age_s > 2 * LEASE_S:
        return Finding(WARN, "adapter", f"{who}, no word for {format_duration(age_s)}", start, facts)
    how = "push" if found.get("push") else f"poll {found.get('interval_s', '?')}s only"
    told = f"{who}, heartbeat {format_duration(age_s)} ago, {how}, {waiting} events waiting"
    if waiting > LONG_QUEUE:
        return Finding(WARN, "adapter", told, "it cannot follow: is NATS slow, or its disk?", facts)
    domains = found.get("domains")
    if isinstance(domains, list) and len(domains) > 1:
        told += f"; its events are stored in {len(domains)} JetStream domains: {', '.join(map(str, domains))}"
        mend = "deny core.process.> and $KV.> on the leaf's remote: docs/recipes.md"
        return Finding(WARN, "adapter", told, mend, facts)
    unseen_s = _unseen_s(found)
    if unseen_s > 10 + 3 * float(found.get("interval_s") or 0):
        told += f"; nothing from process-compose for {format_duration(unseen_s)}"
        return Finding(WARN, "adapter", told, f"is the one at {found.get('watches', '?')} running?", facts)
    return Finding(OK, "adapter", told, facts=facts)


def _unseen_s(found: Mapping[str, Any]) -> float:
    """Return how long before its heartbeat the adapter had the last good reply, 0 where it does not tell."""
    try:
        return seconds_between(parse_time(found["last_reply"]), parse_time(found["at"]))
    except (KeyError, ValueError, TypeError):
        return 0.0
