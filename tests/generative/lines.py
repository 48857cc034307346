"""A Gen model for properties: its verdict is a function of the whole text."""

import hashlib
from collections.abc import Sequence

from guardrail.engines.base import Logits, ModelInfo
from guardrail.errors import EngineError
from guardrail.generative.line import Found
from guardrail.generative.reader import GenerativeReader
from guardrail.generative.template import Turn, is_response
from guardrail.guard import Guard
from guardrail.policy import Policy
from guardrail.tape import Steps, Work
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, RiskLevel
from guardrail.testing import FakeSession
from guardrail.verdict import Verdict


class TextEngine:
    """Stands for a model that takes no token ids."""

    info = ModelInfo("text", "5" * 64, "text", "fp32", 10**6, PROMPT_LABELS, RESPONSE_LABELS)

    def open(self) -> FakeSession:
        """Refuse."""
        raise EngineError("a text engine has no sessions")

    def step(self, feeds: object) -> list[Logits]:  # noqa: ARG002  # as in the protocol of engines
        """Refuse."""
        raise EngineError("a text engine takes no ids")

    def close(self) -> None:
        """Nothing to free."""


class TextLine:
    """Pseudo-random verdicts; a text that holds the marker is Unsafe, one with "?!" a failure.

    Attributes:
        asked: texts that were judged, and whether as a response.
    """

    limit = 10**6

    def __init__(self, *, marker: str = "☠", risky_share: float = 0.0) -> None:
        self.marker, self._risky_share = marker, risky_share
        self.asked: list[tuple[str, bool]] = []

    def size(self, turns: Sequence[Turn]) -> int:
        """Characters."""
        return sum(len(turn.text) for turn in turns)

    def prepare(self, _turns: Sequence[Turn]) -> Steps[None]:
        """Nothing to read early."""
        yield from ()

    def ask(self, turns: Sequence[Turn]) -> Steps[Found]:
        """Judge the last turn's text, in a worker thread where there is an event loop."""
        text, judged = turns[-1].text, is_response(turns)
        yield Work(lambda: self.asked.append((text, judged)))
        if "?!" in text:
            raise EngineError("the text engine failed")
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).digest()
        is_risky = self.marker in text or int.from_bytes(digest, "little") / 2**32 < self._risky_share
        level = RiskLevel.UNSAFE if is_risky else RiskLevel.SAFE
        labels = RESPONSE_LABELS if judged else PROMPT_LABELS
        risk = tuple(0.96 if one is level else 0.02 for one in labels.risks)
        shares = tuple(1 / len(labels.categories) for _ in labels.categories)
        return Found(Verdict(labels, risk, shares, False if judged else None), 7)

    def close(self, *, keep: bool = True) -> None:
        """Nothing to free."""


def text_guard(line: TextLine, *, stride_chars: int = 16, policy: Policy | str = "balanced") -> Guard:
    """A guard over such a model."""
    return Guard(TextEngine(), GenerativeReader(lambda _: line, stride_chars=stride_chars), policy=policy)
