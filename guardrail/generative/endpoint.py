"""A Gen model behind an OpenAI-compatible server, such as vLLM, SGLang or llama.cpp."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import isnan
from typing import Any, Literal, NoReturn

from guardrail.engines.base import Feed, ModelInfo
from guardrail.errors import ConfigurationError, EngineError
from guardrail.generative.client import Client, Patience
from guardrail.generative.line import Found
from guardrail.generative.parsing import label_scores, parse, to_verdict
from guardrail.generative.spoofing import without_control
from guardrail.generative.template import Turn, closing, is_response, opening
from guardrail.tape import Call, Steps
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS

Mode = Literal["completions", "chat"]
MODES: tuple[Mode, ...] = ("completions", "chat")

MAX_NEW_TOKENS = 128
"""Longest answer that is asked for, as in the published evaluation; a verdict takes about ten."""

N_CANDIDATES = 5
"""Likely tokens that are asked for at each place: the most that OpenAI's completions give."""

MAX_CHARS = 24_000
"""Longest prompt in characters, its 1,600 of task and policy included: about 6,000 tokens of English, at most 24,000 of
scripts that take one each. Ours; the published models hold 32,768 tokens."""

LEAST_CHARS = 4096
"""Least `max_chars`: task and policy take 1,900. Ours."""

STOP = ["<|im_end|>", "<|endoftext|>"]
"""What ends an answer; some servers show it."""


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Where the model runs, and how it is asked.

    Attributes:
        base_url: such as http://localhost:8001/v1.
        model: its name there.
        api_key: of the server; empty sends none.
        mode: "completions" sends the prompt as it is rendered here; "chat" the messages, which the server renders.
        max_chars: longest prompt; longer ones are cut to windows, as beyond any model's context.
        asks_scores: whether the log probabilities of the label are asked for.
        patience: with the server.
    """

    base_url: str
    model: str
    api_key: str = ""
    mode: Mode = "completions"
    max_chars: int = MAX_CHARS
    asks_scores: bool = True
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        if self.max_chars < LEAST_CHARS:
            raise ConfigurationError(f"max_chars = {self.max_chars} leaves no room for a text: at least {LEAST_CHARS}")
        if self.mode not in MODES:
            raise ConfigurationError(f"unknown mode {self.mode!r}; valid: {', '.join(MODES)}")
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigurationError(
                "base_url must begin with http:// or https://", hint="such as http://localhost:8001/v1"
            )


class Endpoint:
    """Stands where an engine of token ids would: it knows who the model is, and is asked in text instead.

    Safe for many threads and event loops.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        """Connect with the first question."""
        self.settings = settings
        self._client = Client(settings.base_url, settings.api_key, settings.patience)
        self._info = ModelInfo(
            settings.model, "", "generative", "unknown", settings.max_chars,
            prompt_labels=PROMPT_LABELS, response_labels=RESPONSE_LABELS,
        )  # fmt: skip

    @property
    def info(self) -> ModelInfo:
        """Identity of the model, as far as it is known: nobody can tell from here which weights run there."""
        return self._info

    def open(self) -> NoReturn:
        """Refuse: there are no sessions of token ids."""
        raise EngineError("a model behind an endpoint takes no token ids")

    def step(self, feeds: Sequence[Feed]) -> NoReturn:  # noqa: ARG002  # as in the protocol of engines
        """Refuse, as `open` does."""
        self.open()

    def post(self, turns: Sequence[Turn]) -> "Future[Any]":
        """Ask about the last turn; return a future of the server's answer."""
        settings, asks_scores = self.settings, self.settings.asks_scores
        body: dict[str, Any] = {"model": settings.model, "max_tokens": MAX_NEW_TOKENS, "temperature": 0, "stop": STOP}
        if settings.mode == "chat":
            body["messages"] = [{"role": turn.role, "content": _sent(turn)} for turn in turns]
            return self._client.post(
                "chat/completions", body | ({"logprobs": True, "top_logprobs": N_CANDIDATES} if asks_scores else {})
            )
        body["prompt"] = prompt_text(turns)
        return self._client.post("completions", body | ({"logprobs": N_CANDIDATES} if asks_scores else {}))

    def close(self) -> None:
        """Close all connections; closing twice is harmless."""
        self._client.close()


class EndpointLine:
    """Asks an endpoint; keeps nothing between questions. See `Line`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @property
    def limit(self) -> int:
        """Most characters of a prompt."""
        return self._endpoint.settings.max_chars

    def size(self, turns: Sequence[Turn]) -> int:
        """Return the characters of a prompt."""
        return len(prompt_text(turns))

    def prepare(self, _turns: Sequence[Turn]) -> Steps[None]:
        """Do nothing: the server keeps what it likes."""
        yield from ()

    def ask(self, turns: Sequence[Turn]) -> Steps[Found]:
        """Return the verdict on the last turn; see `Line.ask`."""
        asked: list[Future[Any]] = []

        def start() -> "Future[Any]":
            asked.append(self._endpoint.post(turns))
            return asked[0]

        try:
            yield Call(start)
        finally:
            for future in asked:
                future.cancel()
        return read_answer(asked[0].result(), is_response=is_response(turns))

    def close(self, *, keep: bool = True) -> None:
        """Nothing is held."""


def prompt_text(turns: Sequence[Turn]) -> str:
    """Return a prompt as it is sent: what people and models wrote cannot become control tokens."""
    return "".join(_sent(Turn("", (part,))) for part in (*opening(turns), *closing(turns)))


def read_answer(answer: Any, *, is_response: bool) -> Found:
    """Return what a server's answer says, in the form of completions or of chat completions.

    Raises:
        UnparsableVerdict: what the model wrote is no verdict.
        EngineError: the answer is of another form.
    """
    try:
        choice = answer["choices"][0]
        text = choice["text"] if "text" in choice else choice["message"]["content"]
        usage = answer.get("usage") or {}
        scores = label_scores(*_candidates(choice.get("logprobs")))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise EngineError("the endpoint's answer is not that of an OpenAI-compatible server") from error
    if not isinstance(text, str):
        raise EngineError("the endpoint's answer holds no text")
    for name in STOP:
        text = text.removesuffix(name)
    n_tokens = usage.get("prompt_tokens") if isinstance(usage, Mapping) else 0
    verdict = to_verdict(parse(text, is_response=is_response), scores)
    return Found(verdict, n_tokens if isinstance(n_tokens, int) else 0)


def _sent(turn: Turn) -> str:
    return "".join(without_control(part.text) if part.kind == "content" else part.text for part in turn.parts)


def _candidates(logprobs: Any) -> tuple[list[str], list[Mapping[str, float]]]:
    """Return the tokens that were written, and the likely ones in the place of each with their log probabilities."""
    if not logprobs:
        return [], []
    if "content" in logprobs:
        written = logprobs["content"] or []
        tokens = [one["token"] for one in written]
        found = [{other["token"]: other["logprob"] for other in one.get("top_logprobs") or []} for one in written]
    else:
        tokens, found = list(logprobs["tokens"] or []), [one or {} for one in logprobs.get("top_logprobs") or []]
    return tokens, [{text: _checked(score) for text, score in one.items()} for one in found]


def _checked(score: Any) -> float:
    """Return a log probability, rounded down to 0.

    Raises:
        ValueError: it is none.
    """
    value = float(score)
    if isnan(value):
        raise ValueError("a log probability is NaN")
    return min(value, 0.0)
