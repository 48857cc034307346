"""`guardrail serve`: the HTTP service."""

import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal

from guardrail.cli.options import Flag


def serve(
    config: Path | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    model: str | None = None,
    engine: Literal["onnx", "torch", "generative"] | None = None,
    policy: str | None = None,
    threads: int | None = None,
    upstream: str | None = None,
    upstream_key: str | None = None,
    records: str | None = None,
    log: Literal["text", "json"] | None = None,
    allow_public: Flag = False,
    show_config: Flag = False,
) -> None:
    """Serve OpenAI-compatible moderation, a guarding proxy, token streams and a playground over HTTP.

    ```sh
    guardrail serve                                             # http://127.0.0.1:8000, the embedded model
    guardrail serve --upstream http://localhost:11434/v1        # change your client's base_url, nothing else
    guardrail serve guardrail.toml --host 0.0.0.0               # keys, limits, policies by route
    curl localhost:8000/v1/moderations -H 'content-type: application/json' -d '{"input": "How do I bake bread?"}'
    ```

    Settings come from flags, then the environment (GUARDRAIL_SERVER__PORT=9000), then the file. The page is at `/`,
    the API's description at `/openapi.json`. SIGTERM drains: what is open may end, nothing new begins. SIGHUP reads the
    policies again.

    Args:
        config: TOML file; docs/service.md has all its keys.
        host: address; one that others can reach needs keys in the file, or --allow-public.
        port: TCP port; 0 takes a free one.
        model: guard model: "default" (embedded), a hub id, a checkpoint folder or an exported folder.
        engine: what runs it.
        policy: ready policy (strict, balanced, loose, shadow) or a TOML file.
        threads: threads of one model call.
        upstream: base URL of the OpenAI-compatible LLM behind /v1/chat/completions.
        upstream_key: its key; `os.environ/NAME` reads a variable.
        records: where decisions are recorded: a file of JSON lines, a SQLite file (.db), or a database's URL.
        log: form of the log lines.
        allow_public: serve a public address without keys.
        show_config: print the settings as they are understood, without secrets, and end.
    """
    from guardrail.service import create_app, load_settings
    from guardrail.service import run as running

    given: dict[str, dict[str, Any]] = {
        "server": {"host": host, "port": port, "log": log, "allow_public": allow_public or None},
        "guard": {"model": model, "engine": engine, "policy": policy, "threads": threads},
        "upstream": {"base_url": upstream, "api_key": upstream_key},
        "records": {"path": records},
    }
    said = {name: {key: value for key, value in part.items() if value is not None} for name, part in given.items()}
    settings = load_settings(config, **{name: part for name, part in said.items() if part})
    if show_config:
        print(settings.model_dump_json(indent=2))
        return
    running.serve(create_app(settings), settings, partial(print, file=sys.stderr, flush=True))
