"""What a replay comes to over many records: counts, shares with intervals, offsets, characters; in one pass, with
memory that does not grow with the records but for eight bytes a stop.

Records of one conversation are not independent: each interval rests on how much conversations agree with themselves
(`intervals.effective`). Conversations are told apart in 4,096 groups, which makes an interval of many more of them no
narrower than one of 4,096.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from guardrail.actions import Action
from guardrail.audit.intervals import Interval, Pairs, difference, effective, wilson
from guardrail.audit.replay import ANSWERS, Gap, Replayed
from guardrail.audit.replay_changes import Change, Compared
from guardrail.records.record import Record

N_GROUPS = 4096
"""Of conversations. Our choice: 0.4 MB a direction."""

ALL = "all"
"""All directions together."""

_QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}


class Group:
    """Records of one direction.

    Attributes:
        changes: records by what changed.
        before: records by action before.
        after: records by action after.
        n_unknown: records of which nothing is known from some character on.
    """

    def __init__(self) -> None:
        self.changes: Counter[Change] = Counter()
        self.before: Counter[Action] = Counter()
        self.after: Counter[Action] = Counter()
        self.n_unknown = 0
        self._sizes, self._changed, self._stops = (np.zeros(N_GROUPS) for _ in range(3))
        self._n_both = 0

    @property
    def n(self) -> int:
        """Records."""
        return self.changes.total()

    def add(self, compared: Compared, place: int) -> None:
        """Count a record, whose conversation falls into the group at `place`."""
        before, after = (one.action is Action.STOP for one in (compared.before, compared.after))
        self.changes[compared.change] += 1
        self.before[compared.before.action] += 1
        self.after[compared.after.action] += 1
        self.n_unknown += compared.after.unknown_from is not None
        self._n_both += before and after
        self._sizes[place] += 1
        self._changed[place] += compared.change is not Change.SAME
        self._stops[place] += int(after) - int(before)

    @property
    def share_changed(self) -> Interval:
        """Share of the records with another decision."""
        return wilson(self.n - self.changes[Change.SAME], self.n, n_effective=self._effective(self._changed))

    @property
    def stop_difference(self) -> Interval:
        """Share of stops after less that before."""
        both, before, after = self._n_both, self.before[Action.STOP], self.after[Action.STOP]
        pairs = Pairs(both, before - both, after - both, self.n - before - after + both)
        return difference(pairs, n_effective=self._effective(self._stops, pairs.before + pairs.after))

    def _effective(self, totals: NDArray[np.float64], n_nonzero: float | None = None) -> float:
        held = self._sizes > 0
        return effective(totals[held], self._sizes[held], n_nonzero=n_nonzero)

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        return {
            "records": self.n,
            "before": {action.value: self.before[action] for action in Action},
            "after": {action.value: self.after[action] for action in Action},
            "changes": {change.value: self.changes[change] for change in Change},
            "unknown_from_some_character_on": self.n_unknown,
            "share_changed": asdict(self.share_changed),
            "stop_share_difference": asdict(self.stop_difference),
        }


class Summary:
    """Counts records as they are replayed. One caller at a time.

    Attributes:
        n_records: met.
        n_verdicts: positions of the records that were replayed.
        gaps: records that cannot be replayed, by why.
        limits: records on which a setting decides that cannot be replayed, by setting.
        groups: records by direction, and all of them.
        categories: decisions that are not "allow", by category, before and after.
        known_categories: what the models behind the records can name.
        made_by: records by the name and hash of the policy they were made under.
        n_chars: characters released before, after, withheld anew and released anew, where both are known.
    """

    def __init__(self) -> None:
        self.n_records = self.n_verdicts = 0
        self.gaps: Counter[Gap] = Counter()
        self.limits: Counter[str] = Counter()
        self.groups: dict[str, Group] = {ALL: Group()}
        self.categories: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self.known_categories: set[str] = set()
        self.made_by: Counter[tuple[str, str]] = Counter()
        self.n_chars: Counter[str] = Counter()
        self._offsets = array("q"), array("q")

    def add(self, record: Record, compared: Compared | Gap) -> None:
        """Count a record."""
        self.n_records += 1
        self.made_by[record.policy, record.policy_sha256] += 1
        self.known_categories |= (record.category_probabilities or {}).keys()
        if isinstance(compared, Gap):
            self.gaps[compared] += 1
            return
        self.n_verdicts += compared.n_verdicts
        self.limits.update(compared.limits)
        key = record.conversation_id or record.id
        place = crc32(key.encode("utf-8", "surrogatepass")) % N_GROUPS
        for name in (ALL, record.direction.value):
            if name not in self.groups:
                self.groups[name] = Group()
            self.groups[name].add(compared, place)
        both = compared.before, compared.after
        for counts, offsets, decision in zip(self.categories, self._offsets, both, strict=True):
            if decision.category and decision.action is not Action.ALLOW:
                counts[decision.category] += 1
            if record.direction in ANSWERS and decision.action is Action.STOP and decision.stop_offset is not None:
                offsets.append(decision.stop_offset)
        self._add_chars(*both)

    def _add_chars(self, before: Replayed, after: Replayed) -> None:
        is_unknown = (before.unknown_from, after.unknown_from) != (None, None)
        if is_unknown or before.released_chars is None or after.released_chars is None:
            self.n_chars["records_unknown"] += 1
            return
        self.n_chars["released_before"] += before.released_chars
        self.n_chars["released_after"] += after.released_chars
        self.n_chars["newly_withheld"] += max(0, before.released_chars - after.released_chars)
        self.n_chars["newly_released"] += max(0, after.released_chars - before.released_chars)

    @property
    def n_replayed(self) -> int:
        """Records that were replayed."""
        return self.groups[ALL].n

    def offsets(self) -> dict[str, dict[str, float]]:
        """Return quantiles of where answers and tool calls are stopped, in characters, before and after."""
        return {
            name: {"n": len(found), **_quantiles(found)}
            for name, found in zip(("before", "after"), self._offsets, strict=True)
        }

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        before, after = self.categories
        chars = ("released_before", "released_after", "newly_withheld", "newly_released", "records_unknown")
        return {
            "records": self.n_records,
            "replayed": self.n_replayed,
            "not_replayable": {gap.value: self.gaps[gap] for gap in Gap},
            "limits": dict(self.limits),
            "directions": {name: group.to_json() for name, group in self.groups.items()},
            "categories": {n: {"before": before[n], "after": after[n]} for n in sorted({*before, *after})},
            "stop_offsets": self.offsets(),
            "chars": {name: self.n_chars[name] for name in chars},
            "token_verdicts": self.n_verdicts,
        }


def _quantiles(found: Sequence[int]) -> dict[str, float]:
    if not found:
        return {}
    values = np.quantile(np.asarray(found), list(_QUANTILES.values()))
    return {name: float(value) for name, value in zip(_QUANTILES, values, strict=True)}
