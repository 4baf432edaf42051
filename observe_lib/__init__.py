"""What happened to the processes that process-compose supervises, kept in NATS JetStream and shown.
The public names of the library; each is imported only when it is asked for, so that `--help` is quick.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import ComposeError, NatsError, ObserveError, StackHeldError, UsageError
    from .events import Event, EventType, Severity
    from .reader.consumer import Consumer
    from .reader.subscription import Subscription
    from .settings import NatsSettings

__version__ = "0.1.0"
__all__ = [
    "ComposeError",
    "Consumer",
    "Event",
    "EventType",
    "NatsError",
    "NatsSettings",
    "ObserveError",
    "Severity",
    "StackHeldError",
    "Subscription",
    "UsageError",
]


def __getattr__(name: str) -> Any:
    """Import what has this name, and what that needs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("Consumer", "Subscription"):  # these need nats-py
        from .reader import consumer, subscription

        return getattr(consumer if name == "Consumer" else subscription, name)
    from . import errors, events, settings

    return next(vars(module)[name] for module in (errors, events, settings) if name in vars(module))
