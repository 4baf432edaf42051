"""The flags that several verbs share; what they mean is read by `settings`, `text.output` and `text.tables`.
Pure; flags that one verb alone has are in that verb's file.
"""

import argparse

from .settings import DEFAULT_COMPOSE_ADDRESS, DEFAULT_COMPOSE_PORT, DEFAULT_NATS_URL

#: what NAME may be
NAMES_HELP = "only these: caddy (and its replicas), default/caddy, 'shop/*'; without: '!caddy', '!shop/*'"


def add_nats_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `nats_settings` reads."""
    others = "also NATS_NKEY, NATS_USER and NATS_PASSWORD, NATS_TOKEN, NATS_CA, NATS_CERT and NATS_KEY"
    add = parser.add_argument_group("NATS", others).add_argument
    add("--nats-url", metavar="URL", help=f"the server [NATS_URL, {DEFAULT_NATS_URL}]")
    add("--nats-creds", metavar="FILE", help="a .creds file [NATS_CREDS]")


def add_compose_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `compose_settings` reads."""
    add = parser.add_argument_group("process-compose").add_argument
    add("-p", "--compose-port", metavar="PORT", help=f"its API's port [PC_PORT_NUM, {DEFAULT_COMPOSE_PORT}]")
    address = f"its API's address [PC_ADDRESS, {DEFAULT_COMPOSE_ADDRESS}]"
    add("--compose-address", metavar="HOST", help=address)
    add("-u", "--compose-socket", metavar="PATH", help="its Unix socket instead [PC_SOCKET_PATH]")
    token = "a file with its API token [PC_API_TOKEN_PATH, or the token in PC_API_TOKEN]"
    add("--token-file", metavar="FILE", help=token)


def add_selection_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `selected` reads: which processes, the same as in `watch`."""
    parser.add_argument("name", nargs="*", metavar="NAME", help=NAMES_HELP)
    parser.add_argument("--process", metavar="NAME", action="append", help="the same as NAME; repeatable")
    parser.add_argument("--stack", metavar="STACK", help="only this process-compose [all]")


def add_store_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag that `state_directory` reads, for who looks for the built-in server's store."""
    where = "where the built-in NATS server's store is [OBSERVE_STATE_DIR, ~/.local/state/observe]"
    parser.add_argument("--state-dir", metavar="DIR", help=where)


def add_form_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the flags that choose between text and JSON, and return their group."""
    group = parser.add_argument_group("output")
    form = group.add_mutually_exclusive_group()
    form.add_argument("-o", "--output", choices=("table", "json"), help="how to print [table]")
    form.add_argument("--json", dest="output", action="store_const", const="json", help="the same as -o json")
    return group


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `style_of` reads: those of the form, of times and of colours."""
    group = add_form_flags(parser)
    group.add_argument("--utc", action="store_true", help="print times in UTC [local]")
    colour = "colour the event word [auto; NO_COLOR wins]"
    group.add_argument("--color", choices=("auto", "always", "never"), default="auto", help=colour)


def add_adapter_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `adapter`, which `service` writes into a unit."""
    add = parser.add_argument
    add("--poll-interval", metavar="TIME", default="2s", help="how often to ask process-compose [2s]")
    add("--stack", metavar="NAME", help="what to call this process-compose [OBSERVE_STACK, the host's name]")
    add("--takeover", action="store_true", help="replace the adapter that holds this stack")
    add("--state-dir", metavar="DIR", help="its files [OBSERVE_STATE_DIR, ~/.local/state/observe]")
    add("--no-push", action="store_true", help="poll only, without process-compose's push stream")
    add("--no-embedded", action="store_true", help="never start a NATS server of its own")
    add("--log-lines", metavar="N", default="20", help="log lines sent along with a crash, 0: none [20]")
    waiting = "events that may wait for NATS, 1 kB each on average [1000000]"
    add("--max-waiting", metavar="N", default="1000000", help=waiting)
    add("--drain-timeout", metavar="TIME", default="5s", help="how long to flush when ending [5s]")
    add("--end-with-project", action="store_true", help="end when the project has ended, with 0: for CI")
    add_compose_flags(parser)
    add_nats_flags(parser)
    kept = "what NATS keeps: each is changed only where its flag is given"
    add = parser.add_argument_group("stream", kept).add_argument
    add("--max-age", metavar="TIME", help="how long the stream keeps events [as it is, 24h for a new one]")
    add("--duplicate-window", metavar="TIME", help="the stream's [as it is, 10m at most for a new one]")
    add("--replicas", metavar="N", help="the stream's and the bucket's [as it is, 1 for new ones]")
