"""What importing costs: a promise kept in fresh interpreters."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "torch", "transformers", "langchain", "langchain_core", "litellm", "sqlalchemy", "fastapi", "starlette", "uvicorn",
    "onnx", "sklearn", "scipy", "pandas", "matplotlib", "huggingface_hub", "httpx", "requests",
}  # fmt: skip
"""What no import of the core may load; users pay for these when they use what needs them."""


def loaded_by(statement: str) -> tuple[set[str], float]:
    """Run a statement in a fresh interpreter; return the top-level modules it loaded and the seconds it took."""
    code = (
        f"import json, sys, time; t = time.perf_counter(); {statement}; s = time.perf_counter() - t; "
        "print(json.dumps([sorted({name.partition('.')[0] for name in sys.modules}), s]))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    names, seconds = json.loads(done.stdout)
    return set(names), seconds


@pytest.mark.parametrize(
    "module",
    ["guardrail", "guardrail.records", "guardrail.testing", "guardrail.cli.main", "guardrail.adapters"],
)
def test_importing_the_core_loads_nothing_heavy(module: str) -> None:
    """Neither torch nor an agent framework nor a web framework comes with the core, the records or the command line."""
    names, seconds = loaded_by(f"import {module}")
    print(f"import {module}: {seconds:.2f} s")
    assert not names & HEAVY


def test_importing_the_core_does_not_start_the_runtime() -> None:
    """onnxruntime is loaded with the first model, so that `guardrail --help` and type imports stay quick."""
    names, _ = loaded_by("import guardrail")
    assert "onnxruntime" not in names
