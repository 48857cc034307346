"""No file that is read can run code: no pickle and no eval, read from the sources with ast."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    path for folder in ("guardrail", "adapters", "onnx_export") for path in sorted((ROOT / folder).rglob("*.py"))
]

FORBIDDEN_MODULES = {
    "cloudpickle", "code", "dill", "jsonpickle", "joblib", "marshal", "pickle", "pickletools", "shelve", "_pickle",
}  # fmt: skip
"""What turns bytes into objects of any kind, or into code."""

FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen",
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.Loader",
    "numpy.lib.format.read_array", "pandas.read_pickle", "torch.package.PackageImporter", "torch.jit.load",
}  # fmt: skip
"""What runs what it is given, or may."""

SAFE_ONLY_WITH = {
    "torch.load": ("weights_only", True),
    "numpy.load": ("allow_pickle", False),
}
"""Calls that are safe with one argument written out."""

NEVER_WITH = {"trust_remote_code": True, "shell": True, "allow_pickle": True}
"""Arguments that no call may have."""

REASONED: dict[str, str] = {}
"""Exceptions: `file: what is found` to the reason. There are none."""


def found_in(source: str) -> Iterator[str]:
    """Everything in a module that could run data."""
    tree = ast.parse(source)
    aliases = dict(_aliases(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"import {name}" for name in names if name.partition(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.Call):
            yield from _in_call(_name(node.func, aliases), node)


def _aliases(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Names that imports bind, with what they stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _name(node: ast.expr, aliases: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value, aliases)}.{node.attr}"
    return aliases.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def _in_call(name: str, call: ast.Call) -> Iterator[str]:
    given = {one.arg: one.value.value for one in call.keywords if isinstance(one.value, ast.Constant)}
    if name in FORBIDDEN_CALLS:
        yield name
    if name in SAFE_ONLY_WITH:
        argument, value = SAFE_ONLY_WITH[name]
        if argument not in given or given[argument] != value:
            yield f"{name} without {argument}={value}"
    yield from (
        f"{name} with {key}={value}" for key, value in NEVER_WITH.items() if key in given and given[key] == value
    )


def test_nothing_that_is_read_can_run() -> None:
    """Checkpoints, exports, corpora, records and policies are data: none of our modules could run what they hold."""
    assert len(SOURCES) > 150
    found = {f"{path.relative_to(ROOT)}: {what}" for path in SOURCES for what in found_in(path.read_text("utf-8"))}
    assert found == set(REASONED)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import pickle", "import pickle"),
        ("from pickle import loads", "import pickle"),
        ("import joblib.numpy_pickle as j", "import joblib"),
        ("import torch\ntorch.load(path)", "torch.load without"),
        ("from torch import load as l\nl(path, weights_only=False)", "torch.load without"),
        ("import numpy as np\nnp.load(path)", "numpy.load without"),
        ("import numpy as np\nnp.load(path, allow_pickle=True)", "numpy.load without"),
        ("import yaml\nyaml.load(text, yaml.Loader)", "yaml.load"),
        ("eval(text)", "eval"),
        ("exec(text)", "exec"),
        ("import subprocess as s\ns.run(text, shell=True)", "subprocess.run with shell"),
        ("from transformers import AutoModel\nAutoModel.from_pretrained(x, trust_remote_code=True)", "trust_remote"),
    ],
)
def test_what_could_run_is_found(source: str, expected: str) -> None:
    """The search above sees through renamed imports and missing arguments."""
    assert any(expected in what for what in found_in(source))


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "network.eval()",
        "import re\nre.compile(x)",
        "import yaml\nyaml.safe_load(text)",
    ],
)
def test_what_is_safe_is_left_alone(source: str) -> None:
    """Methods that share a name, and calls that say what they allow."""
    assert list(found_in(source)) == []
