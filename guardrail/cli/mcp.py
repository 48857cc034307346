"""`guardrail mcp`: a proxy before an MCP server."""

import logging
import sys
from typing import Annotated

from cyclopts import Parameter

from guardrail.cli.options import GuardOptions
from guardrail.errors import ConfigurationError

_DEFAULTS = GuardOptions()


def mcp(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    options: GuardOptions = _DEFAULTS,
) -> int:
    """Screen what passes between an MCP client and a server that speaks over stdio.

    Put it before the server's command in the client's configuration:

    ```sh
    guardrail mcp --policy strict --records decisions.jsonl -- npx some-mcp-server /data
    ```

    Tool descriptions are read once each, calls before they run, results before the client sees them. A tool with a
    poisoned description is not listed; a refused call and a withheld result are answered as an error that the LLM can
    read. All else is read too and passed on as it is. A call for which the policy would ask a person is refused.

    stdout belongs to the protocol; what was stopped is said on stderr, never its text. Exits with the server's exit
    code if the server ends by itself, with 0 if the client leaves.

    Args:
        command: starts the server, with its own options; behind `--`, as in
            `guardrail mcp --policy strict -- npx some-mcp-server /data`.
        options: which guard, where records go.
    """
    from guardrail.adapters.mcp import run_proxy

    if not command:
        raise ConfigurationError("there is no server to run", hint="guardrail mcp -- command arguments")
    log_to_stderr()
    with options.opened() as guard:
        return run_proxy(guard, command)


def log_to_stderr() -> None:
    """Say on stderr what the guard does."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("guardrail: %(message)s"))
    logger = logging.getLogger("guardrail")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
