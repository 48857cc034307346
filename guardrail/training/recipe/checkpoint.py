"""A causal language model that transformers runs here: for laptops and for trying a recipe out, one call at a time."""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from guardrail.conversation import Role
from guardrail.errors import CallRefused, ConfigurationError, EngineError, MissingExtra
from guardrail.json_text import well_formed
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.sent import (
    chat_messages,
    ended,
    guard_prompt,
    seed_of,
    split_thinking,
    without_control_tokens,
)
from guardrail.training.recipe.settings import ModelSettings

try:
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GenerationConfig,
        StoppingCriteria,
        StoppingCriteriaList,
    )
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

_TURN = threading.Lock()
"""Held while something is drawn: torch's random numbers belong to the process, not to a model."""


class Checkpoint:
    """Runs a model; see `Model`. The same call gives the same text, on one kind of device and version of torch.

    It runs on a GPU if there is one, else on the CPU, in 32 bits there. Code that comes with a checkpoint is not run.
    """

    def __init__(self, settings: ModelSettings) -> None:
        """Load the weights.

        Raises:
            ConfigurationError: there is no such model, or it is none that continues texts.
        """
        where: dict[str, Any] = {"revision": settings.revision or None, "trust_remote_code": False}
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = "auto" if device == "cuda" else torch.float32
        tokenizers: Any = AutoTokenizer
        models: Any = AutoModelForCausalLM
        try:
            self._tokenizer: Any = tokenizers.from_pretrained(settings.model, **where)
            self._model: Any = models.from_pretrained(settings.model, dtype=dtype, **where).to(device).eval()
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"cannot load {settings.model} as a language model: {type(error).__name__}",
                hint="a folder or hub id that transformers can read",
            ) from error
        self._worker = ThreadPoolExecutor(1, "guardrail-checkpoint")
        self._is_closing = threading.Event()

    async def ask(self, call: Call, key: bytes) -> Reply:
        """Return what the model writes.

        Raises:
            CallRefused: the prompt is too long, or is none that the chat template renders.
            ConfigurationError: the tokenizer has no chat template.
            EngineError: the model was closed, or failed.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._write, call, key)

    async def close(self) -> None:
        """End what is being written, and give up the worker."""
        self._is_closing.set()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _write(self, call: Call, key: bytes) -> Reply:
        inputs = self._inputs(call)
        n_input = int(inputs["input_ids"].shape[1])
        context = getattr(self._model.config, "max_position_embeddings", None)
        if context is not None and n_input + call.max_tokens > context:
            raise CallRefused(f"{n_input} tokens and {call.max_tokens} more do not fit into a context of {context}")
        try:
            rows = self._generate(inputs, call, seed_of(key))
        except RuntimeError as error:  # out of memory, mostly
            raise EngineError(f"the model failed: {type(error).__name__}") from error
        if self._is_closing.is_set():
            raise EngineError("the model was closed")
        written = [self._read(row[n_input:].tolist(), call) for row in rows]
        texts = tuple(text for text, _ in written) * (call.n if len(written) == 1 else 1)
        return Reply(texts, n_input, sum(n for _, n in written))

    def _generate(self, inputs: Mapping[str, Any], call: Call, seed: int) -> Any:
        """Return the samples, int64 [sample, token], the prompt included."""
        stopping = StoppingCriteriaList(
            [_Stopping(self._tokenizer, inputs["input_ids"].shape[1], call.stop, self._is_closing)]
        )
        devices = [*range(torch.cuda.device_count())]
        with _TURN, torch.random.fork_rng(devices), torch.inference_mode():
            torch.manual_seed(seed)
            return self._model.generate(**inputs, generation_config=self._how(call), stopping_criteria=stopping)

    def _inputs(self, call: Call) -> Mapping[str, Any]:
        if call.form == "chat":
            ids = self._tokenizer(self._rendered(call), add_special_tokens=False, return_tensors="pt")
        elif call.form == "guard":
            ids = self._tokenizer(guard_prompt(call.messages), add_special_tokens=False, return_tensors="pt")
        else:
            ids = self._tokenizer(well_formed(call.prompt), return_tensors="pt")
        if not ids["input_ids"].numel():
            raise CallRefused("there is nothing to continue")
        names = ("input_ids", "attention_mask")
        return {name: ids[name].to(self._model.device) for name in names}

    def _rendered(self, call: Call) -> str:
        """Return a chat as its template renders it; a turn of the assistant that stands last is left open."""
        if not self._tokenizer.chat_template:
            raise ConfigurationError(
                "the tokenizer has no chat template", hint='ask a base model with the form "completion"'
            )
        is_open = bool(call.messages) and call.messages[-1].role is Role.ASSISTANT
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    chat_messages(call.messages),
                    tokenize=False,
                    add_generation_prompt=not is_open,
                    continue_final_message=is_open,
                )
            )
        except Exception as error:  # a template may raise whatever it likes: it refuses a role, an order
            raise CallRefused(f"the chat template refuses the conversation: {type(error).__name__}") from error

    def _how(self, call: Call) -> Any:
        """Return how a call is answered: nothing is left to what the checkpoint recommends."""
        settings: Any = GenerationConfig
        is_drawn, ends = call.temperature > 0, self._end_ids()
        drawing = {"temperature": call.temperature, "top_p": call.top_p, "top_k": 0} if is_drawn else {}
        return settings(
            max_new_tokens=call.max_tokens, do_sample=is_drawn, num_return_sequences=call.n if is_drawn else 1,
            num_beams=1, repetition_penalty=1.0, no_repeat_ngram_size=0, eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else 0, **drawing,
        )  # fmt: skip

    def _end_ids(self) -> list[int]:
        own = self._model.generation_config.eos_token_id
        found = [own] if isinstance(own, int) else list(own or ())
        end = self._tokenizer.eos_token_id
        return [*found, *([end] if end is not None and end not in found else [])]

    def _read(self, ids: list[int], call: Call) -> tuple[Text, int]:
        """Return the text of a sample, and the tokens that were written for it."""
        ends = set(self._end_ids())
        n_text = next((i for i, token in enumerate(ids) if token in ends), len(ids))
        text = str(self._tokenizer.decode(ids[:n_text], skip_special_tokens=call.form == "chat"))
        text, has_stopped = ended(text, call.stop)
        is_cut = n_text == len(ids) == call.max_tokens and not has_stopped
        n_written = min(n_text + 1, len(ids))
        if call.form == "chat":
            thinking, text = split_thinking(text)
            return Text(text, thinking, is_cut), n_written
        return Text(without_control_tokens(text) if call.form == "guard" else text, None, is_cut), n_written


class _Stopping(StoppingCriteria):
    """Ends a sample at its stop texts, and everything when the model is closed."""

    def __init__(self, tokenizer: Any, n_input: int, stop: tuple[str, ...], is_closing: threading.Event) -> None:
        self._tokenizer, self._n_input, self._stop, self._is_closing = tokenizer, n_input, stop, is_closing
        # no token is shorter than a byte: these tokens hold any stop text that the last one has completed
        self._n_tail = max((len(one.encode()) for one in stop), default=0) + 1

    def __call__(self, input_ids: Any, _scores: Any, **_: Any) -> Any:
        """Return for each sample whether it has ended: bool [sample]."""
        ends = torch.full((input_ids.shape[0],), self._is_closing.is_set(), device=input_ids.device)
        for i, row in enumerate(input_ids[:, self._n_input :][:, -self._n_tail :] if self._stop else ()):
            tail = self._tokenizer.decode(row)
            ends[i] |= any(one in tail for one in self._stop)
        return ends
