"""Checks with pyright that the public API is typed completely: `make verify-types`.

Pyright takes every module without an underscore for public. Ours are private, and the packages are the API: so what
counts is each name that a package in `PUBLIC` exports, with its members and those of its bases. Of all modules the
share is printed too. Runs in an environment that holds the built wheel, and everything that the adapters import.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PUBLIC = (
    "guardrail", "guardrail.client", "guardrail.leaktest", "guardrail.records", "guardrail.service", "guardrail.testing",
    "guardrail.onnx_export", "guardrail.adapters.langchain", "guardrail.adapters.litellm", "guardrail.adapters.mcp",
    "guardrail.adapters.openai_agents", "guardrail.adapters.pydantic_ai",
)  # fmt: skip
"""Packages that users import from."""


def exported(packages: Iterable[str] = PUBLIC) -> set[str]:
    """Return the full names of all that the packages export, where it is defined, and of our classes it derives from."""
    found: set[str] = set()
    for package in packages:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            found.add(f"{package}.{name}")
            kinds = value.__mro__ if isinstance(value, type) else [value]
            found |= {place for kind in kinds if (place := _place(kind)).startswith("guardrail.")}
    return found


def incomplete(symbols: Iterable[Mapping[str, Any]], names: set[str]) -> list[str]:
    """Return a line for each fault of pyright's report that lies in one of the names, or in a member of it."""
    lines = []
    for symbol in symbols:
        if not any(symbol["name"] == name or symbol["name"].startswith(f"{name}.") for name in names):
            continue
        for fault in symbol["diagnostics"]:
            if fault["severity"] == "error":
                told = " ".join(fault["message"].split())
                lines.append(f"{symbol['name']}: {told}")
    return lines


def verify() -> dict[str, Any]:
    """Return pyright's report on the installed package.

    Pyright looks into the environment whose `python` comes first on the path; --pythonpath alone does not tell it.
    """
    folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(folder.parent)}
    command = [str(folder / "pyright"), "--verifytypes", "guardrail", "--ignoreexternal", "--outputjson"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    report: dict[str, Any] = json.loads(done.stdout)["typeCompleteness"]
    return report


def _place(value: object) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def main() -> int:
    """Print what is not typed completely in the public API; return 1 if there is anything, or nothing was looked at."""
    report, names = verify(), exported()
    faults = sorted({*incomplete(report["symbols"], names)})
    print("\n".join(faults))
    n_looked_at = sum(any(one["name"] == name or one["name"].startswith(f"{name}.") for name in names) for one in report["symbols"])
    print(f"public API: {len(names)} names, {n_looked_at} symbols, {len(faults)} faults")
    print(f"all modules: {100 * report['completenessScore']:.1f} % of symbols have a known type")
    return int(bool(faults) or not n_looked_at)


if __name__ == "__main__":
    sys.exit(main())
