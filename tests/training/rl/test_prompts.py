"""Prompts: read with their kind, rendered byte for byte as the model's own template has them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from guardrail.conversation import Message, Role
from guardrail.errors import ConfigurationError
from guardrail.training.rl.prompts import Prompt, Renderer, read_prompts
from guardrail.training.rl.settings import PromptSettings

QWEN = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
"""The branches of Qwen3's template that prompts take."""

ALWAYS_THINKS = "{{ '<s> ' + messages[0].content + ' <think>\\n' }}"
"""As of models that think always: their template opens the thinking; and it writes the first token itself."""


def tokenizer_of(template: str | None) -> Any:
    """A tokenizer that puts `<s>` in front of every text."""
    words = Tokenizer(WordLevel({"<s>": 0, "hello": 1, "?": 2, "<think>": 3, "no": 4}, unk_token="?"))
    words.pre_tokenizer = WhitespaceSplit()
    words.post_processor = TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=words, bos_token="<s>", eos_token="no", chat_template=template)


def prompt(text: str = "hello", *, thinks: bool = False) -> Prompt:
    """A benign prompt."""
    return Prompt("a", (Message(Role.USER, text),), is_harmful=False, thinks=thinks)


@pytest.mark.parametrize("thinks", [False, True])
def test_a_prompt_is_rendered_as_its_template_does(thinks: bool) -> None:
    """To the byte, in both modes; without thinking the block is there and empty, and the answer follows."""
    tokenizer = tokenizer_of(QWEN)
    found = Renderer(tokenizer).render(prompt("hi <b>\n", thinks=thinks))
    assert found.text == tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi <b>\n"}], tokenize=False, add_generation_prompt=True, enable_thinking=thinks
    )
    assert found.text.endswith("assistant\n" if thinks else "<think>\n\n</think>\n\n")
    assert not found.is_thinking


def test_a_template_that_opens_the_thinking_is_seen_and_the_first_token_stands_once() -> None:
    """Whoever encodes the text puts it in front: twice would be another prompt."""
    tokenizer = tokenizer_of(ALWAYS_THINKS)
    found = Renderer(tokenizer).render(prompt())
    assert found.is_thinking
    assert tokenizer(found.text)["input_ids"] == [0, 1, 3]


def test_what_cannot_be_rendered_is_an_error_without_its_text() -> None:
    """No template; a template that refuses the conversation."""
    with pytest.raises(ConfigurationError, match="has no chat template"):
        Renderer(tokenizer_of(None))
    with pytest.raises(ConfigurationError, match="refuses prompt 'a'") as failed:
        Renderer(tokenizer_of("{{ raise_exception('no') }}")).render(prompt("secret"))
    assert "secret" not in str(failed.value)


def row(row_id: str, text: str, risk: str | None, answer: str = "", **changes: Any) -> dict[str, Any]:
    """A row of the data schema."""
    messages = [{"role": "user", "content": text}] + ([{"role": "assistant", "content": answer}] if answer else [])
    return {
        "id": row_id, "source": "made", "lang": "en", "messages": messages, "risk": risk,
        "target": "response" if answer else "prompt", **changes,
    }  # fmt: skip


def write(path: Path, *rows: dict[str, Any]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    return path


def test_labels_say_which_prompts_are_harmful(tmp_path: Path) -> None:
    """All but the Safe ones; a row without a label is left out, and a prompt that stands there twice counts once."""
    path = write(
        tmp_path / "rows.jsonl", row("a", "one", "safe"), row("b", "two", "unsafe"), row("c", "three", "controversial"),
        row("d", "four", None), row("e", "one", "unsafe"),
    )  # fmt: skip
    found = read_prompts([PromptSettings(path)], seed=1)
    assert [(one.id, one.is_harmful) for one in found] == [("made:a", False), ("made:b", True), ("made:c", True)]


def test_of_a_judged_answer_the_prompt_is_taken_if_somebody_says_what_it_is(tmp_path: Path) -> None:
    """Its label is the answer's: a refusal is Safe whatever was asked."""
    path = write(tmp_path / "rows.jsonl", row("a", "one", "safe", "Yes."))
    with pytest.raises(ConfigurationError, match="its label is that of an answer"):
        read_prompts([PromptSettings(path)], seed=1)
    for is_benign in (True, False):
        found = read_prompts([PromptSettings(path, is_benign=is_benign)], seed=1)
        assert [(one.messages, one.is_harmful) for one in found] == [((Message(Role.USER, "one"),), not is_benign)]


def test_the_most_rows_are_drawn_by_the_seed(tmp_path: Path) -> None:
    """In the order of the file; the same ones each time."""
    path = write(tmp_path / "rows.jsonl", *(row(str(i), f"text {i}", "safe") for i in range(50)))
    ids = [[one.id for one in read_prompts([PromptSettings(path, max_rows=9)], seed)] for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == 9
    assert ids[0] == sorted(ids[0], key=lambda name: int(name.partition(":")[2]))
