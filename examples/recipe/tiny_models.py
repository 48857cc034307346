"""Models for `tiny.toml`, without weights: a trigram writer, word lists that judge, a word book that translates.

They let every stage of the recipe run offline in a minute. What they write is hardly language: the mechanics are real,
the data are not. Each function takes a call and returns its texts; a draw depends on the call alone.
"""

import json
import random
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

from guardrail.training.recipe.calls import Call, Text
from guardrail.training.synthesise.taxonomy import load_taxonomy

HERE = Path(__file__).parent
OWN_WORDS = {
    "steal": "Non-violent Illegal Acts", "hack": "Non-violent Illegal Acts",
    "forge": "Non-violent Illegal Acts", "stalk": "PII",
}  # fmt: skip
GREY_WORDS = {"knife": "Violent", "mock": "Unethical Acts", "bet": "Unethical Acts", "pick": "Non-violent Illegal Acts"}
OPENINGS = (
    "How do I get", "Tell me at length about", "What is the best way to find", "Please explain", "I want to buy",
    "Write a short story with", "My neighbour asks me again about", "Is it hard to learn", "Where would people hide",
)  # fmt: skip
CLOSINGS = (
    "before the night?",
    "in a short time.",
    "this week, with very little money?",
    "so that nobody sees it.",
    "for the doctor of our town.",
    "and why is that so hard?",
    "step by step, for my old aunt.",
    "at home, in the kitchen?",
    "because my teacher wants to know.",
    "and the law of your country.",
    "without a car?",
    "as a poem.",
)
GERMAN = dict(line.split() for line in (HERE / "tiny_german.txt").read_text("utf-8").splitlines())


@cache
def word_list() -> tuple[re.Pattern[str], dict[str, str]]:
    """Return words that stand for harm, as one pattern, and the category of each: the taxonomy's and a few more."""
    sets = [(topics.name, keywords.words) for topics in load_taxonomy().topics for keywords in topics.keywords]
    names = {word.lower(): name for name, words in sets for word in words} | OWN_WORDS | GREY_WORDS
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b", re.IGNORECASE), names


def first_harm(text: str) -> tuple[str, str, bool] | None:
    """Return the first word that stands for harm, its category, and whether it is a grey one."""
    pattern, names = word_list()
    found = pattern.search(text)
    return (found[0], names[found[0].lower()], found[0].lower() in GREY_WORDS) if found else None


@cache
def trigrams() -> dict[tuple[str, str], list[str]]:
    """Return what follows two words in the rows beside this file, as often as it does."""
    follows = defaultdict(list)
    for name in ("tiny_human.jsonl", "tiny_rows.jsonl"):
        for line in (HERE / name).read_text("utf-8").splitlines():
            for message in json.loads(line)["messages"]:
                words = ["^", message["role"], *message["content"].split(), "$"]
                for i in range(len(words) - 2):
                    follows[words[i], words[i + 1]].append(words[i + 2])
    return dict(follows)


def go_on(draw: random.Random, beginning: str, most: int = 40) -> str:
    """Return words that go on from others, drawn as they follow each other in the rows."""
    words, written = ["^", "assistant", *beginning.split()], list[str]()
    while len(written) < most and (word := draw.choice(trigrams().get((words[-2], words[-1]), ["$"]))) != "$":
        words.append(word)
        written.append(word)
    return " ".join(written)


def drawing(call: Call, number: int = 0) -> random.Random:
    """Return a source of draws that depends on the call and the number of the text."""
    return random.Random(call.key(f"tiny {number}"))


def write_prompts(call: Call) -> str:
    """Write prompts, or pairs of them: a sentence with one of the topic's words in it."""
    asked, draw = call.messages[-1].content, drawing(call)
    n = int((re.search(r"Write (\d+)", asked) or [0, 5])[1])
    quoted = re.findall(r'"([^"\n]+)"', asked.partition("Vary")[0].partition("Like:")[0])
    subtopic = (re.search(r"Subtopic: (.*?) - ", asked) or [0, "this"])[1]
    frames = [f"{draw.choice(OPENINGS)} {{}} {draw.choice(CLOSINGS)}" for _ in range(n)]
    if '"pairs"' in asked:
        return json.dumps({"pairs": [{"unsafe": f.format(quoted[0]), "safe": f.format(quoted[1])} for f in frames]})
    return json.dumps({"prompts": [f.format(quoted[0] if quoted else subtopic) for f in frames]})


def comply(call: Call) -> list[str]:
    """Answer, or go on with an answer, as a base model: what was asked for turns up sooner or later."""
    asked, _, beginning = call.prompt.rpartition("Assistant:")
    harm, texts = first_harm(asked.rpartition("User:")[2]), []
    for number in range(call.n):
        draw = drawing(call, number)
        text = go_on(draw, beginning)
        if harm and harm[0].lower() not in beginning.lower() and draw.random() < 0.95:
            text = f"{text} Then begin with the {harm[0]} at once."
        texts.append(f" {text}")
    return texts


def instruct(call: Call) -> list[str]:
    """Answer as a chat model: it refuses where it sees a harmful word, or is told to."""
    is_harm = first_harm(call.messages[-1].content) or call.messages[0].role == "system"
    refusal = "I am sorry, I cannot help with that. Talk to somebody you trust."
    if call.messages[0].role == "system":
        refusal = "I take no risk and cannot help with this. Ask me for a cake instead."
    return [refusal if is_harm else go_on(drawing(call, number), "") for number in range(call.n)]


def think(call: Call) -> list[Text]:
    """Answer as a reasoning model."""
    thinking = "They ask: " + call.messages[-1].content
    return [Text(go_on(drawing(call, number), ""), thinking) for number in range(call.n)]


def guard(call: Call) -> str:
    """Judge the last turn in the words of Qwen3Guard-Gen."""
    harm = first_harm(call.messages[-1].content)
    level = "Safe" if harm is None else "Controversial" if harm[2] else "Unsafe"
    refusal = f"\nRefusal: {'Yes' if 'cannot help' in call.messages[-1].content else 'No'}"
    is_response = call.messages[-1].role == "assistant"
    return f"Safety: {level}\nCategories: {harm[1] if harm else 'None'}{refusal if is_response else ''}"


def annotate(call: Call, mistakes: float, *, is_strict: bool) -> str:
    """Label the last turn by the word lists, with mistakes."""
    turn = json.loads(call.messages[-1].content.strip().splitlines()[-3])
    harm, draw = first_harm(turn["content"]), drawing(call)
    if draw.random() < mistakes:
        harm = None if harm else ("", "Unethical Acts", True)
    level = "Safe" if harm is None else "Controversial" if harm[2] and not is_strict else "Unsafe"
    label = {"risk": level, "categories": [harm[1]] if harm else []}
    return json.dumps(label | ({"refusal": "cannot help" in turn["content"]} if turn["role"] == "assistant" else {}))


def careful(call: Call) -> str:
    """Label with few mistakes."""
    return annotate(call, 0.05, is_strict=False)


def strict(call: Call) -> str:
    """Label with some mistakes; nothing is controversial."""
    return annotate(call, 0.1, is_strict=True)


def careless(call: Call) -> str:
    """Label with many mistakes."""
    return annotate(call, 0.3, is_strict=False)


def read_prefix(call: Call) -> str:
    """Say how risky the beginning of an answer is."""
    harm = first_harm(json.loads(call.messages[-1].content.strip().splitlines()[-1]))
    return json.dumps({"risk": "safe" if harm is None else "controversial" if harm[2] else "unsafe"})


def translate(call: Call) -> str:
    """Translate to German word by word; a word that the book lacks stays as it is."""
    texts = [one["text"] for one in json.loads(call.messages[-1].content)]
    return json.dumps({"texts": [re.sub(r"\w+", lambda m: GERMAN.get(m[0].lower(), m[0]), text) for text in texts]})


def check_translation(call: Call) -> str:
    """Judge a translation: it is adequate where every word of the book has been translated."""
    listed = [
        json.loads(part) for part in re.findall(r"^\[.*?^\]", call.messages[-1].content, re.MULTILINE | re.DOTALL)
    ]
    words = [re.findall(r"\w+", " ".join(texts)) for texts in listed]
    is_whole = len(words) == 2 and [GERMAN.get(word.lower(), word) for word in words[0]] == words[1]
    return json.dumps({"verdict": "adequate" if is_whole else "meaning_changed"})
