"""A Gen model behind an endpoint as a judge of `guardrail evaluate`: what it writes is what is counted."""

import pytest

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.evaluation.judge_settings import JudgeSettings
from guardrail.evaluation.judges import Judgement
from guardrail.evaluation.opening import open_judge
from guardrail.evaluation.rows import Row
from guardrail.evaluation.runner import run
from guardrail.generative.parsing import Answer, parse
from guardrail.policy_file import load_policy
from guardrail.taxonomy import RiskLevel
from tests.generative.conftest import Taught
from tests.generative.examples import EXAMPLES, Example
from tests.generative.gen_server import GenServer, ScriptedServer, replying, writing

SETTINGS = JudgeSettings(load_policy("balanced"))


def row(example: Example) -> Row:
    messages = [Message(Role.USER, example.prompt)]
    if example.response is not None:
        messages.append(Message(Role.ASSISTANT, example.response))
    target = Direction.PROMPT if example.response is None else Direction.RESPONSE
    return Row(example.prompt, "made", "en", tuple(messages), target, RiskLevel.SAFE)


ROWS = [row(example) for example in EXAMPLES]


def said(one: Judgement) -> Answer:
    return Answer(one.level, (one.category,) if one.category else (), one.refusal)


WRITTEN = [parse(example.written, is_response=example.response is not None) for example in EXAMPLES]


def test_levels_categories_and_refusals_are_what_the_model_writes(server: GenServer, taught: Taught) -> None:
    """One question a row, answers too; the score is the probability that the server tells, not a label's."""
    before = len(server.asked)
    with open_judge(f"gen:{server.url}#{taught.folder}?at_once=2&name=gen", SETTINGS) as judge:
        found = run(judge, ROWS).judgements
    assert [said(one) for one in found] == WRITTEN
    assert len(server.asked) - before == len(ROWS) + 1
    assert all(one.failure is None and one.probabilities is not None for one in found)
    assert all(one.score == pytest.approx(sum(one.probabilities[1:])) for one in found if one.probabilities)
    assert len({one.score for one in found}) > 3


def test_an_answer_can_be_judged_as_it_grows() -> None:
    """A stride of characters asks again and again, as a guarded stream does."""
    with ScriptedServer(writing(EXAMPLES[0].written), writing(EXAMPLES[6].written)) as server:
        with open_judge(f"gen:{server.url}#m?stride_chars=10", SETTINGS) as judge:
            assert run(judge, ROWS[6:7]).judgements[0].failure is None
        assert len(server.asked) == 1 + 3  # "Mix flour, water and salt." has 26 characters


def test_what_the_model_should_not_write_counts_as_the_gravest() -> None:
    """It is a failure, with its name; a model that knows no greeting is no reason not to measure it."""
    with ScriptedServer(writing("I am a poem.")) as server, open_judge(f"gen:{server.url}#m", SETTINGS) as judge:
        (found,) = run(judge, ROWS[:1]).judgements
    assert (found.level, found.failure) == (RiskLevel.UNSAFE, "UnparsableVerdict")


def test_a_busy_server_is_asked_again() -> None:
    """Its 429 is no failure of the row."""
    plays = replying({}, 429), replying({}, 503), writing(EXAMPLES[0].written)
    with ScriptedServer(*plays) as server, open_judge(f"gen:{server.url}#m", SETTINGS) as judge:
        (found,) = run(judge, ROWS[:1]).judgements
    assert (found.level, found.failure) == (RiskLevel.SAFE, None)
