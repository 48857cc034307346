"""What is around a page that asks nobody for anything: its rules allow the one style and the one script it brings."""

import base64
import hashlib

from guardrail.audit.report.markup import Html, tag


def document(title: str, style: str, body: Html, script: str = "") -> str:
    """Return a page as one file.

    Args:
        title: of the window.
        style: CSS.
        body: what is shown; its scripts that are not data must be `script`.
        script: JavaScript; empty forbids all of it.
    """
    scripts = f"script-src {_hash(script)}; " if script else ""
    rules = f"default-src 'none'; style-src {_hash(style)}; {scripts}img-src data:; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=rules),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Html(style)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
