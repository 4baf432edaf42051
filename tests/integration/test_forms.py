"""Every form that observe is given away in, in an otherwise empty folder, by a Python with nothing but what
the core needs: its command line, adapter and watch over a real nats-server, and as a library.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests.forms import ROOT, SINGLE_FILE
from tests.nats_server import RealNats
from tests.stand_in import StandIn, make_state

pytestmark = pytest.mark.skipif(bool(SINGLE_FILE), reason="builds its own one file")

CORE = ("nats-py", "requests", "tabulate")
WITHIN_S = 60.0


def with_needs(names: tuple[str, ...]) -> set[str]:
    """Return the packages and all that they need, extras left out."""
    todo, found = list(names), set[str]()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            needs = [one for one in metadata.requires(name) or () if "extra ==" not in one]
            todo += [re.match(r"[\w.-]+", one).group() for one in needs]  # type: ignore[union-attr]
    return found


@pytest.fixture(scope="session")
def core_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the three core packages, what they need, and no other."""
    home = tmp_path_factory.mktemp("core")
    venv.create(home, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    for name in with_needs(CORE):
        for path in metadata.files(name) or ():
            name, top = path.parts[0], Path(str(path.locate()))
            for _ in path.parts[1:]:
                top = top.parent
            if name not in ("..", "__pycache__") and not (site / name).exists():
                (site / name).symlink_to(top)
    return home / "bin/python"


#: how each form is put somewhere
FORMS = {"package": (), "core": ("--single-file",), "single file": ("--all",)}
#: for tests of what only these forms have
EVERY_VERB = pytest.mark.parametrize("form", ["package", "single file"], indirect=True)


@pytest.fixture(scope="session", params=FORMS)
def form(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds nothing but one form of observe."""
    folder = tmp_path_factory.mktemp("form") / request.param.replace(" ", "_")
    words = [str(ROOT / "observe.py"), "vendor", "-q", str(folder)]
    subprocess.run([sys.executable, *words, *FORMS[request.param]], check=True, timeout=WITHIN_S)
    return folder


def environ() -> dict[str, str]:
    strange = ("NATS_", "PC_", "OBSERVE_", "PYTHON")
    return {name: text for name, text in os.environ.items() if not name.startswith(strange)}


def observe(python: Path, form: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [str(python), "observe.py", *words]
    return subprocess.run(command, cwd=form, env=environ(), capture_output=True, text=True, timeout=WITHIN_S)


def verbs(python: Path, form: Path) -> list[str]:
    return re.findall(r"^  (\w+) ", observe(python, form, "--help").stdout, re.MULTILINE)


def test_every_verb_has_its_help(core_python, form):
    found = verbs(core_python, form)
    if form.name == "core":
        assert found == ["adapter", "watch"]
    else:
        assert {"adapter", "watch", "doctor", "vendor", "service", "demo"} <= set(found)
    for verb in found:
        done = observe(core_python, form, verb, "--help")
        assert (done.returncode, done.stderr) == (0, ""), verb


#: a command line, its exit code, how its last words but one begin
ENDINGS = """
--version                           | 0   | observe
wach                                | 2   | observe: no verb 'wach'
watch --type exploded               | 2   | observe: --type 'exploded' is unknown
adapter --poll-interval 2d          | 2   | observe: --poll-interval '2d' is out of range
watch --nats-url nats://127.0.0.1:1 | 1   | observe: nats://127.0.0.1:1: connection refused
"""


@pytest.mark.parametrize("case", ENDINGS.strip().splitlines())
def test_command_lines_end_as_they_should(core_python, form, case):
    words, code, begins = (part.strip() for part in case.split(" | "))
    done = observe(core_python, form, *words.split())
    assert done.returncode == int(code)
    assert (done.stdout or done.stderr).startswith(begins)
    assert "Traceback" not in done.stderr


def test_without_its_packages_it_says_what_to_install(form, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    bare = tmp_path / "bare/bin/python"
    assert observe(bare, form, "--help").returncode == 0
    assert observe(bare, form, "watch", "--help").returncode == 0
    for verb in ("watch", "adapter") if form.name == "core" else ("watch", "adapter", "ps", "doctor"):
        done = observe(bare, form, verb)
        happened, do = done.stderr.splitlines()
        assert (
            happened == "observe: this needs nats-py, requests and tabulate, which this Python does not have"
        )
        assert "pip install nats-py requests tabulate" in do
        assert done.returncode == 1


def test_an_older_python_is_told_which_one_is_needed(form):
    older = [path for path in Path("/usr/bin").glob("python3.[6-9]")]
    if not older:
        pytest.skip("no older Python here")
    done = observe(older[0], form, "--help")
    assert (done.returncode, "needs Python 3.10" in done.stderr) == (1, True)


@pytest.fixture
def stack(core_python, form, nats_server) -> Iterator["Stack"]:
    with StandIn([make_state("web", pid=100), make_state("api", pid=101)]) as stand_in:
        started = Stack(core_python, form, stand_in, nats_server)
        try:
            yield started
        finally:
            started.end(signal.SIGKILL)


class Stack:
    """An adapter of one form over a stand-in."""

    def __init__(self, python: Path, form: Path, stand_in: StandIn, nats: RealNats) -> None:
        self.url, self.stand_in = nats.url, stand_in
        words = ["adapter", "--nats-url", nats.url, "-p", str(stand_in.port), "--stack", "s"]
        self._err = nats.store_dir / "adapter.err"
        self._process = subprocess.Popen(
            [str(python), "observe.py", *words, "--poll-interval", "100ms"],
            cwd=form,
            env=environ(),
            stderr=self._err.open("wb"),
        )

    def ready(self) -> None:
        """Wait until it said so."""
        end = time.monotonic() + WITHIN_S
        while "ready " not in self.said:
            assert self._process.poll() is None and time.monotonic() < end, self.said
            time.sleep(0.02)

    @property
    def said(self) -> str:
        return self._err.read_text()

    def end(self, how: signal.Signals) -> int:
        if self._process.poll() is None:
            self._process.send_signal(how)
        return self._process.wait(WITHIN_S)


def test_adapter_and_watch_work_and_end(core_python, form, stack):
    stack.ready()
    assert "websocket-client missing" in stack.said
    crashed = make_state("web", pid=100, status="Completed", is_running=False, exit_code=3)
    stack.stand_in.set_states([crashed, make_state("api", pid=101)])
    words = ("watch", "--json", "--nats-url", stack.url, "web", "--type", "crashed", "--count", "1")
    event = json.loads(observe(core_python, form, *words).stdout)
    assert (event["type"], event["process"], event["exit_code"], event["stack"]) == ("crashed", "web", 3, "s")
    table = observe(core_python, form, "watch", "--nats-url", stack.url, "--count", "2", "--color", "never")
    assert table.stdout.startswith("TIME ")
    assert "default/web" in table.stdout
    assert stack.end(signal.SIGTERM) == 0
    assert "Traceback" not in stack.said


@EVERY_VERB
def test_doctor_says_how_it_is(core_python, form, stack):
    stack.ready()
    words = ("doctor", "--nats-url", stack.url, "-p", str(stack.stand_in.port), "--json")
    done = observe(core_python, form, *words)
    found = {one["check"]: one["result"] for one in map(json.loads, done.stdout.splitlines())}
    assert found.pop("push") == "warn"
    checks = (
        "process-compose",
        "nats",
        "stream",
        "bucket",
        "room",
        "permissions",
        "adapter",
        "clock",
        "outbox",
    )
    assert (done.returncode, found) == (0, dict.fromkeys(checks, "ok")), done.stdout


def test_it_is_a_library_too(core_python, form, stack):
    stack.ready()
    name = "observe_lib" if (form / "observe_lib").exists() else "observe"
    code = f"from {name} import Consumer, EventType\n"
    code += f"with Consumer({stack.url!r}) as consumer:\n"
    code += (
        "    print(*sorted(e.process for e in consumer.events(types=[EventType.STARTED], follow=False)))\n"
    )
    command = [str(core_python), "-c", code]
    done = subprocess.run(command, cwd=form, env=environ(), capture_output=True, text=True, timeout=WITHIN_S)
    assert (done.returncode, done.stdout) == (0, "api web\n"), done.stderr


@EVERY_VERB
def test_it_gives_itself_on(core_python, form, tmp_path):
    single = [] if (form / "observe_lib").exists() else ["--single-file"]
    done = observe(core_python, form, "vendor", str(tmp_path / "next"), *single)
    assert done.returncode == 0
    folders = (form, tmp_path / "next")
    before, after = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.py")} for folder in folders
    )
    assert before == after
    shutil.rmtree(tmp_path / "next")


@EVERY_VERB
def test_demo_names_what_it_lacks(core_python, form):
    begun = time.monotonic()
    done = observe(core_python, form, "demo", "--seconds", "1")
    if shutil.which("nats-server"):
        pytest.skip("nats-server is on PATH: the demo runs")
    assert done.returncode == 1
    assert "nats-server" in done.stderr
    assert time.monotonic() - begun < WITHIN_S
