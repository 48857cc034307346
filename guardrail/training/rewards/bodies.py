"""What trainers send and are answered: bodies of OpenRLHF's remote reward model, and of our own richer route."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardrail.conversation import Message, to_messages
from guardrail.training.rewards.rendered import completion_of
from guardrail.training.rewards.values import REWARDS, Completion, Opinion, RewardKind, guard_only


class _Body(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)


class GetReward(_Body):
    """What OpenRLHF posts (`openrlhf/utils/agent.py` of 0.11.2, `_fetch_rewards_via_http`). Keys of later versions are
    passed over.

    Attributes:
        query: prompt and answer of each completion as one text, special tokens and all.
        prompts: the prompts, as they were rendered.
        labels: of the data set; the rewards take no notice of them.
    """

    query: list[str] = Field(min_length=1)
    prompts: list[str]
    labels: list[Any] | None = None

    @model_validator(mode="after")
    def _match(self) -> "GetReward":
        if len(self.prompts) != len(self.query):
            raise ValueError(f"{len(self.query)} queries and {len(self.prompts)} prompts do not match")
        return self

    def completions(self) -> list[Completion]:
        """Return what was written.

        Raises:
            ConversationError: a query does not begin with its prompt, or a prompt cannot be read.
        """
        return [completion_of(prompt, query) for prompt, query in zip(self.prompts, self.query, strict=True)]


class Written(_Body):
    """One completion.

    Attributes:
        prompt: one user message as text, or messages in OpenAI's form.
        text: what the model wrote, thinking and all; or else
        thinking: its thinking, and
        answer: its answer.
        is_thinking: of `text`: whether the rendered prompt ended in `<think>`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    prompt: str | list[dict[str, Any]]
    text: str | None = None
    thinking: str = ""
    answer: str | None = None
    is_thinking: bool = False

    @model_validator(mode="after")
    def _have_one(self) -> "Written":
        if (self.text is None) == (self.answer is None):
            raise ValueError("a completion has either text or answer")
        if self.text is not None and self.thinking:
            raise ValueError("thinking stands beside answer, not beside text")
        return self

    def completion(self) -> Completion:
        """Return it.

        Raises:
            ConversationError: its prompt cannot be read.
        """
        prompt: tuple[Message, ...] = to_messages(self.prompt)
        if self.text is not None:
            return Completion.of(prompt, self.text, is_thinking=self.is_thinking)
        return Completion(prompt, self.thinking, self.answer or "")


class Reward(_Body):
    """What our own route takes.

    Attributes:
        completions: what is to be rewarded.
        kind: the reward; unset takes the server's.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    completions: list[Written] = Field(min_length=1)
    kind: RewardKind | None = None


def get_reward_answer(opinions: Sequence[Opinion], kind: RewardKind) -> dict[str, Any]:
    """Return what OpenRLHF reads: `rewards` train, `scores` in {0, 1} filter prompts, `extra_logs` are logged.

    The score is the `guard_only` reward whatever the kind, so that `--algo.dynamic_filtering_range 0 1` drops prompts
    whose answers are all safe or all unsafe, as the technical report does. Logs are numbers, one a completion.
    """
    logs: dict[str, list[float]] = {
        "safe": [float(opinion.is_safe) for opinion in opinions],
        "refusal": [float(opinion.is_refusal) for opinion in opinions],
        "failed": [float(bool(opinion.failure)) for opinion in opinions],
    }
    if kind == "mixed":  # a tensor is made of each log: where one is missing, the least that is known stands in
        logs["helpfulness"] = [-10.0 if one.helpfulness is None else one.helpfulness for one in opinions]
    return {
        "rewards": [REWARDS[kind](opinion) for opinion in opinions],
        "scores": [guard_only(opinion) for opinion in opinions],
        "extra_logs": logs,
    }


def reward_answer(opinions: Sequence[Opinion], kind: RewardKind) -> dict[str, Any]:
    """Return the answer of our own route: the rewards, and the opinions behind them."""
    said: list[Mapping[str, Any]] = [
        {
            "thinking_is_safe": one.thinking_is_safe, "answer_is_safe": one.answer_is_safe,
            "is_refusal": one.is_refusal, "helpfulness": one.helpfulness, "failure": one.failure,
        }
        for one in opinions
    ]  # fmt: skip
    return {"kind": kind, "rewards": [REWARDS[kind](one) for one in opinions], "opinions": said}
