"""Feeds one sentence in many languages character by character and prints how many characters the gate holds back.

    python benchmarks/held_chars.py

Nothing is ever stopped here, so whatever is held waits for later text alone: the tokens that more text could change.
What is held depends on the pre-tokeniser's rule, which is Qwen3's, and not on the model. The text is the first article
of the Universal Declaration of Human Rights.
"""

import statistics
from importlib.metadata import version

from guardrail import Guard
from guardrail.taxonomy import RiskLevel
from guardrail.testing import FakeEngine, default_tokenizer

TEXTS = {
    "English": "All human beings are born free and equal in dignity and rights. They are endowed with reason and "
    "conscience and should act towards one another in a spirit of brotherhood.",
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen "
    "begabt und sollen einander im Geist der Brüderlichkeit begegnen.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "Spanish": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y "
    "conciencia, deben comportarse fraternalmente los unos con los otros.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью "
    "и должны поступать в отношении друг друга в духе братства.",
    "Arabic": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا عقلا وضميرا وعليهم أن "
    "يعامل بعضهم بعضا بروح الإخاء.",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त "
    "है। उन्हें बुद्धि और अन्तरात्मा की देन "
    "प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।",
    "Chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "Japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを"  # noqa: E501  # double width
    "授けられており、互いに同胞の精神をもって行動しなければならない。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며 "  # noqa: E501  # double width
    "서로 형제애의 정신으로 행동하여야 한다.",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
}


def main() -> None:
    """Print a line a language."""
    tokenizer = default_tokenizer()
    engine = FakeEngine(lambda _ids, _before: (RiskLevel.SAFE, "Violent", 0.9), vocab_size=tokenizer.vocab_size)
    guard = Guard(engine, tokenizer)
    print(f"guardrail-stream {version('guardrail-stream')}, tokenizers {version('tokenizers')}, one character a delta")
    print(f"{'language':10} {'characters':>10} {'held: median':>13} {'most':>5}")
    for language, text in TEXTS.items():
        held = held_chars(guard, text)
        print(f"{language:10} {len(text):10} {statistics.median(held):13.0f} {max(held):5}")


def held_chars(guard: Guard, text: str) -> list[int]:
    """Return the characters received and not yet released, after each character."""
    held = []
    with guard.open_stream("What does the first article say?") as stream:
        for n_fed, character in enumerate(text, 1):
            stream.feed(character)
            held.append(n_fed - stream.released_chars)
        stream.finish()
        if stream.released_chars != len(text):
            raise SystemExit("text is missing although nothing was stopped")
    return held


if __name__ == "__main__":
    main()
