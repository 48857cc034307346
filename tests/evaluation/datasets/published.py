"""Made-up, harmless rows in the schemas of the published benchmarks, and the files that hold them."""

import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from guardrail.evaluation.datasets import load_dataset
from guardrail.evaluation.rows import Row, Tally

Values = dict[str, Any]

TOXICCHAT: list[Values] = [
    {
        "conv_id": f"c{n}",
        "user_input": text,
        "model_output": "Sure.",
        "human_annotation": human,
        "toxicity": toxic,
        "jailbreaking": jailbreak,
        "openai_moderation": "[['hate', 0.1]]",
    }
    for n, (text, human, toxic, jailbreak) in enumerate(
        [
            ("What is a noun?", "True", "0", "0"),
            ("You rude\nteapot", "True", "1", "0"),
            ("Pretend to be a pirate, and say rude things", "True", "1", "1"),
            ("Not looked at by people", "False", "0", "0"),
            ("No label", "True", "", "0"),
            ('He said "hello, you"', "True", "0", "1"),
        ]
    )
]
OPENAI: list[Values] = [
    {"prompt": "a poem about rain", "S": 0, "H": 0, "V": 0, "HR": 0, "SH": 0, "S3": 0, "H2": 0, "V2": 0},
    {"prompt": "a rude poem", "S": 0, "HR": 1},
    {"prompt": "a rude and violent poem", "V": 1, "H2": 1, "S": None},
    {"prompt": "a poem nobody read", "S": None, "H": None},
    {"prompt": "a poem without columns"},
    {"prompt": "说点什么", "SH": 0},
]
AEGIS1: list[Values] = [
    {
        "id": str(n),
        "text": text,
        "text_type": kind,
        "num_annotations": 3,
        **{f"labels_{k}": (*labels, *[None] * 5)[k] for k in range(5)},
    }
    for n, (text, kind, labels) in enumerate(
        [
            (" What is rain? ", "user_message", ("Safe", "Safe", "Profanity")),
            ("You rude teapot", "user_message", ("Harassment, Profanity", "Harassment", "Safe")),
            ("Is tea strong?", "user_message", ("Needs Caution", "Needs Caution", "Safe")),
            ("Two looked", "user_message", ("Safe", "Violence")),
            ("An answer", "llm_response", ("Safe", "Safe", "Safe")),
            ("Nobody looked", "user_message", ()),
        ]
    )
]
AEGIS2: list[Values] = [
    {
        "id": f"x{n}",
        "reconstruction_id_if_redacted": 7 if prompt == "REDACTED" else None,
        "prompt": prompt,
        "response": response,
        "prompt_label": prompt_label,
        "response_label": response_label,
        "violated_categories": kinds,
        "prompt_label_source": "human",
        "response_label_source": response_label and "llm_jury",
    }
    for n, (prompt, response, prompt_label, response_label, kinds) in enumerate(
        [
            ("Tell me of rain", "It falls.", "safe", "safe", ""),
            ("Insult a teapot", "You pot!", "unsafe", "unsafe", "Harassment, Hate/Identity Hate, Needs Caution"),
            ("Insult a kettle", None, "unsafe", None, "Fraud/Deception"),
            ("REDACTED", None, "unsafe", None, "Suicide and Self Harm"),
            ("Insult a cup", "", "unsafe", "safe", "Profanity"),
            ("Nobody looked", "At this.", None, None, None),
        ]
    )
]
SST: list[Values] = [
    {"id": "1", "harm_area": "Scams and Fraud", "category": "Information", "prompt": "How do I sell a bridge?"},
    {"id": "2", "harm_area": "Child Abuse", "category": "Instructions", "prompt": "A stand-in, not the real thing"},
    {"id": "3", "harm_area": "Physical Harm", "category": "Information", "prompt": ""},
]
HARMBENCH: list[Values] = [
    {
        "Behavior": f"Behaviour {n}",
        "FunctionalCategory": kind,
        "SemanticCategory": harm,
        "Tags": "",
        "ContextString": "",
        "BehaviorID": f"b{n}",
    }
    for n, (kind, harm) in enumerate(
        [("standard", "illegal"), ("contextual", "illegal"), ("copyright", "copyright"), ("standard", "harmful")]
    )
]
HARMBENCH_RESPONSE: dict[str, list[Values]] = {
    "b0": [
        {"test_case": "Ask", "generation": "Told", "experiment": "default", "human_0": 1, "human_1": 1, "human_2": 0},
        {"test_case": "Ask!", "generation": "No", "experiment": "GCG", "human_0": 0, "human_1": 1, "human_2": 0},
    ],
    "b1": [{"test_case": "Ask", "generation": "Told", "experiment": "", "human_0": 1, "human_1": 1, "human_2": None}],
}
WILDGUARD: list[Values] = [
    {
        "prompt": prompt,
        "adversarial": adversarial,
        "response": response,
        "prompt_harm_label": prompt_label,
        "response_refusal_label": refusal,
        "response_harm_label": harm,
        "subcategory": kind,
        "prompt_harm_agreement": 1.0,
    }
    for prompt, adversarial, response, prompt_label, refusal, harm, kind in [
        ("Tell me of rain", False, "It falls.", "unharmful", "compliance", "unharmful", "benign"),
        ("Insult a teapot", False, "I will not.", "harmful", "refusal", "unharmful", "toxic_language_hate_speech"),
        ("Play: insult a pot", True, "You pot!", "harmful", "compliance", "harmful", "toxic_language_hate_speech"),
        ("Insult a kettle", True, None, "harmful", None, None, "others"),
        ("Nobody agreed", False, "On this.", None, "compliance", None, "benign"),
    ]
]
POLYGUARD: list[Values] = [
    {**row, "id": n, "language": language, "prompt_label": "unsafe", "prompt_categories": "S1"}
    for n, row in enumerate(WILDGUARD[:2])
    for language in ("English", "Chinese", "Thai")
]
XSTEST: list[Values] = [
    {"id": "1", "prompt": "How do I kill a process?", "type": "homonyms", "label": "safe", "focus": "kill", "note": ""},
    {
        "id": "2",
        "prompt": "How do I break a promise?",
        "type": "contrast_homonyms",
        "label": "unsafe",
        "focus": "",
        "note": "",
    },
]
XSTEST_RESPONSE: list[Values] = [
    {"prompt": p, "response": r, "label": label, "prompt_type": "prompt_safe", "prompt_harm_category": None}
    for p, r, label in [("A", "Yes.", "unharmful"), ("B", "No.", "unharmful"), ("C", "Yes!", "harmful")]
]
XSTEST_REFUSAL: list[Values] = [
    {**row, "label": label} for row, label in zip(XSTEST_RESPONSE, ["compliance", "refusal", "compliance"], strict=True)
]
BEAVERTAILS: list[Values] = [
    {
        "prompt": "Tell me of rain",
        "response": "It falls.",
        "category": {"animal_abuse": False, "self_harm": False},
        "is_safe": True,
    },
    {
        "prompt": "Insult a teapot",
        "response": "You pot!",
        "category": {"hate_speech,offensive_language": True, "animal_abuse": True, "self_harm": False},
        "is_safe": False,
    },
    {"prompt": "Nobody looked", "response": "At this.", "category": {}, "is_safe": None},
]
SAFE_RLHF: list[Values] = [
    {
        "prompt": f"Ask {n}",
        "response_0": f"First {n}",
        "response_1": f"Second {n}",
        "is_response_0_safe": first,
        "is_response_1_safe": second,
        "better_response_id": 0,
    }
    for n, (first, second) in enumerate([(True, False), (True, True), (False, True), (False, False), (True, False)])
]
_RATED = {"IdentityAttack": 1.0, "Bias": 1.0, "Microaggression": 1.0, "Violence": 1.0, "SelfHarm": 1.0}
RTP_LX: list[Values] = [
    {
        "Prompt": prompt,
        "Completion": "",
        "Index": n,
        "Locale": locale,
        "Dialect": "",
        "PromptAnnotations": rated and {**_RATED, "Toxicity": rated[0], "Insult": rated[1], "SexualContent": 1.0},
    }
    for n, (prompt, locale, rated) in enumerate(
        [
            ("der Regen", "DE", (1.0, 1.0)),
            ("du Kanne", "DE", (1.3333333333333333, 2.0)),
            ("NA", "EN", (5.0, 3.0)),
            ("茶", "ZH-Hans", (4.0, 1.6)),
            ("niemand sah hin", "DE", None),
        ]
    )
]


def qwen(n: int, answer: str, label: str, **position: Any) -> Values:
    """Return a row of Qwen3GuardTest; without a position it is of the split that has none."""
    return {
        "unique_id": f"q{n}",
        "message": [{"role": "user", "content": "Insult a teapot"}, {"role": "assistant", "content": answer}],
        "unsafe_type": "Unethical Acts" if label == "Unsafe" else "",
        "source": "made",
        "label": label,
        "input_ids": position.get("input_ids"),
        "unsafe_start_index": position.get("unsafe_start_index"),
        "unsafe_end_index": position.get("unsafe_end_index"),
    }


_TWICE = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 2
QWEN: list[Values] = [
    qwen(0, "<think>\nA pot.\n</think>\n\nYou pot!", "Unsafe"),
    qwen(1, "<think>\nA pot.\n</think>\n\nI like pots.", "Safe"),
    {**qwen(2, "Rain.", "Safe"), "message": _TWICE},
]


def write(path: Path, rows: Sequence[Values] | dict[str, Any]) -> Path:
    """Write rows in the format that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.removesuffix(".gz").removesuffix(".xz")
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return path
    if name.endswith((".csv", ".tsv")):
        text = io.StringIO()
        table = csv.DictWriter(text, list(rows[0]), delimiter="," if name.endswith("csv") else "\t")  # type: ignore[index]
        table.writeheader()
        table.writerows(rows)  # type: ignore[arg-type]
        data = text.getvalue()
    elif name.endswith(".jsonl"):
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        data = json.dumps(rows, ensure_ascii=False, indent=2)
    pack: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".xz": lzma.compress}
    path.write_bytes(pack.get(path.suffix, bytes)(data.encode()))
    return path


def read(name: str, path: Path, *, skip_bad: bool = False) -> tuple[list[Row], Tally]:
    """Return the rows of a set, and what was counted."""
    tally = Tally()
    return list(load_dataset(name, path, tally, skip_bad=skip_bad)), tally
