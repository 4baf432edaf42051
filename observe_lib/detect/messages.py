"""A push message is a reply about one process: what of it can be trusted, laid over what is known. Pure."""

from typing import Any

from ..compose.state import ProcessState
from .known import NOT_READY, Known

#: what a message can say that it is over; a Restarting message still has the old count
_ENDINGS = ("Completed", "Error", "Restarting")


def state_heard(before: Known | None, message: ProcessState) -> ProcessState | None:
    """Return the process's state as a push message has it, to be compared; None: it says nothing.

    It counts if it is about the run that is alive, or about one that came after the last one was over. To be
    trusted is that it is Terminating or Not Ready, and how it ended: its other fields are older than that.
    """
    if before is None or before.run is None and message.status != "Error" and not message.pid:
        return None
    if before.alive and before.run is not None:
        return _laid(before, message) if before.run.pid == message.pid else None
    return _laid_anew(before, message)


def _laid(before: Known, message: ProcessState) -> ProcessState | None:
    """Return the state of the run that is alive."""
    state = before.state
    if message.status in _ENDINGS:
        return _over(before, message)
    if message.status == "Terminating":
        return None if state.status == "Terminating" else _with(state, status="Terminating", is_running=False)
    if message.is_ready == NOT_READY != state.is_ready and state.is_running:
        return _with(state, is_ready=NOT_READY)
    return None


def _laid_anew(before: Known, message: ProcessState) -> ProcessState | None:
    """Return the state of a run, or of a failed launch, that no reply has shown."""
    known, last = before.run, before.state.ended_at
    if message.ended_at and last and message.ended_at <= last and message.status != "Restarting":
        return None  # it was over before that
    if message.status == "Error":
        return _over(before, message)
    if known is not None and known.pid == message.pid:  # stopped while it waited for its restart
        waits = before.state.status == "Restarting" and message.status == "Completed"
        return _over(before, message) if waits else None
    if not message.pid:
        return None
    if message.status == "Terminating":
        fields = {name: message.raw.get(name) for name in ("pid", "process_start_time", "restarts")}
        return _with(before.state, status="Terminating", is_running=False, process_end_time=None, **fields)
    if message.status not in _ENDINGS:
        return None
    late = message.status == "Restarting"  # with the count of before its end
    return _over(before, message, restarts=message.restarts + late)


def _over(before: Known, message: ProcessState, **more: Any) -> ProcessState:
    """Return how it ended, with the status that replies show: Scheduled, Watching, or as it is."""
    names = ("pid", "process_start_time", "process_end_time", "exit_code", "restarts")
    fields = {name: message.raw.get(name) for name in names}
    status = message.status
    if status == "Completed" and not before.terminating:
        well = message.exit_code in (0, *before.state.success_exit_codes)
        watched = well and before.state.raw.get("is_watched") is True
        status = "Scheduled" if before.state.due_at else "Watching" if watched else status
    return _with(before.state, status=status, is_running=False, is_ready="-", **{**fields, **more})


def _with(state: ProcessState, **fields: Any) -> ProcessState:
    return state.with_fields(heard=True, **fields)
