"""The verb `adapter`: what it hands over, and what it says before."""

import pytest

from observe_lib import cli
from observe_lib.adapter import adapter


@pytest.mark.parametrize(
    "hostname, flags, told",
    [
        ("3f2a9c01de45", (), True),
        ("3f2a9c01de45", ("--stack", "shop"), False),
        ("host-a", (), False),
    ],
)
def test_a_container_id_as_host_name_is_said(monkeypatch, capsys, hostname, flags, told):
    """It is another one after every start, so that nobody would find the stack again."""
    stacks = []
    monkeypatch.delenv("OBSERVE_STACK", raising=False)
    monkeypatch.setattr("socket.gethostname", lambda: hostname)
    monkeypatch.setattr(adapter, "run_adapter", lambda options, *_: stacks.append(options.stack) or 0)
    assert cli.main(["adapter", *flags]) == 0
    assert stacks == [flags[1] if flags else hostname]
    assert ("name it with --stack" in capsys.readouterr().err) == told
