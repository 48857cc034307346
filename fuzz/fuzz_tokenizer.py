"""tokenizer.json: a damaged or foreign one is a CheckpointError; one that is taken reads every character of a text."""

import json
from typing import Any

from hypothesis import given

from fuzz.shaping import BRIEF, check_message, damaged, from_bytes, json_bytes
from guardrail.conversation import CONTROL_TOKENS
from guardrail.encoding import QWEN_PATTERN, GuardTokenizer, IncrementalEncoder
from guardrail.errors import CheckpointError
from tests.strategies import cuts

_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
ALPHABET = [chr(byte) for byte in _PRINTABLE] + [chr(256 + i) for i in range(256 - len(_PRINTABLE))]
"""How byte-level tokenizers write the 256 bytes."""

MERGES = [["h", "e"], ["l", "l"], ["he", "ll"], ["Ġ", "w"]]
WORDS = [*ALPHABET, *("".join(pair) for pair in MERGES)]
TREE: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {
            "id": len(WORDS) + i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True,
        }
        for i, name in enumerate(sorted(CONTROL_TOKENS))
    ],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN_PATTERN}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        ],
    },
    "post_processor": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
    "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
    "model": {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
        "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {word: i for i, word in enumerate(WORDS)},
        "merges": MERGES,
    },
}  # fmt: skip
"""The smallest tokenizer that is accepted."""

ALSO = (
    {"max_length": 4, "stride": 0, "strategy": "LongestFirst", "direction": "Right"},
    {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
     "pad_token": "!"},
    {"type": "Lowercase"}, {"type": "Replace", "pattern": {"String": "l"}, "content": ""}, {"type": "NFKC"},
    {"type": "Sequence", "normalizers": [{"type": "NFC"}]}, {"type": "Strip", "strip_left": True, "strip_right": True},
    "Removed", "MergedWithNext", "BPE", "NFC", "Split", "<think>", "Ġ", "h", [["h", "e"]], ["zz", "z"], "h e",
)  # fmt: skip
"""Parts of other tokenizers: what they would hide from the guard is the point."""

SAMPLE = "hello  World\u00e9 e\u0301\n\n12 \U0001fae8 <think>"


RULES = {**TREE, "model": {name: part for name, part in TREE["model"].items() if name not in ("vocab", "merges")}}
"""All but the words, which would take most of the damage."""


def with_words(rules: Any) -> bytes:
    """Return a file with these rules and all words."""
    if isinstance(rules.get("model"), dict):
        rules["model"] = {"vocab": TREE["model"]["vocab"], "merges": MERGES, **rules["model"]}
    return json.dumps(rules).encode("utf-8", "surrogatepass")


@BRIEF
@given(data=damaged(RULES, ALSO).map(with_words) | json_bytes(TREE, ALSO))
def holds(data: bytes) -> None:
    """A file is refused with a short CheckpointError, or its tokenizer reads all of a text, whole and in pieces."""
    try:
        tokenizer = GuardTokenizer(data.decode("utf-8", "replace"))
    except CheckpointError as error:
        check_message(error)
        return
    whole = list(tokenizer.encode_plain(SAMPLE).ids)
    for size in (1, 5):
        encoder = IncrementalEncoder(tokenizer)
        tokens = [token for piece in cuts(SAMPLE, [size]) for token in encoder.feed(piece)] + encoder.finish()
        assert [token.id for token in tokens] == whole
        assert tokens[-1].end == len(SAMPLE)
        assert all(0 <= token.id < 2**32 for token in tokens)
    assert tokenizer.control_id("<think>") not in whole


assert GuardTokenizer(json.dumps(TREE)).decode([WORDS.index("hell"), WORDS.index("Ġw")]) == "hell w"
one_input = from_bytes(holds)
