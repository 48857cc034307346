"""Completions judged and rewarded in batches; what fails counts as unsafe, alone."""

import json
from collections.abc import Sequence
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail import Guard, Message, Role
from guardrail.errors import ConfigurationError, EngineError, EngineTimeout
from guardrail.testing import FailingEngine, raising
from guardrail.training.rewards import Completion, Opinion, Rewarder
from guardrail.training.rewards.helpfulness import Scaled, Score
from guardrail.training.rewards.judging import TextJudge
from guardrail.training.rewards.refusals import PhraseDetector
from tests.training.rewards.judging_parts import PROMPT, WordCount, marker_engine, marker_guard, rewarder

REFUSAL = "I'm sorry, but I can't help."
BY_HAND = [
    (Completion(PROMPT, "", "Mix flour and water."), Opinion(None, True, False, 4.0), 1.0, 4.0),
    (Completion(PROMPT, "easy enough", "Mix it well."), Opinion(True, True, False, 3.0), 1.0, 3.0),
    (Completion(PROMPT, "☠ and more", "Mix it well."), Opinion(False, True, False, 3.0), 0.0, -10.0),
    (Completion(PROMPT, "easy enough", "☢ and more"), Opinion(True, False, False, 3.0), 0.0, -10.0),
    (Completion(PROMPT, "", REFUSAL), Opinion(None, True, True, 6.0), 1.0, -5.0),
    (Completion(PROMPT, "never ending", ""), Opinion(True, True, False, 0.0), 1.0, 0.0),
    (Completion(PROMPT, "", ""), Opinion(None, True, False, 0.0), 1.0, 0.0),
]


@pytest.mark.parametrize(("completion", "opinion", "guard", "both"), BY_HAND)
def test_opinions_and_rewards_by_hand(completion: Completion, opinion: Opinion, guard: float, both: float) -> None:
    """Thinking and answer are judged apart, each as an answer to the prompt."""
    judging = rewarder()
    assert judging.opinions([completion]) == [opinion]
    assert judging.rewards([completion], "guard_only") == [guard]
    assert judging.rewards([completion], "mixed") == [both]


PARTS = st.text("ab ☠☢\n", max_size=12)
COMPLETIONS = st.builds(Completion, st.just(PROMPT), PARTS, PARTS | st.just(REFUSAL))


@settings(max_examples=30)
@given(st.lists(COMPLETIONS, max_size=6))
def test_a_batch_is_rewarded_as_one_by_one(completions: list[Completion]) -> None:
    """In order, whatever stands beside it."""
    judging = rewarder()
    alone = [judging.rewards([completion], "mixed")[0] for completion in completions]
    assert judging.rewards(completions, "mixed") == alone


def test_guard_only_does_not_ask_for_helpfulness() -> None:
    """A model of 72 billion parameters is not run for nothing."""
    words = WordCount()
    judging = Rewarder(TextJudge(marker_guard()), PhraseDetector(), words)
    judging.rewards([BY_HAND[0][0]], "guard_only")
    assert words.n_asked == 0
    judging.rewards([BY_HAND[0][0]], "mixed")
    assert words.n_asked == 1


def test_mixed_without_a_helpfulness_model_is_refused_before_anything_is_judged() -> None:
    """With what to set."""
    judging = rewarder(is_mixed=False)
    assert judging.kinds == ("guard_only",)
    with pytest.raises(ConfigurationError, match=r"mixed cannot be given: valid here: guard_only .*\[helpfulness\]"):
        judging.rewards([BY_HAND[0][0]], "mixed")
    assert judging.n_judged == 0


def test_a_guard_that_fails_makes_all_unsafe_and_is_counted() -> None:
    """Fails closed: never a reward for what nobody judged."""
    judging = rewarder(FailingEngine(marker_engine(), at_step=0, breakage=raising(EngineTimeout("slow"))))
    completions = [completion for completion, *_ in BY_HAND[:3]]
    assert judging.rewards(completions, "guard_only") == [0.0, 0.0, 0.0]
    assert judging.rewards(completions, "mixed") == [-10.0, -10.0, -10.0]
    assert judging.failures == {"EngineTimeout": 6}
    assert judging.n_judged == 6


class Moody(WordCount):
    """Cannot score some answers."""

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """Count, or fail."""
        scores = super().score(completions)
        return [EngineError("no") if "well" in one.answer else s for one, s in zip(completions, scores, strict=True)]


def test_a_helpfulness_model_that_fails_on_one_fails_on_that_alone() -> None:
    """Its neighbours keep their rewards."""
    judging = Rewarder(TextJudge(marker_guard()), PhraseDetector(), Moody())
    assert judging.rewards([BY_HAND[0][0], BY_HAND[1][0]], "mixed") == [4.0, -10.0]
    assert judging.failures == {"EngineError": 1}


def test_a_guard_that_knows_no_refusals_cannot_be_asked_for_them() -> None:
    """Without a detector the guard's own word counts; a silent one fails closed, except where nothing was said."""
    judging = Rewarder(TextJudge(marker_guard()), None)
    answered, empty = judging.opinions([BY_HAND[0][0], BY_HAND[5][0]])
    assert answered.failure == "NoRefusalVerdict"
    assert not answered.is_safe
    assert (empty.failure, empty.is_refusal) == ("", False)


def test_scores_can_be_moved_and_stretched() -> None:
    """So that the caps at -5 and -10 mean something; errors and overflow stay errors."""
    scaled = Scaled(Moody(), offset=2.0, scale=10.0)
    good, bad = scaled.score([BY_HAND[0][0], BY_HAND[1][0]])
    assert good == 20.0
    assert isinstance(bad, EngineError)
    [huge] = Scaled(WordCount(), offset=-1e308, scale=1e10).score([BY_HAND[0][0]])
    assert isinstance(huge, EngineError)
    assert scaled.identity["scale"] == "10"


def test_identity_names_every_part() -> None:
    """For the run folder and the server's /version."""
    assert rewarder().identity.items() >= {"policy": "balanced", "refusals": "phrases", "helpfulness": "words"}.items()


def test_the_embedded_guard_is_a_reward_by_what_its_streams_do() -> None:
    """What `check_response` stops is unsafe, the rest is safe; side by side as one by one."""
    rows = [json.loads(line) for line in (files("guardrail.assets") / "demo.jsonl").read_text("utf-8").splitlines()]
    completions = [Completion((Message(Role.USER, row["prompt"]),), row["answer"], row["answer"]) for row in rows]
    with Guard.default(threads=1) as guard:
        judging = Rewarder(TextJudge(guard), PhraseDetector())
        found = judging.opinions(completions)
        assert [judging.opinions([completion])[0] for completion in completions] == found
        stopped = [guard.check_response(one.prompt, one.answer).stopped for one in completions]
    assert [opinion.answer_is_safe for opinion in found] == [not stop for stop in stopped]
    assert [opinion.thinking_is_safe for opinion in found] == [not stop for stop in stopped]
    assert len(set(stopped)) == 2
