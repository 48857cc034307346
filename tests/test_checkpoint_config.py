"""The config.json of a checkpoint: every spelling of the same model is read, every other model is refused by name."""

from typing import Any

import pytest

from guardrail.checkpoint_config import GuardConfig
from guardrail.errors import CheckpointError
from guardrail.taxonomy import Category, LabelSet, RiskLevel
from tests.tiny import tiny_config


def read(**changes: Any) -> GuardConfig:
    """Read a published config with some keys changed; None removes one."""
    value = {**tiny_config().to_json("f32"), **changes}
    return GuardConfig.from_json({k: v for k, v in value.items() if v is not None})


def test_a_message_quotes_a_file_in_part() -> None:
    """Whatever a damaged file holds does not fill the log."""
    with pytest.raises(CheckpointError, match=r"hidden_size must be a positive integer, not 'xxx") as caught:
        read(hidden_size="x" * 100_000)
    assert len(str(caught.value)) < 2100


def test_config_has_the_published_labels_and_spellings() -> None:
    """Four maps with string keys: 0 Safe, 1 Unsafe, 2 Controversial; short category names; no Jailbreak in answers."""
    config = tiny_config().to_json("bf16")
    assert config["architectures"] == ["Qwen3ForGuardModel"]
    assert config["response_risk_level_map"] == {"0": "Safe", "1": "Unsafe", "2": "Controversial"}
    assert config["query_category_map"]["8"] == "Jailbreak"
    assert config["response_category_map"] == {
        "0": "Violent", "1": "Sexual Content", "2": "Self-Harm", "3": "Political", "4": "PII", "5": "Copyright",
        "6": "Illegal Acts", "7": "Unethical",
    }  # fmt: skip


def test_label_order_is_read_by_name() -> None:
    """Another order of levels, and the evaluation script's spellings, give the same names."""
    config = read(
        query_risk_level_map={"0": "Controversial", "1": "Safe", "2": "Unsafe"},
        response_category_map={"0": '"Violent"', "1": "Sexual Content or Sexual Acts", "2": "Suicide & Self-Harm",
                               "3": "Politically Sensitive Topics", "4": "PII", "5": "Copyright Violation",
                               "6": "Non-violent Illegal Acts", "7": "Unethical Acts"},
    )  # fmt: skip
    assert config.prompt_labels.risks == (RiskLevel.CONTROVERSIAL, RiskLevel.SAFE, RiskLevel.UNSAFE)
    assert config.response_labels.categories[0] == Category.VIOLENT


def test_custom_categories_keep_their_names() -> None:
    """A fine-tuned model's own categories survive a round trip."""
    labels = LabelSet(tiny_config().response_labels.risks, ("Weather", "PII"))
    config = tiny_config(response_labels=labels)
    assert GuardConfig.from_json(config.to_json("bf16")) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
        {"torch_dtype": None, "dtype": "float32", "layer_types": ["full_attention"] * 2, "rope_theta": 5e5},
        {"rope_scaling": {"rope_type": "default"}, "rope_theta": 5e5, "eos_token_id": 7},
        {"rope_scaling": {"type": "default", "factor": None}, "rope_theta": 500_000},
        {"rope_scaling": {}, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rope_theta": 5e5},
        {"rope_theta": 5e5, "partial_rotary_factor": 1.0, "mlp_bias": False, "quantization_config": None},
    ],
)
def test_spellings_of_all_transformers_versions_are_read(changes: dict[str, Any]) -> None:
    """Re-saved derivatives differ in field names only."""
    assert read(**changes).rope_theta == 5e5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "architectures"),
        ({"architectures": None}, "architectures"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": "two"}, "num_hidden_layers"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_key_value_heads": 3}, "key heads"),
        ({"rope_scaling": {"type": "yarn"}}, "yarn"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"use_sliding_window": True}, "sliding"),
        ({"rms_norm_eps": -1}, "rms_norm_eps"),
        ({"response_risk_level_map": None}, "response_risk_level_map"),
        ({"response_risk_level_map": {"0": "Low", "1": "High", "2": "None"}}, "response label maps"),
        ({"query_risk_level_map": {"0": "Safe", "1": "Unsafe", "2": "Unsafe"}}, "query label maps"),
        ({"query_risk_level_map": {"0": "Safe", "1": "Unsafe", "3": "Controversial"}}, "must be 0 to 2"),
        ({"num_category": 9}, "num_category says 9"),
        ({"query_category_map": {"0": "PII", "1": "PII"}, "num_query_category": 2}, "query label maps"),
    ],
)
def test_foreign_configs_are_refused_by_name(changes: dict[str, Any], says: str) -> None:
    """The error names the key and what is wrong."""
    with pytest.raises(CheckpointError) as caught:
        read(**changes)
    assert says in str(caught.value)


NESTED = {"rope_type": "default", "rope_theta": 1e6}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rope_theta": None}, "rope_theta"),
        ({"rms_norm_eps": None}, "rms_norm_eps"),
        ({"rope_theta": 5e5, "rope_parameters": NESTED}, "one rope_theta, not [500000.0, 1000000.0]"),
        ({"rope_parameters": NESTED, "rope_scaling": NESTED}, "both rope_parameters and rope_scaling"),
        ({"rope_parameters": {"full_attention": NESTED}}, "rope_parameters.full_attention {'rope_type'"),
        ({"rope_parameters": {**NESTED, "partial_rotary_factor": 0.5}}, "rope_parameters.partial_rotary_factor 0.5"),
        ({"rope_scaling": {"rope_type": "default", "factor": 4.0}}, "rope_scaling.factor 4.0"),
        ({"rope_scaling": "linear"}, "rope_scaling 'linear'"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config {'quant_method': 'awq'}"),
        ({"model_type": "qwen2"}, "model_type 'qwen2'"),
        ({"mlp_bias": True}, "mlp_bias True"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
    ],
)
def test_settings_that_change_the_computation_are_refused_by_name(changes: dict[str, Any], says: str) -> None:
    """The error names key and value; none is ignored and none is assumed."""
    with pytest.raises(CheckpointError) as caught:
        read(**changes)
    assert says in str(caught.value)


POSSIBLE = [("rope_theta", 5), ("rms_norm_eps", 5), ("hidden_size", 5), ("hidden_size", 10**400)]


@pytest.mark.parametrize("value", [5, "x", "Qwen3ForGuardModel", [5], [[]], {"0": 5}, 10**400, float("inf"), True])
@pytest.mark.parametrize("key", ["architectures", "model_type", "layer_types", "rope_theta", "rope_scaling",
                                 "rms_norm_eps", "hidden_size", "query_category_map", "num_category"])  # fmt: skip
def test_damaged_values_are_no_traceback(key: str, value: object) -> None:
    """Whatever stands where something else belongs, the error is a CheckpointError."""
    if (key, value) not in POSSIBLE:
        with pytest.raises(CheckpointError):
            read(**{key: value})
