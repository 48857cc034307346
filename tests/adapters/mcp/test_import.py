"""What importing the adapter needs."""

import subprocess
import sys


def test_a_missing_mcp_names_the_extra() -> None:
    """Without the official package the import says what to install."""
    code = (
        "import sys; sys.modules['mcp'] = None\n"
        "from guardrail import MissingExtra\n"
        "try:\n    import guardrail.adapters.mcp\n"
        "except MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "guardrail-stream[mcp]" in done.stdout
