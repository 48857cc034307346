"""The way of real models: a checkpoint, files of prompts, the embedded guard and a reward model, all run for real."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForSequenceClassification

from guardrail.errors import ConfigurationError
from guardrail.training.rl import stage
from guardrail.training.rl.toy.policy_model import make_policy_model
from guardrail.training.rl.toy.settings import ToySettings
from guardrail.training.rl.toy.world import draw_prompts
from tests.training.rl.toys import log_of, summary_of


def row(number: int, text: str, risk: str) -> dict[str, Any]:
    """A prompt of the data schema."""
    return {
        "id": str(number), "source": "made", "lang": "en", "messages": [{"role": "user", "content": text}],
        "target": "prompt", "risk": risk,
    }  # fmt: skip


def write_reward_model(folder: Path, start: Path) -> None:
    """Write a reward model with random weights, in the policy model's words."""
    torch.manual_seed(1)
    tokenizer: Any = AutoTokenizer.from_pretrained(start)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, head_dim=16,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    config.num_labels = 1
    made: Any = Qwen3ForSequenceClassification
    made(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# long: most of it is the file of settings
def write_real(folder: Path, *, helpfulness: bool) -> Path:
    """Write models, rows and settings; the policy model is the toy's, which is a checkpoint like any other."""
    toy = ToySettings(warm_steps=60, prompts=24, held_out=4)
    training, held_out = draw_prompts(toy)
    make_policy_model(folder / "policy", training, toy)
    write_reward_model(folder / "reward", folder / "policy")
    for name, prompts in (("training", training), ("held_out", held_out)):
        rows = [row(i, one.id, "unsafe" if one.is_harmful else "safe") for i, one in enumerate(prompts)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    config = folder / "rl.toml"
    helpful = (
        f'[judges.helpfulness]\nmodel = "{folder / "reward"}"\ndevice = "cpu"\nmax_length = 64' if helpfulness else ""
    )
    config.write_text(
        f"""
        output = "{folder / "run"}"
        rewards = ["mixed"]
        threads = 1
        device = "cpu"
        [policy_model]
        start = "{folder / "policy"}"
        dtype = "f32"
        [[prompts]]
        path = "{folder / "training.jsonl"}"
        [[held_out]]
        path = "{folder / "held_out.jsonl"}"
        [judges.guard]
        threads = 1
        {helpful}
        [rollouts]
        thinks = [false]
        samples = 2
        keep_all = true
        [gspo]
        steps = 4
        save_steps = 4
        log_steps = 1
        max_new_tokens = 8
        learning_rate = 1e-4
        activation_checkpointing = true
        [measure]
        answers = 2
        batch = 16
        """,
        "utf-8",
    )
    return config


@pytest.mark.slow
def test_a_real_policy_model_is_trained_by_real_judges(tmp_path: Path) -> None:
    """Guard, phrases and reward model judge what was written; the folder names them by their hashes."""
    stage.main(write_real(tmp_path, helpfulness=True))
    folder = tmp_path / "run"
    judges = next(line for line in log_of(folder) if line.get("event") == "judges")
    assert len(judges["model_sha256"]) == 64
    assert judges["policy"] == "balanced"
    told = summary_of(folder)["mixed"]
    assert {"unsafe", "refusal_harmful", "refusal_benign", "helpfulness"} <= told["after"].keys()
    assert told["after"]["failed"] == 0.0
    assert (folder / "mixed-1" / "checkpoint" / "model.safetensors").is_file()


def test_a_reward_that_needs_a_model_says_so_before_anything_is_drawn(tmp_path: Path) -> None:
    """The mixed reward without a helpfulness model."""
    with pytest.raises(ConfigurationError, match=r"mixed cannot be given.*\[helpfulness\]"):
        stage.main(write_real(tmp_path, helpfulness=False))
    assert not (tmp_path / "run" / "rollouts").exists()
