"""What becomes of one row."""

import asyncio
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import BudgetSpent
from guardrail.taxonomy import RiskLevel
from guardrail.testing import default_tokenizer
from guardrail.training.recipe.calls import Call
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.stage import Made
from guardrail.training.token_labels.onsets import FindOnset
from guardrail.training.token_labels.places import places_of
from guardrail.training.token_labels.settings import Mode, RolloutSettings
from tests.training.token_labels.scripted import (
    HARMLESS,
    RISKY,
    STRANGE,
    UNREADABLE,
    Script,
    onset_script,
    row_of,
    settings_of,
    work_of,
)

ANSWER = "Sure, glad to help. First you take the thing. Then 你把它 🧨 light it! That is all, good luck."
PLACES = places_of(default_tokenizer(), ANSWER)


def done(row: RecipeRow, script: Script, **changes: object) -> Made:
    """The work on one row."""
    return asyncio.run(work_of(**changes)(row, script))


def start_of(made: Made) -> int | None:
    """The onset of the one row that was made."""
    (row,) = made.rows
    return row.unsafe_start_char


@pytest.mark.parametrize("mode", ["exact", "stride", "coarse"])
@pytest.mark.parametrize("word", ["First", "你", "🧨", "good"])
def test_the_onset_is_the_first_token_at_which_both_agree(mode: Mode, word: str) -> None:
    """The judge minds the word once it stands there; rollouts came to it before: the label begins with its token."""
    end = ANSWER.index(word) + len(word)
    made = done(row_of(ANSWER), onset_script(end, end - 9), mode=mode, stride=5)
    expected = next(place for place in PLACES if place.end >= end)
    assert start_of(made) == expected.start
    assert made.rows[0].meta["onset"] == {
        "token": expected.token, "char": expected.start, "mode": mode, "vote": 1.0, "n_judged": 20
    }  # fmt: skip


@given(st.integers(0, len(ANSWER) + 5), st.integers(0, len(ANSWER) + 5), st.integers(1, 12))
def test_modes_find_the_same_onset_and_coarse_asks_no_more(judged: int, voted: int, stride: int) -> None:
    """Where signs stay, every mode finds the same row, or none."""
    scripts = [onset_script(judged, voted, 2) for _ in range(3)]
    modes: list[Mode] = ["exact", "stride", "coarse"]
    rollouts = (RolloutSettings("base", samples=2),)
    made = [
        done(row_of(ANSWER), script, mode=mode, stride=stride, rollouts=rollouts)
        for script, mode in zip(scripts, modes, strict=True)
    ]
    assert len({start_of(one) if one.rows else None for one in made}) == 1
    assert bool(made[0].rows) == (max(judged, voted) <= len(ANSWER))


@pytest.mark.parametrize("script", [onset_script(10, 1000), onset_script(1000, 10)])
@pytest.mark.parametrize("mode", ["exact", "stride", "coarse"])
def test_a_row_without_an_onset_is_dropped_and_counted(script: Script, mode: Mode) -> None:
    """One sign alone, to the very end: no token is guessed."""
    made = done(row_of(ANSWER), script, mode=mode)
    assert made.rows == ()
    assert made.counts["dropped: no onset"] == 1


@pytest.mark.parametrize("answer", ["", "\n\n"])
def test_an_answer_without_a_token_is_dropped_and_nobody_asked(answer: str) -> None:
    """There is nothing to cut."""
    script = onset_script(0, 0)
    assert done(row_of(answer), script).counts == {"rows asked about": 1, "dropped: no onset": 1}
    assert script.calls == []


@pytest.mark.parametrize(("n_risky", "is_onset"), [(17, True), (16, False)])
def test_85_percent_are_enough_and_less_are_not(n_risky: int, *, is_onset: bool) -> None:
    """17 of 20 is the threshold itself, and qualifies."""
    script = Script(lambda _: "unsafe", lambda _: [RISKY] * n_risky + [HARMLESS] * (20 - n_risky))
    assert bool(done(row_of(ANSWER), script).rows) == is_onset


def test_controversial_prefixes_agree_too_and_the_label_stays_the_rows_own() -> None:
    """The judge may find the beginning controversial; the row keeps its level, its kinds and its thinking."""
    script = Script(lambda text: "controversial" if "take" in text else "safe", lambda _: [RISKY] * 20)
    thinking = "Let me think of bombs."
    earlier = Message(Role.ASSISTANT, "Ask me.", reasoning=thinking)
    messages = (earlier, Message(Role.USER, "?"), Message(Role.ASSISTANT, ANSWER, reasoning=thinking))
    row = RecipeRow("a", "a", "test", "en", messages, Direction.RESPONSE, RiskLevel.UNSAFE, ("Violent",))
    (made,) = done(row, script).rows
    assert (made.risk, made.categories, made.messages) == (row.risk, row.categories, row.messages)
    assert ANSWER[made.unsafe_start_char or 0 :].strip().startswith("take")
    assert not any(thinking in str(call) for call in script.calls)


@pytest.mark.parametrize(
    "row",
    [
        row_of(ANSWER, risk=RiskLevel.SAFE),
        row_of(ANSWER, risk=None),
        row_of(ANSWER, unsafe_start_char=3),
        RecipeRow("p", "p", "t", "en", (Message(Role.USER, "x"),), Direction.PROMPT, RiskLevel.UNSAFE),
    ],
)
def test_rows_that_have_no_onset_to_find_pass_through(row: RecipeRow) -> None:
    """Safe, unlabelled and labelled ones, and prompts, are handed on as they are, and nobody is asked."""
    script = onset_script(0, 0)
    assert done(row, script).rows == (row,)
    assert script.calls == []


@pytest.mark.parametrize(
    ("spans", "is_human", "start"),
    [("compare", False, 3), ("compare", True, 3), ("replace", True, 3), ("replace", False, 0)],
)
def test_a_given_onset_gives_way_only_if_told_to_and_never_a_persons(spans: str, start: int, *, is_human: bool) -> None:
    """The found one is noted beside it, and the distance counted in tokens."""
    made = done(row_of(ANSWER, unsafe_start_char=3, is_human=is_human), onset_script(1, 1), spans=spans)
    assert start_of(made) == start
    assert made.rows[0].meta["onset"]["char"] == 0
    assert made.counts["spans: earlier"] == 1
    assert made.counts["spans: tokens earlier"] == sum(place.end <= 3 for place in PLACES)


def test_a_span_without_a_found_onset_is_kept_where_spans_are_compared() -> None:
    """Nothing was wrong with the row; only the comparison failed."""
    row = row_of(ANSWER, unsafe_start_char=3, is_human=True)
    made = done(row, onset_script(1000, 0), spans="compare")
    assert made.rows == (row,)
    assert made.counts["spans without an onset: no onset"] == 1
    refused = onset_script(1000, 0)
    refused.refuses = lambda _: True
    made = done(row, refused, spans="compare")
    assert made.rows == (row,)
    assert made.counts["spans without an onset: a call was refused"] == 1


def test_unreadable_answers_qualify_nothing_and_are_counted() -> None:
    """A judge that answers no JSON does not agree; rollouts that the guard cannot judge do not vote."""
    mute = done(row_of(ANSWER), Script(lambda _: UNREADABLE, lambda _: [RISKY] * 20), mode="exact")
    assert mute.rows == ()
    assert mute.counts["unreadable answers of the judge"] == len(PLACES)
    votes = Script(lambda _: "unsafe", lambda text: ([RISKY] * (9 if len(text) < 20 else 10) + [STRANGE] * 12)[:21])
    made = done(row_of(ANSWER), votes, mode="exact", rollouts=(RolloutSettings("base", samples=21),), min_judged=0.45)
    assert len(ANSWER[: start_of(made)]) < 20 <= next(place.end for place in PLACES if place.start == start_of(made))
    assert made.counts["places with too few judgements"] == sum(place.end < 20 for place in PLACES)


def test_a_refused_call_drops_the_row_and_other_errors_end_the_stage() -> None:
    """A server that never answers costs the row; a spent budget costs nothing but the start."""
    script = onset_script(30, 20)
    script.refuses = lambda call: call.model == "base"
    made = done(row_of(ANSWER), script)
    assert made.rows == ()
    assert made.counts["dropped: a call was refused"] == 1

    async def spent(_: object) -> None:
        raise BudgetSpent("no more")

    with pytest.raises(BudgetSpent):
        asyncio.run(work_of()(row_of(ANSWER), spent))  # type: ignore[arg-type]  # it never returns


def test_a_refusal_in_the_comparison_costs_the_comparison_alone() -> None:
    """What a report asks besides cannot change the rows."""
    row = row_of(ANSWER)
    plain = done(row, onset_script(30, 20), mode="coarse")
    script = onset_script(30, 20)
    n_left = sum(n for name, n in plain.counts.items() if name.startswith("calls: "))

    def refuses(_: Call) -> bool:
        nonlocal n_left
        n_left -= 1
        return n_left < 0

    script.refuses = refuses
    work = replace(work_of(mode="coarse"), compared_below=1.0)
    made = asyncio.run(work(row, script))
    assert made.rows == plain.rows
    assert made.counts["not compared: a call was refused"] == 1
    assert "compared" not in made.counts


@pytest.mark.parametrize(("rule", "start"), [("rollouts", "take"), ("judge", "thing"), ("both", "thing")])
def test_the_rule_says_which_signs_must_hold(rule: str, start: str) -> None:
    """Rollouts run ahead of what stands there: alone they mark an earlier token than the judge does."""
    script = Script(
        lambda text: "unsafe" if "thing" in text else "safe", lambda text: [RISKY if "take" in text else HARMLESS] * 20
    )
    made = done(row_of(ANSWER), script, rule=rule, mode="exact")
    assert ANSWER[start_of(made) or 0 :].strip().startswith(start)
    asked = set(script.n_calls())
    assert asked == {"rollouts": {"base", "guard"}, "judge": {"judge"}, "both": {"base", "guard", "judge"}}[rule]


def test_a_sign_that_goes_again_shows_in_the_comparison() -> None:
    """The judge minds "take" only until the sentence ends: coarse finds the next onset, exact this one."""
    script = Script(
        lambda text: "unsafe" if text.endswith("take") or "light" in text else "safe", lambda _: [RISKY] * 20
    )
    work = FindOnset(settings_of(compare=1), work_of().prompts, work_of().tokenizer, compared_below=1.0)
    made = asyncio.run(work(row_of(ANSWER), script))
    assert ANSWER[start_of(made) or 0 :].strip().startswith("light")
    assert (made.counts["compared"], made.counts["compared: later"]) == (1, 1)
    take, light = (
        next(place.token for place in PLACES if ANSWER[: place.end].endswith(word)) for word in ("take", "light")
    )
    assert made.counts["compared: tokens later"] == light - take


def test_counts_tell_calls_and_tokens_by_model() -> None:
    """They are those of the chosen mode; the exact one's are counted apart."""
    script = onset_script(30, 20)
    work = FindOnset(settings_of(), work_of().prompts, work_of().tokenizer, compared_below=1.0)
    alone = onset_script(30, 20)
    asyncio.run(work_of()(row_of(ANSWER), alone))
    made = asyncio.run(work(row_of(ANSWER), script))
    for model, n in alone.n_calls().items():
        assert made.counts[f"calls: {model}"] == n
    assert made.counts["tokens written: base"] == 40 * alone.n_calls()["base"]
    assert made.counts["compared: calls"] == len(alone.calls)
    assert made.counts["compared: calls in mode exact"] == len(script.calls) - len(alone.calls)


def test_the_work_can_be_sent_to_another_machine() -> None:
    """It is pickled, and does the same there."""
    row = row_of(ANSWER)
    again = pickle.loads(pickle.dumps(work_of()))  # noqa: S301  # our own bytes
    assert asyncio.run(again(row, onset_script(30, 20))) == asyncio.run(work_of()(row, onset_script(30, 20)))
