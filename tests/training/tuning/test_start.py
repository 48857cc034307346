"""What a run can start from, and what its labels may be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from guardrail.checkpoint import Checkpoint
from guardrail.checkpoint_config import GuardConfig
from guardrail.errors import CheckpointError, ConfigurationError
from guardrail.guard import Guard
from guardrail.network import GuardNetwork
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS
from guardrail.training import sft
from guardrail.training.tuning.settings import Labels
from guardrail.training.tuning.start import start_network
from tests.tiny import VOCABULARY, copy_tokenizer, write_tiny, write_tiny_gen
from tests.training.tuning.toy import log_of, read_settings, toy_rows, write_config, write_rows


def write_qwen3(folder: Path, *, tied: bool) -> Qwen3ForCausalLM:
    """Write a plain language model as transformers does, with a tokenizer; return it."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=512, tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )  # fmt: skip
    model: Qwen3ForCausalLM = Qwen3ForCausalLM(config)
    model.requires_grad_(False)
    model.save_pretrained(folder)
    copy_tokenizer(folder)
    return model


@pytest.mark.parametrize("tied", [True, False])
def test_a_plain_language_model_gets_fresh_heads(tmp_path: Path, tied: bool) -> None:
    """The backbone is its own; the heads begin at random from the seed, half as wide as the states."""
    model = write_qwen3(tmp_path / "start", tied=tied)
    settings = read_settings(tmp_path, tmp_path / "start")
    network = start_network(tmp_path / "start", settings)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        expected = model.model(ids).last_hidden_state
        assert torch.allclose(network.hidden_states(ids), expected, atol=1e-4)
    assert (network.config.guard_inner_size, network.config.is_generative) == (32, False)
    assert (network.config.prompt_labels, network.config.response_labels) == (PROMPT_LABELS, RESPONSE_LABELS)
    again = start_network(tmp_path / "start", settings)
    assert torch.equal(network.category_head.weight, again.category_head.weight)
    assert 0.01 < float(network.category_head.weight.detach().std()) < 0.03
    wide = start_network(tmp_path / "start", read_settings(tmp_path, tmp_path / "start", guard_inner_size=40, seed=2))
    assert wide.risk_level_head.weight.shape == (3, 40)


def test_a_run_from_a_language_model_ends_as_a_guard(tmp_path: Path) -> None:
    """Which loads like the published ones."""
    write_qwen3(tmp_path / "start", tied=True)
    write_rows(tmp_path / "toy.jsonl", list(toy_rows(40)))
    sft.main(write_config(tmp_path, tmp_path / "start"))
    config = json.loads((tmp_path / "run" / "checkpoint" / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForGuardModel"]
    assert Guard.load(tmp_path / "run" / "checkpoint", engine="torch").judge_prompt("hello").risk


def test_a_guard_that_writes_its_verdict_can_be_a_start(tmp_path: Path) -> None:
    """As any language model: its heads are rows of a matrix that a guard of this kind has not."""
    write_tiny_gen(tmp_path / "start")
    network = start_network(tmp_path / "start", read_settings(tmp_path, tmp_path / "start"))
    assert network.config.response_labels == RESPONSE_LABELS
    assert not network.config.is_generative


def test_a_guard_is_taken_as_it_is(tmp_path: Path) -> None:
    """Heads included; another width of them is refused."""
    write_tiny(tmp_path / "start", n_layers=1)
    network = start_network(tmp_path / "start", read_settings(tmp_path, tmp_path / "start"))
    expected = GuardNetwork.from_checkpoint(tmp_path / "start").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
    with pytest.raises(ConfigurationError, match="heads of 24"):
        start_network(tmp_path / "start", read_settings(tmp_path, tmp_path / "start", guard_inner_size=16))


def test_what_is_neither_folder_nor_in_reach_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match="download it on a machine with internet access"):
        sft.main(write_config(tmp_path, Path("nobody/no-such-model"), name="nobody"))
    with pytest.raises(ConfigurationError, match="neither a folder nor a hub id"):
        sft.main(write_config(tmp_path, tmp_path / "missing", name="missing-start"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        start_network(tmp_path / "empty", read_settings(tmp_path, tmp_path / "empty"))


def test_categories_of_ones_own_keep_what_the_start_knows(tmp_path: Path) -> None:
    """Rows of known names are carried over, in any spelling and order; others begin fresh."""
    write_tiny(tmp_path / "start", n_layers=1)
    settings = read_settings(
        tmp_path, tmp_path / "start", labels={"prompts": ["Insider Trading", "PII", "violent"], "responses": ["PII"]}
    )
    assert settings.labels == Labels(("Insider Trading", "PII", "violent"), ("PII",))
    network, before = start_network(tmp_path / "start", settings), Checkpoint.open(tmp_path / "start")
    assert network.config.prompt_labels.categories == ("Insider Trading", "PII", "Violent")
    rows = before.tensor("query_category_head.weight")
    places = [PROMPT_LABELS.categories.index(name) for name in ("PII", "Violent")]
    assert np.array_equal(network.query_category_head.weight.detach()[1:].numpy(), rows[places])
    assert not any(np.array_equal(network.query_category_head.weight.detach()[0].numpy(), row) for row in rows)
    assert torch.equal(network.risk_level_head.weight, torch.from_numpy(before.tensor("risk_level_head.weight")))
    with pytest.raises(ConfigurationError, match="labels: category labels must be present and distinct"):
        start_network(
            tmp_path / "start",
            read_settings(tmp_path, tmp_path / "start", labels={"prompts": ["PII", "pii"], "responses": ["PII"]}),
        )


def test_rows_that_name_no_category_of_the_labels_are_counted(tmp_path: Path) -> None:
    """A name that is spelled otherwise is learned by nobody, which the log says; safe rows and repeats do not count."""
    write_tiny(tmp_path / "start", n_layers=1)
    spelled = ["Insider Trading", "Insider Tradin"]
    rows = [{**row, "category": [spelled[i % 3 == 0]]} for i, row in enumerate(toy_rows(40))]
    write_rows(tmp_path / "toy.jsonl", rows)
    labels = {"prompts": ["Insider Trading"], "responses": ["Insider Trading"]}
    sft.main(write_config(tmp_path, tmp_path / "start", labels=labels, epochs=0.1))
    n_wrong = sum(row["risk"] != "safe" and row["category"] == ["Insider Tradin"] for row in rows)
    (data,) = (line for line in log_of(tmp_path / "run") if line.get("event") == "data")
    assert data["no_category"] == n_wrong > 0


def test_rows_with_categories_of_ones_own_train_their_head(tmp_path: Path) -> None:
    """Names in `category`, label maps in the written config, the name in the verdict."""
    write_tiny(tmp_path / "start", n_layers=1)
    rows: list[dict[str, Any]] = [
        {**row, "category": ["Insider Trading"] if row["risk"] != "safe" else []} for row in toy_rows(80)
    ]
    write_rows(tmp_path / "toy.jsonl", rows)
    labels = {"prompts": ["Weapons", "Insider Trading"], "responses": ["Insider Trading", "Weapons"]}
    sft.main(write_config(tmp_path, tmp_path / "start", labels=labels, epochs=15))
    config = json.loads((tmp_path / "run" / "checkpoint" / "config.json").read_text())
    assert config["query_category_map"] == {"0": "Weapons", "1": "Insider Trading"}
    assert config["response_category_map"] == {"0": "Insider Trading", "1": "Weapons"}
    assert GuardConfig.from_json(config).prompt_labels.categories == ("Weapons", "Insider Trading")
    guard = Guard.load(tmp_path / "run" / "checkpoint", engine="torch")
    verdict = guard.judge_prompt("the cat bomb kill stab poison bomb")
    assert verdict.category == "Insider Trading"
