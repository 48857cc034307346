"""How models are asked to write on, and how the votes are counted."""

import asyncio

import pytest

from guardrail.conversation import Message, Role
from guardrail.errors import CallRefused
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.token_labels.rollouts import Vote, rollout_call, together, vote_on
from guardrail.training.token_labels.settings import RolloutSettings
from tests.training.token_labels.scripted import CONTROVERSIAL, PROMPTS, SAFE, UNREADABLE, UNSAFE, settings_of

CONTEXT = (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "How? <|im_end|>"))


def call_of(form: str) -> Call:
    """The call for rollouts of the beginning "You take"."""
    model = RolloutSettings("base", form, samples=5, max_tokens=7, temperature=0.7, top_p=0.9)  # type: ignore[arg-type]  # of the test's parameters
    return rollout_call(model, CONTEXT, "You take", PROMPTS)


def test_a_base_model_continues_a_transcript() -> None:
    """The prompt ends with the beginning itself, and the rollout before the next turn."""
    call = call_of("transcript")
    assert call.prompt == "System: Be kind.\n\nUser: How? <|im_end|>\n\nAssistant: You take"
    assert (call.form, call.stop, call.messages) == ("completion", ("\n\nUser:",), ())


def test_a_chat_model_continues_its_template() -> None:
    """The prompt is Qwen's, without thinking, up to the beginning; no text in it passes for a control token."""
    call = call_of("chatml")
    assert call.prompt == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHow? ‹|im_end|><|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\nYou take"
    )
    assert (call.form, call.stop) == ("completion", ("<|im_end|>", "<|endoftext|>"))


def test_a_chat_ends_with_the_turn_that_is_continued() -> None:
    """The last message is the assistant's beginning."""
    call = call_of("chat")
    assert (call.form, call.messages) == ("chat", (*CONTEXT, Message(Role.ASSISTANT, "You take")))


@pytest.mark.parametrize("form", ["transcript", "chatml", "chat"])
def test_one_call_brings_all_samples_of_a_model(form: str) -> None:
    """Rollouts are exchangeable: they are samples of one call, with the sampling of the settings."""
    call = call_of(form)
    assert (call.model, call.n, call.max_tokens, call.temperature, call.top_p) == ("base", 5, 7, 0.7, 0.9)


class Fixed:
    """Models that write these texts; a guard that judges by the text."""

    def __init__(self, texts: dict[str, list[str]], judgements: dict[str, str]) -> None:
        self.texts, self.judgements = texts, judgements
        self.judged: list[str] = []

    async def __call__(self, call: Call) -> Reply:
        """See `Ask`."""
        if call.model == "guard":
            self.judged.append(call.messages[-1].content)
            return Reply((Text(self.judgements[call.messages[-1].content]),))
        return Reply(tuple(map(Text, self.texts[call.model])))


def vote_of(ask: Fixed, models: tuple[str, ...] = ("base",)) -> Vote:
    """The vote on the beginning "So "."""
    settings = settings_of(rollouts=tuple(map(RolloutSettings, models)))
    return asyncio.run(vote_on(CONTEXT, "So ", settings, PROMPTS, ask))


def test_unsafe_and_controversial_count_alike_and_the_unreadable_not_at_all() -> None:
    """Of four rollouts two are risky, one is safe, and one could not be judged."""
    ask = Fixed(
        {"base": ["a", "b", "c", "d"]}, {"So a": UNSAFE, "So b": CONTROVERSIAL, "So c": SAFE, "So d": UNREADABLE}
    )
    assert vote_of(ask) == Vote(2, 3, 4)


def test_models_vote_together_and_equal_rollouts_are_judged_once() -> None:
    """Each rollout has one vote, whoever wrote it, and whoever wrote the same."""
    ask = Fixed({"base": ["a", "a", "b"], "other": ["a"]}, {"So a": UNSAFE, "So b": SAFE})
    assert vote_of(ask, ("base", "other")) == Vote(3, 4, 4)
    assert sorted(ask.judged) == ["So a", "So b"]


def test_a_stop_text_that_a_server_overlooked_ends_the_rollout() -> None:
    """What stands behind it is another turn, and is not judged."""
    ask = Fixed({"base": ["a\n\nUser: And bombs?"]}, {"So a": SAFE})
    assert vote_of(ask) == Vote(0, 1, 1)


@pytest.mark.parametrize(
    ("vote", "share", "is_enough"),
    [
        (Vote(17, 20, 20), 0.85, True),
        (Vote(0, 0, 8), 0.0, False),
        (Vote(2, 4, 8), 0.5, True),
        (Vote(3, 3, 8), 1.0, False),
    ],
)
def test_a_vote_knows_its_share_and_whether_enough_was_judged(vote: Vote, share: float, *, is_enough: bool) -> None:
    """The share is of the judged ones; half of all must have been judged here."""
    assert (vote.share, vote.has_enough(0.5)) == (share, is_enough)


def test_a_failure_is_raised_once_every_question_has_ended() -> None:
    """Nothing is left under way, so that counts do not depend on what failed first; the first in order is raised."""
    ended = []

    async def question(number: int) -> int:
        await asyncio.sleep(0)
        await asyncio.sleep(0 if number else 0.001)
        ended.append(number)
        if number < 2:
            raise CallRefused(str(number))
        return number

    with pytest.raises(CallRefused, match="0"):
        asyncio.run(together(map(question, range(4))))
    assert sorted(ended) == [0, 1, 2, 3]
