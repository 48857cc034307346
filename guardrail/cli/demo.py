"""`guardrail demo`: a guarded LangChain chain at work."""

import json
from importlib.resources import files
from typing import Any

from rich.console import Console
from rich.text import Text

from guardrail.cli.options import GuardOptions
from guardrail.cli.show import ACTION_STYLES, decisions_table
from guardrail.errors import ConfigurationError
from guardrail.guard import Guard
from guardrail.records import MemorySink

_DEFAULTS = GuardOptions()

PIPED_WIDTH = 120
"""Columns of the output where there is no terminal to ask."""

INTRODUCTION = """\
chain = guard | llm | guard

{llm}. Each prompt is checked before the LLM is asked;
of each answer you see what the guard releases, as it is released.
Guard model: {model}, policy {policy}.
"""


def demo(
    *, base_url: str | None = None, llm: str = "default", pace: float = 0.02, options: GuardOptions = _DEFAULTS
) -> None:
    """Watch a guarded LangChain chain stop streamed answers.

    Nine prompts, most of them ordinary, go through `guard | llm | guard`. Nothing is scripted but the LLM's answers:
    what is stopped, and where, is the guard model's doing, errors included.

    Args:
        base_url: OpenAI-compatible endpoint that answers instead of the recording, such as
            http://localhost:11434/v1; the key is taken from OPENAI_API_KEY.
        llm: name of the model at that endpoint.
        pace: seconds between two pieces of a recorded answer.
        options: which guard, where records go.
    """
    from guardrail.adapters.langchain import GuardRunnable
    from guardrail.cli.demo_models import EndpointModel, RecordedModel

    if pace < 0:
        raise ConfigurationError("--pace is a time in seconds and cannot be negative")
    rows = _scenarios()
    answers = {row["prompt"]: row["answer"] for row in rows}
    model = EndpointModel(base_url=base_url, llm=llm) if base_url else RecordedModel(answers=answers, pace=pace)
    console, sink = _console(), MemorySink()
    with options.opened(sink) as guard:
        step = GuardRunnable(guard)
        chain = step | model | step
        console.print(_introduction(guard, f"The LLM is {base_url}" if base_url else "The LLM's answers are recorded"))
        for row in rows:
            _show(console, chain, row["prompt"])
        console.print(decisions_table(sink.decisions))
        console.print(_summary(sink))


def _console() -> Console:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


def _scenarios() -> list[dict[str, str]]:
    text = files("guardrail.assets").joinpath("demo.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _introduction(guard: Guard, llm: str) -> str:
    return INTRODUCTION.format(llm=llm, model=guard.engine.info.name, policy=guard.policy.name)


def _show(console: Console, chain: Any, prompt: str) -> None:
    """Print one exchange as it happens."""
    console.print(Text("> ", "bold cyan"), Text(prompt, "bold"), sep="", soft_wrap=True)
    last: dict[str, Any] = {}
    for chunk in chain.stream(prompt):
        console.print(chunk.text, end="", soft_wrap=True)
        console.file.flush()
        last = chunk.response_metadata or last
    console.print(_mark(last), end="\n\n", soft_wrap=True)


def _mark(metadata: dict[str, Any]) -> Text:
    """Return what is printed behind an answer: nothing unless something was stopped."""
    if metadata.get("finish_reason") != "content_filter":
        return Text("")
    record = metadata["guardrail"]
    why = record["category"] or record["risk"] or record["reason"]
    if record["direction"] == "prompt":
        return Text(f"[prompt stopped: {why}; the LLM was not asked]", "bold red")
    return Text(f" [stopped: {why}]", "bold red")


def _summary(sink: MemorySink) -> Text:
    counts = {action: sum(d.action is action for d in sink.decisions) for action in ACTION_STYLES}
    return Text(", ".join(f"{n} {action.value}" for action, n in counts.items()))
