"""Helpfulness models behind HTTP: a reward model that vLLM serves (`POST /pooling`), or a reward server of ours."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

from guardrail.errors import ConfigurationError, EngineError
from guardrail.generative.client import Client, Patience
from guardrail.json_text import well_formed
from guardrail.training.rewards.helpfulness import Score, chat, finite
from guardrail.training.rewards.values import Completion

AT_ONCE = 32
"""Questions under way at once, where each is a request. Ours."""


def client_of(base_url: str, api_key: str, timeout_s: float) -> Client:
    """Return a client.

    Raises:
        ConfigurationError: that is no URL.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(f"{base_url!r} is no URL", hint="such as http://localhost:8000")
    return Client(base_url, api_key, Patience(timeout_s=timeout_s), max_answer_bytes=16 * 2**20)


class Pooling:
    """Asks vLLM, one conversation a request; it renders them with the model's own chat template. Safe for many threads.

    Of a model that gives a score at every token, the last one counts.
    """

    def __init__(self, client: Client, model: str) -> None:
        """Take the way to a server.

        Args:
            client: posts to it; its base URL is the server's root, without /v1.
            model: its name there.
        """
        self._client, self._model = client, model
        self.identity = {"helpfulness": model, "kind": "pooling"}

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """See `HelpfulnessModel.score`."""
        found: list[Score] = []
        for start in range(0, len(completions), AT_ONCE):
            some = completions[start : start + AT_ONCE]
            asked = [self._client.post("pooling", self._body(completion)) for completion in some]
            found += [_answered(one, _pooled) for one in asked]
        return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _body(self, completion: Completion) -> dict[str, Any]:
        turns = [
            {**turn, "content": well_formed(turn["content"])} for turn in chat(completion.prompt, completion.answer)
        ]
        # the raw score, not its sigmoid, of models that vLLM takes for classifiers
        return {"model": self._model, "messages": turns, "add_generation_prompt": False, "use_activation": False}


class RewardServer:
    """Asks another `guardrail reward serve` for the helpfulness alone, many completions a request."""

    def __init__(self, client: Client) -> None:
        """Take the way to a server; its base URL is its root."""
        self._client = client
        self.identity = {"helpfulness": "reward server", "kind": "reward"}

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """See `HelpfulnessModel.score`."""
        found: list[Score] = []
        for start in range(0, len(completions), AT_ONCE):
            some = completions[start : start + AT_ONCE]
            answer = self._client.post("reward", {"kind": "mixed", "completions": [_sent(one) for one in some]})
            found += _served(answer, len(some))
        return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _sent(completion: Completion) -> dict[str, Any]:
    prompt = chat(completion.prompt, completion.answer)[:-1]
    turns = [{**turn, "content": well_formed(turn["content"])} for turn in prompt]
    return {"prompt": turns, "answer": well_formed(completion.answer)}


def _answered(asked: "Future[Any]", read: Any) -> Score:
    try:
        return finite(float(read(asked.result())))
    except EngineError as error:
        return error
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return EngineError(f"the endpoint's answer is no score ({type(error).__name__})")


def _pooled(answer: Any) -> Any:
    """Return the score of a pooling answer: one number, or the one at the last token."""
    values = answer["data"][0]["data"]
    last = values[-1]
    row = last if isinstance(last, list) else values
    if len(row) != 1:
        raise ValueError
    return row[0]


def _served(asked: "Future[Any]", n: int) -> list[Score]:
    try:
        opinions = asked.result()["opinions"]
    except EngineError as error:
        return [error] * n
    except (KeyError, TypeError):
        opinions = []
    if not isinstance(opinions, list) or len(opinions) != n:
        return [EngineError("the endpoint's answer holds no opinions")] * n
    return [_helpful(one) for one in opinions]


def _helpful(opinion: Any) -> Score:
    """Return what the other server's helpfulness model said; its guard's failures are no concern of ours."""
    said = opinion.get("helpfulness") if isinstance(opinion, dict) else None
    if isinstance(said, bool) or not isinstance(said, int | float):
        return EngineError("the other server has no helpfulness score")
    return finite(float(said))
