"""The export that people know: the same checkpoint through Hugging Face's Optimum, to compare ours with.

Needs the extra `optimum` in an environment of its own: Optimum's ONNX exporter wants transformers < 4.58. The backbone
is transformers' own Qwen3, traced by torch; int8 is made by Optimum's ORTQuantizer.
"""

import gc
import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from guardrail.checkpoint import CONFIG_FILE, TOKENIZER_FILE, Checkpoint
from guardrail.checkpoint_config import GuardConfig
from guardrail.errors import CheckpointError, ConfigurationError, MissingExtra
from guardrail.file_hash import hash_file
from guardrail.onnx_export.export import scratch_prefix
from guardrail.onnx_export.optimum_folder import OPTIMUM_FILE, OptimumManifest, Quantised, is_optimum_export

try:
    import onnx
    import torch
    from optimum.exporters.onnx import onnx_export_from_model
    from optimum.exporters.onnx.model_configs import Qwen3OnnxConfig
    from optimum.onnxruntime import AutoQuantizationConfig, ORTQuantizer
    from torch import Tensor, nn
    from transformers import Qwen3Config
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Model, Qwen3PreTrainedModel, Qwen3RMSNorm
except ImportError as error:  # more than a missing module: Optimum fails at names that newer transformers took away
    raise MissingExtra("optimum-onnx", "optimum") from error

PRECISIONS = ("fp32", "int8")
_PACKAGES = ("guardrail-stream", "optimum", "optimum-onnx", "transformers", "torch", "onnx", "onnxruntime")
_TASK = "text-generation"
_MODEL_FILE = "model.onnx"  # the name that Optimum gives it


def export_with_optimum(
    source: str | Path,
    target: str | Path,
    *,
    precision: str = "int8",
    name: str | None = None,
    with_activations: bool = False,
) -> Path:
    """Export a checkpoint through Optimum; an older such export at the target is replaced once the new one is complete.

    Args:
        source: checkpoint folder in the published format, with tokenizer.json.
        target: folder to make.
        precision: "fp32", or "int8" for ORTQuantizer's dynamic quantisation.
        name: of the model in records; None takes the source folder's.
        with_activations: in int8, quantise everything that Optimum's ready configuration would: not the weights alone,
            also the products of attention and the angles of the rotary positions. That loses verdicts
            (docs/optimum.md).

    Returns:
        The target.

    Raises:
        CheckpointError: the source is no such checkpoint, or `target` holds something else.
        ConfigurationError: a precision that Optimum cannot make, or a generative model.
    """
    source, target = Path(source), Path(target)
    if precision not in PRECISIONS:
        raise ConfigurationError(f"no {precision!r} through Optimum; valid: {', '.join(PRECISIONS)}")
    checkpoint = Checkpoint.open(source)
    if checkpoint.config.is_generative:
        raise ConfigurationError("Optimum's way is for Qwen3Guard-Stream", hint="leave out --via")
    if not (source / TOKENIZER_FILE).is_file():
        raise CheckpointError(f"no {TOKENIZER_FILE} beside the checkpoint", hint="copy it from the model's repository")
    if target.exists() and not (target.is_dir() and (is_optimum_export(target) or not any(target.iterdir()))):
        raise CheckpointError(f"{target} holds something else", hint="give a new folder, or one that Optimum filled")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=scratch_prefix(target)) as scratch:
        made = _trace(Path(scratch) / "fp32", checkpoint)
        if precision == "int8":
            gc.collect()  # the traced model hangs in cycles, and quantising takes several times its memory
            made = _quantise(made, Path(scratch) / "int8", with_activations=with_activations)
        _describe(made, checkpoint, precision, name or source.resolve().name)
        if target.exists():
            target.rename(Path(scratch) / "replaced")
        made.rename(target)
    return target


class _GuardModel(Qwen3PreTrainedModel):  # type: ignore[no-untyped-call]  # transformers is typed in parts
    """Transformers' backbone under the four heads; its parameters have the names of the published tensors."""

    __module__ = "transformers.guardrail"  # Optimum asks here which library a model belongs to, and refuses others

    def __init__(self, config: GuardConfig) -> None:
        super().__init__(_qwen3(config))
        inner, hidden, eps = config.guard_inner_size, config.hidden_size, config.rms_norm_eps
        self.model = Qwen3Model(self.config)
        self.risk_level_category_pre = nn.Linear(hidden, inner, bias=False)
        self.risk_level_category_layernorm = Qwen3RMSNorm(inner, eps)
        self.risk_level_head = nn.Linear(inner, len(config.response_labels.risks), bias=False)
        self.category_head = nn.Linear(inner, len(config.response_labels.categories), bias=False)
        self.query_risk_level_category_pre = nn.Linear(hidden, inner, bias=False)
        self.query_risk_level_category_layernorm = Qwen3RMSNorm(inner, eps)
        self.query_risk_level_head = nn.Linear(inner, len(config.prompt_labels.risks), bias=False)
        self.query_category_head = nn.Linear(inner, len(config.prompt_labels.categories), bias=False)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, past_key_values: Any = None
    ) -> dict[str, Any]:
        """Return the logits at every position, float32 [batch, position, n], and all keys and values."""
        output = self.model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
            past_key_values=past_key_values, use_cache=True,
        )  # fmt: skip
        hidden = output.last_hidden_state
        response = self.risk_level_category_layernorm(self.risk_level_category_pre(hidden))
        query = self.query_risk_level_category_layernorm(self.query_risk_level_category_pre(hidden))
        return {
            "query_risk": self.query_risk_level_head(query),
            "query_category": self.query_category_head(query),
            "response_risk": self.risk_level_head(response),
            "response_category": self.category_head(response),
            "past_key_values": output.past_key_values,
        }


class _GuardOnnxConfig(Qwen3OnnxConfig):  # type: ignore[misc]  # Optimum is not there where types are checked
    """Optimum's description of Qwen3, with the heads for outputs."""

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        heads = ("query_risk", "query_category", "response_risk", "response_category")
        axes: dict[str, dict[int, str]] = {head: {0: "batch_size", 1: "sequence_length"} for head in heads}
        self.add_past_key_values(axes, direction="outputs")
        return axes


def _qwen3(config: GuardConfig) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=config.vocab_size, hidden_size=config.hidden_size, intermediate_size=config.intermediate_size,
        num_hidden_layers=config.n_layers, num_attention_heads=config.n_heads, num_key_value_heads=config.n_kv_heads,
        head_dim=config.head_dim, max_position_embeddings=config.max_context, rms_norm_eps=config.rms_norm_eps,
        rope_theta=config.rope_theta,  # type: ignore[call-arg]  # types are checked with transformers 5, which moved it
        tie_word_embeddings=False,
    )  # fmt: skip


def _trace(folder: Path, checkpoint: Checkpoint) -> Path:
    """Fill a folder with Optimum's fp32 export; return it."""
    model = _GuardModel(checkpoint.config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(checkpoint.tensor(name)))
    model.eval()  # type: ignore[no-untyped-call]
    config = _GuardOnnxConfig(model.config, task=_TASK, use_past=True, use_past_in_inputs=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of each branch in transformers; `verify` tells what came out
        onnx_export_from_model(
            model, folder, task=f"{_TASK}-with-past", custom_onnx_configs={"model": config},
            no_post_process=True, do_validation=False,
        )  # fmt: skip
    return folder


def _quantise(plain: Path, folder: Path, *, with_activations: bool) -> Path:
    """Fill a folder with what ORTQuantizer makes of an fp32 export; return it."""
    nodes = [] if with_activations else _nodes_with_weights(plain / _MODEL_FILE)  # none named: all that can be
    settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True, nodes_to_quantize=nodes)
    is_large = (plain / f"{_MODEL_FILE}_data").exists()  # more than a protobuf file can hold
    quantizer = ORTQuantizer.from_pretrained(plain, file_name=_MODEL_FILE)
    quantizer.quantize(quantization_config=settings, save_dir=folder, use_external_data_format=is_large)
    return folder


def _nodes_with_weights(file: Path) -> list[str]:
    """Return the names of the matrix products with weights and of the look-up in the embedding."""
    graph = onnx.load(file, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    place = {"MatMul": 1, "Gather": 0}
    return [node.name for node in graph.node if node.op_type in place and node.input[place[node.op_type]] in weights]


def _describe(folder: Path, checkpoint: Checkpoint, precision: str, name: str) -> None:
    """Put the checkpoint's config and tokenizer, and optimum.json, beside the model."""
    (model_file,) = (path.name for path in folder.glob("*.onnx"))
    for file in (CONFIG_FILE, TOKENIZER_FILE):
        shutil.copyfile(checkpoint.folder / file, folder / file)
    manifest = OptimumManifest.model_validate(
        {
            "name": name,
            "precision": precision,
            "model_file": model_file,
            "source_sha256": checkpoint.sha256(),
            "quantised": _count_quantised(folder / model_file),
            "files": {path.name: hash_file(path) for path in sorted(folder.iterdir())},
            "versions": {package: version(package) for package in _PACKAGES},
        }
    )
    (folder / OPTIMUM_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")


def _count_quantised(file: Path) -> Quantised:
    graph = onnx.load(file, load_external_data=False).graph
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMulInteger"]
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather" and node.input[0] in stored}
    n_with_weights = sum(node.input[1] in stored for node in products)
    return Quantised(
        weight_matmuls=n_with_weights,
        activation_matmuls=len(products) - n_with_weights,
        embeddings=sum(stored[table] in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8) for table in tables),
        float_matmuls=sum(node.op_type == "MatMul" for node in graph.node),
    )
