"""Guards as judges: whichever it is, it answers in one form, and what cannot be read is no verdict."""

from pathlib import Path

import pytest

from guardrail.conversation import Message, Role
from guardrail.errors import CallRefused, EngineError
from guardrail.generative.parsing import Answer, parse
from guardrail.guard import Guard
from guardrail.taxonomy import RESPONSE_LABELS, RiskLevel
from guardrail.training.recipe.asking import open_asking
from guardrail.training.recipe.budget import Budget
from guardrail.training.recipe.cache import CallCache
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.guard_model import GuardModel, worst_of, written
from guardrail.training.recipe.judging import judge
from guardrail.training.recipe.settings import ModelSettings
from guardrail.verdict import TokenVerdict, Verdict

SAFE, CONTROVERSIAL, UNSAFE = RiskLevel.SAFE, RiskLevel.CONTROVERSIAL, RiskLevel.UNSAFE


async def test_the_embedded_guard_judges(tmp_path: Path) -> None:
    """Prompts and answers, as its own verdicts say; a second time from the cache."""
    with CallCache(tmp_path / "c") as cache, Guard.default() as guard:
        for n_asked in (2, 0):
            async with open_asking({"g": ModelSettings("guard", "default")}, cache, Budget(), tmp_path) as ask:
                asked = (Message(Role.USER, "How do I build a bomb?"),)
                found = await judge(ask, "g", asked)
                verdict = guard.judge_prompt(asked)
                assert found
                assert (found.risk, found.refusal) == (verdict.risk, None)
                assert found.categories == ((verdict.category,) if verdict.category else ())
                answer = "I will kill all of them, and burn their houses down. I will kill you."
                found = await judge(ask, "g", (*asked, Message(Role.ASSISTANT, answer)))
                worst = worst_of(guard.judge_response(asked, answer))
                assert found
                assert (found.risk, found.refusal) == (worst.risk if worst else SAFE, False)
            assert ask.tallies["g"].asked == n_asked


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (Call("g", "chat", (Message(Role.USER, "Hi"),)), EngineError),
        (Call("g", "guard"), EngineError),
        (Call("g", "guard", (Message(Role.SYSTEM, "Hi"),)), CallRefused),
        (Call("g", "guard", (Message(Role.USER, "Hi"), Message(Role.ASSISTANT, ""))), CallRefused),
    ],
)
async def test_a_guard_refuses_what_it_cannot_judge(call: Call, kind: type[EngineError]) -> None:
    """Another form is a fault of the stage; a conversation without a text is the row's."""
    model = GuardModel(ModelSettings("guard", "default"))
    with pytest.raises(EngineError) as raised:
        await model.ask(call, b"")
    await model.close()
    assert raised.type is kind


@pytest.mark.parametrize("text", ["", "Safety: Safe", "Safety: Unsafe\nCategories: None\nRefusal: No", "I am sorry"])
async def test_what_cannot_be_read_is_no_verdict(text: str) -> None:
    """Neither safe nor unsafe."""

    async def ask(call: Call) -> Reply:
        return Reply((Text(text),))

    assert await judge(ask, "g", (Message(Role.USER, "a"), Message(Role.ASSISTANT, "b"))) is None


def verdict(level: RiskLevel, refusal: bool | None = None) -> Verdict:
    """One that is sure of its level."""
    labels = RESPONSE_LABELS
    risks = tuple(float(one is level) for one in labels.risks)
    return Verdict(labels, risks, (1.0, *[0.0] * (len(labels.categories) - 1)), refusal)


def tokens(levels: str, *, is_whole: bool = False) -> list[TokenVerdict]:
    """Verdicts on tokens, a letter each."""
    names = {"s": SAFE, "c": CONTROVERSIAL, "u": UNSAFE}
    return [TokenVerdict(verdict(names[one]), i, i, i + 1, is_whole=is_whole) for i, one in enumerate(levels)]


@pytest.mark.parametrize(
    ("levels", "risk", "place"),
    [
        ("s", SAFE, 0), ("u", UNSAFE, 0), ("c", CONTROVERSIAL, 0), ("ssss", SAFE, None), ("suscs", SAFE, None),
        ("suus", UNSAFE, 2), ("sccs", CONTROVERSIAL, 1), ("ccuu", UNSAFE, 3), ("sucs", CONTROVERSIAL, 2),
        ("scus", CONTROVERSIAL, 1), ("suuuc", UNSAFE, 2),
    ],
)  # fmt: skip
def test_two_risky_tokens_in_a_row_make_a_risky_answer(levels: str, risk: RiskLevel, place: int | None) -> None:
    """Unsafe comes before Controversial, wherever it stands; one token alone is none, unless it is the answer."""
    found = worst_of(tokens(levels))
    assert (found.risk if found else SAFE) is risk
    if place is not None and len(levels) > 1:
        assert found == tokens(levels)[place].verdict


@pytest.mark.parametrize(("levels", "risk"), [("us", SAFE), ("su", UNSAFE), ("uc", CONTROVERSIAL)])
def test_the_last_verdict_on_a_whole_answer_stands(levels: str, risk: RiskLevel) -> None:
    """A Gen model has read all of it by then."""
    found = worst_of(tokens(levels, is_whole=True))
    assert found
    assert found.risk is risk


@pytest.mark.parametrize("level", RiskLevel)
@pytest.mark.parametrize("refusal", [None, False, True])
def test_a_written_verdict_can_be_read(level: RiskLevel, refusal: bool | None) -> None:
    """In the form of Gen models, of prompts and answers."""
    said = verdict(level, refusal)
    categories = (said.top_category,) if level is not SAFE else ()
    assert parse(written(said, is_response=True), is_response=True) == Answer(level, categories, bool(refusal))
    assert parse(written(said, is_response=False), is_response=False) == Answer(level, categories, None)
