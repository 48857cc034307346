"""Runs the reward server: a banner, log lines, and time for open requests to end at SIGTERM."""

import math
import socket
from collections.abc import Callable

from guardrail.errors import MissingExtra
from guardrail.service.run import set_up_logging
from guardrail.training.rewards.serve_settings import RewardServeSettings
from guardrail.training.rewards.serving import create_app

try:
    import uvicorn
    from starlette.applications import Starlette
except ModuleNotFoundError as error:
    raise MissingExtra("uvicorn", "service") from error


class Server(uvicorn.Server):
    """Uvicorn, but what keeps the application from starting is raised as it is, and a banner says where it listens."""

    def __init__(self, app: Starlette, settings: RewardServeSettings, tell: Callable[[str], object]) -> None:
        """Serve an application.

        Args:
            app: made by `create_app`.
            settings: the ones it was made with.
            tell: told the banner when it listens.
        """
        self._app, self._settings, self._tell = app, settings, tell
        super().__init__(
            uvicorn.Config(
                app, host=settings.server.host, port=settings.server.port, log_config=None, access_log=False,
                lifespan="off", server_header=False, timeout_graceful_shutdown=math.ceil(settings.server.drain_s),
                timeout_keep_alive=75,
            )
        )  # fmt: skip

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the models and serve."""
        async with self._app.router.lifespan_context(self._app):
            await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell where."""
        await super().startup(sockets)
        if self.started:
            self._tell(self._banner())

    @property
    def port(self) -> int:
        """Port that it listens on."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    def _banner(self) -> str:
        settings, host = self._settings, self._settings.server.host
        address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        helpful = settings.rewards.helpfulness
        keys = f"{len(settings.keys)} keys" if settings.keys else "no keys, every caller is let in"
        return "\n".join((
            f"guardrail serves rewards at {address}",
            f"  OpenRLHF     {address}/get_reward",
            f"  reward       {settings.kind}",
            f"  guard        {settings.rewards.guard.model} (policy {settings.rewards.guard.policy})",
            f"  refusals     {settings.rewards.refusals.detector}",
            f"  helpfulness  {helpful.model or helpful.base_url if helpful else 'none: guard_only alone'}",
            f"  keys         {keys}",
        ))  # fmt: skip


def run(settings: RewardServeSettings, tell: Callable[[str], object]) -> None:
    """Serve until a signal ends it.

    Args:
        settings: what it is told.
        tell: told the banner when it listens.

    Raises:
        ConfigurationError: a model or policy cannot be loaded, or does not fit the reward.
        OSError: the address cannot be had.
    """
    set_up_logging(settings.server.log)
    try:
        Server(create_app(settings), settings, tell).run()
    except SystemExit as error:
        raise OSError(f"cannot listen on {settings.server.host}:{settings.server.port}") from error
