"""The counting server with the models of examples/recipe behind it, each by the name of its function."""

import importlib.util
from pathlib import Path
from typing import Any

import server  # type: ignore[import-not-found]  # beside this file, which is run as a program

from guardrail.conversation import Message, Role
from guardrail.training.recipe.calls import Call, Text

MODELS = Path(__file__).resolve().parents[3] / "examples" / "recipe" / "tiny_models.py"

_LABELS = ("\n\nUSER: ", "\n\nASSISTANT: ")


def load() -> Any:
    """Return the module of the models."""
    spec = importlib.util.spec_from_file_location("tiny_models", MODELS)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call_of(asked: dict[str, Any]) -> Call:
    """Return the call that a request was made of, as far as the models look at it."""
    shared: dict[str, Any] = {"model": asked["model"], "n": asked.get("n") or 1, "sample": asked.get("seed") or 0}
    if "messages" in asked:
        messages = (Message(Role(m["role"]), m["content"]) for m in asked["messages"])
        return Call(messages=tuple(messages), **shared)
    if "<BEGIN CONVERSATION>" not in asked["prompt"]:
        return Call(form="completion", prompt=asked["prompt"], **shared)
    task, _, rest = asked["prompt"].partition("<BEGIN CONVERSATION>")
    conversation = rest.partition("\n\n<END CONVERSATION>")[0]
    judged = conversation[max(conversation.rfind(label) + len(label) for label in _LABELS if label in conversation) :]
    role = Role.ASSISTANT if "THE LAST ASSISTANT" in task else Role.USER
    return Call(form="guard", messages=(Message(role, judged),), **shared)


def main() -> None:
    """Serve until killed."""
    models = load()

    def texts(asked: dict[str, Any], _name: str) -> list[str]:
        said = getattr(models, asked["model"])(call_of(asked))
        listed = [said] if isinstance(said, str | Text) else said
        return [one.text if isinstance(one, Text) else one for one in listed]

    server.Handler.texts = staticmethod(texts)
    server.main()


if __name__ == "__main__":
    main()
