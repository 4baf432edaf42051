"""How many runs lie between what is known and a new state: DESIGN section 4, "Runs". Pure."""

from typing import NamedTuple

from ..compose.state import ProcessState
from .known import LAUNCH_POLLS, LAUNCHING, Known, lives


class Step(NamedTuple):
    """From one state of a process to the next: which runs ended and began in between, in numbers."""

    was_alive: bool
    alive: bool
    has_run: bool
    same: bool  # the very run that was there before
    restarts: int
    rise: int
    ends: int
    begins: int
    launch_failed: bool
    launch_polls: int


def measure(before: Known | None, state: ProcessState) -> Step:
    """Count the ends and begins between what is known and a new state: the table of the contract."""
    had_run = before is not None and before.has_run
    was_alive = had_run and before is not None and not before.ended and lives(before.state)
    has_run = shows_run(before, state)
    alive = has_run and lives(state)
    same = has_run and had_run and before is not None and _is_same(before, state, was_alive, alive)
    restarts = _count_restarts(before, state, same)
    rise = restarts - (before.restarts if before else 0)
    final = not alive and state.status not in ("Restarting", "Error")
    if not has_run:
        ends = max(rise, was_alive)
        begins = ends - was_alive
    elif same:
        ends, begins = int(was_alive and not alive), 0
    else:  # by hand; by policy; or the count was reset, and starts anew
        by_hand = rise == 0 and had_run
        ends = was_alive + (not alive) if by_hand else (rise if rise >= 0 else was_alive + restarts) + final
        if is_fresh(before, state):  # nor was it the one before, so it began
            ends = max(ends, was_alive + (not alive))
        begins = ends + alive - was_alive
    launching = state.status in LAUNCHING and not has_run
    polls = min((before.launch_polls if before else 0) + 1, LAUNCH_POLLS) if launching else 0
    failed = launch_failed(state) and (before is None or not _same_error(before.state, state))
    return Step(was_alive, alive, has_run, same, restarts, rise, ends, begins, failed, polls)


def shows_run(before: Known | None, state: ProcessState) -> bool:
    """Whether a state has a run: not at pid 0, nor while it shows the ended run's pid at a launch."""
    if not state.pid:
        return False
    if state.status not in LAUNCHING or before is None or before.run is None:
        return True
    over = before.ended or state.restarts > before.run.restarts_at_begin
    return not (over and before.run.shows_in(state)) or before.launch_polls + 1 >= LAUNCH_POLLS


def is_fresh(before: Known | None, state: ProcessState) -> bool:
    """Whether somebody started it since, or nothing was known: the policy's restarts keep the start."""
    return before is None or before.run is None or before.run.start != state.start


def _is_same(before: Known, state: ProcessState, was_alive: bool, alive: bool) -> bool:
    run = before.run
    if run is None:
        return False
    if was_alive and run.start and run.start == state.start and state.restarts == before.restarts:
        return True  # if under another pid: what was shown under the last run's was its launch
    return run.shows_in(state) and not (before.ended and alive)


def _count_restarts(before: Known | None, state: ProcessState, same: bool) -> int:
    """Return the restarts; a Restarting state, which may still show the old count, counts its own."""
    if state.status != "Restarting":
        return state.restarts
    fell = before is not None and not same and state.restarts < before.restarts  # old versions tell no start
    if before is None or before.run is None or is_fresh(before, state) or fell:
        return max(state.restarts, 1)
    at_begin = before.run.restarts_at_begin if same else before.restarts
    return max(state.restarts, at_begin + 1)


def launch_failed(state: ProcessState) -> bool:
    """Whether the state is that of a failed launch; Scheduled hides Error (and Skipped, with exit code 1)."""
    hidden = state.status == "Scheduled" and state.ended_at is not None and not (state.pid or state.exit_code)
    return state.status == "Error" or hidden


def _same_error(before: ProcessState, state: ProcessState) -> bool:
    return launch_failed(before) and before.ended_at == state.ended_at
