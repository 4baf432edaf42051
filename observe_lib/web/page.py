"""The page of `web`: page.html with page.css and page.js inside it, and the policy that permits no other.
Text only. Whatever comes from outside is put in by the script in the browser, as text.
"""

import base64
import hashlib
from html import escape
from importlib.resources import files

from ..errors import ObserveError

#: the texts of the page's files by name, filled in by the one-file build; else they lie beside this module
PAGE_FILES: dict[str, str] = {}

_STYLE_LINK = '<link rel="stylesheet" href="page.css">'
_START = "<code>python observe.py adapter</code>"
_SCRIPT_LINK = '<script src="page.js"></script>'


def page_html(start: str) -> bytes:
    """Return the whole document: the browser asks for nothing further. `start` is how to start an adapter."""
    html = _read_page("page.html").replace(_START, f"<code>{escape(start)}</code>")
    html = html.replace(_STYLE_LINK, f"<style>{_read_page('page.css')}</style>")
    return html.replace(_SCRIPT_LINK, f"<script>{_read_page('page.js')}</script>").encode()


def page_policy() -> str:
    """Return its Content-Security-Policy: this style, this script, this server, and nothing else."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_sha256(_read_page('page.js'))}'",
            f"style-src '{_sha256(_read_page('page.css'))}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _read_page(name: str) -> str:
    if name in PAGE_FILES:
        return PAGE_FILES[name]
    try:
        return files(__package__ or "").joinpath(name).read_text(encoding="utf-8")
    except OSError as error:
        hint = "copy the package whole: page.html, page.css and page.js belong into its web folder"
        raise ObserveError(f"the page's {name} is not there", hint) from error


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
