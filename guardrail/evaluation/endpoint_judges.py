"""Judges behind HTTP: a moderation endpoint as OpenAI has it, our own service, and a service of anybody's."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from guardrail.actions import Action
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError, EngineError
from guardrail.evaluation.judge_settings import RETRIES
from guardrail.evaluation.judges import Judgement, judge_tokens, judge_verdict
from guardrail.evaluation.opinions import Opinion
from guardrail.evaluation.rows import Row
from guardrail.evaluation.spans import Spoken, risky_span
from guardrail.generative.client import Client, Patience
from guardrail.openai_categories import FROM_OPENAI
from guardrail.policy import Policy
from guardrail.taxonomy import Category, LabelSet, RiskLevel
from guardrail.verdict import TokenVerdict, Verdict

FORMS = ("text", "messages")
"""What is sent: the judged text alone, as OpenAI takes it, or the conversation, as only some do."""

PAUSE_S = 0.5
"""Before the second attempt, and twice as long before each further one: half a minute in all. Ours."""

MAX_ANSWER_BYTES = 32 * 2**20
"""Longest answer that is read: our service tells about 600 bytes for each token. Ours."""

_OURS = frozenset(Category)


def client_of(url: str, key: str, timeout_s: float) -> Client:
    """Return a client for a base URL, patient enough for a measurement.

    Raises:
        ConfigurationError: that is no URL.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise ConfigurationError(f"{url!r} is no URL", hint="such as http://localhost:8000/v1")
    patience = Patience(timeout_s, RETRIES, PAUSE_S)
    return Client(url, key, patience, max_answer_bytes=MAX_ANSWER_BYTES)


class Moderation:
    """Asks `POST {base}/moderations` as OpenAI has it, one row a request. Safe for many threads.

    Attributes:
        identity: grows by the model that the server names.
    """

    def __init__(self, client: Client, model: str, form: str) -> None:
        """Take the way to a server.

        Args:
            client: posts to it.
            model: its name there; empty leaves the choice to the server.
            form: one of `FORMS`.
        """
        self._client, self._model, self._form = client, model, form
        self.identity = {"engine": "moderation endpoint", "model": model, "sent": form}

    def __call__(self, rows: Sequence[Row]) -> list[Opinion]:
        """Return the opinions on rows; see `Ask`."""
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Opinion:
        is_text = self._form == "text"
        body: dict[str, Any] = {"input": row.judged_text} if is_text else {"messages": _messages(row)}
        answer = self._client.post("moderations", body | ({"model": self._model} if self._model else {})).result()
        try:
            said = _Moderated.model_validate(answer)
        except ValidationError as error:
            raise EngineError(f"the answer is no moderation: {error.error_count()} errors") from None
        self.identity["model"] = said.model or self._model
        return to_opinion(said.results[0])


class _Part(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore", hide_input_in_errors=True, allow_inf_nan=False)


class ModerationResult(_Part):
    """One of OpenAI's results."""

    flagged: bool
    categories: Mapping[str, bool | None] = {}
    category_scores: Mapping[str, float | None] = {}


class _Moderated(_Part):
    model: str = ""
    results: tuple[ModerationResult]


def to_opinion(result: ModerationResult) -> Opinion:
    """Return what a result says: `flagged` is Unsafe, the rest Safe; OpenAI knows nothing between.

    Its category is the flagged one with the highest score, in our words by the table of `openai_categories`; a server
    that names ours too is taken by these. The score is the highest of OpenAI's, which do not exclude each other; of a
    server with our categories, their sum: there they are shares of one probability.
    """
    scores = {name: score for name, score in result.category_scores.items() if score is not None}
    ours = {name: score for name, score in scores.items() if name in _OURS}
    score = sum(ours.values()) if ours else max(scores.values(), default=float(result.flagged))
    named = [name for name, is_flagged in result.categories.items() if is_flagged and (not ours or name in ours)]
    best = max(named, key=lambda name: scores.get(name, 0.0), default=None)
    category = str(FROM_OPENAI.get(best, best)) if best is not None else None
    level = RiskLevel.UNSAFE if result.flagged else RiskLevel.SAFE
    return Opinion(level, min(1.0, max(0.0, score)), category if result.flagged else None)


class ServiceJudge:
    """A guard behind `guardrail serve`: its verdicts are fetched, and judged here under the policy of the measurement.

    Safe for many threads.
    """

    batch_size = 1

    def __init__(self, client: Client, policy: Policy, *, name: str) -> None:
        """Take the way to a service.

        Args:
            client: posts to it; its base URL ends in /v1.
            policy: read here; the service's own should be `shadow`, which reads answers to their end.
            name: shown in tables.
        """
        self._client, self._policy, self.name = client, policy, name
        self.identity = {"policy": policy.name, "policy_sha256": policy.sha256}

    def judge(self, rows: Sequence[Row]) -> list[Judgement]:
        """Judge the rows one by one; see `Judge.judge`.

        Raises:
            ConfigurationError: the service stopped an answer, and so has not read it to its end.
        """
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Judgement:
        body = {"messages": _messages(row), "tokens": True}
        answer = self._client.post("moderations", body).result()
        try:
            record = _Served.model_validate(answer).results[0].guardrail
        except ValidationError as error:
            raise EngineError(f"the answer is no moderation of ours: {error.error_count()} errors") from None
        self.identity |= {
            "model": record.model, "model_sha256": record.model_sha256, "engine": record.engine,
            "precision": record.precision, "service_policy": record.policy,
        }  # fmt: skip
        if record.failure is not None:
            raise EngineError("the service could not judge the row")
        return self._judged(record, row)

    def _judged(self, record: "_Record", row: Row) -> Judgement:
        if row.target is Direction.PROMPT:
            if record.risk_probabilities is None or record.category_probabilities is None:
                raise EngineError("the service tells no verdict: a rule of its policy has decided")
            verdict = _verdict(record.risk_probabilities, record.category_probabilities, record.refusal)
            return judge_verdict(verdict, self._policy.prompt)
        if record.action is Action.STOP:
            raise ConfigurationError(
                "the service stopped an answer, and reads no further than that",
                hint="serve with --policy shadow; the policy of the measurement is applied here",
            )
        spoken = Spoken.of(row.messages[-1].content)
        if not record.tokens and (spoken.reasoning + spoken.text).strip("\n"):
            raise EngineError("the service tells no verdict of any token: it is too old, or a rule has decided")
        tokens = [token.verdict(i, record.refusal) for i, token in enumerate(record.tokens)]
        return judge_tokens(tokens, self._policy, *risky_span(row, None))


class _Token(_Part):
    start: int
    end: int
    risk_probabilities: dict[RiskLevel, float]
    category_probabilities: dict[str, float]
    complete: bool = True
    is_whole: bool = False

    def verdict(self, index: int, refusal: bool | None) -> TokenVerdict:
        """Return the token's verdict."""
        said = _verdict(self.risk_probabilities, self.category_probabilities, refusal)
        return TokenVerdict(said, index, self.start, self.end, self.complete, self.is_whole)


class _Record(_Part):
    action: Action
    risk_probabilities: dict[RiskLevel, float] | None
    category_probabilities: dict[str, float] | None
    refusal: bool | None
    model: str
    model_sha256: str
    engine: str
    precision: str
    policy: str
    failure: dict[str, Any] | None
    tokens: list[_Token] = []


class _Result(_Part):
    guardrail: _Record


class _Served(_Part):
    results: tuple[_Result]


def _verdict(risks: Mapping[RiskLevel, float], categories: Mapping[str, float], refusal: bool | None) -> Verdict:
    try:
        labels = LabelSet(tuple(risks), tuple(categories))
    except ValueError as error:
        raise EngineError("the service tells of other risk levels") from error
    return Verdict(labels, tuple(risks.values()), tuple(categories.values()), refusal)


class HttpService:
    """Asks a service of anybody's: `{"rows": [...]}` goes there, `{"answers": [...]}` comes back.

    A row is `{"text": ..., "target": "prompt" or "response", "messages": [...]}`, an answer what a Python function may
    give (`opinions.to_opinion`). Safe for many threads.
    """

    def __init__(self, client: Client, path: str) -> None:
        """Take the way to a service, and the path behind the client's base URL."""
        self._client, self._path = client, path

    def __call__(self, rows: Sequence[Row]) -> list[object]:
        """Return the service's answers on rows; see `Ask`."""
        sent = [{"text": row.judged_text, "target": row.target.value, "messages": _messages(row)} for row in rows]
        answer = self._client.post(self._path, {"rows": sent}).result()
        if not isinstance(answer, Mapping) or not isinstance(answer.get("answers"), list):
            raise EngineError('the service\'s answer is no object with a list of "answers"')
        return list(answer["answers"])


def _messages(row: Row) -> list[dict[str, str]]:
    """Return a row's conversation in OpenAI's form; the reasoning of a judged answer apart, as our guards read it."""
    messages = [{"role": message.role.value, "content": message.content} for message in row.messages]
    if row.target is Direction.RESPONSE:
        spoken = Spoken.of(row.messages[-1].content)
        messages[-1]["content"] = spoken.text
        if spoken.reasoning:
            messages[-1]["reasoning_content"] = spoken.reasoning
    return messages
