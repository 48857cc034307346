"""What importing the adapter needs."""

import subprocess
import sys


def test_a_missing_langchain_core_names_the_extra() -> None:
    """Without langchain-core the import says what to install."""
    code = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "from guardrail import MissingExtra\n"
        "try:\n    import guardrail.adapters.langchain\n"
        "except MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "guardrail-stream[langchain]" in done.stdout


def test_only_langchain_core_is_loaded() -> None:
    """The adapter pulls in neither langchain nor langgraph."""
    code = (
        "import guardrail.adapters.langchain, sys; print([m for m in ('langchain', 'langgraph') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
