"""What `doctor` looks at in NATS: server, stream, bucket, permissions, and what the adapters' leases tell.
Coroutines for the loop thread only; stores nothing, changes nothing.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from ..broker.connect import connect
from ..broker.stream import BUCKET, KEYS, KV_STREAM, STREAM, SUBJECTS, ask_stream, read_stored, refused
from ..broker.stream_settings import stream_troubles
from ..calling import how_to_call
from ..errors import NatsError
from ..reader.alerters import ALERT_KEYS, ALERT_LEASE
from ..reader.states_reader import LEASE_END
from ..rows import StackRow
from ..settings import NatsSettings
from ..subjects import decode_token
from ..times import UTC, format_duration, now_utc, parse_time, seconds_between
from .findings import FAIL, OK, SKIP, WARN, Finding, clock_finding
from .leases import adapter_finding, alerter_finding
from .room import room_finding, write_error

#: how long one question to the server may take; what is not permitted is not answered at all
ANSWER_S = 2.0
#: what answers one question with an error, or not at all
_UNANSWERED = (APIError, nats.errors.Error, NoStreamResponseError, asyncio.TimeoutError)
_OTHER_STREAM = 10060  # "expected stream does not match": it was let in, and nothing was stored
#: what one may do with which of the two, and what to grant if not
_RIGHTS = (
    (STREAM, "publish events", "publish on core.process.>"),
    (KV_STREAM, "publish rows", f"publish on {KEYS}>"),
    (STREAM, "read events", f"publish on $JS.API.CONSUMER.*.{STREAM}.>"),
    (KV_STREAM, "read states", f"publish on $JS.API.CONSUMER.*.{KV_STREAM}.>"),
)
#: where that is tried: nobody's subjects
_TRIED = {STREAM: "core.process._observe.doctor.check", KV_STREAM: f"{KEYS}_observe.doctor"}


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
        facts = {"version": version, "rtt_ms": round(rtt_ms, 1)}
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

    async def run(self, where: str, facts: Mapping[str, Any]) -> list[Finding]:
        """Ask one thing after the other."""
        try:
            streams = {name: await self._info(name) for name in (STREAM, KV_STREAM)}
        except NatsError as error:
            why = str(error).removeprefix(self._settings.url).lstrip(": ")
            failed = Finding(FAIL, "nats", f"{where}: {why}", error.hint, facts)
            return [failed, Finding(SKIP, "stream, bucket, permissions, adapters", "need JetStream")]
        flag = self._settings.as_flag
        found = [
            Finding(OK, "nats", f"{where}, JetStream", facts=facts),
            stream_finding(streams[STREAM], flag),
            bucket_finding(streams[KV_STREAM], flag),
            await self._room(streams),
            await self._permissions({name for name, info in streams.items() if _usable(info)}),
        ]
        adapters, alerters = list[Finding](), list[Finding]()
        if streams[KV_STREAM]:
            adapters = await self._leases("adapters", "", LEASE_END, adapter_finding)
            alerters = await self._leases("alerters", ALERT_KEYS, ALERT_LEASE, alerter_finding)
        start = f"start one: {how_to_call('adapter', flag)}"
        found += adapters or [Finding(WARN, "adapters", "none was ever here", start)]
        return [*found, *alerters, *([clock_finding(self._skews)] if self._skews else [])]

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
        except _UNANSWERED as error:
            hint = "grant publish on $JS.API.> and subscribe on _INBOX.>, see docs/many-hosts.md"
            why = self._denied[-1] if self._denied else "JetStream does not answer"
            raise NatsError(why, hint if self._denied else "does its cluster have a leader?") from error
        if stream == STREAM and isinstance(info.get("ts"), str):
            self._skews.append(("nats", seconds_between(now_utc(), parse_time(info["ts"]))))
        return info

    async def _room(self, streams: Mapping[str, Mapping[str, Any] | None]) -> Finding:
        """See whether there is room, and whether the server writes: only its monitoring tells that."""
        account: Mapping[str, Any] = {}
        with suppress(*_UNANSWERED):  # limits are not known then
            account = await self._js._api_request(f"{self._js._prefix}.INFO", b"", timeout=ANSWER_S)
        url, server = self._js._nc.connected_url, self._js._nc._server_info
        host, server_id = str(url.hostname if url else ""), str(server.get("server_id"))
        return room_finding(account, streams, await asyncio.to_thread(write_error, host, server_id))

    async def _permissions(self, there: set[str]) -> Finding:
        """See what this user may do: an adapter publishes events and rows, a reader makes consumers."""
        may, lacks = list[str](), list[str]()
        for store, right, grant in _RIGHTS:
            if store in there:
                is_allowed = await (self._may_read if right.startswith("read") else self._may_publish)(store)
                (may if is_allowed else lacks).append(right if is_allowed else grant)
        if not may and not lacks:
            return Finding(SKIP, "permissions", "need stream or bucket")
        told = f"may {', '.join(may)}" if may else "may do nothing here"
        facts = {"may": may}
        if not lacks:
            return Finding(OK, "permissions", told, facts=facts)
        readers = all("CONSUMER" not in one for one in lacks)
        told += "; enough for a reader, not for an adapter" if readers else ""
        return Finding(WARN if readers else FAIL, "permissions", told, f"lacks: {', '.join(lacks)}", facts)

    async def _may_publish(self, store: str) -> bool:
        """Publish what the server must refuse, for it is said to be for another stream."""
        try:
            await self._js.publish(_TRIED[store], b"", timeout=ANSWER_S, stream="of_doctor")
        except APIError as error:
            return bool(error.err_code == _OTHER_STREAM)
        except _UNANSWERED:
            return False
        return True

    async def _may_read(self, store: str) -> bool:
        """Read what there is of nobody."""
        try:
            await read_stored(self._js, store, _TRIED[store])
        except _UNANSWERED:
            return False
        return True

    async def _leases(
        self, check: str, head: str, end: str, judge: Callable[[StackRow, str], Finding]
    ) -> list[Finding]:
        """Judge whoever holds a lease under such a key."""
        try:
            messages = await read_stored(self._js, KV_STREAM, f"{KEYS}{head}*{end}")
        except _UNANSWERED as error:
            why = self._denied[-1] if self._denied else str(error) or type(error).__name__
            return [Finding(FAIL, check, f"their heartbeats cannot be read: {why}", "see permissions")]
        findings, ahead = [], timedelta(seconds=dict(self._skews).get("nats", 0.0))
        for message in messages:
            name = decode_token(message.subject.removeprefix(KEYS + head).removesuffix(end))
            beat_at = message.metadata.timestamp.astimezone(UTC) - ahead
            with suppress(ValueError):  # deleted, or not readable
                findings.append(judge(StackRow.read(name, message.data, beat_at), self._settings.as_flag))
        return findings


def _usable(info: Mapping[str, Any] | None) -> bool:
    """Whether what is refused there can be for want of a permission: a wrong setting was said already."""
    if info is None or info["config"]["name"] != STREAM:
        return info is not None
    return not any(one.fatal for one in stream_troubles(info["config"], SUBJECTS[0]))


def stream_finding(info: Mapping[str, Any] | None, flag: str = "") -> Finding:
    """Judge the stream of events by what the server tells of it, None where it is not there."""
    if info is None:
        return _absent("stream", STREAM, flag)
    config, state = info["config"], info["state"]
    max_age_s, window_s = config.get("max_age", 0) / 1e9, config.get("duplicate_window", 0) / 1e9
    kept = f"kept for {format_duration(max_age_s)}" if max_age_s else "kept for ever"
    copies = f", {config['num_replicas']} replicas" if config.get("num_replicas", 1) > 1 else ""
    told = f"{kept}{copies}, {state['messages']} events, {state['bytes'] / 2**20:.1f} MiB"
    wrong = stream_troubles(config, SUBJECTS[0])
    troubles = [str(one) for one in wrong]
    if 0 < window_s < 60:
        troubles.append(f"forgets ids after {format_duration(window_s)}: a late retry is stored twice")
    facts = {"messages": state["messages"], "bytes": state["bytes"], "max_age_s": max_age_s}
    found = _judged("stream", STREAM, info, told, troubles, facts)
    if not wrong:
        return found
    level = FAIL if any(one.fatal for one in wrong) else WARN
    return replace(found, result=level, hint="; ".join(dict.fromkeys(one.mend for one in wrong)))


def bucket_finding(info: Mapping[str, Any] | None, flag: str = "") -> Finding:
    """Judge the bucket of rows as `stream_finding` does the stream."""
    if info is None:
        return _absent("bucket", BUCKET, flag)
    rows, expires = info["state"]["messages"], bool(info["config"].get("max_age"))
    troubles = ["rows expire: quiet processes are not shown any more"] if expires else []
    return _judged("bucket", BUCKET, info, f"{rows} rows", troubles, {"rows": rows})


def _absent(check: str, name: str, flag: str) -> Finding:
    return Finding(WARN, check, f"no {name} yet", f"the adapter makes it: {how_to_call('adapter', flag)}")


def _judged(
    check: str, name: str, info: Mapping[str, Any], told: str, troubles: list[str], facts: Mapping[str, Any]
) -> Finding:
    """Judge a stream, or the one below a bucket: by its own troubles, and those that either may have."""
    storage = info["config"]["storage"]
    if storage != "file":
        troubles = ["in memory: it is empty after a restart of NATS", *troubles]
    if "cluster" in info and not info["cluster"].get("leader"):
        troubles = [*troubles, "has no leader"]
    told = f"{name}, {storage}, {told}"
    if not troubles:
        return Finding(OK, check, told, facts=facts)
    hint = f"nats stream edit {info['config'].get('name', name)}"
    return Finding(WARN, check, f"{told}: {'; '.join(troubles)}", hint, facts)
