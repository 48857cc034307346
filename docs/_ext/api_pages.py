"""The Python reference: a page for each public module, whose names and docstrings Sphinx reads from the code."""

import ast
import importlib
import inspect
import itertools
import sys
from enum import Enum
from types import ModuleType
from typing import Any

import pieces

GROUPS = {
    "Guard and streams": (
        *("guard", "stream", "batches", "conversation", "tool_calls", "screening", "repair", "encoding"),
        "engines.runtime",
    ),
    "Verdicts and decisions": ("taxonomy", "verdict", "decision", "actions"),
    "Policies": ("policy", "policy_file", "tool_rules", "cascade_rules", "normalise_rules"),
    "Errors": ("errors",),
}
"""The names of `guardrail` by the module that defines them. One from another module has no place, which is an error."""

MODULES = {
    "guardrail.adapters.langchain": "LangChain",
    "guardrail.adapters.litellm": "LiteLLM",
    "guardrail.adapters.openai_agents": "OpenAI Agents SDK",
    "guardrail.adapters.pydantic_ai": "pydantic-ai",
    "guardrail.adapters.mcp": "MCP",
    "guardrail.client": "Client of the service",
    "guardrail.service": "The service, from Python",
    "guardrail.records": "Records",
    "guardrail.onnx_export": "Export",
    "guardrail.ahead": "Reading an LLM ahead",
    "guardrail.engines.base": "The engine protocol",
    "guardrail.testing": "For tests",
    "guardrail.leaktest": "Leak test",
}
"""Public modules beside `guardrail` itself, and what their pages are called."""


def pages() -> dict[str, str]:
    """Return the pages by their names, and the page that lists them."""
    made = {"api/guardrail.md": package_page()}
    for name, title in MODULES.items():
        module = importlib.import_module(name)
        made[f"api/{name}.md"] = f"# {title}: `{name}`\n\n{_about(module)}{_objects(name, public_names(module))}"
    links = "".join(f"- [`{name}`]({name}.md): {pieces.summary(importlib.import_module(name))}\n" for name in MODULES)
    first = f"- [`guardrail`](guardrail.md): {pieces.summary(importlib.import_module('guardrail'))}\n"
    toc = pieces.code("\n".join((":hidden:", "", "guardrail", *MODULES)), "{toctree}")
    made["api/index.md"] = f"# Python\n\nEvery public name, from the docstrings of the code.\n\n{first}{links}\n{toc}"
    return made


def public_names(module: ModuleType) -> list[str]:
    """Return what a module offers: its `__all__`, or what it defines itself without an underscore."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed, key=str.lower)
    own = [(name, getattr(module, name)) for name in vars(module) if not name.startswith("_")]
    return [
        name
        for name, thing in own
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == module.__name__
    ]


def homes() -> dict[str, str]:
    """Return where each public object is documented, by where it is defined."""
    found: dict[str, str] = {}
    for module_name in (*reversed(MODULES), "guardrail"):
        module = importlib.import_module(module_name)
        for name in public_names(module):
            thing = getattr(module, name)
            if hasattr(thing, "__qualname__"):
                found[f"{thing.__module__}.{thing.__qualname__}"] = f"{module_name}.{name}"
    return found


def package_page() -> str:
    """Return the page of `guardrail`, its names in their groups."""
    module = importlib.import_module("guardrail")
    text = f"# `guardrail`\n\n{_about(module)}"
    left = {name: getattr(module, name).__module__.removeprefix("guardrail.") for name in module.__all__}
    for group, sources in GROUPS.items():
        names = sorted((name for name, home in left.items() if home in sources), key=lambda n: sources.index(left[n]))
        text += f"## {group}\n\n{_objects('guardrail', names)}"
        left = {name: home for name, home in left.items() if name not in names}
    if left:
        raise ValueError(f"public names without a group in docs/_ext/api_pages.py: {left}")
    return text


def _about(module: ModuleType) -> str:
    """Return a module's docstring; paragraphs of it that are Python become a block of code."""
    text, waiting = "", ""
    for paragraph in [*(inspect.getdoc(module) or "").split("\n\n"), ""]:
        if paragraph and _is_code(paragraph):
            waiting += f"{paragraph}\n\n"
            continue
        text += pieces.code(waiting, "python") if waiting else ""
        text, waiting = f"{text}{paragraph}\n\n", ""
    return text


def _is_code(paragraph: str) -> bool:
    try:
        return bool(ast.parse(paragraph).body)
    except SyntaxError:
        return False


def _objects(module: str, names: list[str]) -> str:
    return pieces.code("\n\n".join(_directive(module, name) for name in names), "{eval-rst}")


def _directive(module: str, name: str) -> str:
    thing = getattr(importlib.import_module(module), name)
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return f".. py:data:: {module}.{name}\n\n   {_said_of(module, name)}"
    what = "exception" if _is_a(thing, BaseException) else "class" if inspect.isclass(thing) else "function"
    lines = [f".. auto{what}:: {module}.{name}"]
    if inspect.isclass(thing):
        lines += [f"   :{option}" for option in _options(thing)]
    return "\n".join(lines)


def _said_of(package: str, name: str) -> str:
    """Return what stands under a constant in the module of a package that defines it."""
    for module in sorted(name for name in sys.modules if f"{name}.".startswith(f"{package}.")):
        lines = ast.parse(inspect.getsource(sys.modules[module])).body
        for line, below in itertools.pairwise(lines):
            match line, below:
                case ast.Assign(targets=[ast.Name(id=found)]) | ast.AnnAssign(target=ast.Name(id=found)), ast.Expr(
                    value=ast.Constant(value=str(said))
                ) if found == name:
                    return " ".join(said.split())
    raise ValueError(f"{package}.{name} has no docstring")


def _options(thing: type[Any]) -> list[str]:
    """Return what Sphinx shows of a class: its members, also inherited ones if all are ours; values of enumerations."""
    if issubclass(thing, Enum):
        return ["members:", "undoc-members:", "member-order: bysource"]
    is_ours = all(kind.__module__.startswith("guardrail") or kind is object for kind in thing.__mro__)
    options = ["members:", "show-inheritance:"] if issubclass(thing, BaseException) else ["members:"]
    return [*options, "inherited-members:"] if is_ours and not issubclass(thing, BaseException) else options


def _is_a(thing: object, kind: type) -> bool:
    return inspect.isclass(thing) and issubclass(thing, kind)
