"""The packages are the API: what they export is written out, exists and is documented."""

import importlib
import importlib.util
from types import FunctionType, ModuleType

import pytest

NEEDS: dict[str, tuple[str, ...]] = {
    "guardrail": (),
    "guardrail.client": ("httpx", "websockets"),
    "guardrail.leaktest": (),
    "guardrail.onnx_export": ("onnx",),
    "guardrail.records": (),
    "guardrail.service": ("fastapi", "uvicorn"),
    "guardrail.testing": (),
    "guardrail.adapters.langchain": ("langchain_core", "langchain"),
    "guardrail.adapters.litellm": ("litellm", "fastapi"),
    "guardrail.adapters.mcp": ("mcp",),
    "guardrail.adapters.openai_agents": ("agents",),
    "guardrail.adapters.pydantic_ai": ("pydantic_ai",),
}
"""Package to the foreign ones that all of its names need."""

PACKAGES = list(NEEDS)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_exported_name_exists(name: str) -> None:
    """`from package import *` works: no name in `__all__` is a typo or a leftover."""
    package = load(name)
    missing = [member for member in package.__all__ if not hasattr(package, member)]
    assert not missing


@pytest.mark.parametrize("name", PACKAGES)
def test_exports_are_sorted_and_distinct(name: str) -> None:
    """`__all__` reads as a table of contents."""
    exported = list(load(name).__all__)
    assert exported == sorted(set(exported))


@pytest.mark.parametrize("name", PACKAGES)
def test_public_attributes_are_exported(name: str) -> None:
    """Every public class or function that a package shows under its own name stands in `__all__`."""
    package = load(name)
    home = "guardrail" if hasattr(package, "__path__") else name  # a module shows what it imports too
    shown = {
        member
        for member, value in vars(package).items()
        if not member.startswith("_") and getattr(value, "__module__", "").startswith(home)
    }
    assert shown <= set(package.__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_exported_class_or_function_has_a_docstring(name: str) -> None:
    """What users import says what it is."""
    package = load(name)
    bare = [member for member in package.__all__ if _needs_docstring(getattr(package, member))]
    assert not bare


def _needs_docstring(value: object) -> bool:
    return isinstance(value, type | FunctionType) and not value.__doc__


def load(name: str) -> ModuleType:
    """Import a package, or skip with the extra that is missing."""
    if missing := [package for package in NEEDS[name] if importlib.util.find_spec(package) is None]:
        pytest.skip(f"needs {missing[0]}")
    return importlib.import_module(name)
