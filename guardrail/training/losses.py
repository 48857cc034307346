"""The losses of the reference (technical report 4.3): query at the closing token, response as a mean over tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from guardrail.network import GuardNetwork
from guardrail.taxonomy import RiskLevel
from guardrail.training.examples import IGNORED


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right; labels are IGNORED where there is no loss.

    Attributes:
        ids: int64 [row, position].
        query_position: int64 [row]; 0 where the row has no query label.
        query_risk: int64 [row].
        query_category: int64 [row].
        response_risk: int64 [row, position].
        response_category: int64 [row].
        teacher: float32 [row, risk], probabilities that soften the labels of the answer's tokens.
        teacher_share: float32 [row], weight of the teacher against the label, in [0, 1].
    """

    ids: Tensor
    query_position: Tensor
    query_risk: Tensor
    query_category: Tensor
    response_risk: Tensor
    response_category: Tensor
    teacher: Tensor
    teacher_share: Tensor


@dataclass(frozen=True, slots=True)
class Losses:
    """Sum of each term over the rows that have it, and how many have it: [4] each, in the order query risk, query
    category, response risk, response category.
    """

    sums: Tensor
    counts: Tensor

    def mean(self) -> Tensor:
        """Return the loss: each term averaged over the rows that have it, then added."""
        return (self.sums / self.counts.clamp(min=1)).sum()


def guard_losses(network: GuardNetwork, hidden: Tensor, batch: Batch, class_weights: Tensor | None = None) -> Losses:
    """Return the four terms for states [row, position, hidden].

    The category terms exist only where the gold risk is not Safe and a category is known (label not IGNORED); the
    response terms are means over the tokens of one response before they are averaged over rows.

    Args:
        network: whose heads are trained.
        hidden: states behind the final norm.
        batch: labels.
        class_weights: weight of each risk level in the risk terms, [3]; None weighs them alike.
    """
    rows = torch.arange(len(batch.ids), device=hidden.device)
    query = network.heads(hidden[rows, batch.query_position])
    response = network.heads(hidden)
    per_token_risk = F.cross_entropy(
        response.risk_level_logits.transpose(1, 2), batch.response_risk,
        weight=class_weights, ignore_index=IGNORED, reduction="none",
    )  # fmt: skip
    labelled = batch.response_risk != IGNORED
    soft = -(response.risk_level_logits.float().log_softmax(-1) * batch.teacher[:, None]).sum(-1) * labelled
    share = batch.teacher_share[:, None]
    per_token_risk = (1 - share) * per_token_risk + share * soft
    n_labelled = labelled.sum(1)
    safe_label = network.config.response_labels.risks.index(RiskLevel.SAFE)
    harmful = labelled & (batch.response_risk != safe_label)
    has_category = (batch.response_category != IGNORED) & harmful.any(1)
    targets = torch.where(harmful, batch.response_category[:, None], IGNORED)
    per_token_category = F.cross_entropy(
        response.category_logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
    )
    terms = [
        (_rows(query.query_risk_level_logits, batch.query_risk, class_weights), batch.query_risk != IGNORED),
        (_rows(query.query_category_logits, batch.query_category, None), batch.query_category != IGNORED),
        (per_token_risk.sum(1) / n_labelled.clamp(min=1), n_labelled > 0),
        (per_token_category.sum(1) / harmful.sum(1).clamp(min=1), has_category),
    ]
    return Losses(torch.stack([t.sum() for t, _ in terms]), torch.stack([present.sum() for _, present in terms]))


def _rows(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    return F.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORED, reduction="none")
