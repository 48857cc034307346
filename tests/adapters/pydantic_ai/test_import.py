"""What importing the adapter needs."""

import subprocess
import sys


def test_a_missing_framework_names_the_extra() -> None:
    """Without the framework the import says what to install."""
    code = (
        "import sys; sys.modules['pydantic_ai'] = None\n"
        "from guardrail import MissingExtra\n"
        "try:\n    import guardrail.adapters.pydantic_ai\n"
        "except MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "guardrail-stream[pydantic-ai]" in done.stdout
