import os
import shutil
import socket
import subprocess
import threading

import pytest

from observe_lib import cli
from observe_lib.adapter.systemd import stay, tell_systemd
from observe_lib.commands.service import systemd_unit

#: flags as they are typed, and how they stand in the unit
FLAGS = (
    ("--compose-port 8080 --no-push", "adapter --no-push --compose-port 8080"),
    ("--stack 50%$HOME", "adapter --stack 50%%$$HOME"),
    ("--poll-interval 2s", "adapter"),  # the default
)


@pytest.mark.parametrize(("typed", "stands"), FLAGS)
def test_the_adapters_flags_are_in_the_unit(typed, stands, capsys):
    assert cli.main(["service", "systemd", "--user", "shop", *typed.split()]) == 0
    unit = capsys.readouterr().out
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert command.endswith(stands)
    assert command.split()[0] == f"ExecStart={cli.sys.executable}"
    assert "\nUser=shop\n" in unit
    assert "Type=notify" in unit
    assert "WatchdogSec=" in unit


def test_the_state_directory_is_named_and_may_be_written(tmp_path, monkeypatch, capsys):
    assert cli.main(["service", "--name", "shop"]) == 0
    unit = capsys.readouterr().out
    assert "\nEnvironment=OBSERVE_STATE_DIR=%S/shop\nStateDirectory=shop\n" in unit
    assert "ReadWritePaths" not in unit
    monkeypatch.chdir(tmp_path)
    assert cli.main(["service", "systemd", "--state-dir", "state"]) == 0
    unit = capsys.readouterr().out
    assert f"\nReadWritePaths={tmp_path}/state\n" in unit
    assert f"adapter --state-dir {tmp_path}/state\n" in unit


def test_what_has_spaces_is_quoted():
    unit = systemd_unit("observe", "me", ["--stack", 'a "b"'], ["/usr/bin/python3", "/my tools/observe.py"])
    assert 'ExecStart=/usr/bin/python3 "/my tools/observe.py" adapter --stack "a \\"b\\""' in unit


def test_files_are_named_so_that_systemd_finds_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["service", "systemd", "--token-file", "token"]) == 0
    assert f"--token-file {tmp_path}/token" in capsys.readouterr().out


@pytest.mark.parametrize(
    "url", ["nats://bob:hunter2@host:4222", "nats://hunter2@host", "a,nats://a:hunter2@b"]
)
def test_no_secret_gets_into_the_unit(url, capsys):
    assert cli.main(["service", "systemd", "--nats-url", url]) == 2
    told = capsys.readouterr()
    assert "hunter2" not in told.out + told.err and not told.out


@pytest.mark.parametrize("flags", [["--user", "a b"], ["--name", "a/b"], ["--stack", "a\nb"], ["--user", ""]])
def test_nothing_breaks_out_of_its_line(flags, capsys):
    assert cli.main(["service", "systemd", *flags]) == 2
    assert not capsys.readouterr().out


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_unit(tmp_path, capsys):
    assert cli.main(["service", "systemd", "--user", "root"]) == 0
    path = tmp_path / "observe.service"
    path.write_text(capsys.readouterr().out)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def notified(tmp_path, monkeypatch):
    """The socket on which systemd would hear."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield heard


def test_systemd_is_told(notified):
    assert tell_systemd("READY=1\nSTATUS=5 processes")
    assert notified.recv(100) == b"READY=1\nSTATUS=5 processes"


def test_without_systemd_nothing_is_told(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not tell_systemd("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/no/such/socket")
    assert not tell_systemd("READY=1")


@pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="abstract sockets are Linux's")
def test_an_abstract_socket_is_one_too(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0observe-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@observe-test-{os.getpid()}")
        assert tell_systemd("READY=1")
        assert heard.recv(100) == b"READY=1"


def test_the_watchdog_is_patted_while_it_works(notified, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    stop, works = threading.Event(), [True]
    thread = threading.Thread(target=stay, args=(stop, lambda: works[0]))
    thread.start()
    assert notified.recv(100) == b"WATCHDOG=1"
    works[0] = False
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("variables", [{}, {"WATCHDOG_USEC": "nonsense"}, {"WATCHDOG_PID": "1"}])
def test_without_a_watchdog_it_only_waits(variables, monkeypatch):
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID", "NOTIFY_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stop = threading.Event()
    stop.set()
    stay(stop, lambda: pytest.fail("nobody asked"))


def test_the_alerters_unit(capsys):
    words = [
        "--user",
        "me",
        "--verb",
        "alert",
        "--",
        "shop/*",
        "--headers-file",
        "headers",
        "--exec",
        "page.sh {process}",
    ]
    assert cli.main(["service", "systemd", *words]) == 0
    unit = capsys.readouterr().out
    headers = os.path.abspath("headers")
    assert f' alert "shop/*" --headers-file {headers} --exec "page.sh {{process}}"' in unit
    assert "/etc/systemd/system/observe-alert.service" in unit
    assert "EnvironmentFile=-/etc/observe-alert.env" in unit and "Type=exec" in unit


@pytest.mark.parametrize(
    "words",
    [
        ["--verb", "alert"],
        ["--verb", "alert", "--stack", "x", "--", "--webhook", "https://x"],
        ["--verb", "alert", "--", "--webhook", "https://u:hunter2@x"],
        ["--", "--stack", "x"],
    ],
)
def test_an_alerters_unit_that_would_not_work_is_refused(words, capsys):
    assert cli.main(["service", "systemd", *words]) == 2
    told = capsys.readouterr()
    assert not told.out and "hunter2" not in told.err


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_alerters_unit(tmp_path, capsys):
    assert cli.main(["service", "systemd", "--user", "root", "--verb", "alert", "--", "--exec", "true"]) == 0
    path = tmp_path / "observe-alert.service"
    path.write_text(capsys.readouterr().out)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
