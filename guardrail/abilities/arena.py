"""Arena-Hard-v2: questions, baseline answers, and a judge who compares twice, with sides swapped."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.abilities.asking import Answer, Asked, Asker, together
from guardrail.abilities.fields import Read, read, text_of
from guardrail.abilities.settings import ArenaSettings, Candidate, Source
from guardrail.conversation import Message, Role
from guardrail.errors import CallRefused, ConfigurationError

HUB_ID = "lmarena-ai/arena-hard-auto"
HUB_FILES = ("data/arena-hard-v2.0/question.jsonl",)
BASELINES = {"hard_prompt": "o3-mini-2025-01-31", "creative_writing": "gemini-2.0-flash-001"}
"""The published baseline of each category; the user gives their answers. N: 500 and 250."""

ALL = "all"
"""Stands for every category that has no file of its own."""

JUDGE_PROMPT = """\
You are an impartial judge. Below stand a user's prompt and the answers of two assistants, A and B. Say which answer \
is better.

First write your own answer to the prompt. Then compare both answers with it: find what is wrong or made up in them \
and say what would be right. An answer is good when it does what was asked, keeps to the point, is as short as it can \
be, and leaves out nothing that the user needs. Where the prompt is unclear, asking back may be better than guessing. \
Where the task is a creative one, value ideas of its own. Do not let the order of the answers, their length or their \
layout sway you.

End with exactly one of these verdicts:

[[A>>B]] A is much better
[[A>B]] A is a little better
[[A=B]] there is hardly a difference
[[B>A]] B is a little better
[[B>>A]] B is much better
"""
"""In our words, with the published verdicts. The published prompts can be given as files, to compare with the public
leaderboard."""

_GO_ON = "Finish your judgement, and end with one of the five verdicts."
_FORM = """\
<|User Prompt|>
{question}

<|The Start of Assistant A's Answer|>
{a}
<|The End of Assistant A's Answer|>

<|The Start of Assistant B's Answer|>
{b}
<|The End of Assistant B's Answer|>"""
"""The published layout: the published judge's prompts speak of it."""

_VERDICT = re.compile(r"\[\[\s*([AB]\s*(?:>>|<<|=|>|<)\s*[AB])\s*\]\]")
STRONG = 3
"""How many times "much better" counts; as published."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question.

    Attributes:
        id: of it.
        category: hard_prompt or creative_writing.
        text: what the user says.
    """

    id: str
    category: str
    text: str


@dataclass(frozen=True, slots=True)
class Battle:
    """What the judge says of an answer beside the baseline's.

    Attributes:
        id: of the question.
        category: of it.
        games: for each of the two games, what the answer won (1, 0.5 or 0) and how many times that counts.
        answer: that was judged.
        baseline: that it was compared with.
        failure: why there is no game: no_answer, no_verdict or refused; empty when there are two.
    """

    id: str
    category: str
    games: tuple[tuple[float, int], ...]
    answer: str
    baseline: str
    failure: str = ""


def read_prompts(settings: ArenaSettings) -> Read[Prompt]:
    """Return the questions."""

    def make(values: Mapping[str, Any], _index: int) -> Prompt:
        return Prompt(text_of(values, "uid"), text_of(values, "category"), text_of(values, "prompt"))

    return read(settings, HUB_ID, HUB_FILES, make)


def read_baselines(settings: ArenaSettings, prompts: Sequence[Prompt]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the baseline's answer to each question by its id, and where they are from.

    Raises:
        ConfigurationError: a category has no file, or a question no answer.
    """
    found: dict[str, str] = {}
    info: dict[str, Any] = {}
    for category in sorted({one.category for one in prompts}):
        path = settings.answers.get(category, settings.answers.get(ALL))
        if path is None:
            published = BASELINES.get(category, "a model")
            raise ConfigurationError(
                f"[arena_hard.answers] names no file for {category!r}", hint=f"the published baseline is {published}"
            )
        answers = read(Source((path,)), HUB_ID, (), _baseline_answer)
        by_id = {one.id: one.text for one in answers.questions}
        asked = [one.id for one in prompts if one.category == category]
        if missing := [one for one in asked if one not in by_id]:
            raise ConfigurationError(
                f"{path.name} has no answer to {len(missing)} questions, such as {missing[0][:60]}"
            )
        found |= {one: by_id[one] for one in asked}
        info[category] = {"model": answers.questions[0].category, **answers.info["files"]}
    return found, info


def judge_prompts(settings: ArenaSettings, prompts: Sequence[Prompt]) -> dict[str, str]:
    """Return the judge's system prompt for each category."""
    found = {}
    for category in {one.category for one in prompts}:
        path: Path | None = settings.prompts.get(category, settings.prompts.get(ALL))
        found[category] = path.read_text("utf-8") if path else JUDGE_PROMPT
    return found


@dataclass(frozen=True, slots=True)
class Arena:
    """All that battles need.

    Attributes:
        settings: of the task.
        prompts: the questions.
        baselines: the baseline's answer by id of the question.
        systems: the judge's system prompt by category.
    """

    settings: ArenaSettings
    prompts: tuple[Prompt, ...]
    baselines: Mapping[str, str]
    systems: Mapping[str, str]

    async def battles(self, asker: Asker, model: Candidate) -> tuple[list[Battle], list[Answer]]:
        """Return one battle a question, and the model's answers."""
        answers = await asker.answers(model, [Asked(one.text) for one in self.prompts])
        jobs = [self._battle(asker, one, answer) for one, answer in zip(self.prompts, answers, strict=True)]
        return await together(jobs), answers

    async def _battle(self, asker: Asker, prompt: Prompt, answer: Answer) -> Battle:
        baseline = self.baselines[prompt.id]
        if not answer.text.strip():  # nothing to compare: lost, and much so, as an empty answer would be
            return Battle(prompt.id, prompt.category, ((0.0, STRONG),) * 2, "", baseline, "no_answer")
        try:
            first, second = await together(
                self._verdict(asker, prompt, *sides) for sides in ((baseline, answer.text), (answer.text, baseline))
            )
        except CallRefused:
            return Battle(prompt.id, prompt.category, (), answer.text, baseline, "refused")
        if first is None or second is None:
            return Battle(prompt.id, prompt.category, (), answer.text, baseline, "no_verdict")
        games = tuple(won(*one) for one in ((first, "B"), (second, "A")))
        return Battle(prompt.id, prompt.category, games, answer.text, baseline)

    async def _verdict(self, asker: Asker, prompt: Prompt, a: str, b: str) -> str | None:
        """Return the judge's verdict; asked once more when there is none."""
        shown = _FORM.format(question=prompt.text, a=a, b=b)
        messages = [Message(Role.SYSTEM, self.systems[prompt.category]), Message(Role.USER, shown)]
        name, most = self.settings.judge, self.settings.judge_max_tokens
        text, _, _ = await asker.continued(name, messages, max_tokens=most)
        if (found := verdict_in(text)) is None:
            again = [*messages, Message(Role.ASSISTANT, text), Message(Role.USER, _GO_ON)]
            text, _, _ = await asker.continued(name, again, max_tokens=most)
            found = verdict_in(text)
        return found


def verdict_in(text: str) -> str | None:
    """Return the last of the verdicts in a judgement, such as "A>>B"; None without one."""
    found = ["".join(one.split()) for one in _VERDICT.findall(text.upper())]
    real = [one for one in found if one[0] != one[-1]]
    return real[-1] if real else None


def won(verdict: str, side: str) -> tuple[float, int]:
    """Return what a side won, 1, 0.5 or 0, and how many times that counts.

    Args:
        verdict: such as "A>>B" or "B<A".
        side: "A" or "B".
    """
    sign = verdict[1:-1]
    if sign == "=":
        return 0.5, 1
    better = verdict[0] if ">" in sign else verdict[-1]
    return float(better == side), STRONG if len(sign) == 2 else 1


def _baseline_answer(values: Mapping[str, Any], _index: int) -> Prompt:
    """Return an answer, its model in the place of the category."""
    messages = values.get("messages")
    try:
        said = messages[-1]["content"]  # type: ignore[index]  # any mistake of its shape ends below
        text = said["answer"] if isinstance(said, Mapping) else said
    except (TypeError, LookupError) as error:
        raise ValueError("messages: the last one has no answer") from error
    if not isinstance(text, str):
        raise ValueError("messages: the last one has no answer")
    return Prompt(text_of(values, "uid"), str(values.get("model", "?")), text)
