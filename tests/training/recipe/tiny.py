"""A recipe with all stages, as `examples/recipe/tiny.toml`, but smaller, and with models that write down each call."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guardrail.training.recipe.calls import Call

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "recipe"

MODELS = '''
"""The models of the example, each call written down when it comes."""

import importlib.util
from pathlib import Path

from tests.training.recipe.tiny import counted

_spec = importlib.util.spec_from_file_location("tiny_models", "{examples}/tiny_models.py")
_models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_models)
_log = Path(__file__).with_name("asked.log")

{functions}
'''

FUNCTIONS = {
    "writer": "write_prompts", "base": "comply", "instruct": "instruct", "careful": "careful", "strict": "strict",
    "careless": "careless", "guard": "guard", "prefix_judge": "read_prefix", "translator": "translate",
    "translation_judge": "check_translation",
}  # fmt: skip

CONCURRENCY = 2

STAGES = """
[synthesise]
generators = ["writer"]
judge = "guard"
n_prompts = 16
categories = ["Violent"]
max_rounds = 2

[respond]
sources = ["synthesise"]
answerers = [{ model = "instruct" }, { model = "base", mode = "base", samples = 2 }]

[annotate]
annotators = { careful = {}, strict = {}, careless = {} }
min_human_rows = 20

[translate]
model = "translator"
judge = "translation_judge"
langs = ["de"]
share = 0.2
sheet_rows = 5

[controversial]
targets = ["prompt"]
safe_shares = [0.8]
least_rows = 2

[relabel]

[token_labels]
rollouts = [{ model = "base", max_tokens = 20 }]
guard = "guard"
judge = "prefix_judge"
compare = 5

[mix]
validation = 0.1
test = 0.1
"""


def write_tiny(folder: Path) -> Path:
    """Write the recipe and its models; equal in every folder but for the output."""
    folder.mkdir(parents=True, exist_ok=True)
    functions = "\n".join(f"{name} = counted(_models.{name}, _log)" for name in sorted(set(FUNCTIONS.values())))
    (folder / "counted.py").write_text(MODELS.format(examples=EXAMPLES, functions=functions), "utf-8")
    lines = [
        f'output = "{folder / "out"}"', "seed = 8", "part_rows = 10",
        f'inputs = [{{ path = "{EXAMPLES / "tiny_human.jsonl"}", is_human = true, max_rows = 70 }},',
        f'          {{ path = "{EXAMPLES / "tiny_rows.jsonl"}", max_rows = 30 }}]', "[models]",
        *(f'{name} = {{ kind = "function", function = "counted.py:{function}", concurrency = {CONCURRENCY} }}'
          for name, function in FUNCTIONS.items()),
        STAGES,
    ]  # fmt: skip
    path = folder / "recipe.toml"
    path.write_text("\n".join(lines), "utf-8")
    return path


def counted(function: Callable[[Call], Any], log: Path) -> Callable[[Call], Any]:
    """Return a function that writes each call down before it is answered."""

    def ask(call: Call) -> Any:
        name = hashlib.sha256(repr(call).encode()).hexdigest()[:24]
        line = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(line, f"{name}\n".encode())
        os.close(line)
        return function(call)

    return ask
