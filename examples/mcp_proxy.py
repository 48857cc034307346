"""An MCP client and a server with `guardrail mcp` between them: a call that is abusive or forbidden never runs."""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.types import TextContent

SERVER = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("fan page")

@server.tool()
def post(comment: str) -> str:
    return f"posted: {comment}"

@server.tool()
def delete_page(title: str) -> str:
    return f"{title} is gone."

server.run()
"""
POLICY = """
name = "fan page"
[prompt]
controversial = "flag"
unsafe = "stop"
[response]
controversial = "stop"
unsafe = "stop"
[tools.names."delete_*"]
call = "ask"        # a proxy has nobody to ask: refused
"""
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("post", {"comment": "Well played by both sides."}),
    ("post", {"comment": "The referee is a fucking idiot and a stupid bitch, and everybody hates him."}),
    ("delete_page", {"title": "News"}),
]


async def main() -> None:
    """Make three calls, as an agent would."""
    with TemporaryDirectory() as folder:
        server, policy = Path(folder) / "server.py", Path(folder) / "policy.toml"
        server.write_text(SERVER)
        policy.write_text(POLICY)
        guarded = ["-m", "guardrail.cli", "mcp", "--policy", str(policy), "--", sys.executable, str(server)]
        async with Client(StdioServerParameters(command=sys.executable, args=guarded)) as client:
            for tool, arguments in CALLS:
                result = await client.call_tool(tool, arguments)
                text = "".join(block.text for block in result.content if isinstance(block, TextContent))
                print(f"{tool}: {'error: ' if result.is_error else ''}{text}")


if __name__ == "__main__":
    asyncio.run(main())
