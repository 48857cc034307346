"""The losses of the reference (technical report 4.3): query at the closing token, response as a mean over tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from guardrail.network import GuardNetwork
from guardrail.taxonomy import PUBLISHED_RISKS, RiskLevel
from guardrail.training.examples import IGNORED

TERMS = ("query_risk", "query_category", "response_risk", "response_category")
"""Order of the terms."""


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
        teacher: float32 [row, risk], probabilities that soften the labels of the judged text.
        teacher_share: float32 [row], weight of the teacher against the label of an answer, in [0, 1].
        query_share: float32 [row], weight of the teacher against the label of a prompt, in [0, 1].
    """

    ids: Tensor
    query_position: Tensor
    query_risk: Tensor
    query_category: Tensor
    response_risk: Tensor
    response_category: Tensor
    teacher: Tensor
    teacher_share: Tensor
    query_share: Tensor


@dataclass(frozen=True, slots=True)
class Losses:
    """Sum of each term over the rows that have it, and how many have it: [4] each, in the order of `TERMS`."""

    sums: Tensor
    counts: Tensor

    def mean(self, counts: Tensor | None = None) -> Tensor:
        """Return the loss: each term averaged over the rows that have it, then added.

        Args:
            counts: [4], rows that have each term in all of the step of which this batch is a part; the losses of the
                parts then add up to that of the step. None: the batch is the step.
        """
        return (self.sums / (self.counts if counts is None else counts).clamp(min=1)).sum()


def guard_losses(network: GuardNetwork, hidden: Tensor, batch: Batch, class_weights: Tensor | None = None) -> Losses:
    """Return the four terms for states [row, position, hidden].

    The category terms exist only where the gold risk is not Safe and a category is known (label not IGNORED); the
    response terms are means over the tokens of one response before they are averaged over rows. All heads are part
    of the result's graph, whatever labels there are.

    Args:
        network: whose heads are trained.
        hidden: states behind the final norm.
        batch: labels.
        class_weights: weight of each risk level in the risk terms, [3], in the order of `PUBLISHED_RISKS`; None
            weighs them alike.
    """
    terms = _query_terms(network, hidden, batch, class_weights)
    terms += _response_terms(network, hidden, batch, class_weights)
    return Losses(torch.stack([total for total, _ in terms]), torch.stack([count for _, count in terms]))


def _query_terms(
    network: GuardNetwork, hidden: Tensor, batch: Batch, weights: Tensor | None
) -> list[tuple[Tensor, Tensor]]:
    rows = torch.arange(len(batch.ids), device=hidden.device)
    risk_logits, category_logits = network.query_heads(hidden[rows, batch.query_position])
    weights = _ordered(weights, network.config.prompt_labels.risks)
    hard = F.cross_entropy(risk_logits, batch.query_risk, weight=weights, ignore_index=IGNORED, reduction="none")
    is_labelled = batch.query_risk != IGNORED
    soft = _soft(risk_logits, batch.teacher, weights) * is_labelled
    risk = (1 - batch.query_share) * hard + batch.query_share * soft
    category = F.cross_entropy(category_logits, batch.query_category, ignore_index=IGNORED, reduction="none")
    return [(risk.sum(), is_labelled.sum()), (category.sum(), (batch.query_category != IGNORED).sum())]


def _response_terms(
    network: GuardNetwork, hidden: Tensor, batch: Batch, weights: Tensor | None
) -> list[tuple[Tensor, Tensor]]:
    """Return risk and category; the heads read the labelled tokens alone, [token] in what follows."""
    places = _Places.of(batch.response_risk, network)
    risk_logits, category_logits = network.response_heads(hidden[places.is_labelled])
    weights = _ordered(weights, network.config.response_labels.risks)
    hard = F.cross_entropy(risk_logits, places.labels, weight=weights, reduction="none")
    # Before the onset of an answer that turns risky the teacher, who judged all of it, has nothing to say.
    share = batch.teacher_share[places.row] * places.has_level
    risk = (1 - share) * hard + share * _soft(risk_logits, batch.teacher[places.row], weights)
    targets = torch.where(places.is_harmful, batch.response_category[places.row], IGNORED)
    category = F.cross_entropy(category_logits, targets, ignore_index=IGNORED, reduction="none")
    has_category = (batch.response_category != IGNORED) & (places.n_harmful > 0)
    return [
        ((risk / places.n_labelled[places.row]).sum(), (places.n_labelled > 0).sum()),
        ((category / places.n_harmful.clamp(min=1)[places.row]).sum(), has_category.sum()),
    ]


@dataclass(frozen=True, slots=True)
class _Places:
    """The labelled tokens of answers.

    Attributes:
        is_labelled: bool [row, position].
        row: int64 [token], the row of each.
        labels: int64 [token].
        is_harmful: bool [token].
        n_labelled: int64 [row].
        n_harmful: int64 [row].
    """

    is_labelled: Tensor
    row: Tensor
    labels: Tensor
    is_harmful: Tensor
    n_labelled: Tensor
    n_harmful: Tensor

    @classmethod
    def of(cls, response_risk: Tensor, network: GuardNetwork) -> "_Places":
        safe = network.config.response_labels.risks.index(RiskLevel.SAFE)
        is_labelled = response_risk != IGNORED
        labels = response_risk[is_labelled]
        harmful = is_labelled & (response_risk != safe)
        return cls(is_labelled, is_labelled.nonzero()[:, 0], labels, labels != safe, is_labelled.sum(1), harmful.sum(1))

    @property
    def has_level(self) -> Tensor:
        """Which tokens have their answer's level, bool [token]: all of a harmless one, the harmful ones of another."""
        return self.is_harmful == self.n_harmful.bool()[self.row]


@dataclass(frozen=True, slots=True)
class RowScores:
    """How risky the heads find each row: float32 [row], 1 less the probability of Safe; NaN where nothing is labelled.

    Attributes:
        query: at the closing token of the prompt.
        query_is_harmful: bool [row], the label.
        response: mean over the labelled tokens, from the onset on where it is known.
        response_is_harmful: bool [row], the label.
    """

    query: Tensor
    query_is_harmful: Tensor
    response: Tensor
    response_is_harmful: Tensor


def row_scores(network: GuardNetwork, hidden: Tensor, batch: Batch) -> RowScores:
    """Return how the heads judge states [row, position, hidden]."""
    rows = torch.arange(len(batch.ids), device=hidden.device)
    labels = network.config.prompt_labels.risks, network.config.response_labels.risks
    query = (
        1 - network.query_heads(hidden[rows, batch.query_position])[0].softmax(-1)[:, labels[0].index(RiskLevel.SAFE)]
    )
    places = _Places.of(batch.response_risk, network)
    risky = 1 - network.response_heads(hidden[places.is_labelled])[0].softmax(-1)[:, labels[1].index(RiskLevel.SAFE)]
    totals = torch.zeros_like(query).index_add(0, places.row, risky * places.has_level)
    n = torch.zeros_like(query).index_add(0, places.row, places.has_level.float())
    is_harmful = batch.query_risk != labels[0].index(RiskLevel.SAFE)
    return RowScores(
        query.masked_fill(batch.query_risk == IGNORED, float("nan")), is_harmful, totals / n, places.n_harmful > 0
    )


def _soft(logits: Tensor, teacher: Tensor, weights: Tensor | None) -> Tensor:
    """Return the cross entropy against a teacher's probabilities, [...]: the mean of that against labels drawn so."""
    weighted = teacher if weights is None else teacher * weights
    return -(logits.log_softmax(-1) * weighted).sum(-1)


def _ordered(weights: Tensor | None, risks: Sequence[RiskLevel]) -> Tensor | None:
    """Return the weights of `PUBLISHED_RISKS` in the order of other labels."""
    if weights is None or tuple(risks) == PUBLISHED_RISKS:
        return weights
    return weights[[PUBLISHED_RISKS.index(risk) for risk in risks]]
