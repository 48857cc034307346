"""Asks a reward server from inside other people's trainers: verl, TRL, or a script. A file that stands alone.

It needs nothing but the standard library, so that it can be copied into an environment that has no guardrail:
verl loads it by its path, TRL by importing `RemoteReward`. OpenRLHF needs no client: it posts by itself.

The server's address and key are read from GUARDRAIL_REWARD_URL and GUARDRAIL_REWARD_KEY unless they are given.
A server that does not answer is asked again; then an error ends the run: a reward that nobody gave would teach
something that nobody meant.
"""

import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8100"
ATTEMPTS = 5
PAUSE_S = 1.0
"""Before the second attempt, and twice as long before each further one."""

TIMEOUT_S = 180.0

Prompt = str | list[dict[str, Any]]
"""One user message, or messages in OpenAI's form."""


class RewardServerError(RuntimeError):
    """The server refused a request, or did not answer any attempt."""


def ask(
    completions: list[dict[str, Any]],
    kind: str | None = None,
    url: str | None = None,
    key: str | None = None,
) -> dict[str, Any]:
    """Return the server's answer: `rewards` and `opinions`, one for each completion.

    Args:
        completions: each with `prompt` and `text`, or with `prompt`, `thinking` and `answer`.
        kind: "guard_only" or "mixed"; None takes the server's.
        url: root of the server.
        key: sent as a bearer token.

    Raises:
        RewardServerError: see the class.
    """
    root = (url or os.environ.get("GUARDRAIL_REWARD_URL") or DEFAULT_URL).rstrip("/")
    token = key or os.environ.get("GUARDRAIL_REWARD_KEY")
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    body: dict[str, Any] = {"completions": completions}
    if kind is not None:
        body["kind"] = kind
    if not root.startswith(("http://", "https://")):
        raise RewardServerError(f"{root} is no URL of a reward server")
    request = urllib.request.Request(f"{root}/reward", json.dumps(body).encode(), headers)  # noqa: S310  # checked above
    return _answered(request, len(completions))


def _answered(request: urllib.request.Request, n: int) -> dict[str, Any]:
    said = "it never answered"
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310  # see `ask`
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            said = _told(error)
            if error.code < 500 and error.code != 429:
                break
        except (OSError, ValueError) as error:
            said = f"{type(error).__name__}: {error}"
        else:
            if len(answer.get("rewards", ())) != n:
                raise RewardServerError(f"the reward server gave {len(answer.get('rewards', ()))} of {n} rewards")
            return answer
    raise RewardServerError(f"the reward server {request.full_url} failed: {said}")


def _told(error: urllib.error.HTTPError) -> str:
    """Return what the server said is wrong."""
    try:
        message = json.load(error)["error"]["message"]
    except (OSError, ValueError, KeyError, TypeError):
        message = error.reason
    return f"{error.code}, {message}"


def compute_score(
    data_source: str,  # noqa: ARG001  # verl names it
    solution_str: str,
    ground_truth: Any,  # noqa: ARG001  # verl names it
    extra_info: dict[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Return the reward of one answer, as verl's `custom_reward_function` gives it.

    verl hands over the answer but not its prompt: put that into the data set's `extra_info`, under `prompt`. Settings
    come from `custom_reward_function.reward_kwargs`: `kind`, `url`, `key`, `is_thinking` (the rendered prompt ends in
    `<think>`), and `prompt_key`, if the prompt has another name.

    Args:
        data_source: of the row; it plays no part.
        solution_str: what the model wrote.
        ground_truth: of the row; it plays no part.
        extra_info: of the row; holds the prompt.
        settings: see above; what verl adds besides is passed over.

    Raises:
        RewardServerError: there is no prompt, or see `ask`.
    """
    answer = ask(
        [_row(solution_str, extra_info, settings)], settings.get("kind"), settings.get("url"), settings.get("key")
    )
    return _scored(answer["rewards"][0], answer["opinions"][0])


def compute_score_batch(
    data_sources: list[str],  # noqa: ARG001  # verl names it
    solution_strs: list[str],
    ground_truths: list[Any],  # noqa: ARG001  # verl names it
    extra_infos: list[dict[str, Any] | None],
    **settings: Any,
) -> list[dict[str, Any]]:
    """Return the rewards of many answers in one request, as verl's reward manager `batch` asks for them."""
    rows = [_row(text, extra, settings) for text, extra in zip(solution_strs, extra_infos, strict=True)]
    answer = ask(rows, settings.get("kind"), settings.get("url"), settings.get("key"))
    return [_scored(reward, opinion) for reward, opinion in zip(answer["rewards"], answer["opinions"], strict=True)]


def _row(text: str, extra_info: dict[str, Any] | None, settings: dict[str, Any]) -> dict[str, Any]:
    name = settings.get("prompt_key", "prompt")
    prompt = (extra_info or {}).get(name)
    if prompt is None or isinstance(prompt, (int, float)):
        raise RewardServerError(f"extra_info has no {name!r}: put the prompt there when you prepare the data")
    return {"prompt": _plain(prompt), "text": text, "is_thinking": bool(settings.get("is_thinking", False))}


def _plain(prompt: Any) -> Prompt:
    """Return a prompt as JSON takes it: parquet gives arrays where lists were written."""
    if isinstance(prompt, str):
        return prompt
    return [{name: value for name, value in dict(turn).items() if value is not None} for turn in prompt]


def _scored(reward: float, opinion: dict[str, Any]) -> dict[str, Any]:
    """Return verl's form: the score, and numbers that it logs; each row must have the same ones."""
    is_safe = not opinion["failure"] and opinion["answer_is_safe"] and opinion["thinking_is_safe"] is not False
    helpfulness = opinion["helpfulness"]
    return {
        "score": reward, "safe": float(is_safe), "refusal": float(opinion["is_refusal"]),
        "failed": float(bool(opinion["failure"])), "helpfulness": float("nan") if helpfulness is None else helpfulness,
    }  # fmt: skip


class RemoteReward:
    """A reward function for TRL's trainers: `GRPOTrainer(reward_funcs=[RemoteReward(kind="mixed")], ...)`.

    All completions of a step go in one request. It can be pickled, so that several processes can have it.
    """

    def __init__(
        self,
        kind: str | None = None,
        url: str | None = None,
        key: str | None = None,
        *,
        is_thinking: bool = False,
    ) -> None:
        """Take what `ask` takes.

        Args:
            kind: "guard_only" or "mixed"; None takes the server's.
            url: root of the server.
            key: sent as a bearer token.
            is_thinking: whether the rendered prompt ends in `<think>`.
        """
        self.kind, self.url, self.key, self.is_thinking = kind, url, key, is_thinking
        self.__name__ = f"guardrail_{kind or 'reward'}"

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
        """Return a reward for each completion; parts are logged where TRL takes metrics.

        Args:
            prompts: texts or conversations.
            completions: texts, or conversations of one turn.
            columns: whatever else TRL hands over.
        """
        rows = [
            {"prompt": _plain(prompt), "text": _text(completion), "is_thinking": self.is_thinking}
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        answer = ask(rows, self.kind, self.url, self.key)
        log = columns.get("log_metric")
        if log:
            parts = [_scored(*pair) for pair in zip(answer["rewards"], answer["opinions"], strict=True)]
            for name in ("safe", "refusal", "failed"):
                log(f"guardrail/{name}", sum(part[name] for part in parts) / len(parts))
        return list(answer["rewards"])


def _text(completion: Any) -> str:
    """Return what was written; thinking that a template took out of the text is put back."""
    if isinstance(completion, str):
        return completion
    turn = completion[-1]
    thinking = turn.get("reasoning_content")
    text = turn.get("content") or ""
    return f"<think>{thinking}</think>{text}" if thinking else text
