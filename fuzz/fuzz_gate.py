"""The gate: any policy, any verdicts, failures, replays and interruptions, in any order, against its five laws."""

from dataclasses import dataclass, field

from hypothesis import given, reject
from hypothesis import strategies as st

from fuzz.shaping import BRIEF, from_bytes
from guardrail.actions import Action
from guardrail.decision import Failure, Reason
from guardrail.errors import PolicyError, StreamClosed
from guardrail.gate import Gate
from guardrail.policy import CategoryRule, DebounceRule, Policy, ReleaseMode, Rules
from guardrail.taxonomy import RESPONSE_LABELS, RiskLevel
from guardrail.verdict import TokenVerdict, Verdict

ACTIONS = st.sampled_from(Action)
SHARES = st.sampled_from([0.0, 0.2, 0.5, 0.6, 1.0])
FAILURE = Failure("EngineError", "scripted")


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    """Return rules that the policy accepts."""
    overrides = st.builds(
        CategoryRule, st.none() | ACTIONS, st.none() | ACTIONS, st.none() | SHARES
    )  # fmt: skip
    try:
        return Rules(
            draw(ACTIONS),
            draw(ACTIONS),
            draw(st.dictionaries(st.sampled_from(RESPONSE_LABELS.categories[:2]), overrides, max_size=2)),
            draw(st.none() | SHARES),
            draw(st.none() | SHARES),
            draw(st.integers(1, 3)),
            draw(st.sampled_from(DebounceRule)),
        )
    except PolicyError:
        reject()


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    """Return a verdict, certain or close."""
    level = draw(st.sampled_from(RESPONSE_LABELS.risks))
    share = draw(st.sampled_from([0.4, 0.6, 0.98]))
    risks = tuple(share if risk is level else (1 - share) / 2 for risk in RESPONSE_LABELS.risks)
    category = draw(st.integers(0, 2))
    return Verdict(RESPONSE_LABELS, risks, tuple(float(i == category) for i in range(len(RESPONSE_LABELS.categories))))


@dataclass
class Play:
    """One answer on its way through a gate, and what must hold of it.

    Attributes:
        policy: of the gate.
        rules: of the gate.
        gate: under test.
        text: fed so far.
        released: what has left.
        tokens: judged so far.
        place: first character that has no token yet.
        n_before: characters that had left before the latest feed.
        is_disturbed: whether something other than verdicts has decided.
        n_replayed: characters that an earlier attempt has released.
    """

    policy: Policy
    rules: Rules
    gate: Gate
    text: str = ""
    released: str = ""
    tokens: list[TokenVerdict] = field(default_factory=list)
    place: int = 0
    n_before: int = 0
    is_disturbed: bool = False
    n_replayed: int = 0

    def feed(self, piece: str) -> None:
        """Give text."""
        if self.gate.is_finished:
            try:
                self.gate.feed(piece)
            except StreamClosed:
                return
            raise AssertionError("a finished gate took text")
        self.text += piece
        self.n_before = len(self.released)
        self.take(lambda: self.gate.feed(piece))

    def replay(self, piece: str) -> None:
        """Give text that an earlier attempt has released, as a stream does: before all other."""
        if self.gate.is_finished or len(self.text) > self.n_replayed or self.tokens:
            return
        self.n_replayed += len(piece)
        self.text += piece
        self.released += piece
        self.n_before = len(self.released)
        assert self.gate.replay(piece) == ""

    def judge(self, verdict: Verdict, n_chars: int, *, complete: bool, is_whole: bool) -> None:
        """Give the next token, if there is text for it; one that is not complete shares its characters."""
        end = min(self.place + n_chars, len(self.text))
        if end == self.place or self.gate.is_finished:
            return
        token = TokenVerdict(verdict, len(self.tokens), self.place, end, complete, is_whole)
        if not self.gate.is_settled:
            self.tokens.append(token)
        self.place = end if complete else self.place
        self.take(lambda: self.gate.judge(token))

    def fail(self, action: Action) -> None:
        """Report a failure."""
        if self.gate.is_finished:
            return
        self.is_disturbed = self.is_disturbed or not self.gate.is_settled
        self.take(lambda: self.gate.fail(Reason.FAILURE, FAILURE, action))

    def take(self, call: object) -> None:
        """Make a call that may release; laws 1, 2 and 5 hold behind it."""
        was_stopped = self.gate.is_stopped
        out = call()  # type: ignore[operator]  # a lambda of the methods above
        assert not (was_stopped and out), "law 1: text left behind a stop"
        self.released += out
        self.check()

    def check(self) -> None:
        """What holds at every moment."""
        gate = self.gate
        assert self.text.startswith(self.released), "law 1: what left is no prefix"
        assert (gate.fed_chars, gate.released_chars) == (len(self.text), len(self.released)), "law 5: miscounted"
        if self.policy.release is not ReleaseMode.OPTIMISTIC and not self.n_replayed:
            assert gate.leaked_chars == 0, "law 2: text of the run that stops has left"
        if not self.is_disturbed:
            assert gate.stop_offset == self.expected_stop(), "law 2: stopped elsewhere than the rule says"
            assert gate.is_stopped == (gate.stop_offset is not None and self.policy.enforce)

    def expected_stop(self) -> int | None:
        """Return the first character of the first run that stops, read straight from the rule."""
        run: list[tuple[RiskLevel, int]] = []
        for token in self.tokens:
            level = self.rules.level(token.verdict)
            if level is RiskLevel.SAFE or self.rules.action(token.verdict) is not Action.STOP:
                run = []
                continue
            if self.rules.debounce_rule is DebounceRule.SAME_LEVEL and run and run[-1][0] is not level:
                run = []
            run.append((level, token.start))
            if len(run) >= self.rules.debounce or token.is_whole:
                return run[0][1]
        return None

    def finish(self) -> None:
        """End the text; then nothing is held but behind a stop."""
        if self.gate.is_finished:
            assert self.gate.finish() == ""
            return
        self.take(self.gate.finish)
        assert self.gate.is_stopped or self.released == self.text, "law 5: text vanished without a stop"

    def interrupt(self) -> None:
        """Take back what the latest feed and all behind it have released, as an interrupted call does, and end."""
        if self.gate.is_finished:
            return
        self.gate.take_back(self.n_before)
        assert self.gate.released_chars == min(self.n_before, len(self.released))
        self.released = self.released[: self.gate.released_chars]
        self.is_disturbed = True
        self.take(lambda: self.gate.fail(Reason.FAILURE, FAILURE, Action.STOP))
        if not self.gate.is_stopped:
            self.gate.abandon()

    def check_twin(self) -> None:
        """A copy is in the same state, and what happens to it changes nothing here."""
        twin, before = self.gate.copy(), self.released
        out = twin.finish()
        assert not (self.gate.is_finished and out)
        assert not self.gate.is_finished or twin.is_finished
        assert self.gate.released_chars == len(before)
        assert twin.stop_offset == self.gate.stop_offset


STEPS = st.one_of(
    st.tuples(st.just("feed"), st.integers(0, 4)),
    st.tuples(st.just("judge"), verdicts(), st.integers(1, 3), st.booleans(), st.integers(0, 9).map(lambda n: n == 5)),
    st.tuples(st.just("judge"), verdicts(), st.integers(1, 3), st.just(True), st.just(False)),
    st.tuples(st.sampled_from(["finish", "twin", "replay", "interrupt", "fail", "mark"]), ACTIONS, st.integers(0, 9)),
)


@BRIEF
@given(
    rules=rules(), enforce=st.booleans(), release=st.sampled_from(ReleaseMode), steps=st.lists(STEPS, max_size=40)
)  # fmt: skip
def holds(rules: Rules, enforce: bool, release: ReleaseMode, steps: list[tuple[object, ...]]) -> None:
    """The laws hold after every step; and cutting the text elsewhere would have changed nothing in the end."""
    policy = Policy(response=Rules(), enforce=enforce, release=release)
    play = Play(policy, rules, Gate(policy, rules))
    for step in steps:
        make(play, step)
    play.finish()
    if not (play.is_disturbed or play.n_replayed):
        check_whole(play)


def make(play: Play, step: tuple[object, ...]) -> None:
    """Make one step."""
    match step:
        case ("feed", int(n)):
            play.feed("".join(chr(97 + (len(play.text) + i) % 26) for i in range(n)))
        case ("judge", Verdict() as verdict, int(n), bool(complete), bool(is_whole)):
            play.judge(verdict, n, complete=complete, is_whole=is_whole)
        case ("finish", _, int(n)) if n == 5:  # seldom, or hardly a play would be long
            play.finish()
        case ("twin", _, _):
            play.check_twin()
        case ("replay", _, int(n)):
            play.replay("r" * n)
        case ("interrupt", _, int(n)) if n % 3 == 0:
            play.interrupt()
        case ("fail", Action() as action, int(n)) if n % 3 == 0:
            play.fail(action)
        case ("mark", Action() as action, _) if action is not Action.STOP:
            play.gate.mark(Reason.HELD, action)


def check_whole(play: Play) -> None:
    """Law 3: the same verdicts on the text fed at once release the same and stop at the same place."""
    gate = Gate(play.policy, play.rules)
    released = gate.feed(play.text)
    released += "".join(gate.judge(token) for token in play.tokens) + gate.finish()
    assert gate.stop_offset == play.gate.stop_offset, "law 3: another stop"
    assert released == play.released or play.policy.release is ReleaseMode.OPTIMISTIC, "law 3: another text"


one_input = from_bytes(holds)
