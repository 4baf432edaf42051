"""The package's one logger: what goes wrong behind the scenes. Any thread; `cli` says where it goes."""

import logging

#: warnings and above are meant for people
log = logging.getLogger("observe_lib")
