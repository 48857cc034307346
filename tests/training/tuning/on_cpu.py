"""Runs `guardrail train sft` with shards of the model on CPUs, where accelerate would silently leave them out.

Arguments: the settings' file, and "kill" or "resume".
"""

import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from transformers import TrainingArguments

from guardrail.training import sft
from guardrail.training.tuning import trainer

made = trainer._arguments
step = trainer.GuardTrainer.training_step


def arguments(*values: Any) -> TrainingArguments:
    """Say that these processes are GPUs, for which accelerate shards."""
    found = made(*values)
    assert found.device.type == "cpu"
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    return found


def killed(of: trainer.GuardTrainer, *values: Any) -> torch.Tensor:
    """End in the middle."""
    assert of.is_fsdp_enabled
    if sys.argv[2] == "kill" and of.state.global_step == 6:
        raise RuntimeError("killed as the test asks")
    return step(of, *values)


setattr(trainer, "_arguments", arguments)  # noqa: B010 - a plain assignment would have to be of the same type
setattr(trainer.GuardTrainer, "training_step", killed)  # noqa: B010
sft.main(Path(sys.argv[1]), resume=sys.argv[2] == "resume")
