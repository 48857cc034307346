"""An MCP server over stdio; what its tool brings back is risky where a plus sign was asked for."""

from mcp.server.mcpserver import MCPServer
from mcp.types import TextContent

server = MCPServer("tools")


@server.tool(structured_output=False)
def echo(text: str) -> list[TextContent]:
    """Give back a text."""
    return [TextContent(type="text", text=part) for part in text.replace("+", "☠☠ FORBIDDEN").split("|")]


server.run()
