"""A checkpoint in the published format becomes an int8 ONNX folder, which needs no torch; verdicts are compared.

The checkpoint is made here, tiny and with random weights, so that nothing is downloaded. With the published one it is
guard = Guard.load("Qwen/Qwen3Guard-Stream-0.6B"), which exports once, or on the command line
guardrail export Qwen/Qwen3Guard-Stream-0.6B exported/
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from guardrail import Guard
from guardrail.checkpoint_config import GuardConfig
from guardrail.network import GuardNetwork
from guardrail.onnx_export import export_checkpoint
from guardrail.onnx_export.verify import format_report, verify_checkpoint
from guardrail.testing import default_tokenizer_file

SIZES = GuardConfig(
    hidden_size=64, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=16, intermediate_size=128, vocab_size=16384,
    guard_inner_size=32, max_context=1024,
)  # fmt: skip


def tiny_checkpoint(folder: Path) -> Path:
    """Write config.json, model.safetensors and tokenizer.json, as they lie on the hub."""
    GuardNetwork.init(SIZES, seed=1).save_checkpoint(folder)
    shutil.copyfile(default_tokenizer_file(), folder / "tokenizer.json")
    return folder


def megabytes(folder: Path) -> float:
    """Return the size of a folder's files."""
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def main() -> None:
    """Export, compare with torch, and guard with the export."""
    with TemporaryDirectory() as scratch:
        checkpoint = tiny_checkpoint(Path(scratch) / "checkpoint")
        exported = export_checkpoint(checkpoint, Path(scratch) / "exported", precision="int8", name="tiny")
        print(f"checkpoint {megabytes(checkpoint):.1f} MB, export {megabytes(exported):.1f} MB:")
        print(*sorted(path.name for path in exported.iterdir()), sep=", ", end="\n\n")
        print(format_report(verify_checkpoint(checkpoint, exported=exported)), end="\n\n")
        with Guard.load(exported) as guard:
            decision = guard.check_prompt("How do I bake bread?")
            print(f"{decision.identity.model}, {decision.identity.precision}: {decision.action}")
            print("The weights are random, so this says nothing about bread.")


if __name__ == "__main__":
    main()
