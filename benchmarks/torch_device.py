"""The torch engine on a device: milliseconds per token with 1, 8 and 16 tokens a call, against published figures.

    python benchmarks/torch_device.py CHECKPOINT --device cuda --precision bf16

The published figures are of the 0.6B model in bf16 on an RTX 3090, p99 a token, flat up to a context of 4,096: 17 to
19 ms with one token a call, 2.5 to 2.7 ms with eight, 1.3 to 1.4 ms with sixteen. Weights may be random
(`guardrail bench` writes such a checkpoint): speed depends on shapes alone. onnxruntime-gpu is not tried here.
"""

import argparse
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import torch

from guardrail.engines.base import Engine, Feed
from guardrail.engines.runtime import Runtime
from guardrail.engines.torch import TorchEngine

PUBLISHED = {1: "17-19", 8: "2.5-2.7", 16: "1.3-1.4"}


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--contexts", type=int, nargs="+", default=[256, 1024, 4000])
    parser.add_argument("--calls", type=int, default=200, help="timed calls of each cell")
    given = parser.parse_args()
    engine = TorchEngine.from_checkpoint(
        given.checkpoint, precision=given.precision, runtime=Runtime(device=given.device)
    )
    device = torch.cuda.get_device_name() if given.device.startswith("cuda") else given.device
    print(f"{device}, {given.precision}, torch {version('torch')}, {given.calls} calls a cell\n")
    print("| context | tokens a call | ms a token, p50 | p99 | published p99 (RTX 3090) |\n|---|---|---|---|---|")
    for context in given.contexts:
        for size, published in PUBLISHED.items():
            taken = sorted(times(engine, context, size, given.calls))
            p50, p99 = statistics.median(taken) / size, taken[int(len(taken) * 0.99)] / size
            print(f"| {context} | {size} | {1000 * p50:.2f} | {1000 * p99:.2f} | {published} |", flush=True)


def times(engine: Engine, context: int, size: int, n_calls: int) -> list[float]:
    """Return the seconds of calls of `size` tokens behind a context; logits come back to the CPU in each."""
    session = engine.open()
    ids = [7] * max(context, size)
    engine.step([Feed(session, ids[:context])])
    taken = []
    for number in range(n_calls + 5):
        session.rollback(context)
        started = time.perf_counter()
        engine.step([Feed(session, ids[:size])])
        if number >= 5:
            taken.append(time.perf_counter() - started)
    session.close()
    return taken


if __name__ == "__main__":
    main()
