"""The same application on Ray Serve: replicas, autoscaling, and every delta at the replica that holds its stream.

A stream's id names its replica, and Serve's request router, its own place for such rules, sends whatever carries an id
to the replica that it names. A WebSocket stays where it was opened. If that replica is gone another one answers that
there is no such stream: clients fail closed, and no text is released that nobody has read.

    serve run guardrail.service.ray:build config=guardrail.toml
"""

import random
import re
from pathlib import Path
from typing import Any, ClassVar

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from guardrail.errors import ConfigurationError, MissingExtra
from guardrail.service.app import create_app
from guardrail.service.settings import Settings, load_settings

try:
    from ray import serve
    from ray.serve.config import AutoscalingConfig, RequestRouterConfig
    from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica
except ModuleNotFoundError as error:
    raise MissingExtra("ray", "ray") from error

_NAMED = re.compile(rb"\bstream_([A-Za-z0-9-]+)\.")
"""The name in a stream's id."""


class Arguments(BaseModel):
    """Arguments of `build`: of `serve run`, and of an application in a Serve config file.

    Attributes:
        config: the server's TOML file, at this path on every node.
        settings: sections of it, over the file; secrets as `os.environ/NAME` are read on the node that needs them.
        min_replicas: fewest replicas.
        max_replicas: most of them.
        requests_per_replica: requests under way, sockets and proxied answers included, from which Serve adds a replica.
        max_requests_per_replica: more wait in the proxy.
        cpus: cores that each replica asks for, and threads of its model unless the settings say otherwise.
        drain_s: seconds that what is under way gets to end when a replica is taken away.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    config: Path | None = None
    settings: dict[str, Any] = {}
    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(default=4, ge=1)
    requests_per_replica: int = Field(default=16, ge=1)
    max_requests_per_replica: int = Field(default=256, ge=1)
    cpus: int = Field(default=1, ge=1)
    drain_s: float = Field(default=30, ge=0)


def build(arguments: Arguments) -> serve.Application:
    """Return the application for Serve; each replica loads its own model."""

    def replica_app() -> FastAPI:
        return create_app(_own_settings(arguments))

    deployment = serve.deployment(
        serve.ingress(replica_app)(),
        name="guardrail",
        autoscaling_config=AutoscalingConfig(
            min_replicas=arguments.min_replicas,
            max_replicas=max(arguments.min_replicas, arguments.max_replicas),
            target_ongoing_requests=arguments.requests_per_replica,
        ),
        max_ongoing_requests=arguments.max_requests_per_replica,
        graceful_shutdown_timeout_s=arguments.drain_s,
        ray_actor_options={"num_cpus": arguments.cpus},
        request_router_config=RequestRouterConfig(request_router_class=StreamRouter),
    )
    return deployment.bind()


def _own_settings(arguments: Arguments) -> Settings:
    """Return the settings of the replica that asks: its name stands in the ids of its streams.

    Raises:
        ConfigurationError: they cannot be read, or there are no keys: Serve listens where it is told to, which no
            replica can know, so that any address counts as public.
    """
    given = load_settings(arguments.config, **arguments.settings)
    if not (given.keys or given.server.allow_public):
        raise ConfigurationError(
            "Ray Serve may listen where others can reach it", hint="set [[keys]], or say server.allow_public = true"
        )
    name = serve.get_replica_context().replica_id.unique_id
    streams = given.streams.model_copy(update={"server_name": name})
    guard = given.guard.model_copy(update={"threads": given.guard.threads or arguments.cpus})
    return given.model_copy(update={"streams": streams, "guard": guard})


class StreamRouter(RequestRouter):  # type: ignore[misc]  # Ray is not installed where types are checked
    """Sends what names a replica to it, and everything else to the less busy of two.

    Requests are matched to replicas one by one: without Serve's FIFO mixin none is given a replica that was chosen for
    another.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the replicas among which the least busy gets a request."""
        name = replica_named(pending_request.args[0]) if pending_request and pending_request.args else None
        named = [replica for replica in candidate_replicas if replica.replica_id.unique_id == name]
        return [named or random.sample(candidate_replicas, min(2, len(candidate_replicas)))]


def replica_named(request: object) -> str | None:
    """Return the replica that a request names; None if it names none.

    Serve hands its router a request's head as pickled bytes. They are searched, not loaded: they hold path and query
    as they are, and an id that stands elsewhere, in a header say, leads at worst to a replica without such a stream.

    Args:
        request: what Serve's proxy sends to a replica.
    """
    found = _NAMED.search(request) if isinstance(request, bytes) else None
    return found[1].decode() if found else None
