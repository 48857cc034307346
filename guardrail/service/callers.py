"""Who calls: keys, compared in constant time, with the tenant, policy and rate limit of each."""

import hmac
import time
from dataclasses import dataclass
from hashlib import sha256

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.requests import HTTPConnection

from guardrail.service.errors import ServiceError
from guardrail.service.sections import KeySettings

KEY_SUBPROTOCOL = "guardrail.key."
"""Prefix of the WebSocket subprotocol in which a page in a browser, which can set no headers, sends its key."""


_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        name: of the key, for logs.
        tenant: whose text it is; None where the server has no keys.
        policy: that the key's requests are judged by; None takes the route's.
    """

    name: str = "anonymous"
    tenant: str | None = None
    policy: str | None = None


class Keys:
    """The keys of a server, and what each has used of its rate. For one event loop."""

    def __init__(self, keys: tuple[KeySettings, ...], *, is_local: bool = False) -> None:
        """Take them.

        Args:
            keys: none lets every caller in.
            is_local: the server listens on this machine only, so that without keys it must be asked by its name here:
                a page whose own name leads to this machine (DNS rebinding) would be let in by a browser.
        """
        self._is_local = is_local
        self._keys = [(key.digest, key) for key in keys]
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def caller_of(self, connection: HTTPConnection) -> Caller:
        """Return who calls.

        Raises:
            ServiceError: 401, the key is missing or unknown; 403, see `is_local`.
        """
        if not self._keys:
            if self._is_local and connection.url.hostname not in _LOCAL_NAMES:
                raise ServiceError(
                    "without keys this server is asked by its local name: set [[keys]], or say allow_public = true",
                    status=403, code="host_not_allowed",
                )  # fmt: skip
            return Caller()
        given = _key_of(connection)
        if not given:
            raise ServiceError("no API key: send it as `Authorization: Bearer KEY`", status=401, code="missing_api_key")
        digest = sha256(given.encode("utf-8", "surrogateescape")).digest()
        # All are compared, whichever fits: how long it takes tells nothing.
        fitting = [key for known, key in self._keys if hmac.compare_digest(known, digest)]
        if not fitting:
            raise ServiceError("the API key is not known here", status=401, code="invalid_api_key")
        key = fitting[0]
        return Caller(key.name, key.tenant or key.name, key.policy)

    async def count(self, caller: Caller) -> None:
        """Count one request.

        Raises:
            ServiceError: 429, the key's rate is used up.
        """
        bound = next((key.requests_per_minute for _, key in self._keys if key.name == caller.name), None)
        if bound is None:
            return
        rate = RateLimitItemPerMinute(bound)
        if await self._limiter.hit(rate, caller.name):
            return
        reset_at, _ = await self._limiter.get_window_stats(rate, caller.name)
        raise ServiceError(
            f"more than {bound} requests a minute",
            status=429, type="requests", code="rate_limit_exceeded", retry_after_s=_seconds_to(reset_at),
        )  # fmt: skip


def _key_of(connection: HTTPConnection) -> str:
    scheme, _, credentials = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    for name in ("x-api-key", "api-key"):  # LiteLLM's generic guardrail, Azure's clients
        if given := connection.headers.get(name):
            return given
    offered = connection.headers.get("sec-websocket-protocol", "").split(",")
    named = (one.strip() for one in offered)
    return next((one.removeprefix(KEY_SUBPROTOCOL) for one in named if one.startswith(KEY_SUBPROTOCOL)), "")


def _seconds_to(moment: float) -> float:
    return max(1.0, moment - time.time())
