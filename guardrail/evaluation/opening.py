"""Opens any judge by its spec, such as `onnx:Qwen/Qwen3Guard-Stream-0.6B` or `openai:https://api.openai.com/v1`.

What a kind needs is imported when such a judge is opened. The specs are those of `judge_specs`, told in docs/judges.md.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError, UnparsableVerdict
from guardrail.evaluation.judge_settings import TIMEOUT_S, JudgeSettings, key_of
from guardrail.evaluation.judge_specs import KINDS, Spec
from guardrail.evaluation.judges import GuardJudge, Judge
from guardrail.evaluation.opinions import Ask, OpinionJudge
from guardrail.evaluation.rows import Row, read_rows
from guardrail.evaluation.side_by_side import Pace, SideBySide
from guardrail.evaluation.spec_guards import open_guard
from guardrail.policy_file import load_policy
from guardrail.taxonomy import RiskLevel

if TYPE_CHECKING:
    from guardrail.generative.client import Client

AT_ONCE = 8
"""Rows under way at once where others' servers are asked. Ours."""

_ASKED_ONCE = 32
"""Rows that a Python function is given at once. Ours."""


@contextmanager
def open_judge(spec: str | Spec, settings: JudgeSettings) -> Iterator[Judge]:
    """Open a judge for as long as the block runs.

    Args:
        spec: such as "default", "torch:FOLDER" or "gen:http://localhost:8001/v1#MODEL?mode=chat".
        settings: what it does not say.

    Raises:
        ConfigurationError: the spec is wrong, or what it names is not there.
        MissingExtra: that kind needs an extra that is not installed.
        EngineError: the first, harmless row could not be judged.
    """
    read = Spec.parse(spec) if isinstance(spec, str) else spec
    with ExitStack() as stack:
        opening = _Opening(read, settings, stack)
        yield _OPENERS[read.kind](opening) if read.kind in _OPENERS else opening.guard_judge()


class _Opening:
    """One judge while it is being opened."""

    def __init__(self, spec: Spec, settings: JudgeSettings, stack: ExitStack) -> None:
        self.spec, self.settings, self.stack = spec, settings, stack
        own = spec.options.get("policy")
        self.policy = load_policy(own) if own else settings.policy

    def guard_judge(self) -> Judge:
        """A guard: ours, here or behind a server."""
        guard = self.stack.enter_context(open_guard(self.spec, self.policy, self.settings))
        parts = self.spec.parts if self.spec.kind == "cascade" else (f"{self.spec.kind}:",)
        is_asked = any(part.startswith("gen:") for part in parts)
        return self._finished(GuardJudge(guard, name=self.spec.name), AT_ONCE if is_asked else 1, tried=is_asked)

    def openai(self) -> Judge:
        """A moderation endpoint."""
        from guardrail.evaluation.endpoint_judges import FORMS, Moderation

        url, _, model = self.spec.target.partition("#")
        asked = Moderation(self._client(url), model, self.spec.choice("form", FORMS))
        return self._finished(self._opinions(asked, asked.identity), AT_ONCE, tried=True)

    def service(self) -> Judge:
        """Our own service."""
        from guardrail.evaluation.endpoint_judges import ServiceJudge

        url = self.spec.target.rstrip("/").removesuffix("/v1") + "/v1"
        return self._finished(ServiceJudge(self._client(url), self.policy, name=self.spec.name), AT_ONCE, tried=True)

    def http(self) -> Judge:
        """A service of anybody's."""
        from guardrail.evaluation.endpoint_judges import HttpService

        split, n = urlsplit(self.spec.target), self.spec.count("batch", 1)
        if n > 1 and {"at_once", "per_minute"} & self.spec.options.keys():
            raise ConfigurationError("http: batches are asked about one after another", hint="leave batch out")
        service = HttpService(self._client(f"{split.scheme}://{split.netloc}"), split.path.lstrip("/"))
        judge = self._opinions(service, {"engine": "http", "model": self.spec.target}, n)
        return self._finished(judge, 1 if n > 1 else AT_ONCE, tried=True)

    def python(self) -> Judge:
        """A function of the user's."""
        from guardrail.evaluation.foreign import TAKES, function_of

        ask = function_of(self.spec.target, self.spec.choice("takes", TAKES))
        n = self.spec.count("batch", _ASKED_ONCE)
        return self._finished(self._opinions(ask, {"engine": "python", "model": self.spec.target}, n), 1, tried=True)

    def peer(self) -> Judge:
        """A scanner of another project's."""
        from guardrail.evaluation.foreign import peer_of

        ask, identity = peer_of(self.spec.target)
        return self._finished(self._opinions(ask, identity, _ASKED_ONCE), 1, tried=True)

    def tfidf(self) -> Judge:
        """The baseline, on files or as the settings make it."""
        if self.spec.parts:
            judge = self._learnt(map(Path, self.spec.parts))
        elif self.settings.baseline is None:
            raise ConfigurationError("the baseline has nothing to learn from", hint="write tfidf:FILE[,FILE...]")
        else:
            judge = self.settings.baseline(self.policy)
        judge.name = self.spec.name
        return judge

    def _learnt(self, files: Iterable[Path]) -> Judge:
        from guardrail.evaluation.baseline import fit_baseline

        cache = self.settings.cache or Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        return fit_baseline(((row, 1) for file in files for row in read_rows(file)), self.policy, cache)

    def _opinions(self, ask: Ask, identity: dict[str, str], batch_size: int = 1) -> OpinionJudge:
        return OpinionJudge(ask, self.policy, name=self.spec.name, identity=identity, batch_size=batch_size)

    def _client(self, url: str) -> "Client":
        from guardrail.evaluation.endpoint_judges import client_of

        key = key_of(self.spec, self.settings)
        return self.stack.enter_context(closing(client_of(url, key, self.spec.number("timeout_s", TIMEOUT_S))))

    def _finished(self, judge: Judge, at_once: int, *, tried: bool) -> Judge:
        """Try the judge with a harmless row, and let rows wait side by side where they should."""
        if tried and self.settings.is_tried:
            with suppress(UnparsableVerdict):
                judge.judge([_HARMLESS])
        at_once = self.spec.count("at_once", at_once) if "at_once" in KINDS[self.spec.kind].options else at_once
        pace = Pace(self.spec.number("per_minute", 1)) if "per_minute" in self.spec.options else None
        if at_once == 1 and pace is None:
            return judge
        return self.stack.enter_context(SideBySide(judge, at_once, pace))


_HARMLESS = Row("", "", "en", (Message(Role.USER, "Hello"),), Direction.PROMPT, RiskLevel.SAFE)

_OPENERS: Mapping[str, Callable[[_Opening], Judge]] = {
    "openai": _Opening.openai,
    "service": _Opening.service,
    "http": _Opening.http,
    "python": _Opening.python,
    "peer": _Opening.peer,
    "tfidf": _Opening.tfidf,
}
"""The other kinds are guards."""
