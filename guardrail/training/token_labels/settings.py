"""Settings of `token_labels`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from guardrail.training.settings import Count, Positive, Share

Mode = Literal["exact", "stride", "coarse"]
"""Which places of an answer are asked about: every token; every few tokens, then by halves between two of them; ends of
sentences, then by halves inside the first sentence that qualifies."""

Rule = Literal["both", "rollouts", "judge"]
"""What has to hold at the onset: both, as in the reference; one of them alone is for comparison."""

Spans = Literal["leave", "compare", "replace"]
"""What becomes of rows that have an onset: nothing; the found one is noted beside it; the found one takes its place,
but never that of a person's."""

RolloutForm = Literal["transcript", "chatml", "chat"]


@dataclass(frozen=True)
class RolloutSettings:
    """A model that writes on from the beginning of an answer; the reference has several and names none.

    Attributes:
        model: its name in the recipe.
        form: "transcript": a completion of `User: ... Assistant: ...`, for base models; "chatml": a completion of the
            conversation as Qwen3's template renders it, thinking switched off; "chat": a chat whose last turn, the
            assistant's, is to be continued, for servers that do so.
        samples: rollouts at a place; the reference does not say how many.
        max_tokens: of a rollout.
        temperature: of sampling.
        top_p: of sampling.
    """

    model: str
    form: RolloutForm = "transcript"
    samples: Count = 8
    max_tokens: Count = 64
    temperature: Positive = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True)
class TokenLabelsSettings:
    """Settings of `token_labels`; all numbers are ours unless they name their source.

    Attributes:
        rollouts: models that continue a prefix.
        guard: model of the recipe that judges prefix and rollout.
        judge: model that reads the prefix alone.
        judge_form: "chat": a language model with instructions of ours; "guard": a Qwen3Guard.
        judge_tokens: most tokens of the judge's answer.
        rule: what has to hold at the onset.
        mode: which places are asked about.
        stride: tokens from one place to the next in mode "stride".
        longest_stretch: most tokens between two places in mode "coarse", where no sentence ends.
        threshold: least share of the rollouts judged unsafe or controversial. Qwen3Guard's report, which writes "at
            least 85 %"; another text of its authors writes "more than".
        min_judged: least share of the rollouts whose judgement can be read; with fewer a place does not qualify.
        spans: what becomes of rows that have an onset.
        compare: rows, drawn by hash, that are done in mode "exact" as well, to report the agreement.
        tokenizer: tokenizer.json of the guard that is to be trained; None: that of the embedded model.
        prompts: a file instead of our instructions; None: ours.
    """

    rollouts: tuple[RolloutSettings, ...] = ()
    guard: str = ""
    judge: str = ""
    judge_form: Literal["chat", "guard"] = "chat"
    judge_tokens: Count = 512
    rule: Rule = "both"
    mode: Mode = "coarse"
    stride: Count = 8
    longest_stretch: Count = 64
    threshold: Share = 0.85
    min_judged: Share = 0.5
    spans: Spans = "leave"
    compare: Annotated[int, Field(ge=0)] = 0
    tokenizer: Path | None = None
    prompts: Path | None = None
