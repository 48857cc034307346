"""Settings of `relabel`."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from guardrail.training.learners.settings import LearnerSettings
from guardrail.training.settings import Count

Pair = Literal["safe-controversial", "safe-unsafe", "controversial-unsafe"]


@dataclass(frozen=True)
class RelabelSettings:
    """Settings of `relabel`; all numbers are ours. Labels that people gave never change.

    Attributes:
        targets: which rows a teacher reads; prompts and answers have teachers of their own.
        learner: what is trained on each half.
        salt: of the halves; must differ from that of `controversial`, whose halves would come back otherwise.
        rule: which of the allowed changes are made. "full": whatever the teacher holds for likelier, as in the
            reference; "confident": that by at least `margin`; "auto": what confident learning counts as noise, where a
            level must be as probable as it is, on average, for the rows that are labelled so: the bar falls with the
            teacher's confidence, hence with the noise, and for each level by itself.
        margin: of "confident": least probability of the new level above that of the old one.
        may_change: pairs of levels between which a label may move, either way.
        n_listed: ids of the most confident changes that the report lists.
        least_rows: of a level, in each half, that it takes to teach it; rows of a rarer one stay as they are.
    """

    targets: tuple[Literal["prompt", "response"], ...] = ("prompt", "response")
    learner: LearnerSettings = field(default_factory=LearnerSettings)
    salt: str = "relabel"
    rule: Literal["auto", "confident", "full"] = "auto"
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.6
    may_change: tuple[Pair, ...] = ("safe-controversial", "safe-unsafe", "controversial-unsafe")
    n_listed: Count = 50
    least_rows: Count = 20
