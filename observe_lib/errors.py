"""What can go wrong for a user: one error root with a hint, its few kinds, and the exit codes.
Imported from everywhere, imports nothing.
"""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_IMPOSSIBLE = 3
EXIT_TIMED_OUT = 124
EXIT_INTERRUPTED = 130


class ObserveError(Exception):
    """Something a person can mend: `str()` says what happened, `hint` what to do about it."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ObserveError):
    """A flag, an environment variable or an argument that makes no sense."""

    exit_code = EXIT_USAGE


class ComposeError(ObserveError):
    """process-compose gave no usable answer; `kind` is refused, timeout, status or garbage."""

    def __init__(self, message: str, hint: str = "", *, kind: str, status: int = 0) -> None:
        super().__init__(message, hint)
        self.kind = kind
        self.status = status


class NatsError(ObserveError):
    """NATS cannot be reached, or refuses what is asked of it."""


class NatsRefusedError(NatsError):
    """NATS can be reached, and says no, or it cannot even be asked: trying again mends nothing."""


class StackHeldError(ObserveError):
    """Another adapter holds the lease of this stack."""
