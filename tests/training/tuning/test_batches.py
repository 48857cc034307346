"""Which rows a step takes, and how it is cut: every row once, the same step for any number of processes."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardrail.training.examples import IGNORED, Example
from guardrail.training.losses import Batch, guard_losses
from guardrail.training.tuning.batches import (
    Share,
    StepPlan,
    TrainParts,
    batches_by_length,
    collate,
    held_out_parts,
    to_values,
)
from guardrail.training.tuning.start import start_network
from tests.tiny import write_tiny
from tests.training.tuning.toy import read_settings, read_toy, toy_rows, write_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batches")
    write_tiny(folder / "start", n_layers=1)
    write_rows(folder / "toy.jsonl", list(toy_rows(150)))
    return folder


@pytest.fixture(scope="module")
def examples(folder: Path) -> list[Example]:
    return read_toy(read_settings(folder, folder / "start"))[0]


@given(n_rows=st.integers(0, 40), n_processes=st.integers(1, 5), n_passes=st.integers(1, 5))
def test_each_row_of_a_step_is_taken_once(n_rows: int, n_processes: int, n_passes: int) -> None:
    """Whatever the number of processes and passes; no part has two rows more than another."""
    parts = [
        range(n_rows)[Share(rank, n_processes, n_passes).cut(n_rows, number)]
        for rank in range(n_processes)
        for number in range(n_passes)
    ]
    assert sorted(i for part in parts for i in part) == list(range(n_rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_an_epoch_takes_each_row_once_and_in_another_order_than_the_one_before(examples: list[Example]) -> None:
    """Whole epochs, one after the other, also when they have different numbers of steps."""
    plan = StepPlan(examples, 400, 3, seed=1)
    seen = [i for step in range(plan.n_steps) for i in plan.rows(step)]
    n = len(examples)
    first, second = seen[:n], seen[n : 2 * n]
    assert sorted(first) == sorted(second) == list(range(n))
    assert first != second
    again = StepPlan(examples, 400, 3, seed=1)
    assert again.rows(plan.n_steps - 1) == plan.rows(plan.n_steps - 1)  # as a resumed run asks, from the middle
    assert StepPlan(examples, 400, 3, seed=2).rows(0) != plan.rows(0)
    assert plan.n_tokens(0) == sum(len(examples[i].ids) for i in plan.rows(0))


def test_a_batch_keeps_to_its_budget(examples: list[Example]) -> None:
    """Padded tokens; rows beside each other are of like length."""
    batches = batches_by_length(examples, 400)
    assert sorted(i for batch in batches for i in batch) == list(range(len(examples)))
    assert all(len(b) * max(len(examples[i].ids) for i in b) <= 400 for b in batches)
    padded = sum(len(b) * max(len(examples[i].ids) for i in b) for b in batches)
    assert padded < 1.1 * sum(len(e.ids) for e in examples)


@pytest.mark.parametrize("n_parts", [2, 7])
def test_a_part_knows_the_terms_of_the_whole_step(folder: Path, examples: list[Example], n_parts: int) -> None:
    """The losses of the parts add up to that of the step, and the noise is the same however the step is cut."""
    network = start_network(folder / "start", read_settings(folder, folder / "start"))
    plan = StepPlan(examples, 400, 1, seed=1)
    whole = TrainParts(examples, plan, Share(), network, noise=0.3, seed=1)
    cut = [TrainParts(examples, plan, Share(i, n_parts), network, noise=0.3, seed=1) for i in range(n_parts)]
    for step in range(4):
        values, parts = whole[step], [one[step] for one in cut]
        counts = values.pop("counts")
        assert (
            counts.tolist()
            == guard_losses(network, network.hidden_states(values["ids"]), batch(values)).counts.tolist()
        )
        assert all(part["counts"].tolist() == counts.tolist() for part in parts)
        assert all(part["weight"] == values["weight"] for part in parts)
        with torch.no_grad():
            losses = [guard_losses(network, network.hidden_states(v["ids"]), batch(v)) for v in (values, *parts)]
        assert float(losses[0].mean()) == pytest.approx(sum(float(one.mean(counts)) for one in losses[1:]), rel=1e-5)


def batch(values: dict[str, torch.Tensor]) -> Batch:
    return Batch(**{name: value for name, value in values.items() if name not in ("counts", "weight")})


def test_noise_spares_the_place_that_is_judged(folder: Path, examples: list[Example]) -> None:
    """Every other token may be another one."""
    network = start_network(folder / "start", read_settings(folder, folder / "start"))
    plan = StepPlan(examples, 400, 1, seed=1)
    plain, noisy = (TrainParts(examples, plan, Share(), network, noise=n, seed=1)[0] for n in (0.0, 1.0))
    each = torch.arange(len(plain["ids"]))
    place = plain["query_position"]
    assert torch.equal(plain["ids"][each, place], noisy["ids"][each, place])
    assert (plain["ids"] != noisy["ids"]).float().mean() > 0.9


def test_the_held_out_rows_are_shared_out_evenly(examples: list[Example]) -> None:
    """Every process makes as many passes; one that has nothing left makes them without labels."""
    shares = [list(held_out_parts(examples[:9], 60, Share(rank, 4))) for rank in range(4)]
    assert len({len(share) for share in shares}) == 1
    n_labelled = sum(
        int(((v["query_risk"] != IGNORED) | (v["response_risk"] != IGNORED).any(1)).sum()) for s in shares for v in s
    )
    assert n_labelled == 9


def test_without_rows_a_batch_has_no_labels() -> None:
    """One token that nobody asks about."""
    values = to_values(collate([]))
    assert values["ids"].tolist() == [[0]]
    assert all((values[name] == IGNORED).all() for name in ("query_risk", "query_category", "response_risk"))
