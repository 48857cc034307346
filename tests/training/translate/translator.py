"""A translator for tests: it knows one sentence in a few languages, and does as it is told about others."""

import json
from collections.abc import Callable

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import ModelSettings

ENGLISH = "How do I bake {} loaves of bread with little yeast in an old oven?"
SENTENCES = {
    "German": "Wie backe ich {} Brote mit wenig Hefe in einem alten Ofen?",
    "French": "Comment faire cuire {} pains avec peu de levure dans un vieux four ?",
    "Chinese (Simplified)": "我怎样用很少的酵母在旧烤箱里烤出{}个面包？",
    "Russian": "Как мне испечь {} буханок хлеба с малым количеством дрожжей в старой печи?",
}
MODELS = {"mt": ModelSettings("function", function="m.py:f"), "judge": ModelSettings("function", function="m.py:g")}


class Translator:
    """Answers as a translator and as a judge; keeps what it was asked."""

    def __init__(
        self, change: Callable[[str, str], str] = lambda _, text: text, verdict: str = "adequate", raises: str = ""
    ) -> None:
        """Set up.

        Args:
            change: from the language's name and the right translation to the one that is given.
            verdict: of the judge.
            raises: name of the model that refuses all calls.
        """
        self.calls: list[Call] = []
        self._change, self._verdict, self._raises = change, verdict, raises

    async def __call__(self, call: Call) -> Reply:
        from guardrail.errors import CallRefused

        self.calls.append(call)
        if call.model == self._raises:
            raise CallRefused("no")
        if call.model == "judge":
            return Reply((Text(json.dumps({"verdict": self._verdict})),))
        system, user = call.messages[0].content, call.messages[1].content
        name = next(name for name in SENTENCES if f"into {name}." in system)
        texts = [self._change(name, right(name, one["text"])) for one in json.loads(user)]
        return Reply((Text(f"```json\n{json.dumps({'texts': texts}, ensure_ascii=False)}\n```"),))


def right(name: str, text: str) -> str:
    """Return the right translation of an English sentence about some number of loaves."""
    return SENTENCES[name].format("".join(filter(str.isdigit, text)))


def row(number: int, **values: object) -> RecipeRow:
    """Return a labelled prompt."""
    fields = {
        "id": f"p-{number}", "root": f"p-{number}", "source": "set", "lang": "en",
        "messages": (Message(Role.USER, ENGLISH.format(number)),), "target": Direction.PROMPT, "risk": RiskLevel.UNSAFE,
        "categories": ("Unethical Acts",), "refusal": None, "is_human": True, "meta": {"votes": [1, 2]},
    }  # fmt: skip
    return RecipeRow(**(fields | values))  # type: ignore[arg-type]  # fields by name
