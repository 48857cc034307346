"""A model behind OpenAI-compatible servers, such as vLLM or SGLang: several replicas, retries, all forms of calls."""

import asyncio
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from guardrail.conversation import Role
from guardrail.errors import CallRefused, ConfigurationError, EngineError, EngineTimeout, MissingExtra
from guardrail.json_text import well_formed
from guardrail.training.recipe.calls import Call, Reply
from guardrail.training.recipe.completions import Unreadable, read_answer
from guardrail.training.recipe.lanes import Pace
from guardrail.training.recipe.replicas import Replica, Replicas, beginning_of
from guardrail.training.recipe.sent import chat_messages, guard_prompt, seed_of
from guardrail.training.recipe.settings import ModelSettings

try:
    from openai import APIConnectionError, APIStatusError, APITimeoutError, AsyncOpenAI, Omit, OpenAIError, Timeout
except ModuleNotFoundError as error:
    raise MissingExtra("openai", "train") from error

PAUSE_S = 0.5
"""Seconds before the second attempt; each later one waits twice as long. Ours."""

MAX_PAUSE_S = 60.0
"""Longest pause, whatever a server asks for. Ours."""

_CONNECT_S = 10.0
"""Longest wait for a connection; a server that is up takes it at once. Ours."""

_SUCH_AS = 'such as ["http://localhost:8001/v1"]'
_OURS = frozenset({
    "model", "messages", "prompt", "max_tokens", "temperature", "top_p", "n", "stop", "seed", "stream",
    "response_format",
})  # fmt: skip
"""What a request says by itself, and no setting says for it."""

_REFUSED = frozenset({400, 413, 422})
_AGAIN = frozenset({408, 409, 425, 429})
_BUSY = frozenset({429, 503})
_HINTS = {
    401: "check the key in the environment variable that api_key_env names",
    403: "check the key in the environment variable that api_key_env names",
    404: "check base_urls, which end in /v1 as a rule, and the model's name",
}
_CODE = re.compile(r"[\w.-]{1,60}", re.ASCII)
E = TypeVar("E", bound=EngineError)


class HttpRefused(CallRefused):
    """A server refused a call.

    Attributes:
        status: of HTTP.
    """

    status = 0


class HttpFailed(EngineError):
    """A server failed, or knows neither us nor the model.

    Attributes:
        status: of HTTP; 0 when there was no answer, or none that could be read.
    """

    status = 0


class _Again(Exception):
    """A failure after which another attempt may succeed."""

    def __init__(self, said: EngineError, *, after_s: float = 0.0, is_down: bool = False) -> None:
        super().__init__()
        self.said, self.after_s, self.is_down = said, after_s, is_down


class Endpoint:
    """Asks the servers of one model; see `Model`. For one event loop."""

    def __init__(
        self,
        name: str,
        settings: ModelSettings,
        environment: Mapping[str, str],
        pace: Pace,
        *,
        pause_s: float = PAUSE_S,
    ) -> None:
        """Connect with the first call.

        Args:
            name: of the model in the recipe, for messages.
            settings: of it.
            environment: holds the key.
            pace: waits until one more request may be sent; the first one of each question has waited already.
            pause_s: before the second attempt.

        Raises:
            ConfigurationError: there is no server, or no key.
        """
        if not settings.base_urls:
            raise ConfigurationError(f"model {name!r} needs base_urls", hint=_SUCH_AS)
        for i, url in enumerate(settings.base_urls, 1):  # not shown: a password may stand in it
            if not _is_url(url):
                raise ConfigurationError(f"no. {i} of base_urls of model {name!r} is no http(s) URL", hint=_SUCH_AS)
        if taken := sorted(_OURS & settings.extra_body.keys()):
            raise ConfigurationError(
                f"extra_body of model {name!r} says {', '.join(taken)}", hint="stages say that; leave it out"
            )
        key = environment.get(settings.api_key_env, "").strip() if settings.api_key_env else ""
        if settings.api_key_env and not key:
            raise ConfigurationError(
                f"model {name!r} needs a key", hint=f"set the environment variable {settings.api_key_env}"
            )
        self._name, self._settings, self._pace, self._pause_s = name, settings, pace, pause_s
        self._options: Any = {} if key else {"headers": {"Authorization": Omit()}}
        self._replicas = Replicas(settings.base_urls)
        # with a key of ours, so that the client never sends the one of OpenAI that the environment may hold
        timeout = Timeout(settings.timeout_s, connect=min(_CONNECT_S, settings.timeout_s))
        self._clients = {
            replica: AsyncOpenAI(base_url=replica.base_url, api_key=key or "none", max_retries=0, timeout=timeout)
            for replica in self._replicas.all
        }
        self._has_samples: bool | None = None

    async def ask(self, call: Call, key: bytes) -> Reply:
        """Return the samples that a server gives, which may be fewer than it was asked for."""
        is_greedy = call.temperature == 0  # then samples are all the same
        found = await self._samples(call, 1 if is_greedy else call.n, seed_of(key))
        return replace(found, texts=found.texts[:1] * call.n if is_greedy else found.texts[: call.n])

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()

    async def _samples(self, call: Call, n: int, seed: int) -> Reply:
        """Return at least one sample, at most `n`."""
        if n == 1 or self._has_samples is False:
            return await self._attempts(call, 1, seed)
        try:
            found = await self._attempts(call, n, seed)
            self._has_samples = True
        except HttpRefused:
            if self._has_samples:
                raise
            await self._pace()
            found = await self._attempts(call, 1, seed)
            self._has_samples = False  # it was the number that the server refused
        return found

    async def _attempts(self, call: Call, n: int, seed: int) -> Reply:
        """Return the answer to one request, of the first server that gives one."""
        path, body = self._request(call, n, seed)
        beginning, avoided, pause_s = beginning_of(call), set[Replica](), 0.0
        for attempt in range(self._settings.retries + 1):
            replica = self._replicas.choose(beginning, avoided)
            try:
                with replica.serving():  # from now on, so that calls of the same moment see each other
                    await asyncio.sleep(max(self._replicas.rest_of(replica), pause_s if replica in avoided else 0.0))
                    if attempt:
                        await self._pace()
                    found = read_answer(await self._post(replica, path, body), call)
                replica.n_failures = 0
                return found
            except Unreadable as error:
                failed = _Again(HttpFailed(f"model {self._name!r}: {error}"))
            except _Again as error:
                failed = error
            avoided.add(replica)
            pause_s = min(max(failed.after_s, self._pause_s * 2**attempt), MAX_PAUSE_S)
            if failed.is_down:
                self._replicas.let_rest(replica, max(pause_s, self._pause_s * 2**replica.n_failures), MAX_PAUSE_S)
        failed.said.retryable = True
        raise failed.said

    def _request(self, call: Call, n: int, seed: int) -> tuple[str, dict[str, Any]]:
        """Return the path and the body of a request."""
        body: dict[str, Any] = {
            **self._settings.extra_body,
            "model": self._settings.model, "max_tokens": call.max_tokens, "temperature": call.temperature,
        }  # fmt: skip
        body |= {"n": n} if n > 1 else {}
        body |= {"top_p": call.top_p} if call.top_p != 1 else {}
        body |= {"stop": list(call.stop)} if call.stop else {}
        body |= {"seed": seed} if call.temperature > 0 else {}
        if call.form == "completion":
            return "/completions", body | {"prompt": well_formed(call.prompt)}
        if call.form == "guard":
            return "/completions", body | {"prompt": guard_prompt(call.messages)}
        body["messages"] = chat_messages(call.messages)
        if call.messages[-1].role is Role.ASSISTANT:  # vLLM's and SGLang's way to go on with a turn
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        if call.schema is not None:
            schema = {"name": "answer", "schema": dict(call.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return "/chat/completions", body

    async def _post(self, replica: Replica, path: str, body: Mapping[str, Any]) -> object:
        """Return a server's answer: JSON, or text that should have been JSON.

        Raises:
            _Again: another attempt may succeed.
        """
        timeout_s = self._settings.timeout_s
        try:
            async with asyncio.timeout(timeout_s):  # the client's own bounds each step of a request alone
                return await self._clients[replica].post(path, cast_to=object, body=body, options=self._options)
        except (TimeoutError, APITimeoutError):
            said = EngineTimeout(f"model {self._name!r} did not answer within {timeout_s:g} s")
            raise _Again(said, is_down=True) from None
        except APIStatusError as error:
            self._refuse(error)
        except APIConnectionError as error:
            failed = HttpFailed(
                f"model {self._name!r} cannot be reached: {type(error.__cause__ or error).__name__}",
                hint=f"is the server at {urlsplit(replica.base_url).netloc.rpartition('@')[2]} up?",
            )
            raise _Again(failed, is_down=True) from None
        except (OpenAIError, json.JSONDecodeError, UnicodeDecodeError):
            raise Unreadable("the answer is no JSON") from None

    def _refuse(self, error: APIStatusError) -> NoReturn:
        """Translate a status. What the server says besides may repeat what it was sent: only its code is shown."""
        status = error.status_code
        code = next((f", {one}" for one in (error.code, error.type) if one and _CODE.fullmatch(str(one))), "")
        said = f"model {self._name!r}: the server answered {status}{code}"
        if status in _REFUSED:
            raise _marked(HttpRefused(said), status) from None
        failed = _marked(HttpFailed(said, hint=_HINTS.get(status, "")), status)
        if status in _AGAIN or status >= 500:
            after_s = _seconds(error.response.headers.get("retry-after", ""))
            raise _Again(failed, after_s=after_s, is_down=status in _BUSY) from None
        raise failed from None


def _is_url(text: str) -> bool:
    try:
        found = urlsplit(text)
    except ValueError:
        return False
    return found.scheme in ("http", "https") and bool(found.hostname)


def _marked(error: E, status: int) -> E:
    """Return an error with its status; it stays an attribute, so that the error can be pickled."""
    vars(error)["status"] = status
    return error


def _seconds(text: str) -> float:
    """Return the seconds that a server asks to wait, given as such or as a date; 0 if it gives none."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
