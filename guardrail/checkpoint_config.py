"""Sizes and labels of a guard model, from and to the published config.json, and the names of its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from guardrail.errors import CheckpointError
from guardrail.taxonomy import (
    GENERATIVE_RESPONSE_LABELS,
    PROMPT_LABELS,
    RESPONSE_LABELS,
    LabelSet,
    RiskLevel,
    category_name,
    checkpoint_name,
)

ARCHITECTURE = "Qwen3ForGuardModel"
GENERATIVE_ARCHITECTURE = "Qwen3ForCausalLM"
"""Of Qwen3Guard-Gen, and of every other language model of that family: `generative/labels.py` tells them apart."""

_SIZES = {
    "hidden_size": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "max_context": "max_position_embeddings",
}
"""Our field -> the published key; all are positive integers and must be present."""

_ACCEPTED: dict[str, tuple[object, ...]] = {
    "architectures": ([GENERATIVE_ARCHITECTURE], [ARCHITECTURE]),
    "model_type": ("qwen3",),
    "attention_bias": (None, False),
    "mlp_bias": (None, False),
    "hidden_act": (None, "silu"),
    "use_sliding_window": (None, False),
    "partial_rotary_factor": (None, 1),
    "quantization_config": (None,),
}
"""Key -> the values under which the network computes what the checkpoint means; None: the key may be missing."""

_FLOAT32_MAX = 3.4e38

EMBEDDING, OUTPUT_MATRIX = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """Sizes and labels; every number is read from config.json, none is assumed.

    Attributes:
        hidden_size: width of the residual stream.
        n_layers: decoder layers.
        n_heads: query heads.
        n_kv_heads: key and value heads; divides `n_heads`.
        head_dim: size of one head; need not be hidden_size / n_heads.
        intermediate_size: width of the MLP.
        vocab_size: rows of the embedding.
        guard_inner_size: width of what the heads read.
        max_context: most positions.
        rms_norm_eps: epsilon of every RMSNorm.
        rope_theta: base of the rotary positions.
        tie_word_embeddings: whether a language-model head would share the embedding.
        prompt_labels: meaning of the query heads.
        response_labels: meaning of the response heads.
        eos_token_id: id of the end of text, if the config names one.
        is_generative: whether it is a language model that writes its verdict: its heads are rows of its output matrix,
            and read the backbone's own states.
    """

    hidden_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    guard_inner_size: int
    max_context: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6
    tie_word_embeddings: bool = True
    prompt_labels: LabelSet = PROMPT_LABELS
    response_labels: LabelSet = RESPONSE_LABELS
    eos_token_id: int | None = None
    is_generative: bool = False

    def __post_init__(self) -> None:
        if self.n_heads % self.n_kv_heads or self.head_dim % 2:
            raise CheckpointError(
                f"{self.n_heads} heads cannot share {self.n_kv_heads} key heads, or head_dim {self.head_dim} is odd"
            )

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Self:
        """Read a published config.json, in any of the spellings that transformers versions write.

        Raises:
            CheckpointError: a foreign architecture, an unsupported feature, a missing or impossible value.
        """
        _refuse_unsupported(config)
        sizes: dict[str, Any] = {field: _positive(config, key) for field, key in _SIZES.items()}
        return cls(
            **sizes,
            **_heads(config),
            rms_norm_eps=_number(config, "rms_norm_eps"),
            rope_theta=_rope_theta(config),
            tie_word_embeddings=bool(config.get("tie_word_embeddings", True)),
            eos_token_id=config.get("eos_token_id") if isinstance(config.get("eos_token_id"), int) else None,
        )

    def to_json(self, dtype: str) -> dict[str, Any]:
        """Return the published config.json; `dtype` is that of the tensors ("bf16", "f16", "f32")."""
        torch_dtype = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}[dtype]
        config: dict[str, Any] = {
            "architectures": [GENERATIVE_ARCHITECTURE if self.is_generative else ARCHITECTURE],
            "model_type": "qwen3",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            **{key: getattr(self, field) for field, key in _SIZES.items()},
            "rms_norm_eps": self.rms_norm_eps,
            "rope_scaling": None,
            "rope_theta": self.rope_theta,
            "sliding_window": None,
            "use_sliding_window": False,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": torch_dtype,
            **({} if self.is_generative else self._heads_json()),
        }
        return config if self.eos_token_id is None else {**config, "eos_token_id": self.eos_token_id}

    def _heads_json(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "guard_inner_size": self.guard_inner_size,
            "num_risk_level": len(self.response_labels.risks),
            "num_category": len(self.response_labels.categories),
            "num_query_risk_level": len(self.prompt_labels.risks),
            "num_query_category": len(self.prompt_labels.categories),
        }
        for role, labels in (("response", self.response_labels), ("query", self.prompt_labels)):
            config[f"{role}_risk_level_map"] = {str(i): risk.value for i, risk in enumerate(labels.risks)}
            config[f"{role}_category_map"] = {str(i): checkpoint_name(c) for i, c in enumerate(labels.categories)}
        return config


def tensor_shapes(config: GuardConfig) -> dict[str, tuple[int, ...]]:
    """Return every tensor of a checkpoint, in order, with its shape: the one table used to read and to write."""
    hidden, inner, wide = config.hidden_size, config.guard_inner_size, config.intermediate_size
    queries, keys = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, hidden)}
    for i in range(config.n_layers):
        layer = {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "self_attn.q_norm": (config.head_dim,),
            "self_attn.k_norm": (config.head_dim,),
            "mlp.gate_proj": (wide, hidden),
            "mlp.up_proj": (wide, hidden),
            "mlp.down_proj": (hidden, wide),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
        }
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    if config.is_generative:
        return shapes if config.tie_word_embeddings else {**shapes, OUTPUT_MATRIX: (config.vocab_size, hidden)}
    for prefix, middle, labels in (("", "", config.response_labels), ("query_", "query_", config.prompt_labels)):
        shapes |= {
            f"{prefix}risk_level_category_pre.weight": (inner, hidden),
            f"{prefix}risk_level_category_layernorm.weight": (inner,),
            f"{middle}risk_level_head.weight": (len(labels.risks), inner),
            f"{middle}category_head.weight": (len(labels.categories), inner),
        }
    return shapes


def _heads(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that say what the heads are."""
    if config["architectures"] == [GENERATIVE_ARCHITECTURE]:
        labels = {"prompt_labels": PROMPT_LABELS, "response_labels": GENERATIVE_RESPONSE_LABELS}
        return {**labels, "guard_inner_size": _positive(config, "hidden_size"), "is_generative": True}
    return {
        "guard_inner_size": _positive(config, "guard_inner_size"),
        "prompt_labels": _labels(config, "query", "num_query_risk_level", "num_query_category"),
        "response_labels": _labels(config, "response", "num_risk_level", "num_category"),
    }


def _refuse_unsupported(config: Mapping[str, Any]) -> None:
    for key, accepted in _ACCEPTED.items():
        if config.get(key) not in accepted:
            hint = "only Qwen3Guard checkpoints can be loaded" if key == "architectures" else ""
            raise CheckpointError(_unsupported(key, config.get(key)) + f", expected {accepted[-1]!r}", hint=hint)
    layer_types = config.get("layer_types") or []
    if not isinstance(layer_types, list) or any(kind != "full_attention" for kind in layer_types):
        raise CheckpointError(_unsupported("layer_types", layer_types))


def _unsupported(key: str, value: object) -> str:
    return f"config.json: {key} {value!r:.80} is not supported"


def _positive(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"config.json: {key} must be a positive integer, not {value!r}")
    return value


def _number(config: Mapping[str, Any], key: str) -> float:
    value = config.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= _FLOAT32_MAX:
        raise CheckpointError(f"config.json: {key} must be a positive number, not {value!r:.80}")
    return float(value)


def _rope_theta(config: Mapping[str, Any]) -> float:
    """Return the base of the rotary positions, from the key itself or from one of the two dicts that may hold it."""
    found = {key: config[key] for key in ("rope_parameters", "rope_scaling") if config.get(key) not in (None, {})}
    if len(found) > 1:
        raise CheckpointError("config.json has both rope_parameters and rope_scaling", hint="remove one of them")
    rope: dict[str, Any] = {}
    for key, rope in found.items():
        if not isinstance(rope, dict):
            raise CheckpointError(_unsupported(key, rope))
        _refuse_scaling(key, rope)
    numbers = {_number(place, "rope_theta") for place in (config, rope) if place.get("rope_theta") is not None}
    if len(numbers) != 1:
        raise CheckpointError(f"config.json must have one rope_theta, not {sorted(numbers) or None}")
    return numbers.pop()


def _refuse_scaling(key: str, rope: Mapping[str, Any]) -> None:
    accepted = {
        "rope_type": "default",
        "type": "default",
        "rope_theta": rope.get("rope_theta"),
        "partial_rotary_factor": 1,
    }
    for name, value in rope.items():
        if value is not None and (name not in accepted or value != accepted[name]):
            raise CheckpointError(_unsupported(f"{key}.{name}", value))


def _labels(config: Mapping[str, Any], role: str, risk_count: str, category_count: str) -> LabelSet:
    risks = _label_map(config, f"{role}_risk_level_map", risk_count)
    categories = _label_map(config, f"{role}_category_map", category_count)
    try:
        return LabelSet(tuple(RiskLevel(name) for name in risks), tuple(category_name(name) for name in categories))
    except ValueError as error:
        raise CheckpointError(f"config.json: wrong {role} label maps: {error}") from error


def _label_map(config: Mapping[str, Any], key: str, count_key: str) -> list[str]:
    labels = config.get(key)
    if not isinstance(labels, Mapping) or not all(isinstance(name, str) for name in labels.values()):
        raise CheckpointError(f"config.json: {key} must map indices to names")
    if sorted(labels, key=str) != sorted(str(i) for i in range(len(labels))):
        raise CheckpointError(f"config.json: the keys of {key} must be 0 to {len(labels) - 1}")
    if config.get(count_key, len(labels)) != len(labels):
        raise CheckpointError(f"config.json: {key} has {len(labels)} labels, {count_key} says {config[count_key]}")
    return [labels[str(i)] for i in range(len(labels))]
