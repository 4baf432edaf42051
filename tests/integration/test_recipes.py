"""The recipes of docs/recipes.md, each as it stands there, with real parts."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from observe_lib import Consumer
from tests.documents import ROOT, blocks, file_in_docs
from tests.forms import SINGLE_FILE
from tests.integration.faults import wait_until
from tests.integration.test_many_hosts import ask, configured, with_user
from tests.nats_server import RealNats, free_port, nats_binary
from tests.real_compose import BINARY, MISSING
from tests.running import RunningAdapter, environ_for, run_observe
from tests.stand_in import StandIn, make_state

pytestmark = pytest.mark.skipif(bool(SINGLE_FILE), reason="the documents are of the package")
needs_compose = pytest.mark.skipif(bool(MISSING), reason=MISSING)

DOCUMENT = ROOT / "docs/recipes.md"
PACKAGES = ("@nats-io/transport-node@3.4.0", "@nats-io/jetstream@3.4.0")
API = {"command": "exec sleep 1000"}


def told(url: str) -> set[str]:
    """Return process and type of every event that is stored."""
    lines = run_observe(url, "watch", "--since", "1h", "--no-follow", "--json").out.splitlines()
    return {f"{event['process']} {event['type']}" for event in map(json.loads, lines)}


@contextmanager
def project(
    directory: Path, words: list[str], environ: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """process-compose with these words, ended as Ctrl-C does, and with all that it started."""
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(directory), "TZ": "UTC"}
    own |= {"OBSERVE_STATE_DIR": str(directory / "state"), "PYTHONPATH": str(ROOT)}
    with (directory / "project.log").open("wb") as log:
        running = subprocess.Popen(
            [str(BINARY), "-L", str(directory / "compose.log"), *words],
            cwd=directory,
            env=own | environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(40)


@contextmanager
def adapter(directory: Path, url: str, **environ: str) -> Iterator[None]:
    """An adapter that is told by the environment alone where process-compose is."""
    state = {"OBSERVE_STATE_DIR": str(directory / "state")}
    with (directory / "adapter.log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, str(ROOT / "observe.py"), "adapter", "--stack", "shop"],
            env=environ_for(url) | state | environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        running.terminate()
        assert running.wait(20) == 0, (directory / "adapter.log").read_text()


@needs_compose
def test_nats_and_the_adapter_are_processes_of_the_project(tmp_path):
    port, nats_port = free_port(), free_port()
    text = file_in_docs("with-nats.yaml").replace("4222", str(nats_port)).replace("./api", "exec sleep 1000")
    text = text.replace("exec python observe.py", f"exec {sys.executable} {ROOT / 'observe.py'}")
    text = text.replace("exec nats-server", f"sleep 3; exec {nats_binary()}")
    (tmp_path / "with-nats.yaml").write_text(text)
    url = f"nats://127.0.0.1:{nats_port}"
    words = ["-f", "with-nats.yaml", "-t=false", "up"]
    with project(tmp_path, words, {"PC_PORT_NUM": str(port)}):
        wait_until(lambda: "api started" in told(url), "the first event")
        assert {"nats started", "observe started"} <= told(url)
    with RealNats(tmp_path / "nats") as after:
        found = told(after.url)
    assert {"api stopped", "adapter stopped"} <= found, (tmp_path / "project.log").read_text()[-2000:]


def dockerfile() -> tuple[list[str], dict[str, str]]:
    """Return the words of the entry point, and the environment."""
    text = file_in_docs("Dockerfile")
    words = json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.M)[0])
    pairs = shlex.split(re.findall(r"^ENV (.*)$", text, re.M)[0])
    return words, dict(pair.split("=", 1) for pair in pairs)


def in_container(home: Path, words: list[str]) -> list[str]:
    """Return the command that runs words as process 1, with a home that nobody can write to."""
    script = f"mount -t tmpfs -o ro none {shlex.quote(str(home))} && exec {shlex.join(words)}"
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]


def may_unshare(home: Path) -> bool:
    command = in_container(home, ["true"])
    return bool(shutil.which("unshare")) and not subprocess.run(command, capture_output=True).returncode


def test_in_a_container(tmp_path):
    home, volume = tmp_path / "home", tmp_path / "volume"
    home.mkdir()
    if not may_unshare(home):
        pytest.skip("no namespaces of its own here")
    words, environ = dockerfile()
    assert words[0] == "observe" and environ["OBSERVE_STATE_DIR"] == "/var/lib/observe"
    command = in_container(home, [sys.executable, str(ROOT / "observe.py"), *words[1:]])
    with RealNats(tmp_path / "nats") as nats, StandIn([make_state("web", pid=100)]) as compose:
        inside = environ_for(nats.url) | environ | {"HOME": str(home), "OBSERVE_STATE_DIR": str(volume)}
        inside["PC_PORT_NUM"] = compose.url.rpartition(":")[2]
        for number in (1, 2):
            with (tmp_path / "log").open("wb") as log:
                running = subprocess.Popen(command, env=inside, stdout=log, stderr=log)
            wait_until(lambda: "ready" in (tmp_path / "log").read_text(), (tmp_path / "log").read_text)
            wait_until(lambda: "web started" in told(nats.url), "its first event")
            assert process_one_of(running.pid) == command[-1].partition(" && exec ")[2]
            end_process_one(running)
            assert running.returncode == 0, (tmp_path / "log").read_text()
            known = f"{number - 1} process"
            assert known in (tmp_path / "log").read_text()  # the second one knows what the first one kept
        lines = run_observe(nats.url, "watch", "--since", "1h", "--no-follow", "--json").out.splitlines()
    started = [line for line in lines if '"process":"web"' in line.replace(" ", "") and '"started"' in line]
    assert len(started) == 1


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def process_one_of(pid: int) -> str:
    """Return the command line of process 1 below this unshare."""
    child = child_of(pid)
    status = Path(f"/proc/{child}/status").read_text()
    assert re.search(r"^NSpid:.*\b1$", status, re.M), status
    return shlex.join(Path(f"/proc/{child}/cmdline").read_bytes().decode().rstrip("\0").split("\0"))


def end_process_one(running: "subprocess.Popen[bytes]") -> None:
    """Ask process 1 to end, as `docker stop` does."""
    os.kill(child_of(running.pid), signal.SIGTERM)
    running.wait(15)


@needs_compose
def test_as_devenv_starts_it(tmp_path):
    path, config = tmp_path / "pc.sock", tmp_path / "process-compose.yaml"
    config.write_text(json.dumps({"version": "0.5", "is_strict": True, "processes": {"api": API}}))
    words = ["--config", str(config), "--disable-dotenv", "--keep-project", "--unix-socket", str(path)]
    environ = {"PC_SOCKET_PATH": str(path), "PC_CONFIG_FILES": str(config)}
    with RealNats(tmp_path / "nats") as nats, project(tmp_path, [*words, "-t=false", "up"], environ):
        with adapter(tmp_path, nats.url, **environ):
            wait_until(lambda: "api started" in told(nats.url), (tmp_path / "adapter.log").read_text)
        assert f"unix:{path}" in (tmp_path / "adapter.log").read_text()


@needs_compose
def test_as_devbox_starts_it(tmp_path):
    port, config = str(free_port()), tmp_path / "process-compose.yaml"
    config.write_text(json.dumps({"version": "0.5", "processes": {"api": API}}))
    words = ["-p", port, "-f", str(config), "-t=false"]
    with (
        RealNats(tmp_path / "nats") as nats,
        project(tmp_path, words, {"DEVBOX_PC_PORT_NUM": port}),
        adapter(tmp_path, nats.url, PC_PORT_NUM=port),
    ):
        wait_until(lambda: "api started" in told(nats.url), (tmp_path / "adapter.log").read_text)


# --- leaf nodes ---


def linked(text: str, port: int) -> str:
    """Return a configuration whose link is on a port of this machine."""
    return text.replace("0.0.0.0:7422", f"127.0.0.1:{port}").replace("hub:7422", f"127.0.0.1:{port}")


def test_a_leaf_with_the_least_permissions(tmp_path):
    port = free_port()
    hub_text, leaf_text = (linked(file_in_docs(f"least-{who}.conf"), port) for who in ("hub", "leaf"))
    with (
        configured(tmp_path, "hub", hub_text.replace("listen: 0.0.0.0:4222\n", "")) as hub,
        configured(tmp_path, "leaf", leaf_text.replace("listen: 127.0.0.1:4222\n", "")) as leaf,
        StandIn([make_state("web", pid=100)]) as compose,
    ):
        ops = with_user(hub.url, "ops", "change-me-too")
        wait_until(lambda: "JetStream using domains" in (hub.store_dir / "server.log").read_text(), "a link")
        site = RunningAdapter(leaf.url, int(compose.url.rpartition(":")[2]), "site-a", tmp_path).start()
        try:
            wait_until(lambda: "web started" in told(ops), lambda: site.said)
            assert "web" in run_observe(leaf.url, "ps").out
            heard: list[str] = []
            with Consumer(leaf.url) as consumer:
                consumer.subscribe(lambda event: heard.append(event.process), durable="pager")
                wait_until(lambda: "web" in heard and acknowledged(ops), lambda: durable(ops))
            assert set(other_subjects(ops, leaf.url)) == {"core.process.x.y.z"}
        finally:
            site.stop()
        assert "not yet" not in site.said, site.said


def durable(url: str) -> dict:
    """Return what the hub knows of the durable reader."""
    return ask(url, "$JS.API.CONSUMER.INFO.PROCESS_EVENTS.pager")


def acknowledged(url: str) -> bool:
    return durable(url)["ack_floor"]["stream_seq"] > 0 and durable(url)["num_ack_pending"] == 0


def other_subjects(hub_url: str, leaf_url: str) -> list[str]:
    """Publish at the site what it may and what it may not; return what the hub hears."""
    import asyncio

    import nats

    async def work() -> list[str]:
        hub, leaf = await nats.connect(hub_url), await nats.connect(leaf_url)
        heard: list[str] = []

        async def note(message: nats.aio.msg.Msg) -> None:
            if not message.subject.startswith(("$", "_", "core.process.default", "core.process._observe")):
                heard.append(message.subject)

        await hub.subscribe(">", cb=note)
        await hub.flush()
        await asyncio.sleep(0.5)  # the hub's interest has to reach the site
        for subject in ("payroll.paid", "core.other", "core.process.x.y.z"):
            await leaf.publish(subject, b"{}")
        await leaf.flush()
        end = time.monotonic() + 10
        while "core.process.x.y.z" not in heard and time.monotonic() < end:
            await asyncio.sleep(0.05)
        await hub.close()
        await leaf.close()
        return heard

    return asyncio.run(work())


@contextmanager
def two_sites(directory: Path, own_site: str) -> Iterator[dict[str, RealNats]]:
    """A hub, and two sites with JetStream of their own below it."""
    port = free_port()
    directory.mkdir()
    text = linked(own_site, port).replace("listen: 127.0.0.1:4222\n", "")
    with (
        configured(directory, "hub", f"server_name: hub\nleafnodes {{ listen: 127.0.0.1:{port} }}") as hub,
        configured(directory, "site-a", text) as one,
        configured(directory, "site-b", text.replace("site-a", "site-b").replace("/store", "/b")) as two,
    ):
        log = hub.store_dir / "server.log"
        wait_until(lambda: log.read_text().count("Leafnode connection created") == 2, "two links")
        yield {"hub": hub, "site-a": one, "site-b": two}


@pytest.mark.parametrize("denied", [True, False], ids=["denied", "as it stands"])
def test_two_sites_keep_their_own(tmp_path, denied):
    text = file_in_docs("own-site.conf")
    if not denied:
        text = re.sub(r" *deny_\w+: .*\n", "", text)
    with two_sites(tmp_path / "sites", text) as all_three, StandIn([make_state("web", pid=100)]) as compose:
        port = int(compose.url.rpartition(":")[2])
        hub, sites = all_three["hub"], {name: at for name, at in all_three.items() if name != "hub"}
        running = [RunningAdapter(at.url, port, name, at.store_dir) for name, at in sites.items()]
        try:
            for one in running:
                one.start()
            for name, at in sites.items():
                wait_until(lambda at=at, name=name: name in stacks_of(at.url), name)
            ended = make_state("web", pid=100, status="Completed", is_running=False, exit_code=3)
            compose.set_states([ended])  # now that both streams are there, and the hub knows it
            for at in sites.values():
                wait_until(lambda at=at: "web crashed" in told(at.url), "the crash")
            expected = {name: {name} if denied else set(sites) for name in sites}
            wait_until(lambda: {name: stacks_of(at.url) for name, at in sites.items()} == expected, expected)
            for at in sites.values():  # doctor knows it from the lease, which is renewed every 10 s
                wait_until(lambda at=at: ("JetStream domains" in doctor_of(at.url)) is not denied, "doctor")
        finally:
            for one in running:
                one.stop()
        assert {name: stacks_of(at.url) for name, at in sites.items()} == expected
        for name in sites:
            info = ask(hub.url, f"$JS.{name}.API.STREAM.INFO.PROCESS_EVENTS")
            assert info["config"]["name"] == "PROCESS_EVENTS", info


def doctor_of(url: str) -> str:
    """Return what doctor says of a server."""
    return run_observe(url, "doctor").out


def stacks_of(url: str) -> set[str]:
    """Return whose events the stream of a server holds."""
    lines = run_observe(url, "watch", "--since", "1h", "--no-follow", "--json").out.splitlines()
    return {json.loads(line)["stack"] for line in lines}


# --- readers ---


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Iterator[str]:
    """A server with the events of a process that runs, and of one that crashed."""
    home = tmp_path_factory.mktemp("history")
    states = [make_state("web", pid=100), make_state("api", pid=101)]
    with RealNats(home / "nats") as nats, StandIn(states) as compose:
        port = int(compose.url.rpartition(":")[2])
        compose.logs = {"api": ["listening", "panic: no room"]}
        running = RunningAdapter(nats.url, port, "shop", home).start()
        try:
            wait_until(lambda: "api started" in told(nats.url), lambda: running.said)
            ended = make_state("api", pid=101, status="Completed", is_running=False, exit_code=3)
            compose.set_states([states[0], ended])
            wait_until(lambda: "api crashed" in told(nats.url), lambda: running.said)
            yield nats.url
        finally:
            running.stop()


@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="no node here")
def test_a_reader_in_javascript(history, tmp_path):
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path), *PACKAGES]
    if subprocess.run(install, capture_output=True, timeout=120).returncode:
        pytest.skip("npm cannot install packages here")
    shutil.copy(ROOT / "docs/clients/events.mjs", tmp_path)
    done = subprocess.run(
        ["node", "events.mjs", "crashed"],
        cwd=tmp_path,
        env={**os.environ, "NATS_URL": history, "COUNT": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\S+Z shop/default/api crashed \d+\n", done.stdout), done.stdout


#: what each shell recipe prints of the history
PRINTED = {
    "crashes by process": r" +1 default/api",
    "as CSV": r'(".*\n)+".*","shop","api","crashed",3\n(".*\n)*".*',
    "what is not well": r"",
    "the last words": r"listening\npanic: no room",
    "wait, then go on": r"(.*\n)?go on",
}


def shell_recipes() -> dict[str, str]:
    shown = [block for block in blocks(DOCUMENT) if block.mark.startswith("shell: ")]
    return {block.mark.removeprefix("shell: "): block.text for block in shown}


def test_every_shell_recipe_has_its_test():
    assert shell_recipes().keys() == PRINTED.keys()


@pytest.mark.skipif(not shutil.which("jq"), reason="no jq here")
@pytest.mark.parametrize("name", PRINTED)
def test_shell(history, name):
    text = shell_recipes()[name].replace("python observe.py", f"{shlex.quote(sys.executable)} observe.py")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", text],
        cwd=ROOT,
        env=environ_for(history),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(PRINTED[name], done.stdout.rstrip("\n")), done.stdout


def test_every_test_of_the_document_is_here():
    named = re.findall(r"integration/test_recipes\.py::(\w+)", DOCUMENT.read_text())
    assert named and all(name in globals() for name in named)
