"""The rotary angles of the graph are those that the published weights saw."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from guardrail.onnx_export import export_checkpoint
from tests.tiny import write_tiny


@pytest.mark.parametrize("theta", [1e4, 1e6])
def test_far_angles_are_those_of_transformers(theta: float, tmp_path: Path) -> None:
    """Stored cos and sin up to position 8191: a last bit of the larger frequencies would be 5e-4 there."""
    source = write_tiny(tmp_path / "checkpoint", n_layers=1, head_dim=128, max_context=8192, rope_theta=theta)
    graph = onnx.load(export_checkpoint(source, tmp_path / "export") / "model.onnx").graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    rope = {"rope_type": "default", "rope_theta": theta}
    rotary = Qwen3RotaryEmbedding(Qwen3Config(head_dim=128, max_position_embeddings=8192, rope_parameters=rope))
    for name, expected in zip(
        ("cos_cache", "sin_cache"), rotary(torch.zeros(1), torch.arange(8192)[None]), strict=True
    ):
        assert np.abs(stored[name] - expected[0, :, :64].numpy()).max() < 1e-4
