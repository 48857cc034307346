"""Verdicts as the service's JSON has them."""

from typing import Any

from guardrail.verdict import TokenVerdict


def token_values(token: TokenVerdict) -> dict[str, Any]:
    """Return one token's verdict; offsets are characters of the answer (Unicode code points), half-open."""
    return {
        "index": token.index,
        "start": token.start,
        "end": token.end,
        "risk": token.risk.value,
        "category": token.category,
        "risk_probabilities": token.risk_probabilities,
        "category_probabilities": token.category_probabilities,
    }
