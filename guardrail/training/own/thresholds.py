"""The policy of a run: thresholds at which harmless rows are flagged no oftener than wanted."""

from dataclasses import replace

from guardrail.audit.calibrate import Chosen, Side, Target, choose
from guardrail.audit.calibrate_labels import HARMFUL, HARMLESS
from guardrail.audit.calibrate_rows import Rows
from guardrail.audit.calibrate_scores import Counted, knob_of, with_threshold
from guardrail.decision import Direction
from guardrail.evaluation.runner import Run
from guardrail.policy import CategoryRule, Policy, Rules
from guardrail.taxonomy import RiskLevel

LEAST, MOST = 0.5, 0.95
"""Between which thresholds are chosen: few rows choose them. One that scores 0.01 must not make the guard flag whatever
scores more, nor one that scores 0.9999 make it flag nothing at all. Our choice."""

SIDES: dict[Side, Direction] = {"prompt": Direction.PROMPT, "response": Direction.RESPONSE}


def own_policy(base: Policy, run: Run, target_fpr: float, categories: dict[Direction, tuple[str, ...]]) -> Policy:
    """Return a policy with thresholds from scored rows, and a rule for each category that may be changed.

    Args:
        base: whose actions and debounce stay.
        run: rows that were not trained on, judged under `base`.
        target_fpr: share of harmless rows that may be flagged.
        categories: of the rows, by direction.
    """
    rules = {side: _rules(getattr(base, side), side, run, target_fpr, categories) for side in SIDES}
    return replace(base, name="own", prompt=rules["prompt"], response=rules["response"])


def _rules(base: Rules, side: Side, run: Run, target_fpr: float, categories: dict[Direction, tuple[str, ...]]) -> Rules:
    named = {
        name: CategoryRule(controversial=base.controversial, unsafe=base.unsafe)
        for name in categories.get(SIDES[side], ())
    }
    chosen = _chosen(side, base, run, target_fpr)
    if chosen is None:
        return replace(base, categories=named)
    return replace(with_threshold(base, chosen.knob, _within(chosen.threshold)), categories=named)


def _chosen(side: Side, rules: Rules, run: Run, target_fpr: float) -> Chosen | None:
    """Return the threshold of one side by the run's rows; None where no harmless one of them belongs to it."""
    rows = Rows()
    for row, judged in zip(run.rows, run.judgements, strict=True):
        if row.target is SIDES[side]:
            rows.add(judged.score, HARMLESS if row.risk is RiskLevel.SAFE else HARMFUL, row.id)
    if all(rows.labels):
        return None
    return choose(side, knob_of(rules, Counted.FLAGGED), rows, Target(target_fpr, confidence=None, held_out=0))


def _within(threshold: float) -> float:
    return min(MOST, max(LEAST, threshold))


def described(policy: Policy, run: Run, target_fpr: float) -> list[str]:
    """Return what the thresholds rest on, a sentence a side."""
    told = []
    for side, direction in SIDES.items():
        scores = [
            judged.score
            for row, judged in zip(run.rows, run.judgements, strict=True)
            if row.target is direction and row.risk is RiskLevel.SAFE
        ]
        threshold = getattr(policy, side).non_safe_threshold
        if threshold is None:
            told.append(f"[{side}] no harmless row to choose a threshold on: the most probable level decides.")
            continue
        n_flagged = sum(score >= threshold for score in scores)
        is_kept = n_flagged <= target_fpr * len(scores)
        told.append(
            f"[{side}] non_safe_threshold = {threshold:.3g}: of the {len(scores)} harmless rows that it was chosen on "
            f"{n_flagged} are flagged{'' if is_kept else f', more than the share of {target_fpr:.3g} that was wanted'}."
        )
    return told
