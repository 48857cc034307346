"""MCP: a proxy that screens what passes between any client and a server. On the command line: `guardrail mcp`."""

try:
    import mcp as _mcp  # noqa: F401 - asked for here so that its absence is told in one place
except ImportError as error:
    from guardrail.errors import MissingExtra

    raise MissingExtra("mcp", "mcp") from error

from guardrail.adapters.mcp.proxy import Proxy
from guardrail.adapters.mcp.stdio import run_proxy

__all__ = ["Proxy", "run_proxy"]
