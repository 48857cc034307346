"""The arguments that make it GSPO, and the divergence that is measured beside it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from guardrail.errors import ConfigurationError
from guardrail.training.rl.gspo import GspoTrainer, check_gspo, gspo_arguments
from guardrail.training.rl.scoring import Scoring
from guardrail.training.rl.settings import GspoSettings, RlSettings, VllmSettings, load_rl
from guardrail.training.rl.toy.judges import ToyJudges
from guardrail.training.rl.vllm import vllm_arguments
from guardrail.training.rl.world import World, open_world
from tests.training.rl.toys import write_config

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # TRL's own


def settings_of(folder: Path, batch: int = 32) -> RlSettings:
    """Settings of a toy run."""
    return load_rl(write_config(folder, toy="warm_steps = 2", batch=batch))


def test_the_arguments_are_those_of_the_paper(tmp_path: Path) -> None:
    """A ratio for each sequence, its clip range, sequences that weigh alike, 4 mini-batches."""
    found = gspo_arguments(settings_of(tmp_path), tmp_path, seed=1)
    names = (
        "importance_sampling_level", "loss_type", "beta", "epsilon", "epsilon_high", "gradient_accumulation_steps",
        "steps_per_generation", "num_generations", "num_iterations", "generation_batch_size",
    )  # fmt: skip
    assert [getattr(found, name) for name in names] == ["sequence", "grpo", 0.0, 3e-4, 4e-4, 1, 4, 8, 1, 128]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss_type", "dapo"),
        ("importance_sampling_level", "token"),
        ("beta", 0.01),
        ("gradient_accumulation_steps", 4),
        ("num_iterations", 2),
        ("scale_rewards", "batch"),
        ("steps_per_generation", 1),
    ],
)
def test_other_arguments_are_refused(tmp_path: Path, name: str, value: object) -> None:
    """Whoever changes them, a new version of TRL included: the run would be another algorithm."""
    arguments = gspo_arguments(settings_of(tmp_path), tmp_path, seed=1)
    check_gspo(arguments)
    setattr(arguments, name, value)
    with pytest.raises(ConfigurationError, match="not GSPO"):
        check_gspo(arguments)


def test_a_batch_that_holds_no_whole_groups_is_refused(tmp_path: Path) -> None:
    """With the reason in a line."""
    with pytest.raises(ConfigurationError, match="must be divisible by num_generations"):
        gspo_arguments(settings_of(tmp_path, batch=33), tmp_path, seed=1)


@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_vllm_that_is_asked_for_and_cannot_be_had_is_an_error(mode: Any) -> None:
    """Nobody's rollouts are slow without a word; "auto" takes it where it can."""
    with pytest.raises(ConfigurationError, match="needs a GPU"):
        vllm_arguments(VllmSettings(mode=mode), is_on_cpu=True)
    assert vllm_arguments(VllmSettings(), is_on_cpu=True) == {}


@pytest.mark.parametrize(
    ("mode", "named"),
    [
        ("off", {}),
        ("auto", {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.5, "vllm_tensor_parallel_size": 2}),
        ("colocate", {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.5, "vllm_tensor_parallel_size": 2}),
        ("server", {"vllm_mode": "server", "vllm_server_base_url": "http://there:8000"}),
    ],
)
def test_vllm_is_passed_through_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, mode: Any, named: dict[str, object]
) -> None:
    """As TRL names it; this machine has neither, so that only the arguments are shown to be right."""
    monkeypatch.setattr("guardrail.training.rl.vllm.find_spec", lambda _: object())
    settings = VllmSettings(mode=mode, base_url="http://there:8000", gpu_memory=0.5, tensor_parallel=2)
    found = vllm_arguments(settings, is_on_cpu=False)
    assert found == ({"use_vllm": True, **named} if named else {})
    assert set(found) <= set(
        vars(gspo_arguments(RlSettings(Path("runs"), gspo=GspoSettings(bf16=False)), Path("x"), 1))
    )


def trainer_of(world: World, settings: RlSettings, folder: Path) -> GspoTrainer:
    """A trainer on the toy's prompts."""
    prompts = [*enumerate(map(world.renderer.render, world.training))]
    model = world.model()
    ends = world.end_ids(model)
    scoring = Scoring("mixed", ToyJudges(), [one for _, one in prompts], lambda ids: world.text_of(ids, ends))
    return GspoTrainer(
        gspo_arguments(settings, folder, 1), model, world.tokenizer, scoring, prompts, prompts[:8],
        measured=lambda *_: None, log_kl=True,
    )  # fmt: skip


def test_the_divergence_is_that_of_the_written_tokens(tmp_path: Path) -> None:
    """Nothing at the start; of a changed model, what the plain log-probabilities of both models give by hand."""
    settings = settings_of(tmp_path)
    world = open_world(settings)
    trainer = trainer_of(world, settings, tmp_path / "states")
    data: Any = trainer.train_dataset
    model: Any = trainer.model
    rows = [data[i // 8] for i in range(32)]
    model.train()
    trainer._generate_and_score_completions(rows)
    assert trainer._metrics["train"]["kl"] == [pytest.approx(0.0, abs=1e-9)]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    found = trainer._generate_and_score_completions(rows)
    ids = torch.cat([found["prompt_ids"], found["completion_ids"]], 1)
    mask = torch.cat([found["prompt_mask"], found["completion_mask"]], 1)
    before, after = (_log_probabilities(one, ids, mask) for one in (world.model(), model))
    written = found["completion_mask"].bool()
    ratio = (before - after)[:, -written.shape[1] :][written]
    assert trainer._metrics["train"]["kl"][1] == pytest.approx(float((ratio.exp() - ratio - 1).mean()), rel=1e-4)
    assert trainer._metrics["train"]["kl"][1] > 1e-3


def _log_probabilities(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Of each token after those before it: float32 [row, position - 1]."""
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(input_ids=ids, attention_mask=mask).logits[:, :-1]
    return logits.log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
