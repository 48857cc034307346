"""Models for `recipe_scale.py` that answer at once, so that what is left is the pipeline's own work."""

import json
import random
import re
from pathlib import Path

from guardrail.training.recipe.calls import Call

BOOK = dict(
    line.split()
    for line in Path(__file__).parents[1].joinpath("examples/recipe/tiny_german.txt").read_text("utf-8").splitlines()
)
ENGLISH = list(BOOK)
UNSAFE, DOUBTFUL = "peril", "murky"
"""Words that make a synthetic text unsafe or controversial."""


async def write(call: Call) -> str:
    """Write prompts of drawn words, or pairs of them."""
    asked, draw = call.messages[-1].content, random.Random(call.key("scale"))
    n = int((re.search(r"Write (\d+)", asked) or [0, 5])[1])
    texts = [" ".join(draw.choices(ENGLISH, k=12)) + f" {draw.getrandbits(40):x}" for _ in range(n)]
    if '"pairs"' in asked:
        return json.dumps({"pairs": [{"unsafe": f"{text} {UNSAFE}", "safe": f"{text} bread"} for text in texts]})
    return json.dumps({"prompts": texts})


async def answer(call: Call) -> list[str]:
    """Answer, or go on with a text."""
    draw = random.Random(call.key("scale"))
    risky = f" {UNSAFE}" if UNSAFE in call.prompt or UNSAFE in "".join(m.content for m in call.messages[-1:]) else ""
    return [" ".join(draw.choices(ENGLISH, k=40)) + risky for _ in range(call.n)]


async def go_on(call: Call) -> list[str]:
    """Answer as another model."""
    return [f" {text}" for text in await answer(call)]


async def label(call: Call) -> str:
    """Label as an annotator or judge does, in JSON."""
    text = call.messages[-1].content
    risk = "Unsafe" if UNSAFE in text else "Controversial" if DOUBTFUL in text else "Safe"
    said = {"risk": risk, "categories": ["Violent"] if risk != "Safe" else []}
    return json.dumps(said | ({"refusal": False} if '"assistant"' in text else {}))


async def label_b(call: Call) -> str:
    """Label as another annotator."""
    return await label(call)


async def label_c(call: Call) -> str:
    """Label as a third one."""
    return await label(call)


async def guard(call: Call) -> str:
    """Judge in the words of Qwen3Guard-Gen."""
    is_unsafe = UNSAFE in call.messages[-1].content
    refusal = "\nRefusal: No" if call.messages[-1].role == "assistant" else ""
    return f"Safety: {'Unsafe' if is_unsafe else 'Safe'}\nCategories: {'Violent' if is_unsafe else 'None'}{refusal}"


async def read_prefix(call: Call) -> str:
    """Say how risky the beginning of an answer is."""
    return json.dumps({"risk": "unsafe" if UNSAFE in call.messages[-1].content else "safe"})


async def translate(call: Call) -> str:
    """Translate word by word."""
    texts = [one["text"] for one in json.loads(call.messages[-1].content)]
    return json.dumps({"texts": [" ".join(BOOK.get(word, word) for word in text.split()) for text in texts]})


async def approve(call: Call) -> str:  # noqa: ARG001  # every translation is approved
    """Say that a translation is adequate."""
    return json.dumps({"verdict": "adequate"})
