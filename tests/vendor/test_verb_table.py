import pytest

from observe_lib.vendor.verb_table import name_for, verb_paths, with_own_names

#: a line of the verb `top`, and what it is in one file
LINES = r"""
def run(args): return 0            | def top_run(args): return 0
def add_flags(parser): run(parser) | def top_add_flags(parser): top_run(parser)
loop.run(run=EXAMPLES)             | loop.run(run=TOP_EXAMPLES)
x = "run", ARGUMENTS  # run        | x = "run", TOP_ARGUMENTS  # run
é = "…é", run, run                 | é = "…é", top_run, top_run
class A:\n    def run(self): run() | class A:\n    def run(self): top_run()
ORDER = 3\nrun()                   | \ntop_run()
"""


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_names_are_changed_where_they_are_the_verbs_own(line):
    before, after = (part.strip(" ").replace("\\n", "\n") for part in line.split(" | "))
    assert with_own_names("top", f"{before}\n") == f"{after}\n"


def test_an_argument_that_hides_a_name_is_refused():
    with pytest.raises(AssertionError):
        with_own_names("top", "def draw(run): run()\n")


def test_constants_stay_constants():
    assert (name_for("top", "run"), name_for("top", "EXAMPLES")) == ("top_run", "TOP_EXAMPLES")


def test_verbs_are_in_the_order_of_the_help():
    files = {"commands/b.py": "ORDER = 2", "a/command.py": "", "commands/c.py": "ORDER = 1", "a/x.py": ""}
    files |= {"commands/__init__.py": "", "x/commands/d.py": "", "commands.py": ""}
    found = {"c": "commands/c.py", "b": "commands/b.py", "a": "a/command.py"}
    assert list(verb_paths(files).items()) == list(found.items())
