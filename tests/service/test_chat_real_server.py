"""The proxy in front of a server that we did not write: `transformers serve` with a tiny model of random weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from guardrail import Guard, GuardTokenizer
from guardrail.testing import MarkerEngine
from tests.service.proxying import ends_of, proxying, text_of
from tests.transformers_serve import serving

pytest.importorskip("accelerate", reason="transformers serve needs accelerate")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


@dataclass
class Real:
    """The server.

    Attributes:
        url: its base URL.
        model: name of its model.
        text: what the model always answers.
    """

    url: str
    model: str
    text: str


def write_llm(guard_folder: Path, folder: Path) -> None:
    """Write a tiny LLM with the guard's tokenizer."""
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(guard_folder / "tokenizer.json"), eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "head_dim": 16}
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer), num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512, **shape
    )
    transformers.Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def ask(client: openai.OpenAI, model: str, **options: Any) -> Any:
    """Ask for 24 tokens, always the same."""
    said: Any = [{"role": "user", "content": "hi"}]
    return client.chat.completions.create(model=model, messages=said, max_tokens=24, temperature=0, **options)


@pytest.fixture(scope="module")
def real(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """The server, in a process of its own."""
    folder = tmp_path_factory.mktemp("llm")
    write_llm(tiny_checkpoint, folder)
    with serving(folder) as server, openai.OpenAI(base_url=f"{server}/v1", api_key="any") as client:
        yield Real(f"{server}/v1", str(folder), text_of(list(ask(client, str(folder), stream=True))))


def guard_against(marker: str, tokenizer: GuardTokenizer) -> Guard:
    """Return a guard that stops at a character."""
    return Guard(MarkerEngine(tokenizer, {marker: ("Unsafe", "Violent")}), tokenizer)


def test_a_real_servers_answer_passes_whole(real: Real, tokenizer: GuardTokenizer) -> None:
    """As chunks, and as events of a response."""
    with (
        proxying(real.url, guard=guard_against("☠", tokenizer)) as proxy,
        openai.OpenAI(base_url=proxy.base_url, api_key="any", max_retries=0) as client,
    ):
        chunks = list(ask(client, real.model, stream=True))
        events = list(client.responses.create(model=real.model, input="hi", max_output_tokens=24, stream=True))
    assert text_of(chunks) == real.text
    assert ends_of(chunks) == ["length"]
    assert any(event.type == "response.output_text.delta" for event in events)
    assert events[-1].type in ("response.completed", "response.incomplete")


def test_a_real_servers_answer_is_cut(real: Real, tokenizer: GuardTokenizer) -> None:
    """Streamed and whole, before the marker, which is a character of its answer."""
    marker = next(one for one in real.text[len(real.text) // 2 :] if one.isalpha() and one not in "hi")
    with (
        proxying(real.url, guard=guard_against(marker, tokenizer)) as proxy,
        openai.OpenAI(base_url=proxy.base_url, api_key="any", max_retries=0) as client,
    ):
        chunks = list(ask(client, real.model, stream=True))
        whole = ask(client, real.model).choices[0]
    assert ends_of(chunks) == ["content_filter"]
    assert real.text.split(marker)[0].startswith(text_of(chunks))
    assert whole.finish_reason == "content_filter"
    assert marker not in whole.message.content
