"""The leak check of `mix`: whatever of an evaluation set stands in a row, and nothing that is everybody's."""

from pathlib import Path
from typing import Any

import pytest

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.training.mix.stage import CARD
from guardrail.training.recipe.rows import RecipeRow
from tests.training.mix.made import answer, dropped, evaluation_set, ids, mixed, prompt, sentence


def test_leaks_are_found_and_their_families_go_with_them(tmp_path: Path) -> None:
    """Equal and near prompts, questions of answers, answers; and translations of them."""
    asked, said = sentence(100), sentence(200, 40)
    path = evaluation_set(tmp_path, [prompt("e1", asked), answer("e2", sentence(101), said)])
    rows = [
        prompt("equal", asked.upper()), prompt("near", asked.replace("100", "100", 1) + " please"),
        prompt("question", sentence(101)), answer("asks", asked, sentence(5, 30)),
        answer("says", sentence(6), said + " now"),
        prompt("translated", sentence(7), root="equal", lang="de"), prompt("clean", sentence(8)),
        answer("clean answer", sentence(10), sentence(11, 30)),
    ]  # fmt: skip
    job, summary = mixed(rows, tmp_path, evaluation={"theirs": path})
    assert ids(job) == ["clean", "clean answer"]
    found = dropped(summary)
    assert {name: found[name] for name in found if name.startswith("leak")} == {
        "leak: theirs (equal)": 3, "leak: theirs (near)": 2, "leak: theirs (family)": 1
    }  # fmt: skip
    assert "theirs (2 rows)" in (tmp_path / CARD).read_text()


def test_what_everybody_says_is_no_leak(tmp_path: Path) -> None:
    """A short refusal or a question of three words in an answer's row alone says nothing of where it comes from."""
    refusal = "I cannot help with that."
    path = evaluation_set(tmp_path, [answer("e", "go on please", refusal)])
    rows = [answer("a", sentence(1), refusal), answer("b", "go on please", sentence(2))]
    assert ids(mixed(rows, tmp_path, evaluation={"theirs": path})[0]) == ["a", "b"]


def conversation(id_: str, *turns: tuple[Role, str], **changes: Any) -> RecipeRow:
    """Return a row of several turns; the last one is judged."""
    target = Direction.RESPONSE if turns[-1][0] is Role.ASSISTANT else Direction.PROMPT
    return prompt(id_, "", messages=tuple(Message(*one) for one in turns), target=target, **changes)


ASKED, SAID, NEXT = sentence(100), sentence(200, 40), sentence(300)
ONE_PROMPT = prompt("e", ASKED)
TALK = conversation(
    "e", (Role.SYSTEM, sentence(400)), (Role.USER, ASKED), (Role.ASSISTANT, SAID), (Role.USER, NEXT),
    (Role.ASSISTANT, "no"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (ONE_PROMPT, conversation("a", (Role.USER, ASKED), (Role.ASSISTANT, "no"), (Role.USER, sentence(5)))),
        (ONE_PROMPT, conversation("a", (Role.SYSTEM, ASKED), (Role.USER, "hi"))),
        (TALK, prompt("a", ASKED)),
        (TALK, prompt("a", NEXT)),
        (TALK, prompt("a", sentence(400))),
        (TALK, answer("a", sentence(5), SAID)),
        (TALK, conversation("a", (Role.USER, "hi"), (Role.ASSISTANT, SAID), (Role.USER, sentence(5)))),
    ],
)
def test_leaks_are_found_in_every_turn(tmp_path: Path, theirs: RecipeRow, ours: RecipeRow) -> None:
    """Of theirs and of ours: what users said, system prompts, answers."""
    path = evaluation_set(tmp_path, [theirs])
    job, summary = mixed([ours, prompt("clean", sentence(6))], tmp_path, evaluation={"theirs": path})
    assert ids(job) == ["clean"]
    assert dropped(summary)["leak: theirs (equal)"] == 1


def test_what_frames_several_of_their_rows_is_no_leak(tmp_path: Path) -> None:
    """A common system prompt does not take every row that has it too; a text inside a longer one is not found, and the
    card says so.
    """
    frame = (Role.SYSTEM, "You are a helpful assistant.")
    path = evaluation_set(
        tmp_path, [conversation("e1", frame, (Role.USER, ASKED)), conversation("e2", frame, (Role.USER, NEXT))]
    )  # fmt: skip
    rows = [conversation("a", frame, (Role.USER, sentence(1))), prompt("b", f"{sentence(2, 30)} {ASKED}")]
    assert ids(mixed(rows, tmp_path, evaluation={"theirs": path})[0]) == ["a", "b"]
    card = (tmp_path / CARD).read_text()
    assert "inside a longer one is not found" in card
    assert "Of pairs at 0.8 itself 98.7 % or more" in card
    assert "short answers (fewer than 20)" in card


def test_answers_at_the_threshold_of_leaks_are_found(tmp_path: Path) -> None:
    """All but one in a hundred: one word of five is another one."""
    said = [[f"w{i}x{j}" for j in range(125)] for i in range(80)]
    path = evaluation_set(tmp_path, [answer(f"e{i}", "why", " ".join(one[:100])) for i, one in enumerate(said)])
    rows = [answer(f"a{i}", "how", " ".join(one[20:120])) for i, one in enumerate(said)]
    assert len(mixed(rows, tmp_path, evaluation={"theirs": path})[0].output) <= 2
