"""Settings of `guardrail reward serve`: where it listens, what it bears, and what judges."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from guardrail.errors import ConfigurationError
from guardrail.service.sections import KeySettings, ServerSettings
from guardrail.training.rewards.settings import RewardSettings
from guardrail.training.rewards.values import RewardKind
from guardrail.training.settings import Count, NotNegative, Positive


@dataclass(frozen=True)
class ListenSettings:
    """Where it listens, and what it bears; called as in the settings of `guardrail serve`.

    Attributes:
        host: address; one that others can reach needs keys, or `allow_public`.
        port: TCP port; 0 takes a free one.
        allow_public: serve a public address without keys.
        max_body_bytes: largest request.
        body_s: seconds in which a request must have arrived.
        request_s: seconds in which a request must be answered; OpenRLHF itself waits 180.
        max_requests: requests that are worked on at once; more get 503.
        drain_s: seconds that open requests get to end after SIGTERM.
        log: form of the log lines.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8100
    allow_public: bool = False
    max_body_bytes: Count = 16 * 2**20
    body_s: Positive = 30
    request_s: Positive = 170
    max_requests: Count = 1024
    drain_s: NotNegative = 30
    log: Literal["text", "json"] = "text"

    @property
    def is_public(self) -> bool:
        """Whether others than this machine can reach the address."""
        return self.bounds().is_public

    def bounds(self) -> ServerSettings:
        """Return them as the service's bounds take them."""
        return ServerSettings(
            host=self.host, port=self.port, allow_public=self.allow_public, max_body_bytes=self.max_body_bytes,
            body_s=self.body_s, request_s=self.request_s, max_requests=self.max_requests, drain_s=self.drain_s,
            log=self.log,
        )  # fmt: skip


@dataclass(frozen=True)
class RewardServeSettings:
    """All of it.

    Attributes:
        kind: the reward of requests that name none.
        rewards: what judges.
        server: where it listens.
        keys: who may call; none lets every caller on this machine in.
        batch: completions judged together at most.
        max_completions: completions of one request.
        max_waiting: completions that may wait; more get 503, and trainers ask again.
    """

    kind: RewardKind = "guard_only"
    rewards: RewardSettings = field(default_factory=RewardSettings)
    server: ListenSettings = field(default_factory=ListenSettings)
    keys: tuple[KeySettings, ...] = ()
    batch: Count = 64
    max_completions: Count = 1024
    max_waiting: Count = 8192

    def __post_init__(self) -> None:
        if self.server.is_public and not (self.keys or self.server.allow_public):
            raise ConfigurationError(
                f"{self.server.host} can be reached from outside", hint="set [[keys]], or say allow_public = true"
            )
        if len({key.name for key in self.keys}) < len(self.keys):
            raise ConfigurationError("two keys have one name")
