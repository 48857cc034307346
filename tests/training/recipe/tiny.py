"""A recipe with all stages, as `examples/recipe/tiny.toml`, but smaller, and its models behind a server that counts."""

from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "recipe"

SERVER = Path(__file__).with_name("tiny_server.py")
"""Counts what it is asked; see `runs.Served`."""

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


def write_tiny(folder: Path, port: int = 1) -> Path:
    """Write the recipe; equal in every folder but for the output and the port of its server."""
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{port}/v1"
    lines = [
        f'output = "{folder / "out"}"', "seed = 8", "part_rows = 10",
        f'inputs = [{{ path = "{EXAMPLES / "tiny_human.jsonl"}", is_human = true, max_rows = 70 }},',
        f'          {{ path = "{EXAMPLES / "tiny_rows.jsonl"}", max_rows = 30 }}]', "[models]",
        *(f'{name} = {{ kind = "endpoint", model = "{function}", base_urls = ["{url}"], concurrency = {CONCURRENCY} }}'
          for name, function in FUNCTIONS.items()),
        STAGES,
    ]  # fmt: skip
    path = folder / "recipe.toml"
    path.write_text("\n".join(lines), "utf-8")
    return path
