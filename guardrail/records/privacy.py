"""What a record keeps of the judged text: nothing, unless its user asks for more."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from guardrail.actions import Action
from guardrail.decision import Decision
from guardrail.errors import RecordError
from guardrail.taxonomy import RiskLevel

MIN_KEY_BYTES = 16

HIDDEN = "\u2588"
"""Stands for each hidden character of a redacted text: offsets still fit."""


class TextForm(StrEnum):
    """How much of the text a record holds: none, the text with its risky spans hidden, or all of it."""

    NONE = "none"
    REDACTED = "redacted"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Privacy:
    """What records hold besides the decision.

    Attributes:
        text: of the judged text. What is redacted is what the model found risky, whatever the policy's thresholds, and
            what it did not judge: private things that it takes for harmless stay.
        hash_key: of the text's keyed hash (HMAC-SHA256), at least 16 bytes, kept apart from the records: equal texts
            can be told without being stored. None records no hash.
        positions: every judged position's probabilities and span: what replay needs. Spans tell how long tokens were.
        tokens: the same once more as readable JSON, ten times as large.
    """

    text: TextForm = TextForm.NONE
    hash_key: bytes | None = field(default=None, repr=False)
    positions: bool = True
    tokens: bool = False

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "text", TextForm(self.text))
        except ValueError:
            raise RecordError(f"text says how much of it is kept; valid: {', '.join(TextForm)}") from None
        if self.hash_key is None:
            return
        if not isinstance(self.hash_key, bytes):
            raise RecordError(f"hash_key is bytes, not {type(self.hash_key).__name__}")
        if len(self.hash_key) < MIN_KEY_BYTES:
            raise RecordError(f"a key of {len(self.hash_key)} bytes can be guessed", hint=f"{MIN_KEY_BYTES} at least")

    def kept(self, decision: Decision, text: str) -> str | None:
        """Return what may be kept of the judged text."""
        if self.text is TextForm.NONE:
            return None
        return text if self.text is TextForm.FULL else redacted(decision, text)

    def hashed(self, text: str) -> str | None:
        """Return the text's keyed hash, hexadecimal; None without a key."""
        if self.hash_key is None:
            return None
        return hmac.new(self.hash_key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def redacted(decision: Decision, text: str) -> str:
    """Return the text with every risky, stopped or unjudged character hidden; its length and line ends stay.

    A prompt is judged as a whole: it is hidden whole unless it is Safe and was allowed. So is an answer in which only
    the policy's thresholds found something: which of its tokens they would have found is not known here.
    """
    hidden = [True] * len(text)
    if not decision.tokens:
        levels = {decision.risk, *(verdict.risk for verdict in decision.readings)}
        is_safe = levels == {RiskLevel.SAFE} and decision.would_action is Action.ALLOW
        return text if is_safe else _hide(text, hidden)
    if decision.risk is not RiskLevel.SAFE and decision.verdict and decision.verdict.risk is RiskLevel.SAFE:
        return _hide(text, hidden)
    judged_to = 0
    for token in decision.tokens:  # they may share a character: any of them may hide it, its last one may show it
        is_safe = token.risk is RiskLevel.SAFE
        start = max(token.start, judged_to) if is_safe else token.start
        end = token.end if token.complete or not is_safe else token.end - 1
        hidden[start:end] = [not is_safe] * len(hidden[start:end])
        judged_to = max(judged_to, end)
    if decision.stop_offset is not None:
        hidden[decision.stop_offset :] = [True] * len(hidden[decision.stop_offset :])
    return _hide(text, hidden)


def _hide(text: str, hidden: Sequence[bool]) -> str:
    return "".join(
        HIDDEN if is_hidden and char not in "\r\n" else char for char, is_hidden in zip(text, hidden, strict=True)
    )
