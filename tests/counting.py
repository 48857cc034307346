"""An engine that counts what it is fed."""

from collections.abc import Callable, Sequence

from guardrail.engines.base import Engine, Feed, Logits, ModelInfo, Session


class CountingEngine:
    """Counts the tokens that its inner engine reads.

    Attributes:
        inner: the engine; may be exchanged.
        fed: tokens of each step.
        longest: most tokens that a session has held.
        opened: all sessions, oldest first.
    """

    def __init__(self, inner: Engine) -> None:
        self.inner = inner
        self.fed: list[int] = []
        self.longest = 0
        self.opened: list[Session] = []

    @property
    def n_read(self) -> int:
        """Tokens read so far."""
        return sum(self.fed)

    @property
    def info(self) -> ModelInfo:
        return self.inner.info

    def open(self) -> Session:
        self.opened.append(self.inner.open())
        return self.opened[-1]

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        self.fed.append(sum(len(feed.ids) for feed in feeds))
        logits = self.inner.step(feeds)
        self.longest = max(self.longest, *(feed.session.length for feed in feeds))
        return logits

    def close(self) -> None:
        self.inner.close()

    def count(self, work: Callable[[], object]) -> int:
        """Return how many tokens some work reads."""
        before = self.n_read
        work()
        return self.n_read - before
