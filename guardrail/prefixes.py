"""Which of the tapes at rest begins most like some token ids: an index that knows tenants and conversations."""

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from typing import Any

from guardrail.tape import Tape, common_prefix


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose text is read.

    Attributes:
        tenant: what was read for one is never used for another; None is a tenant of its own.
        conversation_id: the caller's; None when none was given.

    Names of another type, such as a number or a UUID, are told as text.
    """

    tenant: str | None = None
    conversation_id: str | None = None

    def __post_init__(self) -> None:
        for field in ("tenant", "conversation_id"):
            name: Any = getattr(self, field)
            if name is not None and type(name) is not str:
                object.__setattr__(self, field, str(name))


@dataclass(eq=False, slots=True)
class Kept:
    """A tape at rest.

    Attributes:
        tape: in nobody's hands.
        owner: it was read for.
        is_copied: whether a thread copies from it now: until then it is neither taken, cut nor closed.
    """

    tape: Tape
    owner: Owner
    is_copied: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """A tape that begins like some ids.

    Attributes:
        kept: the tape.
        n_common: tokens that both begin with.
    """

    kept: Kept
    n_common: int


class Prefixes:
    """Tapes by the ids they hold. One caller at a time.

    Each stands on the shelf of its tenant, and on that of its conversation if it has one. Only ids are compared, so
    nothing can be mistaken for something else.
    """

    def __init__(self) -> None:
        self._shelves: dict[Owner, _Shelf] = {}

    def add(self, kept: Kept) -> None:
        """Take a tape in; its ids must stay as they are."""
        for owner in _shelves_of(kept):
            self._shelves.setdefault(owner, _Shelf()).add(kept)

    def remove(self, kept: Kept) -> None:
        """Forget a tape."""
        for owner in _shelves_of(kept):
            self._shelves[owner].remove(kept)
            if not self._shelves[owner]:
                del self._shelves[owner]

    def of_conversation(self, owner: Owner, ids: list[int]) -> Match | None:
        """Return the conversation's tape that begins most like `ids`; None without a conversation or a tape of it."""
        shelf = self._shelves.get(owner) if owner.conversation_id is not None else None
        return shelf.nearest(ids) if shelf else None

    def of_tenant(self, owner: Owner, ids: list[int]) -> Match | None:
        """Return the tape that begins most like `ids`, of all that the owner's tenant has."""
        shelf = self._shelves.get(Owner(owner.tenant))
        return shelf.nearest(ids) if shelf else None

    def contained(self, owner: Owner, ids: list[int]) -> list[Kept]:
        """Return the tenant's tapes that `ids` begins with, the longest first."""
        shelf = self._shelves.get(Owner(owner.tenant))
        return shelf.contained(ids) if shelf else []


class _Shelf:
    """Tapes in the order of their ids. What begins most like some ids stands next to where those would stand, so that
    a search takes log n comparisons.
    """

    def __init__(self) -> None:
        self._row: list[Kept] = []

    def __len__(self) -> int:
        return len(self._row)

    def add(self, kept: Kept) -> None:
        insort(self._row, kept, key=_ids)

    def remove(self, kept: Kept) -> None:
        self._row.remove(kept)

    def nearest(self, ids: list[int]) -> Match | None:
        at = bisect_left(self._row, ids, key=_ids)
        matches = [Match(kept, common_prefix(_ids(kept), ids)) for kept in self._row[max(0, at - 1) : at + 1]]
        return max(matches, key=lambda match: match.n_common, default=None)

    def contained(self, ids: list[int]) -> list[Kept]:
        found = []
        at = bisect_right(self._row, ids, key=_ids)
        while at:
            kept = self._row[at - 1]
            n_common = common_prefix(_ids(kept), ids)
            if n_common == kept.tape.length:
                found.append(kept)
                at -= 1
            else:  # what stands between this one and its own beginning leaves `ids` no later than it does
                at = bisect_right(self._row, ids[:n_common], 0, at - 1, key=_ids)
        return found


def _shelves_of(kept: Kept) -> set[Owner]:
    return {Owner(kept.owner.tenant), kept.owner}


def _ids(kept: Kept) -> list[int]:
    return kept.tape.ids
