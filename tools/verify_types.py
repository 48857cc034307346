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
    "guardrail", "guardrail.client", "guardrail.leaktest", "guardrail.onnx_export", "guardrail.records",
    "guardrail.service", "guardrail.testing", "guardrail.adapters.langchain", "guardrail.adapters.litellm",
    "guardrail.adapters.mcp", "guardrail.adapters.openai_agents", "guardrail.adapters.pydantic_ai",
)  # fmt: skip
"""Packages that users import from."""

_GATEWAY = "guardrail.adapters.litellm.guardrail.StreamGuardrail"
UNSEEN = {
    f"{_GATEWAY}.{name}"
    for name in (
        "apply_guardrail", "async_moderation_hook", "async_post_call_streaming_iterator_hook",
        "async_post_call_success_hook", "async_pre_call_hook", "get_supported_event_hooks",
    )
}  # fmt: skip
"""Members that only name types of `litellm.types`: pyright knows them when it checks a file, but not in this mode
(1.1.414, litellm 1.108). Each must still be told of, so that one that is no longer needed is noticed.
"""


def exported(packages: Iterable[str] = PUBLIC) -> set[str]:
    """Return the full names of what the packages export, where it is defined, and of our classes it derives from."""
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
        if not _is_in(symbol["name"], names):
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


def _is_in(symbol: str, names: set[str]) -> bool:
    """Whether a symbol is one of the names, or a member of one."""
    parts = symbol.split(".")
    return any(".".join(parts[:n]) in names for n in range(1, len(parts) + 1))


def _place(value: object) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def main() -> int:
    """Print what is not typed completely in the public API; return 1 if there is anything, or nothing was looked at."""
    report, names = verify(), exported()
    told = {*incomplete(report["symbols"], names)}
    unseen = {line for line in told if line.partition(": ")[0] in UNSEEN}
    faults = sorted(told - unseen)
    faults += sorted(f"{one}: take it out of UNSEEN" for one in UNSEEN - {line.partition(": ")[0] for line in unseen})
    print("\n".join(faults))
    n_looked_at = sum(_is_in(one["name"], names) for one in report["symbols"])
    print(
        f"public API: {len(names)} names, {n_looked_at} symbols, {len(faults)} faults; "
        f"{len(unseen)} that only pyright's mode makes"
    )
    print(f"all modules: {100 * report['completenessScore']:.1f} % of symbols have a known type")
    return int(bool(faults) or not n_looked_at)


if __name__ == "__main__":
    sys.exit(main())
