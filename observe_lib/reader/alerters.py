"""Where alerters keep their state and their lease in the bucket; `doctor` reads the lease, too. Pure."""

from ..subjects import OBSERVE

#: the keys of alerters begin so, and go on with the name; that of the lease ends so
ALERT_KEYS = f"{OBSERVE}.alert."
ALERT_LEASE = ".lease"
