"""Settings of `controversial`."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from guardrail.training.learners.settings import LearnerSettings
from guardrail.training.settings import Count, Share

SafeShare = Annotated[float, Field(ge=0.5, lt=1)]


@dataclass(frozen=True)
class ControversialSettings:
    """Settings of `controversial`; all numbers are ours unless they name their source.

    Attributes:
        targets: which rows are voted on; prompts and answers have classifiers of their own.
        learner: what is trained on each half.
        salt: of the halves; another one draws other halves.
        safe_shares: what Safe may make up of the weight for the loose classifier; Unsafe makes up as much for the
            strict one. The reference's authors speak of roughly 2:8 or 3:7. One value is taken without a search.
        around: what a share of one half means. "even": levels that weigh alike, as the reference's ratios read; "rows":
            what the rows have of each level, which the shares then multiply.
        objective: how the share is chosen. "macro_f1": the best mean F1 of the three levels on the rows with a human
            label; "share": the highest share of Safe at which no more than `most_controversial` of the rows are in
            conflict; "auto": the first if people's labels hold enough of all three levels, else the second, with a
            warning. "macro_f1" without enough of them is an error.
        most_controversial: see `objective`.
        agreed: what becomes of a row on which both classifiers agree against its label. "keep": nothing, `relabel` has
            rules for that; "vote": it takes the level they agree on, as the reference's report can be read.
        drawn: reach the shares by leaving rows out, not by weights.
        least_rows: of a level, in each half, that it takes to learn from, or among people's labels to measure by.
    """

    targets: tuple[Literal["prompt", "response"], ...] = ("prompt", "response")
    learner: LearnerSettings = field(default_factory=LearnerSettings)
    salt: str = "controversial"
    safe_shares: tuple[SafeShare, ...] = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
    around: Literal["even", "rows"] = "even"
    objective: Literal["auto", "macro_f1", "share"] = "auto"
    most_controversial: Share = 0.15
    agreed: Literal["keep", "vote"] = "keep"
    drawn: bool = False
    least_rows: Count = 20
