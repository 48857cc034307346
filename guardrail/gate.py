"""The sans-IO state machine of one answer: feed it text and token verdicts, get text to release or a stop.

Its laws (`architecture.md`): released text is a prefix of the fed text and nothing follows a stop; in the holding
modes no character of the run that triggers a stop, nor of anything after it, is ever released; cutting the text
differently changes nothing; after `finish()` released and withheld text make up the fed text.
"""

from copy import copy
from dataclasses import dataclass

from guardrail.actions import Action
from guardrail.decision import Failure, Reason
from guardrail.errors import StreamClosed
from guardrail.policy import DebounceRule, Policy, ReleaseMode, Rules
from guardrail.taxonomy import RiskLevel
from guardrail.verdict import TokenVerdict


@dataclass(frozen=True, slots=True)
class Finding:
    """A run of risky tokens that reached the debounce.

    Attributes:
        action: what the policy asks for.
        risk: level of the run's last token.
        category: category of the run's last token.
        token: the run's last token.
        start: first character of the run.
    """

    action: Action
    risk: RiskLevel
    category: str
    token: TokenVerdict
    start: int


class _Run:
    """Counts consecutive tokens whose action is at least `least`."""

    def __init__(self, rules: Rules, least: Action) -> None:
        self._rules = rules
        self._least = least
        self._level = RiskLevel.SAFE
        self.length = 0
        self.start = 0

    def advance(self, token: TokenVerdict, level: RiskLevel, action: Action) -> Finding | None:
        """Take the next token; return a finding once the run is long enough."""
        if level is RiskLevel.SAFE or action.rank < self._least.rank:
            self.length = 0
            return None
        if self._rules.debounce_rule is DebounceRule.SAME_LEVEL and level is not self._level:
            self.length = 0
        if not self.length:
            self.start = token.start
        self.length += 1
        self._level = level
        if self.length < self._rules.debounce and not token.is_whole:
            return None
        return Finding(self._least, level, token.verdict.top_category, token, self.start)


class Gate:
    """Holds, releases and stops the text of one answer. No I/O, no clock, no threads; one caller at a time.

    Attributes:
        finding: the gravest finding so far, the first of its action; None when there is none.
        failure: the failure that was reported, if any.
        cause: why the gate stopped or was opened, if not by a finding.
        stop_offset: first character stopped (shadow: that would have been); None without one.
        fed_chars: characters received.
        released_chars: characters passed on.
        judged_chars: characters that have their verdict.
        is_stopped: whether the gate is shut.
        is_finished: whether the text has ended, by `finish()` or `abandon()`.
    """

    def __init__(self, policy: Policy, rules: Rules | None = None) -> None:
        """Start before the first character.

        Args:
            policy: says when text leaves and what a failure means.
            rules: for the tokens; None takes the policy's for answers.
        """
        self._policy = policy
        self._rules = rules or policy.response
        self._runs = [_Run(self._rules, least) for least in Action]
        self._text = ""
        self._text_start = 0
        self._open = False
        self._replayed_chars = 0
        self._marked = Action.ALLOW
        self.finding: Finding | None = None
        self.failure: Failure | None = None
        self.cause: Reason | None = None
        self.stop_offset: int | None = None
        self.fed_chars: int = 0
        self.released_chars: int = 0
        self.judged_chars: int = 0
        self.is_stopped: bool = False
        self.is_finished: bool = False

    def feed(self, text: str) -> str:
        """Take text; return what may leave at once: all of it in optimistic mode, none in the holding modes.

        Raises:
            StreamClosed: the stream was finished.
        """
        if self.is_finished:
            raise StreamClosed("text was fed to a finished stream")
        self.fed_chars += len(text)
        if self.is_stopped:
            return ""
        self._text = self._text[self.released_chars - self._text_start :] + text
        self._text_start = self.released_chars
        if self._policy.release is ReleaseMode.OPTIMISTIC or (self._open and not self._holds_answer):
            return self._release_to(self.fed_chars)
        return ""

    def replay(self, text: str) -> str:
        """Take text that an earlier attempt has released: it is judged, counts as released, and leaves no more."""
        self.feed(text)
        self.released_chars = self._replayed_chars = self.fed_chars
        return ""

    def judge(self, token: TokenVerdict) -> str:
        """Take the next token's verdict, in order; return what it clears."""
        if self.is_settled:
            return ""
        level, action = self._rules.level(token.verdict), self._rules.action(token.verdict)
        for run in self._runs:
            self._keep(run.advance(token, level, action))
        stop_run = self._runs[-1]
        if self.finding and self.finding.action is Action.STOP:
            if self.stop_offset is None:
                self.stop_offset = self.finding.start
            if self._policy.enforce:
                self._shut()
                return ""
        held_run = stop_run.length and self._policy.enforce
        self.judged_chars = stop_run.start if held_run else token.end if token.complete else token.start
        return self._release_to(self.judged_chars) if self._policy.release is ReleaseMode.TOKEN else ""

    def fail(self, cause: Reason, failure: Failure | None, action: Action) -> str:
        """Take a failure; stop (fail closed), or open the gate for good and return what that lets out."""
        if self.is_settled:
            return ""
        self.cause, self.failure = cause, failure
        self._marked = max(self._marked, action, key=lambda action: action.rank)
        if action is Action.STOP:
            if self.stop_offset is None:
                self.stop_offset = self.judged_chars
            if self._policy.enforce:
                self._shut()
                return ""
        self._open = True
        return "" if self._holds_answer else self._release_to(self.fed_chars)

    def open(self, cause: Reason) -> None:
        """Let all text pass without verdicts."""
        self.cause, self._open = cause, True

    def mark(self, cause: Reason, action: Action = Action.FLAG) -> None:
        """Ask for at least this action, below a stop, for a cause other than a verdict; what is held stays held."""
        self.cause = self.cause or cause
        self._marked = max(self._marked, action, key=lambda action: action.rank)

    def finish(self) -> str:
        """End the text; return what is still held, unless the gate is stopped. A second call returns ""."""
        if self.is_finished:
            return ""
        self.is_finished = True
        return "" if self.is_stopped else self._release_to(self.fed_chars)

    def take_back(self, offset: int) -> None:
        """Count what was released after `offset` as withheld: the call was interrupted and it reached nobody."""
        self.released_chars = min(self.released_chars, max(offset, self._replayed_chars))

    def abandon(self) -> None:
        """End the text without releasing what is held: nobody reads on."""
        self.cause = self.cause or Reason.ABANDONED
        self.is_finished = True

    def copy(self) -> "Gate":
        """Return a gate in the same state, to try out what comes next."""
        twin = copy(self)
        twin._runs = [copy(run) for run in self._runs]
        return twin

    @property
    def is_settled(self) -> bool:
        """Whether further verdicts change nothing: the gate is stopped, or open for good (a failure, a rule)."""
        return self.is_stopped or self._open

    @property
    def would_action(self) -> Action:
        """What the policy's rules ask for so far."""
        found = self.finding.action if self.finding else Action.ALLOW
        return max(found, self._marked, key=lambda action: action.rank)

    @property
    def reason(self) -> Reason:
        """Why the gravest action is asked for; where a verdict asks for no more than another cause, that cause."""
        found = self.finding.action if self.finding else Action.ALLOW
        if found.rank > self._marked.rank:
            return Reason.VERDICT
        return self.cause or Reason.CLEAR

    @property
    def leaked_chars(self) -> int:
        """Characters released beyond the offset of a stop; 0 while there is none."""
        return max(0, self.released_chars - self.stop_offset) if self.is_stopped and self.stop_offset is not None else 0

    @property
    def unjudged_chars(self) -> int:
        """Characters released without a verdict: a failure was let pass, or a rule trusts them."""
        return max(0, self.released_chars - self.judged_chars) if self._open else 0

    @property
    def _holds_answer(self) -> bool:
        return self._policy.release is ReleaseMode.ANSWER

    def _keep(self, finding: Finding | None) -> None:
        if finding and (self.finding is None or finding.action.rank > self.finding.action.rank):
            self.finding = finding

    def _shut(self) -> None:
        self.is_stopped = True
        self._text = ""

    def _release_to(self, offset: int) -> str:
        text = self._text[self.released_chars - self._text_start : max(offset, self.released_chars) - self._text_start]
        self.released_chars += len(text)
        return text
