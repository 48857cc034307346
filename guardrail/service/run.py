"""Runs the application: a banner, log lines, policies read again at SIGHUP, and a drain at SIGTERM."""

import asyncio
import json
import logging
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from guardrail.errors import PolicyError
from guardrail.records import without_password
from guardrail.records.log_sink import PREFIX
from guardrail.service.bounds import log
from guardrail.service.settings import Settings


class Server(uvicorn.Server):
    """Uvicorn, but a first SIGTERM or SIGINT lets what is open end before the sockets close; a second one does not."""

    def __init__(self, app: FastAPI, settings: Settings, tell: Callable[[str], None] = log.info) -> None:
        """Serve an application.

        Args:
            app: made by `create_app`.
            settings: the ones it was made with.
            tell: told the banner when it listens.
        """
        self._app, self._settings, self._tell = app, settings, tell
        self._drain: asyncio.Task[None] | None = None
        super().__init__(
            uvicorn.Config(
                app, host=settings.server.host, port=settings.server.port, ws="websockets-sansio", log_config=None,
                access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=5, ws_max_size=2**20,
                timeout_keep_alive=75,
            )
        )  # fmt: skip

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain."""
        if self._drain is None and self.started:
            self._drain = asyncio.get_running_loop().create_task(self._draining())
        else:
            super().handle_exit(sig, frame)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and serve it; what keeps it from starting is raised as it is, not logged."""
        async with self._app.router.lifespan_context(self._app):
            await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell where."""
        await super().startup(sockets)
        if self.started:
            if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
            self._tell(self._banner())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the streams that are still open, whose readers are told, then the connections."""
        await self._app.state.streams.close()
        await super().shutdown(sockets)

    @property
    def port(self) -> int:
        """Port that it listens on."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    async def _draining(self) -> None:
        bounds, seconds = self._app.state.bounds, self._settings.server.drain_s
        bounds.is_draining = True
        log.info("draining: %d requests are open, %g seconds at most", bounds.n_open, seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._app.state.streams.wait_ended()
                await bounds.wait_idle()
        except TimeoutError:
            log.warning("%d requests did not end in time and are closed", bounds.n_open)
        self.should_exit = True

    def _reload(self) -> None:
        try:
            self._app.state.service.reload_policies()
        except PolicyError as error:
            log.error("policies were not reloaded: %s", error)
        else:
            log.info("policies were reloaded")

    def _banner(self) -> str:
        service, settings = self._app.state.service, self._settings
        info, host = service.guard.engine.info, settings.server.host
        address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        n_keys = len(settings.keys)
        keys = f"{n_keys} key{'s' * (n_keys > 1)}" if n_keys else "no keys, every caller is let in"
        upstream = settings.upstream.base_url if settings.upstream else "none: /v1/chat/completions answers 503"
        return "\n".join((
            f"guardrail serves {address}",
            f"  model     {info.name} ({info.engine}, {info.precision}, {info.sha256[:12]})",
            f"  policy    {service.guard.policy.name}",
            f"  keys      {keys}",
            f"  upstream  {upstream}",
            f"  records   {without_password(settings.records.path or 'the latest in memory')}",
        ))  # fmt: skip


def serve(app: FastAPI, settings: Settings, tell: Callable[[str], None]) -> None:
    """Serve until a signal ends it.

    Args:
        app: made by `create_app`.
        settings: the ones it was made with.
        tell: told the banner when it listens.

    Raises:
        OSError: the address cannot be had.
    """
    set_up_logging(settings.server.log)
    server = Server(app, settings, tell)
    try:
        server.run()
    except SystemExit as error:
        raise OSError(f"cannot listen on {settings.server.host}:{settings.server.port}") from error


def set_up_logging(form: str) -> None:
    """Send log lines to stderr, as text or as JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs URLs


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line; an exception is named, with the place it came from."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
            **{name: value for name, value in vars(record).items() if name.startswith(PREFIX)},
        }
        if record.exc_info and record.exc_info[0]:  # of a library; its words may hold text of users
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False)
