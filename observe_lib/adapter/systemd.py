"""What a running adapter tells systemd: that it is ready, how it is, that it still works.
May be called from any thread; without systemd it does nothing.
"""

import os
import socket
from collections.abc import Callable
from contextlib import suppress

from ..signals import Stop


def tell_systemd(text: str) -> bool:
    """Send lines like READY=1 or STATUS=… to who started us; False where that is not systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return False
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.settimeout(1.0)
        notify.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        notify.send(text.encode())
        return True
    return False


def stay(stop: Stop, works: Callable[[], bool]) -> None:
    """Wait for `stop`; meanwhile pat systemd's watchdog, as long as `works()` says that all is well."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    every_s = int(microseconds) / 2e6 if ours and microseconds.isdigit() and int(microseconds) else None
    while not stop.wait(every_s):
        if works():
            tell_systemd("WATCHDOG=1")
