# long: most of it is the tables that say who may import whom
"""Who may import whom: the arrows of the architecture, read from the sources with ast."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAPPED = {"guardrail": "guardrail", "adapters": "guardrail.adapters", "onnx_export": "guardrail.onnx_export"}
"""Folder at the top of the repository to the package it is installed as."""

LEAVES = {"taxonomy", "errors", "actions", "stop_texts", "sqlite_log", "whole_files", "file_hash"}
"""Everybody may import these; they import the standard library only."""
RULES = {"verdict", "cascade_rules", "normalise_rules", "policy", "policy_file", "tool_rules", "decision"}
TEXT = {"conversation", "encoding", "windowing"}
MOVING = {
    "engines.base",
    "engines.runtime",
    "tape",
    "prefixes",
    "reuse",
    "gate",
    "scores",
    "reader",
    "reading",
    "token_reader",
    "driving",
    "context",
    "answering",
    "stream",
    "checking",
    "weighing",
}
AGENTS = {"json_text", "repair", "screening", "tool_calls"}
WAITING = {"ahead", "waiting", "closing"}
"""For adapters: streams read ahead, sync and async written once, and what follows a stop."""
FACES = {"batches", "judging", "loading", "tool_checks"}
"""Parts of the facade."""
CORE = RULES | TEXT | MOVING | AGENTS | FACES | {"cascade", "guard", "normalising", "records.base"}
FACADE = CORE | WAITING | {"records", "testing"}

MAY_IMPORT: dict[str, set[str]] = {
    "": CORE,
    "taxonomy": set(),
    "errors": set(),
    "verdict": set(),
    "actions": set(),
    "stop_texts": set(),
    "sqlite_log": set(),
    "whole_files": set(),
    "file_hash": set(),
    "tool_rules": set(),
    "cascade_rules": {"verdict"},
    "normalise_rules": set(),
    "normalising": {"normalising"},
    "normalising.tapes": {"reuse", "tape"},
    "normalising.second": {"normalising.twin", "reader", "tape", "verdict"},
    "normalising.reader": {"conversation", "normalise_rules", "normalising", "policy", "reader", "reuse", "tape"}
    | {"verdict"},
    "policy": {"verdict", "cascade_rules", "normalise_rules", "tool_rules"},
    "policy_file": {"policy", "cascade_rules", "normalise_rules", "tool_rules"},
    "policy_text": {"policy", "policy_file"},
    "decision": {"verdict", "policy"},
    "conversation": set(),
    "encoding": {"conversation"},
    "json_text": set(),
    "ahead": set(),
    "waiting": set(),
    "closing": RULES,
    "repair": RULES,
    "windowing": {"conversation", "encoding", "tape"},
    "gate": {"verdict", "policy", "decision"},
    "weighing": RULES | {"gate"},
    "engines": {"engines", "verdict", "checkpoint", "checkpoint_config", "exported"},
    "engines.base": {"verdict"},
    "engines.runtime": set(),
    "engines.pool": set(),
    "engines.packing": {"engines.base"},
    "engines.isolating": {"engines.base"},
    "engines.requests": {"engines.base", "engines.scheduled"},
    "engines.scheduler": {"engines.requests"},
    "engines.scheduled": {"engines.base", "engines.isolating", "engines.requests", "engines.runtime"}
    | {"engines.scheduler"},
    "engines.torch": {"engines.base", "engines.runtime", "verdict", "checkpoint", "checkpoint_config", "network"},
    "tape": {"engines.base"},
    "prefixes": {"tape"},
    "reuse": {"engines.base", "prefixes", "tape"},
    "scores": {"engines.base", "verdict"},
    "reader": {"conversation", "policy", "reuse", "tape", "verdict"},
    "reading": {"engines.base", "tape", "reuse", "scores", "verdict", "policy"} | TEXT,
    "token_reader": {"policy", "reader", "reading", "reuse", "scores", "tape"} | TEXT,
    "driving": {"engines.base", "tape"},
    "cascade": {"conversation", "engines.base", "policy", "prefixes", "reader", "reuse", "tape", "verdict"},
    "context": RULES | {"conversation", "engines.base", "reader", "repair", "reuse", "tape", "weighing"},
    "answering": RULES | TEXT | MOVING - {"checking", "stream"},
    "stream": RULES | {"answering", "driving", "tape"},
    "checking": RULES | TEXT | {"json_text"} | MOVING - {"stream", "gate"},
    "screening": RULES | TEXT | MOVING - {"stream", "gate"},
    "tool_calls": {"decision", "json_text", "stream", "tape"},
    "batches": RULES | TEXT | MOVING | {"tool_calls"},
    "judging": RULES | TEXT | MOVING,
    "loading": {"encoding", "engines.base", "engines.runtime", "policy_file", "reader", "records.base", "reuse"},
    "tool_checks": RULES | TEXT | MOVING | AGENTS,
    "guard": CORE - {"guard"},
    "generative": {"generative", "engines.base", "policy", "reader", "reuse", "scores", "tape", "verdict"} | TEXT,
    "generative.template": {"conversation"},
    "generative.spoofing": set(),
    "generative.labels": {"encoding", "generative.template"},
    "loader": CORE
    | {"generative"}
    | {"assets", "engines", "checkpoint", "checkpoint_config", "exported"}
    | {"records"},
    "records": {"records", "decision", "json_text", "policy", "tape", "verdict"},
    "testing": TEXT | {"engines.base", "verdict", "decision", "records"},
    "tensor_files": set(),
    "checkpoint": {"checkpoint_config", "encoding", "generative.labels", "tensor_files"},
    "checkpoint_config": {"verdict"},
    "exported": {"checkpoint_config", "engines.runtime", "verdict"},
    "network": {"checkpoint", "checkpoint_config", "network"},
    "assets": set(),
    "audit": RULES | {"audit", "gate", "records", "weighing"},
    "bench": FACADE | {"bench", "engines", "loader", "checkpoint", "checkpoint_config", "exported"},
    "cli": FACADE | {"cli", "audit", "bench", "doctor", "evaluation", "leaktest", "policy_text"} | {"scanning"},
    "doctor": FACADE | {"assets", "bench.machine", "doctor", "exported", "loader"},
    "abilities": FACADE | {"abilities", "audit.pages", "evaluation"},
    "openai_categories": set(),
    "evaluation": FACADE | {"audit.intervals", "audit.pages", "evaluation", "engines", "loader", "checkpoint"},
    "evaluation.endpoint_judges": FACADE | {"evaluation", "generative.client", "openai_categories"},
    "training": FACADE
    | {
        "training",
        "assets",
        "audit.pages",
        "engines",
        "network",
        "evaluation",
        "generative",
        "checkpoint",
        "checkpoint_config",
        "loader",
    },
    "audit.pages": {"audit.pages", "audit.report", "audit.wording"},
    "training.own": FACADE
    | {"training", "evaluation", "audit", "onnx_export", "loader", "checkpoint", "checkpoint_config", "exported"}
    | {"policy_text"},
    "training.rewards.gathering": {"service", "training.rewards"},
    "training.rewards.running": {"service", "training.rewards"},
    "training.rewards.serve_settings": {"service", "training"},
    "training.rewards.serving": {"service", "training.rewards"},
    "training.rewards.remote": set(),
    "training.translate.review": {"training.translate.sheet", "audit.intervals"},
    "training.tuning.page": {"training.losses", "audit.pages"},
    "leaktest": FACADE | {"leaktest"},
    "scanning": FACADE | {"scanning"},
    "stream_protocol": RULES | {"records"},
    "client": {"client", "stream_protocol", "records", "waiting"},
    "service": FACADE | {"service", "wire", "stream_protocol", "openai_categories"},
    "wire": FACADE | {"wire"},
    "adapters": FACADE | {"wire"},
    "adapters.langchain.spy": FACADE | {"leaktest"},
    "adapters.langchain.spy_calls": FACADE | {"leaktest"},
    "onnx_export": {"onnx_export", "checkpoint", "checkpoint_config", "exported", "generative", "verdict"} | TEXT,
    "onnx_export.agreement": {"onnx_export", "engines"},
    "onnx_export.calibrate": {"onnx_export", "checkpoint", "checkpoint_config", "exported", "engines"} | TEXT,
    "onnx_export.verify": {
        "onnx_export",
        "checkpoint",
        "checkpoint_config",
        "exported",
        "verdict",
        "engines",
        "network",
    }
    | TEXT,
    "onnx_export.optimum_engine": {"onnx_export", "checkpoint", "checkpoint_config", "engines", "verdict"},
    "onnx_export.optimum_verify": {"onnx_export", "checkpoint", "engines"} | TEXT,
}
"""Module (longest matching prefix, without `guardrail.`) to the modules it may import, leaves apart."""

LAZILY: dict[str, set[str]] = {
    "loading": {"loader", "generative"},
    "loader": {"onnx_export", "engines.torch"},
    "bench": {"onnx_export"},
    "cli": {"abilities", "adapters", "training", "onnx_export", "checkpoint", "loader", "service"},
    "abilities": {"training.recipe", "training.rewards", "training.settings"},
}
"""What a module may import besides, inside a function only."""

ALLOWED_OUTSIDE: dict[str, set[str]] = {
    "": set(),
    "policy_file": {"pydantic"},
    "records": {"pydantic"},
    "records.positions": {"numpy"},
    "records.otel": {"opentelemetry"},
    "records.parquet": {"pyarrow"},
    "records.sql": {"sqlalchemy", "alembic"},
    "encoding": {"tokenizers"},
    "generative.client": {"httpx"},
    "generative.local": {"numpy"},
    "engines": {"numpy"},
    "engines.onnx": {"numpy", "onnxruntime"},
    "engines.torch": {"numpy", "torch"},
    "scores": {"numpy"},
    "testing": {"numpy"},
    "tensor_files": {"numpy"},
    "checkpoint": {"numpy"},
    "checkpoint_config": {"pydantic"},
    "network": {"torch", "numpy", "safetensors"},
    "exported": {"pydantic"},
    "loader": {"numpy", "pydantic", "huggingface_hub", "filelock", "rich", "tokenizers"},
    "audit": {"numpy"},
    "audit.report": {"rich"},
    "bench": {"numpy", "onnxruntime", "rich"},
    "bench.reference": {"torch"},
    "cli": {"cyclopts", "rich", "httpx", "langchain_core"},
    "evaluation": {"numpy", "sklearn", "rich", "pydantic", "scipy"},
    "evaluation.columns": {"pyarrow"},
    "evaluation.datasets": set(),
    "evaluation.datasets.hub": {"huggingface_hub"},
    "training": {"torch", "numpy", "rich", "pydantic", "sklearn", "tokenizers", "safetensors", "onnx"},
    "training.annotate": {"crowdkit", "numpy", "pandas", "pydantic", "sklearn"},
    "training.distil": {"numpy", "pydantic", "rich", "torch", "transformers"},
    "training.gen": {"numpy", "peft", "pydantic", "torch", "transformers"},
    "training.learners": {"numpy", "pydantic", "scipy", "sklearn", "threadpoolctl", "torch"},
    "training.rl": {"accelerate", "datasets", "numpy", "pydantic", "rich", "torch", "transformers", "trl"},
    "training.rl.toy": {"numpy", "tokenizers", "torch", "transformers"},
    "training.sft_gen": {"datasets", "numpy", "peft", "rich", "torch", "transformers", "trl"},
    "training.teach": {"numpy", "pydantic", "rich", "sklearn", "torch"},
    "training.own": {"numpy", "pydantic", "rich", "torch"},
    "training.rewards": {"pydantic"},
    "training.rewards.classifier": {"torch", "transformers"},
    "training.rewards.learning": {"datasets", "numpy", "pydantic", "rich", "torch", "transformers", "trl"},
    "training.rewards.remote": set(),
    "training.rewards.running": {"starlette", "uvicorn"},
    "training.rewards.serving": {"prometheus_client", "pydantic", "starlette"},
    "training.translate": {"lingua", "numpy", "pydantic"},
    "training.tuning": {"numpy", "peft", "pydantic", "safetensors", "sklearn", "torch", "transformers"},
    "training.mix.split_files": {"pyarrow"},
    "training.recipe": {"filelock", "numpy", "pyarrow", "pydantic", "rich"},
    "training.recipe.duplicates": {"numpy", "rapidfuzz"},
    "training.recipe.endpoint": {"openai"},
    "training.recipe.lanes": {"aiolimiter"},
    "training.recipe.checkpoint": {"torch", "transformers"},
    "training.recipe.ray": {"ray"},
    "abilities": {"numpy", "pydantic"},
    "abilities.hub": {"huggingface_hub"},
    "doctor": set(),
    "leaktest": {"httpx", "rich"},
    "stream_protocol": {"pydantic"},
    "client": {"httpx", "pydantic", "websockets"},
    "scanning": {"pydantic"},
    "scanning.parquet": {"pyarrow"},
    "scanning.ray": {"ray"},
    "service": {"fastapi", "starlette", "uvicorn", "pydantic", "pydantic_settings", "limits", "prometheus_client"}
    | {"httpx"},
    "service.ray": {"ray", "fastapi", "pydantic"},
    "adapters.langchain": {"langchain_core"},
    "adapters.langchain.approval": {"langchain_core", "langchain", "langgraph", "pydantic", "annotated_types"}
    | {"typing_extensions"},
    "adapters.langchain.middleware": {"langchain_core", "langchain", "langgraph"},
    "adapters.langchain.middleware_results": {"langchain_core", "langchain", "langgraph"},
    "adapters.langchain.middleware_structure": {"langchain_core", "langchain", "langgraph"},
    "adapters.langchain.spy": {"langchain_core", "langgraph"},
    "adapters.litellm": {"litellm", "fastapi", "pydantic"},
    "adapters.mcp": {"mcp", "anyio", "pydantic"},
    "adapters.openai_agents": {"agents", "openai"},
    "adapters.pydantic_ai": {"pydantic_ai"},
    "onnx_export": {"onnx", "numpy", "safetensors", "pydantic", "tokenizers", "rich", "ml_dtypes"},
    "onnx_export.optimum": {"onnx", "optimum", "torch", "transformers"},
    "onnx_export.optimum_engine": {"numpy"},
    "onnx_export.verify": {"onnx", "numpy", "torch", "onnxruntime", "rich", "tokenizers"},
}
"""Module (longest prefix) to the foreign packages it may import."""


@dataclass(frozen=True)
class Import:
    """One import statement's target."""

    name: str
    line: int
    is_lazy: bool


def sources() -> Iterator[tuple[str, Path]]:
    """Every module of the package by its name, wherever its folder lies."""
    for folder, package in MAPPED.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


MODULES = dict(sources())


def imports(module: str) -> list[Import]:
    """All imports of a module but those for type checkers only; `from package import module` names the module."""
    found: list[Import] = []

    def visit(node: ast.AST, is_lazy: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, is_lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: import absolutely"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append(Import(whole if whole in MODULES else str(node.module), node.lineno, is_lazy))
        for child in ast.iter_child_nodes(node):
            visit(child, is_lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    visit(ast.parse(MODULES[module].read_text("utf-8")), False)
    return found


def inner(module: str) -> str:
    """A module's name without `guardrail.`."""
    return module.removeprefix("guardrail").removeprefix(".")


def longest(table: dict[str, set[str]], name: str) -> set[str]:
    """The entry of the longest key that is `name` or a package around it."""
    keys = [key for key in table if key and (name == key or name.startswith(f"{key}."))]
    return table[max(keys, key=len)] if keys else table.get("", set())


def within(name: str, allowed: set[str]) -> bool:
    """Whether `name` is one of the allowed modules or lies in one."""
    return any(name == key or name.startswith(f"{key}.") for key in allowed)


@pytest.mark.parametrize("module", MODULES)
def test_arrows_between_our_modules_run_one_way(module: str) -> None:
    """A module imports only what stands below it; a few reach up, inside a function, by name."""
    name = inner(module)
    assert name == "" or any(name == key or name.startswith(f"{key}.") for key in MAY_IMPORT), (
        f"{module} is new: say in MAY_IMPORT what it may import"
    )
    package = ".".join(name.split(".")[:2]) if name.startswith("adapters.") else name
    allowed = longest(MAY_IMPORT, name) | LEAVES | ({package} if package else set())
    lazily = longest(LAZILY, name)
    wrong = [
        f"{module}:{found.line} imports {found.name}"
        for found in imports(module)
        if found.name.split(".")[0] == "guardrail"
        and inner(found.name) != ""
        and not within(inner(found.name), allowed | (lazily if found.is_lazy else set()))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", MODULES)
def test_foreign_packages_are_imported_only_where_they_belong(module: str) -> None:
    """The rules of the domain use the standard library; each foreign package has its few modules."""
    allowed = longest(ALLOWED_OUTSIDE, inner(module))
    wrong = [
        f"{module}:{found.line} imports {found.name}"
        for found in imports(module)
        if found.name.split(".")[0] not in {"guardrail", *sys.stdlib_module_names, *allowed}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("guardrail.adapters.")])
def test_an_adapter_never_imports_another(module: str) -> None:
    """Each framework's folder stands alone."""
    own = ".".join(module.split(".")[:3])
    adapters = [found.name for found in imports(module) if found.name.startswith("guardrail.adapters.")]
    assert [name for name in adapters if not within(name, {own})] == []


def test_modules_are_never_imported_by_their_folder_names() -> None:
    """`adapters` and `onnx_export` are folders; the packages are `guardrail.adapters` and `guardrail.onnx_export`."""
    found = {i.name.split(".")[0] for module in MODULES for i in imports(module)}
    assert not found & {"adapters", "onnx_export"}
