"""The part of the facade that says where a `Guard` comes from: the embedded model, a checkpoint, or an export."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.engines.runtime import Runtime
from guardrail.policy_file import PolicySource
from guardrail.reader import Reader
from guardrail.records.base import Sink
from guardrail.reuse import KEPT_BYTES

if TYPE_CHECKING:
    from guardrail.generative.endpoint import Mode


class Loading:
    """How a `Guard` is made."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: GuardTokenizer | Reader,
        *,
        policy: PolicySource = "balanced",
        sinks: Sequence[Sink] = (),
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        raise NotImplementedError

    @classmethod
    def default(
        cls,
        *,
        policy: PolicySource = "balanced",
        sinks: Sequence[Sink] = (),
        threads: int | None = None,
        runtime: Runtime | None = None,
        kept_bytes: int = KEPT_BYTES,
    ) -> Self:
        """Load the small model that is part of this package: offline, on a CPU.

        It is for trying out, tests and a first line of defence; production loads a published checkpoint.
        """
        from guardrail.loader import load_default

        model = load_default(runtime=_with_threads(runtime, threads))
        return cls(model.engine, model.reader, policy=policy, sinks=sinks, kept_bytes=kept_bytes)

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        policy: PolicySource = "balanced",
        sinks: Sequence[Sink] = (),
        engine: str = "onnx",
        precision: str | None = None,
        threads: int | None = None,
        runtime: Runtime | None = None,
        kept_bytes: int = KEPT_BYTES,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
    ) -> Self:
        """Load a model from a hub id, a checkpoint folder in a published format, or an exported folder.

        A checkpoint is exported once, with progress, into a cache. Qwen3Guard-Stream and Qwen3Guard-Gen can be loaded.

        Args:
            source: such as "Qwen/Qwen3Guard-Stream-0.6B", or a folder.
            policy: ready policy's name, TOML file or policy.
            sinks: where decisions are recorded.
            engine: "onnx", or "torch" for the reference.
            precision: "int8", "fp32" or "int4" of the weights; None takes an export's own, int8 otherwise.
            threads: threads of one engine call, in short for `runtime=Runtime(threads=...)`.
            runtime: threads, KV precision, context, queues and time-outs; None takes the defaults.
            kept_bytes: memory for what was read and may be needed again; 0 keeps nothing.
            revision: commit or branch on the hub.
            token: access token for the hub.
            cache_dir: where exports are kept; None takes the user's cache folder.

        Raises:
            CheckpointError: the folder is no such model, or is damaged.
            ConfigurationError: the hub cannot be reached, or an option is unknown.
            MissingExtra: exporting or downloading needs the extra `export`.
        """
        from guardrail.loader import load_model

        model = load_model(
            source, engine=engine, precision=precision, runtime=_with_threads(runtime, threads), revision=revision,
            token=token, cache_dir=cache_dir,
        )  # fmt: skip
        return cls(model.engine, model.reader, policy=policy, sinks=sinks, kept_bytes=kept_bytes)

    @classmethod
    def generative(
        cls,
        base_url: str,
        *,
        model: str,
        api_key: str = "",
        mode: "Mode" = "completions",
        timeout_s: float = 30.0,
        retries: int = 2,
        max_chars: int = 24_000,
        stride_chars: int = 256,
        policy: PolicySource = "balanced",
        sinks: Sequence[Sink] = (),
    ) -> Self:
        """Use a Qwen3Guard-Gen model behind an OpenAI-compatible endpoint; it is reached with the first check.

        Args:
            base_url: of the server, such as http://localhost:8001/v1.
            model: its name there.
            api_key: of the server; empty sends none.
            mode: "completions" sends the prompt as it is rendered here; "chat" the messages, for servers that only
                chat: they must render them with the model's own template.
            timeout_s: seconds for one judgement, further attempts included.
            retries: further attempts after a connection that failed, a 429 or a 5xx.
            max_chars: longest prompt; longer ones are cut to windows.
            stride_chars: characters of an answer from one judgement to the next, held until then.
            policy: ready policy's name, TOML file or policy.
            sinks: where decisions are recorded.

        Raises:
            ConfigurationError: an option cannot work.
            MissingExtra: the extra `service` is not installed.
        """
        from guardrail.generative.client import Patience
        from guardrail.generative.endpoint import Endpoint, EndpointLine, EndpointSettings
        from guardrail.generative.reader import GenerativeReader

        patience = Patience(timeout_s=timeout_s, retries=retries)
        endpoint = Endpoint(EndpointSettings(base_url, model, api_key, mode, max_chars, patience=patience))
        reader = GenerativeReader(lambda _tapes: EndpointLine(endpoint), stride_chars=stride_chars)
        return cls(endpoint, reader, policy=policy, sinks=sinks, kept_bytes=0)


def _with_threads(runtime: Runtime | None, threads: int | None) -> Runtime | None:
    return runtime if threads is None else replace(runtime or Runtime(), threads=threads)
