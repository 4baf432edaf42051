"""What happened to the processes that process-compose supervises, kept in NATS JetStream and shown.
The public names of the library; importing it needs nothing but the standard library.
"""

from typing import TYPE_CHECKING, Any

from .errors import ComposeError, NatsError, ObserveError, StackHeldError, UsageError
from .events import Event, EventType, Severity
from .settings import NatsSettings

if TYPE_CHECKING:
    from .reader.consumer import Consumer
    from .reader.subscription import Subscription

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
    """Import what needs nats-py only when it is asked for: without it the command line still speaks."""
    if name not in ("Consumer", "Subscription"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .reader import consumer, subscription

    return getattr(consumer if name == "Consumer" else subscription, name)
