"""Rows for tests of the recipe."""

from typing import Any

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.training.recipe.rows import RecipeRow


def prompt(row_id: str, text: str = "How do I bake bread?", **values: Any) -> RecipeRow:
    """Return a prompt."""
    messages = (Message(Role.USER, text),)
    return RecipeRow(row_id, values.pop("root", row_id), "made", "en", messages, Direction.PROMPT, **values)
