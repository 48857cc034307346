"""The playground: a page that shows every token's verdict, without a build step and without the network."""

from importlib.resources import files
from pathlib import PurePath

from fastapi import APIRouter, Response

from guardrail.service.errors import ServiceError

router = APIRouter(include_in_schema=False)

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_FILES = {
    entry.name: (entry.read_bytes(), _TYPES[PurePath(entry.name).suffix])
    for entry in files("guardrail.service").joinpath("static").iterdir()
}
"""Contents and media type by name: what is not here is not served."""

_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


@router.get("/")
async def page() -> Response:
    """Return the page."""
    return _file("index.html")


@router.get("/playground/{name}")
async def part(name: str) -> Response:
    """Return a part of the page.

    Raises:
        ServiceError: 404, it has no such part.
    """
    return _file(name)


def _file(name: str) -> Response:
    if name not in _FILES:
        raise ServiceError("the page has no such part", status=404, code="not_found")
    content, media_type = _FILES[name]
    return Response(content, media_type=media_type, headers=_HEADERS)
