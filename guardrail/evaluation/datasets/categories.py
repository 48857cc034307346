"""Kinds of harm of the published sets in our words, where the meaning is clear; what is missing here stays empty.

The mapping is ours. Words are compared in small letters, without spaces and signs.
"""

from collections.abc import Iterable, Mapping

from guardrail.taxonomy import Category

OPENAI_MODERATION = {
    "S": Category.SEXUAL_CONTENT,
    "H": Category.UNETHICAL,
    "V": Category.VIOLENT,
    "HR": Category.UNETHICAL,
    "SH": Category.SELF_HARM,
    "S3": Category.SEXUAL_CONTENT,
    "H2": Category.UNETHICAL,
    "V2": Category.VIOLENT,
}
"""Columns: sexual, hate, violence, harassment, self-harm, sexual with minors, threatening hate, graphic violence."""

_AEGIS = {
    "Hate/Identity Hate": Category.UNETHICAL,
    "Sexual": Category.SEXUAL_CONTENT,
    "Sexual Minor": Category.SEXUAL_CONTENT,
    "Suicide and Self Harm": Category.SELF_HARM,
    "Violence": Category.VIOLENT,
    "Guns/Illegal Weapons": Category.VIOLENT,
    "Guns and Illegal Weapons": Category.VIOLENT,
    "Threat": Category.VIOLENT,
    "PII/Privacy": Category.PII,
    "Criminal Planning/Confessions": Category.ILLEGAL_ACTS,
    "Harassment": Category.UNETHICAL,
    "Controlled/Regulated Substances": Category.ILLEGAL_ACTS,
    "Illegal Activity": Category.ILLEGAL_ACTS,
    "Immoral/Unethical": Category.UNETHICAL,
    "Political/Misinformation/Conspiracy": Category.POLITICAL,
    "Fraud/Deception": Category.ILLEGAL_ACTS,
    "Copyright/Trademark/Plagiarism": Category.COPYRIGHT,
    "Malware": Category.ILLEGAL_ACTS,
    "Manipulation": Category.UNETHICAL,
}
_SIMPLE_SAFETY_TESTS = {
    "Suicide, Self-Harm, and Eating Disorders": Category.SELF_HARM,
    "Physical Harm": Category.VIOLENT,
    "Illegal and Highly Regulated Items": Category.ILLEGAL_ACTS,
    "Scams and Fraud": Category.ILLEGAL_ACTS,
}
_HARMBENCH = {
    "copyright": Category.COPYRIGHT,
    "cybercrime_intrusion": Category.ILLEGAL_ACTS,
    "harassment_bullying": Category.UNETHICAL,
    "illegal": Category.ILLEGAL_ACTS,
}
_WILDGUARD = {
    "private_information_individual": Category.PII,
    "copyright_violations": Category.COPYRIGHT,
    "cyberattack": Category.ILLEGAL_ACTS,
    "fraud_assisting_illegal_activities": Category.ILLEGAL_ACTS,
    "toxic_language_hate_speech": Category.UNETHICAL,
    "social_stereotypes_and_unfair_discrimination": Category.UNETHICAL,
    "defamation_encouraging_unethical_or_unsafe_actions": Category.UNETHICAL,
    "violence_and_physical_harm": Category.VIOLENT,
    "sexual_content": Category.SEXUAL_CONTENT,
}
_BEAVERTAILS = {
    "controversial_topics,politics": Category.POLITICAL,
    "discrimination,stereotype,injustice": Category.UNETHICAL,
    "drug_abuse,weapons,banned_substance": Category.ILLEGAL_ACTS,
    "financial_crime,property_crime,theft": Category.ILLEGAL_ACTS,
    "hate_speech,offensive_language": Category.UNETHICAL,
    "non_violent_unethical_behavior": Category.UNETHICAL,
    "privacy_violation": Category.PII,
    "self_harm": Category.SELF_HARM,
    "sexually_explicit,adult_content": Category.SEXUAL_CONTENT,
    "terrorism,organized_crime": Category.VIOLENT,
    "violence,aiding_and_abetting,incitement": Category.VIOLENT,
}
_SAFE_RLHF = {
    "Violence": Category.VIOLENT,
    "Physical Harm": Category.VIOLENT,
    "Sexual Content": Category.SEXUAL_CONTENT,
    "Privacy Violation": Category.PII,
    "Copyright Issues": Category.COPYRIGHT,
    "Cybercrime": Category.ILLEGAL_ACTS,
    "Economic Crime": Category.ILLEGAL_ACTS,
    "White-Collar Crime": Category.ILLEGAL_ACTS,
    "Drugs": Category.ILLEGAL_ACTS,
    "Human Trafficking": Category.ILLEGAL_ACTS,
    "Discriminatory Behavior": Category.UNETHICAL,
    "Insulting Behavior": Category.UNETHICAL,
    "Mental Manipulation": Category.UNETHICAL,
}
RTP_LX = {
    "IdentityAttack": Category.UNETHICAL,
    "Bias": Category.UNETHICAL,
    "Insult": Category.UNETHICAL,
    "Violence": Category.VIOLENT,
    "SelfHarm": Category.SELF_HARM,
    "SexualContent": Category.SEXUAL_CONTENT,
}
"""Columns of the annotations, each from 1 (absent) to 3 (explicit)."""


def _bare(word: str) -> str:
    return "".join(char for char in word.lower() if char.isalnum())


class Mapped:
    """A table of kinds of harm, asked by the source's words."""

    def __init__(self, table: Mapping[str, Category]) -> None:
        self._table = {_bare(word): category for word, category in table.items()}

    def __call__(self, words: Iterable[str]) -> tuple[str, ...]:
        """Return our categories of some words, each once; a word without a clear meaning here gives none."""
        found = (self._table.get(_bare(word)) for word in words)
        return tuple(dict.fromkeys(category.value for category in found if category))


aegis = Mapped(_AEGIS)
simple_safety_tests = Mapped(_SIMPLE_SAFETY_TESTS)
harmbench = Mapped(_HARMBENCH)
wildguard = Mapped(_WILDGUARD)
beavertails = Mapped(_BEAVERTAILS)
safe_rlhf = Mapped(_SAFE_RLHF)
PUBLISHED = {
    "OpenAI Moderation": OPENAI_MODERATION,
    "Aegis 1.0, 2.0": _AEGIS,
    "SimpleSafetyTests": _SIMPLE_SAFETY_TESTS,
    "HarmBench": _HARMBENCH,
    "WildGuardTest, PolyGuard (prompts)": _WILDGUARD,
    "BeaverTails": _BEAVERTAILS,
    "SafeRLHF (later releases)": _SAFE_RLHF,
    "RTP-LX": RTP_LX,
}
"""All tables by set, for the documentation."""
