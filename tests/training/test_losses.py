"""The four terms against values worked out by hand."""

import math
from dataclasses import fields, replace

import pytest
import torch

from guardrail.encoding import GuardTokenizer
from guardrail.network import GuardNetwork
from guardrail.taxonomy import RESPONSE_LABELS, RiskLevel
from guardrail.training.examples import IGNORED, to_example
from guardrail.training.losses import Batch, guard_losses
from guardrail.training.tuning.batches import collate
from tests.tiny import tiny_config

SAFE, UNSAFE = (RESPONSE_LABELS.risks.index(level) for level in (RiskLevel.SAFE, RiskLevel.UNSAFE))
N_RISKS = len(RESPONSE_LABELS.risks)


@pytest.fixture(scope="module")
def network() -> GuardNetwork:
    return GuardNetwork.init(tiny_config(), 0)


@pytest.fixture(scope="module")
def hidden() -> torch.Tensor:
    return torch.randn(2, 5, 48, generator=torch.Generator().manual_seed(1))


def batch(**changes: object) -> Batch:
    empty: dict[str, object] = {
        "ids": torch.zeros(2, 5, dtype=torch.int64),
        "query_position": torch.tensor([3, 0]),
        "query_risk": torch.tensor([IGNORED, IGNORED]),
        "query_category": torch.tensor([IGNORED, IGNORED]),
        "response_risk": torch.full((2, 5), IGNORED),
        "response_category": torch.tensor([IGNORED, IGNORED]),
        "teacher": torch.zeros(2, N_RISKS),
        "teacher_share": torch.zeros(2),
        "query_share": torch.zeros(2),
    }
    return Batch(**{**empty, **changes})  # type: ignore[arg-type]  # names and types as in the dataclass


def nll(logits: torch.Tensor, label: int) -> float:
    return float(-logits.detach().log_softmax(-1)[label])


def test_the_query_is_trained_at_its_position_only(network: GuardNetwork, hidden: torch.Tensor) -> None:
    """One row with a label: the term is the cross entropy at position 3, whatever stands elsewhere."""
    labelled = batch(query_risk=torch.tensor([UNSAFE, IGNORED]))
    found = guard_losses(network, hidden, labelled)
    expected = nll(network.heads(hidden[0, 3]).query_risk_level_logits, UNSAFE)
    assert found.counts.tolist() == [1, 0, 0, 0]
    assert float(found.mean().detach()) == pytest.approx(expected, rel=1e-5)
    changed = hidden.clone()
    changed[0, [0, 1, 2, 4]] += 1
    assert float(guard_losses(network, changed, labelled).mean().detach()) == pytest.approx(expected, rel=1e-5)


def test_the_response_is_a_mean_over_tokens_then_over_rows(network: GuardNetwork, hidden: torch.Tensor) -> None:
    """A row of one token weighs as much as a row of three."""
    risk = torch.tensor([[IGNORED, SAFE, SAFE, UNSAFE, IGNORED], [IGNORED] * 4 + [UNSAFE]])
    logits = network.heads(hidden).risk_level_logits
    first = sum(nll(logits[0, i], label) for i, label in ((1, SAFE), (2, SAFE), (3, UNSAFE))) / 3
    found = guard_losses(network, hidden, batch(response_risk=risk))
    assert float(found.mean().detach()) == pytest.approx((first + nll(logits[1, 4], UNSAFE)) / 2, rel=1e-5)


def test_categories_are_trained_only_where_the_label_is_not_safe(network: GuardNetwork, hidden: torch.Tensor) -> None:
    """The token before the onset carries no category, nor does a safe row that names one."""
    risk = torch.tensor([[SAFE, UNSAFE, IGNORED, IGNORED, IGNORED], [SAFE] * 5])
    found = guard_losses(network, hidden, batch(response_risk=risk, response_category=torch.tensor([2, 2])))
    expected = nll(network.heads(hidden[0, 1]).category_logits, 2)
    assert found.counts.tolist() == [0, 0, 2, 1]
    assert float(found.sums[3].detach()) == pytest.approx(expected, rel=1e-5)


def test_without_labels_there_is_no_loss(network: GuardNetwork, hidden: torch.Tensor) -> None:
    """Ignored positions give nothing, and no division by nothing."""
    assert float(guard_losses(network, hidden, batch()).mean().detach()) == 0


def test_class_weights_scale_the_risk_terms(network: GuardNetwork, hidden: torch.Tensor) -> None:
    """A Safe row with weight 2 costs twice as much."""
    labelled = batch(query_risk=torch.tensor([SAFE, IGNORED]))
    weights = torch.ones(N_RISKS)
    weights[SAFE] = 2
    plain, weighed = guard_losses(network, hidden, labelled), guard_losses(network, hidden, labelled, weights)
    assert float(weighed.mean().detach()) == pytest.approx(2 * float(plain.mean().detach()), rel=1e-5)


def test_a_teacher_takes_its_share(network: GuardNetwork, hidden: torch.Tensor) -> None:
    """Half the label's cross entropy, half that against the teacher's probabilities."""
    risk = torch.tensor([[UNSAFE] + [IGNORED] * 4, [IGNORED] * 5])
    teacher = torch.tensor([[0.5, 0.25, 0.25], [0.0] * 3])
    found = guard_losses(
        network, hidden, batch(response_risk=risk, teacher=teacher, teacher_share=torch.tensor([0.5, 0.0]))
    )
    log = network.heads(hidden[0, 0]).risk_level_logits.detach().log_softmax(-1)
    soft = -float((log * teacher[0]).sum())
    assert float(found.mean().detach()) == pytest.approx(0.5 * -float(log[UNSAFE]) + 0.5 * soft, rel=1e-5)


def test_a_teacher_takes_its_share_of_a_prompt(network: GuardNetwork, hidden: torch.Tensor) -> None:
    """At its closing token; the row beside it, without one, keeps its label."""
    teacher = torch.tensor([[0.5, 0.25, 0.25], [0.0] * 3])
    labelled = batch(query_risk=torch.tensor([UNSAFE, SAFE]), teacher=teacher, query_share=torch.tensor([0.25, 0.0]))
    found = guard_losses(network, hidden, labelled)
    log = network.heads(hidden[0, 3]).query_risk_level_logits.detach().log_softmax(-1)
    first = 0.75 * -float(log[UNSAFE]) + 0.25 * -float((log * teacher[0]).sum())
    second = nll(network.heads(hidden[1, 0]).query_risk_level_logits, SAFE)
    assert float(found.mean().detach()) == pytest.approx((first + second) / 2, rel=1e-5)


def test_class_weights_scale_what_a_teacher_says(network: GuardNetwork, hidden: torch.Tensor) -> None:
    """Each level's part of the cross entropy is weighed as a label of that level is, in prompts and answers alike."""
    teacher = torch.tensor([[0.5, 0.25, 0.25], [0.0] * 3])
    weights = torch.ones(N_RISKS)
    weights[SAFE] = 2
    everything = torch.tensor([1.0, 0.0])
    prompts = batch(query_risk=torch.tensor([UNSAFE, IGNORED]), teacher=teacher, query_share=everything)
    answers = batch(
        response_risk=torch.tensor([[UNSAFE] + [IGNORED] * 4, [IGNORED] * 5]), teacher=teacher, teacher_share=everything
    )
    logits = network.heads(hidden[0, 3]).query_risk_level_logits, network.heads(hidden[0, 0]).risk_level_logits
    for labelled, said in zip((prompts, answers), logits, strict=True):
        expected = sum(float(w * p) * nll(said, i) for i, (w, p) in enumerate(zip(weights, teacher[0], strict=True)))
        found = guard_losses(network, hidden, labelled, weights).mean()
        assert float(found.detach()) == pytest.approx(expected, rel=1e-5)


def test_a_teacher_says_nothing_before_the_onset(network: GuardNetwork, hidden: torch.Tensor) -> None:
    """There the label, Safe, stands alone; from the onset on the teacher has its share."""
    risk = torch.tensor([[SAFE, UNSAFE] + [IGNORED] * 3, [IGNORED] * 5])
    teacher = torch.tensor([[0.1, 0.8, 0.1], [0.0] * 3])
    found = guard_losses(
        network, hidden, batch(response_risk=risk, teacher=teacher, teacher_share=torch.tensor([0.5, 0.0]))
    )
    logits = network.heads(hidden[0]).risk_level_logits.detach()
    after = 0.5 * nll(logits[1], UNSAFE) - 0.5 * float((logits[1].log_softmax(-1) * teacher[0]).sum())
    assert float(found.mean().detach()) == pytest.approx((nll(logits[0], SAFE) + after) / 2, rel=1e-5)


def test_weights_and_labels_go_by_name(hidden: torch.Tensor) -> None:
    """Heads whose outputs stand in another order: Safe, last there, has Safe's weight and starts no category."""
    turned = replace(RESPONSE_LABELS, risks=RESPONSE_LABELS.risks[::-1])
    network = GuardNetwork.init(tiny_config(response_labels=turned), 0)
    safe, unsafe = (turned.risks.index(level) for level in (RiskLevel.SAFE, RiskLevel.UNSAFE))
    risk = torch.tensor([[safe] + [IGNORED] * 4, [unsafe] + [IGNORED] * 4])
    labelled = batch(response_risk=risk, response_category=torch.tensor([2, 2]))
    found = guard_losses(network, hidden, labelled, torch.tensor([2.0, 1.0, 1.0]))
    logits = network.heads(hidden[:, 0]).risk_level_logits
    assert float(found.sums[2].detach()) == pytest.approx(2 * nll(logits[0], safe) + nll(logits[1], unsafe), rel=1e-5)
    assert found.counts.tolist() == [0, 0, 2, 1]


def test_parts_of_a_step_add_up_to_it(network: GuardNetwork, hidden: torch.Tensor) -> None:
    """With the counts of the step: a part that has no row of a term adds nothing to it."""
    labelled = batch(
        query_risk=torch.tensor([UNSAFE, SAFE]), query_position=torch.tensor([3, 1]),
        response_risk=torch.tensor([[UNSAFE] * 5, [IGNORED] * 5]),
    )  # fmt: skip
    whole = guard_losses(network, hidden, labelled)
    parts = [
        guard_losses(
            network, hidden[i : i + 1], Batch(**{f.name: getattr(labelled, f.name)[i : i + 1] for f in fields(Batch)})
        )
        for i in (0, 1)
    ]
    assert [part.counts.tolist() for part in parts] == [[1, 0, 1, 0], [1, 0, 0, 0]]
    together = sum(float(part.mean(whole.counts).detach()) for part in parts)
    assert together == pytest.approx(float(whole.mean().detach()), rel=1e-5)


def test_an_untrained_network_knows_nothing(network: GuardNetwork) -> None:
    """At zero states the loss is that of a guess among the levels."""
    labelled = batch(query_risk=torch.tensor([SAFE, UNSAFE]))
    found = guard_losses(network, torch.zeros(2, 5, 48), labelled)
    assert float(found.mean().detach()) == pytest.approx(math.log(N_RISKS), abs=1e-5)


def test_the_loss_is_the_sum_of_four_means(network: GuardNetwork, hidden: torch.Tensor) -> None:
    """Both rows with a query label, one with a category, both with an answer: worked out term by term."""
    risk = torch.tensor([[IGNORED, IGNORED, IGNORED, IGNORED, UNSAFE], [IGNORED, SAFE, UNSAFE, UNSAFE, IGNORED]])
    labelled = batch(
        query_risk=torch.tensor([UNSAFE, SAFE]), query_category=torch.tensor([4, IGNORED]),
        response_risk=risk, response_category=torch.tensor([IGNORED, 6]),
    )  # fmt: skip
    out = network.heads(hidden)
    query = (nll(out.query_risk_level_logits[0, 3], UNSAFE) + nll(out.query_risk_level_logits[1, 0], SAFE)) / 2
    query_category = nll(out.query_category_logits[0, 3], 4)
    first = nll(out.risk_level_logits[0, 4], UNSAFE)
    second = sum(nll(out.risk_level_logits[1, i], label) for i, label in ((1, SAFE), (2, UNSAFE), (3, UNSAFE))) / 3
    category = (nll(out.category_logits[1, 2], 6) + nll(out.category_logits[1, 3], 6)) / 2
    found = guard_losses(network, hidden, labelled)
    assert found.counts.tolist() == [2, 1, 2, 1]
    expected = query + query_category + (first + second) / 2 + category
    assert float(found.mean().detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        ({"query_risk": torch.tensor([UNSAFE, IGNORED])}, {"query_risk_level_head"}),
        ({"query_category": torch.tensor([IGNORED, 1])}, {"query_category_head"}),
        ({"response_risk": torch.tensor([[SAFE] * 5] * 2)}, {"risk_level_head"}),
        (
            {"response_risk": torch.tensor([[UNSAFE] * 5] * 2), "response_category": torch.tensor([1, IGNORED])},
            {"risk_level_head", "category_head"},
        ),
    ],
)
def test_a_label_trains_its_own_heads_only(
    changes: dict[str, object], trained: set[str], network: GuardNetwork, hidden: torch.Tensor
) -> None:
    """No gradient reaches a head without labels."""
    network.zero_grad()
    guard_losses(network, hidden, batch(**changes)).mean().backward()  # type: ignore[no-untyped-call]  # torch's
    heads = {name.split(".")[0]: p.grad for name, p in network.named_parameters() if "_head" in name}
    network.zero_grad()
    assert {name for name, gradient in heads.items() if gradient is not None and gradient.any()} == trained


def test_padding_changes_no_loss(network: GuardNetwork, tokenizer: GuardTokenizer) -> None:
    """A short row beside a long one costs what it costs alone."""
    texts = ["kill", "a very much longer answer that goes on and on, and on"]
    rows = [
        {
            "messages": [{"role": "user", "content": "say"}, {"role": "assistant", "content": text}],
            "target": "response", "risk": "unsafe", "category": ["violent"], "unsafe_start_char": 0,
        }
        for text in texts
    ]  # fmt: skip
    examples = [to_example(tokenizer, row, 64, prompt_is_safe=True) for row in rows]
    together = collate(examples)
    assert together.ids.shape == (2, max(len(e.ids) for e in examples))
    with torch.no_grad():
        joint = guard_losses(network, network.hidden_states(together.ids), together)
        alone = [guard_losses(network, network.hidden_states(b.ids), b) for b in (collate([e]) for e in examples)]
    assert torch.allclose(joint.sums, alone[0].sums + alone[1].sums, atol=1e-4)
    assert joint.counts.tolist() == [2, 0, 2, 2]
