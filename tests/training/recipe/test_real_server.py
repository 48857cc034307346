"""Three stages against a server that we did not write: `transformers serve` with a tiny model that we teach here.

What the rule-like models of examples/recipe answer is recorded once; a language model is taught to say it; and then the
same recipe asks that one over HTTP. Sampled texts may differ from what was taught: the mechanics are tested.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from guardrail.cli.main import run
from guardrail.encoding import GuardTokenizer
from guardrail.training.recipe.parts import rows_in
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.tokenizer import train_tokenizer
from tests.generative.tiny_gen import learn_by_heart
from tests.transformers_serve import COMMAND, serving

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)
MODELS = Path(__file__).parents[3] / "examples" / "recipe" / "tiny_models.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COMMAND.exists(), reason="needs the command line of transformers"),
]

RECORDER = """
import importlib.util, json
from pathlib import Path

spec = importlib.util.spec_from_file_location("tiny_models", {models!r})
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)

def answer(call):
    if call.form == "completion":
        said = tiny.comply(call)
    elif call.messages[0].content.startswith("Translate"):
        said = [tiny.translate(call)]
    elif call.messages[0].content.startswith("Write"):
        said = [tiny.write_prompts(call)]
    else:
        said = tiny.instruct(call)
    with (Path(__file__).parent / "said.jsonl").open("a") as file:
        messages = [{{"role": m.role.value, "content": m.content}} for m in call.messages]
        print(json.dumps({{"messages": messages, "prompt": call.prompt, "said": said[0]}}), file=file)
    return said
"""

RECIPE = """
output = "{output}"
{model}

[synthesise]
generators = ["llm"]
n_prompts = 4
pair_share = 0.5
keyword_share = 0.5
prompts_per_call = 2
max_rounds = 1
temperature = 0.2
taxonomy = "{folder}/taxonomy.toml"
prompts = "{folder}/synthesise.toml"

[respond]
answerers = [
    {{ model = "llm", temperature = 0.2 }},
    {{ model = "llm", mode = "base", name = "base", temperature = 0.2 }},
]
prompts = "{folder}/respond.toml"

[translate]
model = "llm"
langs = ["de"]
share = 1.0
min_letters = 1000
prompts = "{folder}/translate.toml"
"""

FILES = {
    "taxonomy.toml": """
version = 1
[[categories]]
name = "Violent"
keywords = [{ subtopic = "explosives", words = ["bomb"], twins = ["cake"] }]
[categories.subtopics]
"explosives" = "Bombs."
""",
    "synthesise.toml": """
version = 1
[texts]
system = "Write"
plain = 'Write $n about $subtopic {"prompts"}'
keyword = 'Write $n about "$keyword" {"prompts"}'
pair = 'Write $n about "$keyword" or "$twin" {"pairs"}'
examples = ""
""",
    "respond.toml": """
version = 1
[texts]
instruct = ""
reasoning = ""
refuse = "No"
base = "$conversation"
""",
    "translate.toml": """
version = 1
[texts]
translate = "Translate"
texts = "$texts"
judge = "Judge"
""",
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipe's files, and what the models of the example said."""
    folder = tmp_path_factory.mktemp("recorded")
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    (folder / "recorder.py").write_text(RECORDER.format(models=str(MODELS)), "utf-8")
    model = '[models.llm]\nkind = "function"\nfunction = "recorder.py:answer"'
    made = run_all(folder, "taught", model)
    assert {row.lang for row in made} == {"en", "de"}
    return folder


def run_all(folder: Path, name: str, model: str) -> list[RecipeRow]:
    """Run the three stages; return what the last one hands on."""
    config = folder / f"{name}.toml"
    config.write_text(RECIPE.format(output=folder / name, folder=folder, model=model), "utf-8")
    assert run(["train", "all", "--config", str(config)]) == 0
    return list(rows_in(folder / name / "translate" / "rows"))


def rendered(said: dict[str, Any]) -> str:
    """What the server's template makes of a call."""
    if said["prompt"]:
        return str(said["prompt"])
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in said["messages"])
    return f"{turns}<|im_start|>assistant\n"


def teach(folder: Path, recorded: Path) -> None:
    """Write a language model that has learnt to say what was recorded, by heart."""
    lines = [json.loads(line) for line in (recorded / "said.jsonl").read_text("utf-8").splitlines()]
    pairs = list({rendered(one): one["said"] for one in lines}.items())
    folder.mkdir()
    (folder / "tokenizer.json").write_text(train_tokenizer([a + b for a, b in pairs] * 20, 600), "utf-8")
    made: Any = PreTrainedTokenizerFast
    tokenizer = made(tokenizer_file=str(folder / "tokenizer.json"), eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    end = GuardTokenizer.from_file(folder / "tokenizer.json").control_id("<|im_end|>")
    rows = [(tokenizer(asked)["input_ids"], [*tokenizer(said)["input_ids"], end]) for asked, said in pairs]
    torch.manual_seed(0)
    config = Qwen3Config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        intermediate_size=128, vocab_size=len(tokenizer), max_position_embeddings=2048, tie_word_embeddings=True,
        initializer_range=0.05, eos_token_id=end,
    )  # fmt: skip
    model: Any = Qwen3ForCausalLM(config)
    learn_by_heart(model, rows, rate=5e-3, n_steps=400)
    model.eval().save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, "eos_token_id": end}))


@pytest.fixture(scope="module")
def served(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The base URL of a server of the taught model, and the model's name there."""
    folder = tmp_path_factory.mktemp("served") / "llm"
    teach(folder, recorded)
    with serving(folder) as url:
        yield f"{url}/v1", folder


def endpoint(url: str, model: Path) -> str:
    """The recipe's lines for a model behind a server, which knows no schemas."""
    return (
        f'[models.llm]\nkind = "endpoint"\nmodel = "{model}"\nbase_urls = ["{url}"]\n'
        "has_schemas = false\nconcurrency = 2\nretries = 0"
    )


STAGES = ("synthesise", "respond", "translate")


def test_three_stages_run_against_a_real_server(served: tuple[str, Path], recorded: Path) -> None:
    """Prompts and pairs, answers of a chat and of a base model, and translations, tokens counted as the server does."""
    url, folder = served
    rows = run_all(recorded, "real", endpoint(url, folder))
    made = {(row.meta.get("mode"), row.lang) for row in rows}
    assert {("pair", "en"), ("keyword", "en"), ("instruct", "en"), ("base", "en")} <= made
    assert "de" in {row.lang for row in rows}
    for name in STAGES:
        calls = json.loads((recorded / "real" / name / "manifest.json").read_text("utf-8"))["calls"]["llm"]
        assert min(calls["asked"], calls["n_input"], calls["n_output"]) > 0


def test_what_was_paid_for_is_not_asked_again(served: tuple[str, Path], recorded: Path) -> None:
    """Nobody is there any more: the same recipe, with nothing left but the calls, gives the same rows."""
    _, folder = served
    kept = list(rows_in(recorded / "real" / "translate" / "rows"))
    for name in STAGES:
        (recorded / "real" / name).rename(recorded / f"old-{name}")
    assert run_all(recorded, "real", endpoint("http://127.0.0.1:1/v1", folder)) == kept
