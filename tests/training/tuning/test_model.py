"""The forward pass that is trained, and ways to train less than all of it."""

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from guardrail.network import GuardNetwork
from guardrail.training.examples import Example
from guardrail.training.tuning.batches import Share, StepPlan, TrainParts, collate, to_values
from guardrail.training.tuning.model import TunedGuard, add_lora, freeze_backbone, whole_weights
from guardrail.training.tuning.settings import Lora
from tests.tiny import tiny_config, tiny_network, write_tiny
from tests.training.tuning.toy import read_settings, read_toy, toy_rows, write_rows

EVEN = (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    folder = tmp_path_factory.mktemp("model")
    write_tiny(folder / "start", n_layers=1)
    write_rows(folder / "toy.jsonl", list(toy_rows(60)))
    return read_toy(read_settings(folder, folder / "start"))[0]


def gradients(
    network: GuardNetwork, *passes: dict[str, torch.Tensor], recompute: bool = False
) -> dict[str, torch.Tensor]:
    """Return the gradients of all parameters after some passes; none may be missing."""
    model = TunedGuard(network, EVEN, bf16=False, recompute=recompute).train()
    model.zero_grad()
    for values in passes:
        model(**values)["loss"].backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    assert all(gradient is not None for gradient in found.values())
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def assert_close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    """Within what the order of sums changes."""
    assert all(torch.allclose(left[name], right[name], atol=1e-5, rtol=1e-4) for name in left)


@pytest.mark.parametrize("n_passes", [2, 5, 40])
def test_a_row_counts_the_same_in_whatever_pass_it_is(examples: list[Example], n_passes: int) -> None:
    """The gradient of a step is the same in one pass and in many, also when a pass has no row of a term, or none."""
    network = tiny_network(tiny_config(n_layers=1))
    plan = StepPlan(examples, 800, 1, seed=1)
    whole = TrainParts(examples, plan, Share(), network, noise=0.0, seed=1)
    cut = TrainParts(examples, plan, Share(n_passes=n_passes), network, noise=0.0, seed=1)
    assert len(plan.rows(1)) < 40
    expected = gradients(network, whole[1])
    assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())
    assert_close(expected, gradients(network, *(cut[n_passes + i] for i in range(n_passes))))


def test_a_pass_without_labels_touches_every_head_and_moves_none(examples: list[Example]) -> None:
    """Processes wait for each other's gradients: none may be missing."""
    found = gradients(tiny_network(tiny_config(n_layers=1)), to_values(collate([])))
    assert not any(gradient.any() for gradient in found.values())
    only_prompts = [e for e in examples if e.query_position >= 0]
    found = gradients(tiny_network(tiny_config(n_layers=1)), to_values(collate(only_prompts)))
    assert not found["network.risk_level_head.weight"].any()
    assert found["network.query_risk_level_head.weight"].any()


def test_computing_layers_anew_changes_no_gradient(examples: list[Example]) -> None:
    """It trades time for memory."""
    values = to_values(collate(examples[:8]))
    plain = gradients(tiny_network(tiny_config()), values)
    n_calls = 0
    network = tiny_network(tiny_config())
    mlp = network.model.layers[0].get_submodule("mlp")
    forward = mlp.forward

    def counted(x: torch.Tensor) -> torch.Tensor:
        nonlocal n_calls
        n_calls += 1
        return forward(x)  # type: ignore[no-any-return]  # torch's

    mlp.forward = counted
    assert_close(plain, gradients(network, values, recompute=True))
    assert n_calls == 2


def test_bf16_leaves_weights_heads_and_loss_in_float32(examples: list[Example]) -> None:
    """The backbone alone computes in bfloat16."""
    values = to_values(collate(examples[:8]))
    losses = []
    for bf16 in (False, True):
        model = TunedGuard(tiny_network(tiny_config()), EVEN, bf16=bf16)
        with torch.no_grad():
            losses.append(model(**values)["loss"])
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert losses[1].dtype is torch.float32
    assert losses[0] != losses[1]
    assert float(losses[1]) == pytest.approx(float(losses[0]), rel=0.05)


def test_a_frozen_backbone_has_no_gradient(examples: list[Example]) -> None:
    """The heads have."""
    model = TunedGuard(tiny_network(tiny_config()), EVEN, bf16=False)
    freeze_backbone(model)
    model(**to_values(collate(examples[:8])))["loss"].backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None}
    assert moved == {name for name, _ in model.named_parameters() if not name.startswith("network.model.")}


def test_small_matrices_end_in_the_weights(examples: list[Example]) -> None:
    """What peft computes beside a matrix is what the merged matrix computes, under the published names."""
    lora = Lora(rank=4, alpha=8)
    network = tiny_network(tiny_config())
    names = list(dict(network.named_parameters()))
    before = {name: p.clone() for name, p in network.named_parameters()}
    model = TunedGuard(network, EVEN, bf16=False).eval()
    add_lora(model, lora, seed=1)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert any("lora_A" in name for name in trained)
    assert not any(name.startswith("network.model.") and "lora_" not in name for name in trained)
    assert "network.risk_level_head.weight" in trained
    with torch.no_grad():
        for layer in (m for m in model.modules() if isinstance(m, LoraLayer) and isinstance(m, nn.Module)):
            layer.get_parameter("lora_B.default.weight").normal_(0, 0.1)
    values = to_values(collate(examples[:8]))
    with torch.no_grad():
        expected = model(**values)["sums"]
    merged = whole_weights(model.state_dict(), lora)
    assert list(merged) == names
    assert not torch.equal(merged["model.layers.0.mlp.up_proj.weight"], before["model.layers.0.mlp.up_proj.weight"])
    plain = tiny_network(tiny_config())
    plain.load_state_dict(merged)
    with torch.no_grad():
        found = TunedGuard(plain, EVEN, bf16=False).eval()(**values)["sums"]
    assert torch.allclose(found, expected, rtol=1e-4)


def test_small_matrices_begin_the_same_from_the_same_seed() -> None:
    """And leave the process's own random numbers alone."""
    states = []
    for _ in range(2):
        model = TunedGuard(tiny_network(tiny_config(n_layers=1)), EVEN, bf16=False)
        before = torch.random.get_rng_state()
        add_lora(model, Lora(), seed=3)
        assert torch.equal(before, torch.random.get_rng_state())
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
