"""Groups of rows that are never trained on, because they are measured: the same rule for both sides."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any


def group_of(messages: Sequence[Any], meta: Mapping[str, Any] | None, key: str) -> str:
    """Return what groups a row: the value of a key of its `meta`, or its first message without a key.

    Args:
        messages: as mappings with `content`, or as objects that have it.
        meta: of the row.
        key: name in `meta`; empty takes the first message.
    """
    if key:
        return json.dumps((meta or {}).get(key), sort_keys=True)
    first = messages[0]
    return str(first["content"] if isinstance(first, Mapping) else first.content)


def is_left_out(group: str, share: float) -> bool:
    """Whether a group falls into the share, in [0, 1], that is left out; a larger share holds a smaller one."""
    digest = hashlib.blake2b(group.encode(errors="replace"), digest_size=4, person=b"left out").digest()
    return int.from_bytes(digest, "big") < share * 2**32
