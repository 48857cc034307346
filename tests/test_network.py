"""The network is Qwen3 with four heads: parity with transformers, both ways, on seeded tiny checkpoints."""

from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3Model
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from guardrail.checkpoint_config import GuardConfig
from guardrail.network import GuardNetwork, KVCache
from tests.tiny import tiny_config, tiny_network

SHAPES = {
    "grouped": {},
    "one head each": {"n_heads": 3, "n_kv_heads": 3, "head_dim": 32},
    "one key head": {"n_heads": 4, "n_kv_heads": 1, "head_dim": 8},
    "head_dim is hidden / heads": {"hidden_size": 64, "n_heads": 4, "head_dim": 16},
    "odd sizes": {"hidden_size": 50, "intermediate_size": 70, "guard_inner_size": 11, "head_dim": 6, "vocab_size": 301},
    "untied": {"tie_word_embeddings": False, "rope_theta": 10_000.0, "rms_norm_eps": 1e-5},
}
HEADS = ("risk_level_logits", "category_logits", "query_risk_level_logits", "query_category_logits")


class ReferenceGuard(torch.nn.Module):
    """transformers' Qwen3Model with the eight head tensors written by hand, under the published names."""

    def __init__(self, config: GuardConfig) -> None:
        super().__init__()
        self.model = Qwen3Model(
            Qwen3Config(
                hidden_size=config.hidden_size, num_hidden_layers=config.n_layers, num_attention_heads=config.n_heads,
                num_key_value_heads=config.n_kv_heads, head_dim=config.head_dim, vocab_size=config.vocab_size,
                intermediate_size=config.intermediate_size, rms_norm_eps=config.rms_norm_eps,
                max_position_embeddings=config.max_context,
                rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
                tie_word_embeddings=config.tie_word_embeddings, attn_implementation="eager",  # type: ignore[call-arg]  # taken by the base class
            )
        )  # fmt: skip
        self.eps = config.rms_norm_eps
        hidden, inner = config.hidden_size, config.guard_inner_size
        sizes = {"": config.response_labels, "query_": config.prompt_labels}
        for prefix, labels in sizes.items():
            setattr(self, f"{prefix}risk_level_category_pre", torch.nn.Linear(hidden, inner, bias=False))
            setattr(self, f"{prefix}risk_level_category_layernorm", torch.nn.RMSNorm(inner, eps=config.rms_norm_eps))
            setattr(self, f"{prefix}risk_level_head", torch.nn.Linear(inner, len(labels.risks), bias=False))
            setattr(self, f"{prefix}category_head", torch.nn.Linear(inner, len(labels.categories), bias=False))

    @torch.no_grad()
    def logits(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """The four outputs, in the published order."""
        hidden = self.model(ids).last_hidden_state
        outputs = {}
        for prefix in ("", "query_"):
            inner = getattr(self, f"{prefix}risk_level_category_pre")(hidden)
            scale = torch.rsqrt(inner.pow(2).mean(-1, keepdim=True) + self.eps)
            normed = inner * scale * getattr(self, f"{prefix}risk_level_category_layernorm").weight
            outputs[f"{prefix}risk_level_logits"] = normed @ getattr(self, f"{prefix}risk_level_head").weight.T
            outputs[f"{prefix}category_logits"] = normed @ getattr(self, f"{prefix}category_head").weight.T
        return outputs


def assert_parity(network: GuardNetwork, reference: ReferenceGuard, vocab_size: int) -> None:
    """All four outputs agree within 1e-5 of their scale at every position."""
    ids = torch.randint(0, vocab_size, (2, 37), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        output = network(ids)
    for name, expected in reference.logits(ids).items():
        difference = (getattr(output, name) - expected).abs()
        limit = 1e-5 * max(1.0, float(expected.abs().max()))
        assert difference.max() <= limit, f"{name}: max {difference.max():.2e}, mean {difference.mean():.2e}"


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES.keys())
def test_logits_equal_transformers_with_hand_written_heads(changes: dict[str, object]) -> None:
    """Grouped queries, head norms, tied and untied, odd head sizes: fp32, every position."""
    config = tiny_config(**changes)
    network = tiny_network(config, seed=5)
    reference = ReferenceGuard(config).eval()
    reference.load_state_dict(network.state_dict())
    assert_parity(network, reference, config.vocab_size)


def test_a_checkpoint_written_by_transformers_code_loads_here_and_goes_back(tmp_path: Path) -> None:
    """Their tensors, our reader; our writer, their loader: the same verdicts both ways."""
    from safetensors.torch import load_file, save_file

    from guardrail.checkpoint_config import GuardConfig as Config

    config = tiny_config(vocab_size=300)
    torch.manual_seed(11)
    reference = ReferenceGuard(config).eval()
    tmp_path.joinpath("theirs").mkdir()
    save_file(reference.state_dict(), tmp_path / "theirs" / "model.safetensors", metadata={"format": "pt"})
    written = {**reference.model.config.to_dict(), **published_extras(config)}
    (tmp_path / "theirs" / "config.json").write_text(__import__("json").dumps(written, default=str), "utf-8")
    network = GuardNetwork.from_checkpoint(tmp_path / "theirs")
    assert network.config == Config.from_json(written)
    assert_parity(network, reference, 300)
    network.save_checkpoint(tmp_path / "ours", "f32")
    back = ReferenceGuard(config).eval()
    back.load_state_dict(load_file(tmp_path / "ours" / "model.safetensors"))
    assert_parity(network, back, 300)


@pytest.mark.parametrize("theta", [1e4, 1e6, 5e6])
def test_far_angles_are_those_of_transformers(theta: float) -> None:
    """Bit for bit at position 8000: a last bit of a frequency grows to 5e-4 there."""
    config = tiny_config(head_dim=128, max_context=8192, rope_theta=theta)
    rotary = Qwen3RotaryEmbedding(ReferenceGuard(config).model.config)
    expected = rotary(torch.zeros(1), torch.arange(8000, 8040)[None])
    found = GuardNetwork(config)._rotary(8000, 40, torch.device("cpu"))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs[0])


def published_extras(config: GuardConfig) -> dict[str, object]:
    """What the published config.json has beyond a Qwen3 config."""
    ours = config.to_json("f32")
    return {
        k: v
        for k, v in ours.items()
        if "map" in k or k.startswith(("num_risk", "num_cat", "num_query", "guard", "arch"))
    }


@pytest.mark.parametrize("sizes", [[1], [3, 1, 7], [40]])
def test_a_cache_gives_what_the_whole_text_gives(sizes: list[int]) -> None:
    """Chunked reading with KV reuse equals one forward within 1e-5."""
    network = tiny_network(tiny_config())
    ids = torch.arange(40)[None] * 31
    cache, parts, start, i = KVCache(2), [], 0, 0
    with torch.no_grad():
        whole = network(ids)
        while start < 40:
            parts.append(network(ids[:, start : start + sizes[i % len(sizes)]], cache))
            start, i = start + sizes[i % len(sizes)], i + 1
    for name in HEADS:
        joined = torch.cat([getattr(part, name) for part in parts], 1)
        torch.testing.assert_close(joined, getattr(whole, name), atol=2e-5, rtol=1e-5)


def test_a_cropped_cache_is_like_a_shorter_text() -> None:
    """Crop, then other tokens: equal to reading those from the start."""
    network = tiny_network(tiny_config())
    cache = KVCache(2)
    with torch.no_grad():
        network(torch.arange(20)[None], cache)
        cache.crop(12)
        after = network(torch.tensor([[500, 600]]), cache)
        expected = network(torch.tensor([[*range(12), 500, 600]]))
    torch.testing.assert_close(after.risk_level_logits, expected.risk_level_logits[:, 12:], atol=2e-5, rtol=1e-5)
    cache.reset()
    assert cache.length == 0
    with pytest.raises(ValueError, match="cannot crop"):
        cache.crop(3)


def test_padding_on_the_right_changes_no_earlier_position() -> None:
    """Rows of a training batch do not see each other's padding."""
    network = tiny_network(tiny_config())
    ids = torch.arange(1, 13)[None]
    with torch.no_grad():
        alone = network(ids)
        padded = network(torch.cat([ids, torch.zeros(1, 9, dtype=torch.int64)], 1))
    torch.testing.assert_close(padded.category_logits[:, :12], alone.category_logits, atol=1e-5, rtol=1e-5)
