"""Checkpoint to ONNX: graph, quantisation, verification. Needs the extra `export`."""

from guardrail.onnx_export.export import export_checkpoint, scratch_prefix
from guardrail.onnx_export.graph import GRAPH_VERSION
from guardrail.onnx_export.precision import PRECISIONS, check_precision

__all__ = ["GRAPH_VERSION", "PRECISIONS", "check_precision", "export_checkpoint", "scratch_prefix"]
