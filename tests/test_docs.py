"""Every command and every Python block of README.md and docs/*.md is run, or here is why it is not."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from observe_lib.events import EventType
from observe_lib.rows import ProcessRow, Stale
from tests.documents import DOCUMENTS, ROOT, Block, blocks, file_in_docs
from tests.event_examples import examples
from tests.forms import SINGLE_FILE
from tests.nats_server import RealNats
from tests.row_examples import row_examples, rows
from tests.stand_in import StandIn, make_state

pytestmark = pytest.mark.skipif(bool(SINGLE_FILE), reason="the documents are of the package")

#: how a command begins that is not run, and why
NOT_RUN = {
    "python3 -m venv": "sets all up anew: .ci/run does that",
    ".venv/bin/python -m pytest": "these are the tests",
    "FAULT_SEED=": "these are the tests",
    "process-compose": "needs a project, and would stay",
    "nats ": "the nats command line is not ours",
    "sudo ": "changes the machine",
    "docker ": "tests/integration/test_recipes.py runs what the container would",
    "devbox ": "tests/integration/test_recipes.py starts process-compose as it does",
    "journalctl": "needs the service",
    "export ": "says something to the commands below it, which are told it by the test",
    "python observe.py top": "needs a terminal",
}
#: how a block begins that holds no commands, and what it is instead
NO_COMMANDS = {"accounts {": "a part of a configuration", "observe top ": "a screen"}
#: verbs that go on, or wait: those need not end, they must not fail at once
ENDLESS = ("adapter", "watch", "web", "wait", "alert")
LOOK_AFTER_S = 5.0
WITHIN_S = 60.0


class Command(NamedTuple):
    """One command line, and where it stands."""

    where: str
    text: str


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a block: what follows `$ `, or every line where nothing does."""
    if block.language or block.mark.startswith("file:") or block.text.startswith(tuple(NO_COMMANDS)):
        return []
    lines = block.text.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [Command(block.where, text) for line in lines if (text := re.sub(r"\s{2,}#.*", "", line).strip())]


def all_commands() -> list[Command]:
    """Return every command of every document, each once."""
    found = [command for path in DOCUMENTS for block in blocks(path) for command in commands_of(block)]
    return list({command.text: command for command in found}.values())


def is_run(command: Command) -> bool:
    return not command.text.startswith(tuple(NOT_RUN))


def is_endless(command: Command) -> bool:
    return any(f"observe.py {verb}" in command.text for verb in ENDLESS)


RUN = [command for command in all_commands() if is_run(command)]


def python_blocks() -> list[Block]:
    return [block for path in DOCUMENTS for block in blocks(path) if block.language == "python"]


def test_whatever_looks_like_a_command_is_ours():
    for command in RUN:
        assert "python observe.py " in command.text or "-m tests." in command.text, command


def test_every_reason_is_needed():
    texts = [command.text for command in all_commands()]
    assert [why for why in NOT_RUN if not any(text.startswith(why) for text in texts)] == []


# --- what they are run on ---


class World(NamedTuple):
    """A checkout in a directory of its own, a NATS with events, and the environment that names both."""

    directory: Path
    environ: dict[str, str]
    url: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("docs")
    directory = home / "observe"
    vendor = [sys.executable, str(ROOT / "observe.py"), "vendor", "-q", str(directory)]
    subprocess.run(vendor, check=True, timeout=WITHIN_S)
    (directory / "python").symlink_to(sys.executable)
    for name in ("ntfy.py", "slack.py", "alertmanager.py", "mail.sh", "restart.sh"):
        (directory / name).write_text(file_in_docs(name))
        (directory / name).chmod(0o755)
    states = [make_state("web", pid=100), make_state("api", namespace="shop", pid=101)]
    with RealNats(home / "nats") as nats, StandIn(states) as stand_in:
        strange = ("NATS", "PC_", "OBSERVE", "PYTEST")
        environ = {name: text for name, text in os.environ.items() if not name.startswith(strange)}
        environ |= {"NATS_URL": nats.url, "PC_PORT_NUM": str(stand_in.port), "HOME": str(home)}
        environ["PATH"] = f"{Path(sys.executable).parent}:{environ.get('PATH', '')}"
        adapter = [sys.executable, "observe.py", "adapter", "--stack", "docs", "--poll-interval", "100ms"]
        with (home / "adapter.err").open("wb") as err:
            running = subprocess.Popen(adapter, cwd=directory, env=environ, stderr=err)
        try:
            end = time.monotonic() + WITHIN_S
            while "ready" not in (home / "adapter.err").read_text():
                assert running.poll() is None and time.monotonic() < end, (home / "adapter.err").read_text()
                time.sleep(0.05)
            crashed = make_state("web", pid=100, status="Completed", is_running=False, exit_code=3)
            stand_in.set_states([crashed, states[1]])
            yield World(directory, environ, nats.url)
        finally:
            running.terminate()
            running.wait(WITHIN_S)


def start(world: World, words: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        words,
        cwd=world.directory,
        env=world.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def outcome(process: "subprocess.Popen[str]", within_s: float) -> tuple[int | None, str]:
    """Return exit code and output; the code is None where it had to be ended."""
    try:
        out, _ = process.communicate(timeout=within_s)
        return process.returncode, out
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[0]


def run_shell(world: World, text: str) -> "subprocess.Popen[str]":
    text = re.sub(r"nats://[\w.:,/-]+", world.url, text)
    return start(world, ["bash", "-c", text])


def test_the_commands_do_what_they_should(world):
    for command in RUN:
        if not is_endless(command):
            code, out = outcome(run_shell(world, command.text), WITHIN_S)
            assert code in (0, 1), f"{command}: exit {code}\n{out}"
            assert "Traceback" not in out, f"{command}\n{out}"


def test_what_goes_on_does_not_fail_at_once(world):
    endless = [command for command in RUN if is_endless(command)]
    assert endless
    while endless:
        batch, endless = endless[:6], endless[6:]
        started = [(command, run_shell(world, command.text)) for command in batch]
        end = time.monotonic() + LOOK_AFTER_S
        for command, process in started:
            code, out = outcome(process, max(0.1, end - time.monotonic()))
            assert code in (None, 0, 1, 3), f"{command}: exit {code}\n{out}"
            assert "Traceback" not in out, f"{command}\n{out}"


@pytest.mark.parametrize("block", python_blocks(), ids=lambda block: block.where)
def test_the_python_runs(world, block):
    text = re.sub(r"nats://127.0.0.1:4222", world.url, block.text)
    waits = "wait()" in text or "run_forever()" in text
    code, out = outcome(start(world, [sys.executable, "-c", text]), 4 if waits else 20)
    assert code == 0 or (code is None and waits), out
    assert "Traceback" not in out


# --- docs/events.md and its schema ---

SCHEMA: dict[str, Any] = json.loads((ROOT / "docs/event.schema.json").read_text())
KINDS = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def wrong(value: Any, schema: dict[str, Any], where: str = "event") -> list[str]:
    """Return what a JSON value has against the keywords of JSON Schema that event.schema.json uses."""
    found = []
    if "type" in schema:
        is_bool = isinstance(value, bool) and schema["type"] != "boolean"
        if not isinstance(value, KINDS[schema["type"]]) or is_bool:
            return [f"{where} is no {schema['type']}: {value!r}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where} {value!r} is none of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        found.append(f"{where} is {value!r}")
    if "minimum" in schema and value < schema["minimum"]:
        found.append(f"{where} {value} is too small")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{where} {value!r} does not match")
    shortest = schema.get("minLength", schema.get("minItems", 0))
    if shortest and len(value) < shortest:
        found.append(f"{where} is too short")
    if isinstance(value, list):
        found += [text for one in value for text in wrong(one, schema.get("items", {}), f"{where}[]")]
    if isinstance(value, dict):
        found += [f"{where} lacks {name}" for name in schema.get("required", ()) if name not in value]
        for name, one in value.items():
            found += wrong(one, schema.get("properties", {}).get(name, {}), f"{where}.{name}")
    return found


def test_the_examples_are_what_detection_makes():
    shown = [block.text for block in blocks(ROOT / "docs/events.md") if block.language == "json"]
    made = [f"{text}\n" for text in examples().values()]
    assert shown == made, "python -m tests.event_examples prints them anew"
    assert {json.loads(text)["type"] for text in made} == {str(one) for one in EventType}


@pytest.mark.parametrize("name", examples())
def test_the_examples_are_as_the_schema_says(name):
    event = json.loads(examples()[name])
    assert wrong(event, SCHEMA) == []
    assert set(event) <= set(SCHEMA["properties"])


#: what the schema must not let pass
BAD = (
    {"severity": "loud"},
    {"seq": 0},
    {"seq": True},
    {"timestamp": "yesterday"},
    {"state": {"name": "x"}},
    {"log_tail": [1]},
    {"process": ""},
    {"initial": False},
)


@pytest.mark.parametrize("change", BAD, ids=str)
def test_the_schema_refuses(change):
    assert wrong({**json.loads(examples()["crashed"]), **change}, SCHEMA)


def test_the_schema_knows_every_field_and_every_field_is_explained():
    from dataclasses import fields

    from observe_lib.events import Event

    document = (ROOT / "docs/events.md").read_text()
    for field in fields(Event):
        if field.name != "extra":
            assert field.name in SCHEMA["properties"]
            assert f"`{field.name}`" in document


# --- docs/rows.md and its schema ---

ROW_SCHEMA: dict[str, Any] = json.loads((ROOT / "docs/row.schema.json").read_text())
ROW_PROPERTIES = ROW_SCHEMA["properties"]["row"]["properties"]
SHOWN_PROPERTIES = ROW_SCHEMA["$defs"]["shown"]["properties"]


def wrong_row(shown: dict[str, Any]) -> list[str]:
    """Return what a line of `ps --json` has against the schema."""
    both = {"type": "object", "required": ROW_SCHEMA["properties"]["row"]["required"]}
    unknown = set(shown) - {*ROW_PROPERTIES, *SHOWN_PROPERTIES}
    found = wrong(shown, {**both, "properties": ROW_PROPERTIES | SHOWN_PROPERTIES}, "row")
    return [*found, *(f"{name} is not in the schema" for name in sorted(unknown))]


def test_the_rows_are_what_the_adapter_writes_and_ps_shows():
    shown = [block.text for block in blocks(ROOT / "docs/rows.md") if block.language == "json"]
    assert shown == [f"{text}\n" for text in row_examples()], "python -m tests.row_examples prints them anew"


def test_every_row_of_the_story_is_as_the_schema_says():
    for now, stored in rows():
        assert wrong(json.loads(stored), ROW_SCHEMA) == []
        assert wrong_row(ProcessRow.read(stored).to_dict(now, Stale("adapter", "silent", now))) == []


@pytest.mark.parametrize(
    "change", [{"alive": 1}, {"since": "soon"}, {"restarts": -1}, {"namespaces": ["a"]}, {"new": 1}], ids=str
)
def test_the_schema_of_rows_refuses(change):
    assert wrong_row({**json.loads(row_examples()[1]), **change})


def test_every_field_of_a_row_is_explained():
    document = (ROOT / "docs/rows.md").read_text()
    assert [name for name in (*ROW_PROPERTIES, *SHOWN_PROPERTIES) if f"`{name}`" not in document] == []
