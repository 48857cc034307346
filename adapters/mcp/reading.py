"""Which text stands in what an MCP server says: every string, the content apart from what surrounds it."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_SCHEMA_WORDS = """
type object string integer number boolean null array properties required title description enum items anyOf oneOf
allOf additionalProperties default const $schema $defs $ref format minimum maximum minLength maxLength pattern
http://json-schema.org/draft-07/schema# https://json-schema.org/draft/2020-12/schema
"""
_MCP_WORDS = """
name inputSchema outputSchema structuredContent annotations readOnlyHint destructiveHint idempotentHint openWorldHint
execution taskSupport icons src mimeType sizes uri uriTemplate arguments audience priority lastModified user assistant
text image audio resource resource_link data blob content contents messages message role _meta capabilities tools
resources resourceTemplates prompts logging completions experimental extensions listChanged subscribe protocolVersion
supportedVersions serverInfo io.modelcontextprotocol/serverInfo version instructions isError resultType complete
input_required inputRequests method params cacheScope private public ttlMs completion values total hasMore level
logger debug info notice warning error critical alert emergency progress code requestId requestedSchema systemPrompt
maxTokens temperature mode form result
"""

PROTOCOL_WORDS = frozenset((_SCHEMA_WORDS + _MCP_WORDS).split())
"""Words of the protocol: they say nothing to an LLM and would only be noise to the guard. Any other key is read."""

OPAQUE = frozenset({"nextCursor", "requestState", "progressToken"})
"""Members that only a program reads and hands back as they are."""

MEDIA = frozenset({"image", "audio"})
NESTED = ("content", "contents", "messages", "resource")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a value holds.

    Attributes:
        texts: contents, in order: text of blocks and resources, then what only the structured content has.
        others: every other string and unknown key, in order.
        unreadable: kinds of parts that hold no text.
    """

    texts: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def whole(self) -> str:
        """Return all text, a line for each string."""
        return "\n".join([*self.texts, *self.others])


def read(value: Any) -> Reading:
    """Return what stands in the parameters of a message, a result, or an item of a list."""
    reading = Reading()
    if not isinstance(value, Mapping):
        reading.others.extend(strings(value))
        return reading
    rest = {key: item for key, item in value.items() if key not in OPAQUE}
    structured = rest.pop("structuredContent", None)
    _read_block(rest, reading)
    reading.texts.extend(_structured(structured, reading.texts))
    return reading


def strings(value: Any) -> Iterator[str]:
    """Yield every string and key, at any depth, but the words of the protocol."""
    if isinstance(value, str):
        if value.strip() and value not in PROTOCOL_WORDS:
            yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def _read_block(block: Mapping[str, Any], reading: Reading) -> None:
    rest = dict(block)
    if isinstance(rest.get("text"), str):
        reading.texts.append(rest.pop("text"))
    kind = rest.get("type")
    if isinstance(kind, str) and kind in MEDIA and isinstance(rest.get("data"), str):
        _read_bytes(rest.pop("data"), kind, reading)
    if isinstance(rest.get("blob"), str):
        _read_bytes(rest.pop("blob"), "blob", reading)
    for key in NESTED:
        if key in rest:
            _read_nested(rest.pop(key), reading)
    reading.others.extend(strings(rest))


def _read_nested(value: Any, reading: Reading) -> None:
    for block in value if isinstance(value, list) else [value]:
        if isinstance(block, Mapping):
            _read_block(block, reading)
        else:
            reading.others.extend(strings(block))


def _read_bytes(encoded: str, kind: str, reading: Reading) -> None:
    """Read bytes that are text after all, whatever type they claim; what is no base64 is read as it stands."""
    try:
        data = base64.b64decode("".join(encoded.splitlines()), validate=True)
    except ValueError:
        reading.texts.append(encoded)
        return
    try:
        reading.texts.append(data.decode("utf-8"))
    except UnicodeDecodeError:
        reading.unreadable.append(kind)


def _structured(value: Any, texts: list[str]) -> list[str]:
    """Return the strings of structured content, unless a text block says the same, as servers are asked to do."""
    if any(_is_json_of(text, value) for text in texts):
        return []
    return [text for text in strings(value) if text not in texts]


def _is_json_of(text: str, value: Any) -> bool:
    try:
        return bool(json.loads(text) == value)
    except (ValueError, RecursionError):
        return False
