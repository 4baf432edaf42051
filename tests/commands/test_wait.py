"""How `wait` prints what came out: in columns, though it does not know yet what comes later."""

import pytest

from observe_lib.commands.wait import _printer
from observe_lib.reader.wait import Outcome
from observe_lib.rows import Place
from observe_lib.text.output import Style


@pytest.mark.parametrize(
    "patterns, places",
    [
        (["db", "flaky"], ["shop/db", "default/flaky"]),
        (["shop/db", "default/migrations"], ["shop/db", "default/migrations"]),
        (["shop/*"], ["shop/a", "shop/web-worker"]),
        (["!cron"], ["a/b", "default/migrate"]),
        (["a-very-long-name", "db"], ["a/db", "default/a-very-long-name"]),
    ],
)
def test_outcomes_stand_below_each_other(capsys, patterns, places):
    show = _printer(patterns, Style())
    for one in places:
        namespace, _, name = one.partition("/")
        show(Outcome(Place("host-a", namespace, name), True, "healthy", 4.1))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [[one, "healthy", "after", "4.1s"] for one in places]
    assert len({line.index("healthy") for line in lines}) == 1
    assert all("/" in one for one in patterns) or lines[0].index("healthy") >= 18
