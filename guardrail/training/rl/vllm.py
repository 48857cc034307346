"""Whether vLLM writes the answers of a run, and the arguments with which TRL is told so."""

from importlib.util import find_spec
from typing import Any

from guardrail.errors import ConfigurationError
from guardrail.training.rl.settings import VllmSettings


def vllm_arguments(settings: VllmSettings, *, is_on_cpu: bool) -> dict[str, Any]:
    """Return arguments of the trainer; none where transformers writes the answers.

    Args:
        settings: what was asked for.
        is_on_cpu: whether the training has no GPU.

    Raises:
        ConfigurationError: vLLM was asked for by name, and cannot be had.
    """
    has_vllm = find_spec("vllm") is not None
    if settings.mode == "off" or (settings.mode == "auto" and (is_on_cpu or not has_vllm)):
        return {}
    if is_on_cpu:
        raise ConfigurationError(
            f'vllm.mode = "{settings.mode}" needs a GPU', hint='"off" lets transformers write the answers'
        )
    if not has_vllm:
        raise ConfigurationError(
            f'vllm.mode = "{settings.mode}" needs vLLM, which is not installed',
            hint="install a version that TRL names, in an environment of its own",
        )
    if settings.mode == "server":
        return {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": settings.base_url}
    return {
        "use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": settings.gpu_memory,
        "vllm_tensor_parallel_size": settings.tensor_parallel,
    }  # fmt: skip
