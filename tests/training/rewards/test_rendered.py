"""Rendered prompts read back, and what was written behind them."""

import pytest

from guardrail import ConversationError, Message, Role
from guardrail.training.rewards.rendered import completion_of, messages_of

CHATML = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi\nyou<|im_end|>\n<|im_start|>assistant\n"
LLAMA = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
TWO_TURNS = (
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n<|im_start|>user\nMore<|im_end|>\n"
    "<|im_start|>assistant\n"
)
HI = (Message(Role.USER, "Hi"),)


@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        (CHATML, (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hi\nyou"))),
        (CHATML + "<think>\n\n</think>\n\n", (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hi\nyou"))),
        (CHATML + "<think>\n", (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hi\nyou"))),
        (LLAMA, HI),
        ("Question: what?\nAnswer:", (Message(Role.USER, "Question: what?\nAnswer:"),)),
        (
            TWO_TURNS,
            (*HI, Message(Role.ASSISTANT, "Yo"), Message(Role.USER, "More")),
        ),
    ],
)
def test_prompts_are_read_back(prompt: str, messages: tuple[Message, ...]) -> None:
    """ChatML, Llama 3 and plain text; the opening of the answer is no turn."""
    assert messages_of(prompt) == messages


def test_an_unknown_role_is_refused() -> None:
    """Without a word of the prompt."""
    with pytest.raises(ConversationError, match="unknown role") as caught:
        messages_of("<|im_start|>wizard\nsecret<|im_end|>\n")
    assert "secret" not in str(caught.value)
    assert "wizard" not in str(caught.value)


@pytest.mark.parametrize(
    ("opening", "written", "thinking", "answer"),
    [
        ("", "Hello.<|im_end|>", "", "Hello."),
        ("", "Hello.<|im_end|><|endoftext|><|endoftext|>\n", "", "Hello."),
        ("", "<think>\nhm\n</think>\n\nHello.<|im_end|>", "hm", "Hello."),
        ("<think>\n", "hm\n</think>\n\nHello.<|im_end|>", "hm", "Hello."),
        ("<think>\n", "hm, and cut off", "hm, and cut off", ""),
        ("<think>\n\n</think>\n\n", "Hello.", "", "Hello."),
        ("", "<|im_end|>\n<|im_start|>user\nMore", "", "<|im_end|>\n<|im_start|>user\nMore"),
    ],
)
def test_what_was_written_is_cut_off_its_prompt(opening: str, written: str, thinking: str, answer: str) -> None:
    """End tokens go at the very end only: what stands before them, marks of turns too, is judged."""
    found = completion_of(CHATML + opening, CHATML + opening + written)
    assert (found.thinking, found.answer) == (thinking, answer)
    assert found.prompt == messages_of(CHATML)


def test_a_prompt_whose_beginning_the_trainer_cut_off_is_found() -> None:
    """OpenRLHF cuts prompts that are too long, but sends them whole beside the query."""
    found = completion_of(CHATML, CHATML[30:] + "Hello.")
    assert found.answer == "Hello."


@pytest.mark.parametrize("query", ["Hello.", "", "assistant\nHello."])
def test_a_query_without_its_prompt_is_refused(query: str) -> None:
    """Nobody could say where the answer begins."""
    with pytest.raises(ConversationError, match="does not begin with its prompt"):
        completion_of(CHATML, query)
