"""Which of a model's servers is asked: calls that begin alike go to the same one, which has read the beginning."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from guardrail.training.recipe.calls import Call

SPREAD = 1.25
"""How far above the mean a server's load may go before calls that belong to it go to the next one: "Consistent Hashing
with Bounded Loads" (Mirrokni and others, 2018). The value is ours."""

_BEGINNING_CHARS = 1024
"""Characters of a text to be continued that count as its beginning. Ours."""


@dataclass(slots=True, eq=False)
class Replica:
    """One server.

    Attributes:
        base_url: of it.
        n_under_way: requests.
        n_failures: how often in a row it was down; requests that fail together count once.
        rests_until: moment on the monotonic clock until which it is left alone.
    """

    base_url: str
    n_under_way: int = 0
    n_failures: int = 0
    rests_until: float = 0.0

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count a request as under way."""
        self.n_under_way += 1
        try:
            yield
        finally:
            self.n_under_way -= 1


class Replicas:
    """The servers of one model. For one event loop."""

    def __init__(self, base_urls: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Start with all of them awake and idle."""
        self.all = tuple(map(Replica, base_urls))
        self._clock = clock

    def choose(self, beginning: bytes, avoided: AbstractSet[Replica] = frozenset()) -> Replica:
        """Return the server for a call; one that rests, or is avoided, only if there is no other.

        Args:
            beginning: of the call; see `beginning_of`.
            avoided: servers that just failed this call.
        """
        awake = [one for one in self.all if self.rest_of(one) <= 0]
        if not awake:
            return min(self.all, key=lambda one: one.rests_until)
        awake = [one for one in awake if one not in avoided] or awake
        bound = ceil(SPREAD * (sum(one.n_under_way for one in awake) + 1) / len(awake))
        return min((one for one in awake if one.n_under_way < bound), key=lambda one: _distance(one, beginning))

    def rest_of(self, replica: Replica) -> float:
        """Return the seconds for which a server is still to be left alone; 0 or less: it may be asked."""
        return replica.rests_until - self._clock()

    def let_rest(self, replica: Replica, seconds: float, at_most: float) -> None:
        """Leave a server alone for some seconds, since it is down or busy."""
        replica.n_failures += self.rest_of(replica) <= 0
        replica.rests_until = max(replica.rests_until, self._clock() + min(seconds, at_most))


def beginning_of(call: Call) -> bytes:
    """Return what calls share that a server need not read again: the turns up to the first one of the user."""
    end = next((i for i, message in enumerate(call.messages) if message.role == "user"), len(call.messages))
    parts = [message.content for message in call.messages[: end + 1]] or [call.prompt[:_BEGINNING_CHARS]]
    return "\0".join(parts).encode(errors="surrogatepass")


def _distance(replica: Replica, beginning: bytes) -> bytes:
    """Return an order of servers that is another one for every beginning (rendezvous hashing)."""
    return hashlib.blake2b(beginning, key=hashlib.sha256(replica.base_url.encode()).digest(), digest_size=8).digest()
