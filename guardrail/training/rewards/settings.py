"""Settings of the rewards: which guard judges, who knows refusals, which model says what is helpful."""

import os
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from guardrail.errors import ConfigurationError
from guardrail.training.settings import Count, Positive

Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class JudgeSettings:
    """The guard.

    Attributes:
        model: "default" (embedded), a hub id, a checkpoint folder or an exported folder; with `base_url`, the name of
            a Qwen3Guard-Gen model there.
        base_url: of an OpenAI-compatible server that runs it; empty runs it here.
        api_key_env: environment variable that holds the server's key; empty sends none.
        engine: "onnx" or "torch", of a model that runs here.
        precision: of the weights; unset takes an export's own, int8 otherwise.
        threads: threads of one model call; unset takes one for each physical core.
        device: of the torch engine, such as "cuda".
        policy: ready policy or TOML file whose rule for answers says what is unsafe; Controversial always counts.
        at_once: texts under way at once; more help behind an endpoint.
        timeout_s: seconds for one judgement behind an endpoint.
    """

    model: str = "default"
    base_url: str = ""
    api_key_env: str = ""
    engine: Literal["onnx", "torch"] = "onnx"
    precision: str | None = None
    threads: Count | None = None
    device: str = "cpu"
    policy: str = "balanced"
    at_once: Count = 8
    timeout_s: Positive = 60


@dataclass(frozen=True)
class RefusalSettings:
    """Who says whether an answer refuses.

    Attributes:
        detector: "phrases" knows wordings of many languages; "guard" asks the guard itself, which then is a Gen model;
            "gen" asks another Gen model, the one named here.
        model: of "gen": a checkpoint or hub id, or with `base_url` its name there.
        base_url: of a server that runs it; empty runs it here.
        api_key_env: environment variable that holds the server's key; empty sends none.
        at_once: answers under way at once.
    """

    detector: Literal["phrases", "guard", "gen"] = "phrases"
    model: str = ""
    base_url: str = ""
    api_key_env: str = ""
    at_once: Count = 8

    def __post_init__(self) -> None:
        if (self.detector == "gen") != bool(self.model):
            raise ConfigurationError('[refusals]: detector = "gen" and model belong together')


@dataclass(frozen=True)
class HelpfulnessModelSettings:
    """Which model says how helpful an answer is.

    Attributes:
        kind: "checkpoint": a sequence-classification checkpoint with one label, run here; "pooling": a reward model
            behind vLLM's /pooling; "reward": another `guardrail reward serve`.
        model: folder or hub id; of "pooling", its name there.
        revision: commit or branch of a hub id.
        base_url: root of the server, without /v1.
        api_key_env: environment variable that holds the server's key; empty sends none.
        max_length: most tokens of a conversation; the middle of longer ones is left out.
        batch: conversations read at once.
        device: "auto" takes a GPU where there is one.
        offset: score that counts as 0.
        scale: what the rest is multiplied by; see `Scaled`.
        timeout_s: seconds for one answer of a server.
    """

    kind: Literal["checkpoint", "pooling", "reward"] = "checkpoint"
    model: str = ""
    revision: str | None = None
    base_url: str = ""
    api_key_env: str = ""
    max_length: Count = 4096
    batch: Count = 8
    device: str = "auto"
    offset: Finite = 0.0
    scale: Positive = 1.0
    timeout_s: Positive = 60

    def __post_init__(self) -> None:
        if self.kind != "reward" and not self.model:
            raise ConfigurationError(f'[helpfulness]: kind = "{self.kind}" needs a model')
        if (self.kind == "checkpoint") == bool(self.base_url):
            raise ConfigurationError(
                '[helpfulness]: base_url belongs to kind = "pooling" and "reward", and only to them'
            )


@dataclass(frozen=True)
class RewardSettings:
    """All of it.

    Attributes:
        guard: judges thinking and answers.
        refusals: knows refusals.
        helpfulness: scores answers; None gives the reward `guard_only` alone.
    """

    guard: JudgeSettings = field(default_factory=JudgeSettings)
    refusals: RefusalSettings = field(default_factory=RefusalSettings)
    helpfulness: HelpfulnessModelSettings | None = None


def key_of(variable: str) -> str:
    """Return the key that an environment variable holds; empty without a name.

    Raises:
        ConfigurationError: the variable is not set.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if variable and not key:
        raise ConfigurationError(f"the environment variable {variable} is not set", hint="api_key_env names it")
    return key
