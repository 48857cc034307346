"""What importing the adapter needs."""

import subprocess
import sys


def test_a_missing_framework_names_the_extra() -> None:
    """Without the framework the import says what to install."""
    code = (
        "import sys; sys.modules['agents'] = None\n"
        "from guardrail import MissingExtra\n"
        "try:\n    import guardrail.adapters.openai_agents\n"
        "except MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "guardrail-stream[openai-agents]" in done.stdout
