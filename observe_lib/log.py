"""The package's one logger, what goes wrong behind the scenes, and the type of what people are told with.
Any thread; `cli` says where both go.
"""

import logging
from collections.abc import Callable

#: warnings and above are meant for people
log = logging.getLogger("observe_lib")

#: tells people: a topic ("" goes on with the one before) and a text
Say = Callable[[str, str], None]
