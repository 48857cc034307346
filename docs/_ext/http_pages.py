"""The HTTP reference, from the OpenAPI description that the service itself gives."""

import json
from collections.abc import Iterator
from typing import Any

import pieces
import schema_tables

from guardrail.service import create_app

_INTRO = """\
# HTTP

Every route of the service, from its own OpenAPI description (`/openapi.json` of a running one).
[The service](../service.md), [the proxy](../proxy.md) and [the token stream API](../stream_api.md) say how they are
used; the WebSocket, which OpenAPI cannot describe, is [there](../stream_api.md#over-a-websocket). Errors come in
OpenAI's envelope, `{"error": {"message", "type", "param", "code"}}`.

"""


def pages() -> dict[str, str]:
    """Return the page."""
    openapi = create_app().openapi()
    schemas = openapi["components"]["schemas"]
    text = _INTRO
    used: list[str] = []
    for path, ways in openapi["paths"].items():
        for method, route in ways.items():
            text += _route(f"{method.upper()} {path}", route, schemas)
            used += _named(route)
    text += "## Bodies\n\n"
    for name in _closure(used, schemas):
        text += (
            f"### {name}\n\n{schemas[name].get('description', '')}\n\n{schema_tables.fields(schemas[name], schemas)}"
        )
    return {"http.md": text}


def _route(name: str, route: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Return what one route takes and answers."""
    text = f"## `{name}`\n\n{route.get('description', route['summary'])}\n\n"
    rows = [
        (f"`{one['name']}`", one["in"], schema_tables.kind(one["schema"], schemas), one.get("description", ""))
        for one in route.get("parameters", ())
    ]
    if rows:
        text += pieces.table(("parameter", "in", "type", "meaning"), rows)
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        named = list(_named(content))
        body = f"[{named[0]}](#{named[0].lower()})" if named else "any"
        text += f"Body: {body} as `{kind}`.\n\n"
    return text


def _named(part: object) -> Iterator[str]:
    """Yield the schemas that a part of a description names, but for the framework's own of errors: ours are sent."""
    for piece in json.dumps(part).split('"#/components/schemas/')[1:]:
        name = piece.partition('"')[0]
        if name not in ("HTTPValidationError", "ValidationError"):
            yield name


def _closure(names: list[str], schemas: dict[str, Any]) -> list[str]:
    """Return the names with all that their schemas name, each once."""
    found: list[str] = []
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found.append(name)
            waiting += _named(schemas[name])
    return found
