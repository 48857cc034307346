"""Variables of the environment that change what the package does. Values that may be secret are never read out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guardrail.doctor.checks import Check, ok, warning

_SHOWN = {
    "OMP_NUM_THREADS": "threads of torch and numpy; onnxruntime takes --threads instead",
    "HF_HUB_OFFLINE": "1 lets the hub's models come from its cache only",
    "HF_HOME": "where the hub's cache lies",
    "HF_HUB_CACHE": "where the hub's cache lies",
    "XDG_CACHE_HOME": "where exports are kept, and the hub's cache",
    "CUDA_VISIBLE_DEVICES": "GPUs that the torch engine sees",
    "TOKENIZERS_PARALLELISM": "threads of the tokenizer",
}
"""Variables whose values are shown, and what they do."""

_HIDDEN = {
    "HF_TOKEN": "token for the hub",
    "HF_ENDPOINT": "another address of the hub",
    "HTTPS_PROXY": "proxy for downloads",
    "GUARDRAIL_ENDPOINT_KEY": "key of a guard model behind a server",
    "OPENAI_API_KEY": "key of the demo's live endpoint",
}
"""Variables whose values may be secret: only whether they are set is told."""

_OURS = "GUARDRAIL_"
_TRUE = {"1", "on", "yes", "true"}
"""As huggingface_hub reads them, in any case."""

_MOST_CHARS = 120
"""Longest value that is shown; our own choice."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the environment.

    Attributes:
        name: of the variable.
        is_set: whether it is, to something not empty.
        value: None where it is not set, or may be secret.
        effect: what it changes.
    """

    name: str
    is_set: bool
    value: str | None
    effect: str


def read_variables(environment: Mapping[str, str]) -> tuple[Variable, ...]:
    """Return every variable that matters, set or not, and those of the service that are set."""
    shown = [_variable(environment, name, effect, is_shown=True) for name, effect in _SHOWN.items()]
    hidden = [_variable(environment, name, effect, is_shown=False) for name, effect in _HIDDEN.items()]
    others = sorted(name for name in environment if name.startswith(_OURS) and name not in _HIDDEN)
    service = [_variable(environment, name, "a setting of guardrail serve", is_shown=False) for name in others]
    return (*shown, *hidden, *service)


def hub_folder(environment: Mapping[str, str]) -> Path:
    """Return where the hub keeps its downloads, by the rules of huggingface_hub."""
    if cache := environment.get("HF_HUB_CACHE"):
        return Path(cache).expanduser()
    home = environment.get("HF_HOME")
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(home) if home else Path(base) / "huggingface").expanduser() / "hub"


def is_offline(environment: Mapping[str, str]) -> bool:
    """Whether the hub may not be asked."""
    return environment.get("HF_HUB_OFFLINE", "").lower() in _TRUE


def environment_check(variables: tuple[Variable, ...], n_cores: int) -> Check:
    """Return which variables are set, and whether one of them holds something up."""
    names = [one.name for one in variables if one.is_set]
    told = ", ".join(names) or "nothing that changes behaviour is set"
    threads = next((one.value for one in variables if one.name == "OMP_NUM_THREADS"), None) or ""
    if threads.isdigit() and int(threads) > n_cores:
        return warning("environment", f"OMP_NUM_THREADS is {threads}, with {n_cores} cores", "set it to the cores")
    return ok("environment", told)


def _variable(environment: Mapping[str, str], name: str, effect: str, *, is_shown: bool) -> Variable:
    value = environment.get(name, "")
    return Variable(name, bool(value), value[:_MOST_CHARS] if is_shown and value else None, effect)
