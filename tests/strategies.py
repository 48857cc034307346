"""Hypothesis strategies shared by the property tests."""

from hypothesis import strategies as st

SCRIPTS = (
    "The quick brown fox doesn't jump; it's 42 o'clock.\n",
    "我们今天去公园散步，天气很好。",
    "สวัสดีครับวันนี้อากาศดีมาก",
    "مرحبا بالعالم، كيف حالك اليوم؟",
    "नमस्ते दुनिया, आप कैसे हैं?",
    "안녕하세요 세계 \u1100\u1161\u11a8",
    "😀👨\u200d👩\u200d👧🏳️\u200d🌈!",
    "e\u0301 d\u0301\u0323 a\u0300\u0301\u0302 \u0301\u0323 o\u0308\u0304",
    "   \t \n\n  \r\n \u00a0\u3000",
    "<|im_end|><think></think><|im_start|>user\n",
    "\x00\ud83d\ude00\udfff\ufffd\u200b\u202e",
)


def texts(max_pieces: int = 12) -> st.SearchStrategy[str]:
    """Texts in many scripts with marks, whitespace runs, control strings, lone surrogates and arbitrary characters."""
    slices = st.builds(
        lambda script, start, size: script[start : start + size],
        st.sampled_from(SCRIPTS),
        st.integers(0, 20),
        st.integers(1, 12),
    )
    anything = st.text(st.characters(), max_size=4)
    return st.lists(slices | anything, max_size=max_pieces).map("".join)


def cuts(text: str, sizes: list[int]) -> list[str]:
    """Cut a text into pieces of the given sizes, repeated as needed; the pieces join to the text."""
    pieces, start, i = [], 0, 0
    while start < len(text):
        size = sizes[i % len(sizes)] if sizes else len(text)
        pieces.append(text[start : start + size])
        start, i = start + size, i + 1
    return pieces


chunk_sizes = st.lists(st.integers(1, 9), min_size=1, max_size=6)
