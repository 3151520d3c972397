"""Put HTML pages together: one file with its own style, no script, nothing fetched, readable from 390 pixels on.

Used by openapi_page and landing_page. POLICY is the Content-Security-Policy that goes with every page: the browser may
apply this one style sheet and load nothing. What is handed in as text is escaped here, as markup it is the caller's.
"""

import base64
from collections.abc import Iterable
from hashlib import sha256
from html import escape

from aiohttp import web

_STYLE = """\
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #175d9c; }
@media (prefers-color-scheme: dark) { :root { --accent: #83bdf2; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: .5rem; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; overflow-wrap: anywhere; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; }
h2 { border-bottom: 1px solid var(--line); font-size: 1.3rem; margin-top: 2.5rem; }
h3 { font-size: 1rem; margin: 0; } h4 { font-size: .9rem; margin: 1rem 0 .3rem; }
a { color: var(--accent); } p { margin: .6rem 0; }
nav ul { columns: 22rem; list-style: none; margin: 0; padding: 0; } nav li { break-inside: avoid; }
nav a { align-items: baseline; display: flex; gap: .5rem; min-height: 44px; padding: .6rem 0; }
nav a { text-decoration: none; }
article { border: 1px solid var(--line); border-radius: .4rem; margin: 1rem 0; padding: .8rem 1rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); border-radius: .3rem; overflow: auto; padding: .7rem; white-space: pre-wrap; }
.method { background: var(--accent); border-radius: .2rem; color: Canvas; padding: .2em .4em; }
.method { font: bold .8rem/1 sans-serif; }
.note { opacity: .75; }
dl { margin: 0; } dt { border-top: 1px solid var(--line); padding-top: .45rem; }
dd { margin: 0 0 .45rem 1rem; } dd p { margin: 0 0 .2rem; }
summary { cursor: pointer; min-height: 44px; padding: .6rem 0; }
@media (min-width: 48rem) { body { padding: 1.5rem; } .two dl { display: grid; grid-template-columns: 16rem 1fr; }
  .two dd { border-top: 1px solid var(--line); margin: 0; padding: .45rem 0; } .two dt { padding-right: 1rem; } }
"""
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def write_page(title: str, body: Iterable[str]) -> str:
    """A whole page. `body` is markup; the title is its first heading."""
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
    )
    return "\n".join((*head, *body, "</body></html>"))


def answer_page(page: str) -> web.Response:
    """A page as an answer that no cache keeps and no other page frames."""
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(text=page, content_type="text/html", charset="utf-8", headers=headers)
