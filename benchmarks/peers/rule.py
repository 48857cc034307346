"""The rule that every peer here is given: the word of the canary `word` is forbidden."""

WORD = "murder"
EMAIL = r"[\w.]+@[\w.]+"


def is_forbidden(text: str) -> bool:
    """Whether the word stands in a text."""
    return WORD in text
