"""The benchmarks of user messages."""

from guardrail.evaluation.datasets import pairs, prompts
from guardrail.evaluation.datasets.dataset import Dataset
from guardrail.evaluation.datasets.pairs import LANGUAGES
from guardrail.evaluation.datasets.places import (
    AEGIS1,
    AEGIS2,
    AEGIS2_COMMIT,
    CARD,
    HARMBENCH,
    HARMBENCH_COMMIT,
    OPENAI,
    POLYGUARD,
    POLYGUARD_COMMIT,
    PROMPT,
    RTP_LX,
    SAFETY_EVAL,
    SST,
    TOXICCHAT,
    TOXICCHAT_COMMIT,
    WILDGUARD,
    WILDGUARD_COMMIT,
    XSTEST,
    page,
)

_ALL = "all prompts are harmful"
_NO_SPLIT = "the report names the set, but neither its release nor which rows"

PROMPT_SETS = (
    Dataset(
        name="toxicchat", title="ToxicChat 0124, test, annotated by people", target=PROMPT,
        read=prompts.toxicchat, files="data/0124/toxic-chat_annotation_test.csv",
        other_files=("data/1123/toxic-chat_annotation_test.csv",),
        hub_id=TOXICCHAT, revision=TOXICCHAT_COMMIT, url=page(TOXICCHAT),
        licence="CC-BY-NC-4.0", is_non_commercial=True, languages=("en",), split="test, human_annotation true",
        harmful="toxicity is 1, of the user's message", basis="wildguard",
        sources=(CARD, SAFETY_EVAL), unverified=_NO_SPLIT, n_published=5083, counted=(2853, 362),
    ),
    Dataset(
        name="toxicchat_all", title="ToxicChat 0124, test, all rows", target=PROMPT,
        read=prompts.toxicchat_all, files="data/0124/toxic-chat_annotation_test.csv",
        other_files=("data/1123/toxic-chat_annotation_test.csv",),
        hub_id=TOXICCHAT, revision=TOXICCHAT_COMMIT, url=page(TOXICCHAT),
        licence="CC-BY-NC-4.0", is_non_commercial=True, languages=("en",), split="test",
        harmful="toxicity is 1, of the user's message", basis="wildguard",
        sources=(CARD, SAFETY_EVAL), unverified=_NO_SPLIT, n_published=5083,
    ),
    Dataset(
        name="openai_moderation", title="OpenAI Moderation evaluation set", target=PROMPT,
        read=prompts.openai_moderation, files="samples-1680.jsonl.gz",
        other_files=("openai_moderation_evaluation_dataset.jsonl",),
        hub_id=OPENAI, revision="84e5cf3bcd6acb3dfc70b6760451645872218a3e", url=page(OPENAI),
        licence="MIT", languages=("en",), split="all",
        harmful="one of the eight categories is 1; a missing one is not known", basis="wildguard",
        sources=(CARD, SAFETY_EVAL),
        unverified="whether some row has no label at all: it would be left out here and be harmless there; all rows"
        " are called English, as the card does",
        n_published=1680, counted=(1680, 522),
    ),
    Dataset(
        name="aegis", title="Aegis AI Content Safety 1.0, test, user messages", target=PROMPT,
        read=prompts.aegis, files="Content Moderation Extracted Annotations 02.08.24_test_release_0418_v1.parquet",
        hub_id=AEGIS1, revision="bd96d862068e47630197de64eb91f8d1481ff3e0", url=page(AEGIS1),
        licence="CC-BY-4.0", languages=("en",), split="test, text_type user_message",
        harmful="fewer than two of the first three annotators say Safe; so Needs Caution counts as harmful",
        basis="wildguard", sources=(CARD, SAFETY_EVAL), n_published=1199, counted=(359, 233),
    ),
    Dataset(
        name="aegis2", title="Aegis AI Content Safety 2.0 (Nemotron Content Safety V2), test", target=PROMPT,
        read=pairs.aegis2_prompt, files="test.json",
        hub_id=AEGIS2, revision=AEGIS2_COMMIT, url=page(AEGIS2),
        licence="CC-BY-4.0", languages=("en",), split="test",
        harmful="prompt_label is unsafe, which people said", basis="ours", sources=(CARD,),
        unverified="whether others leave out the redacted prompts, as we do: theirs are counted here",
        n_published=1964, counted=(1964, 1059),
    ),
    Dataset(
        name="simplesafetytests", title="SimpleSafetyTests", target=PROMPT,
        read=prompts.simple_safety_tests, files="sst_test_cases.csv",
        hub_id=SST, revision="98223c5d8c4059c8f4d8fe2fec8720ee8a20d3c5", url=page(SST),
        licence="CC-BY-2.0", languages=("en",), split="all", harmful=_ALL, basis="wildguard",
        sources=(CARD, SAFETY_EVAL), n_published=100, counted=(100, 100),
    ),
    Dataset(
        name="harmbench", title="HarmBench, text behaviours of the test split", target=PROMPT,
        read=prompts.harmbench, files="harmbench_behaviors_text_test.csv",
        url=f"{HARMBENCH}/blob/{HARMBENCH_COMMIT}/data/behavior_datasets/harmbench_behaviors_text_test.csv",
        licence="MIT", languages=("en",), split="test, functional categories standard and copyright",
        harmful=_ALL, basis="wildguard", sources=("its repository", SAFETY_EVAL), counted=(239, 239),
    ),
    Dataset(
        name="wildguardtest", title="WildGuardTest, prompts", target=PROMPT,
        read=pairs.wildguard_prompt, files="test/wildguard_test.parquet",
        hub_id=WILDGUARD, revision=WILDGUARD_COMMIT, url=page(WILDGUARD), is_gated=True,
        licence="ODC-BY", languages=("en",), split="wildguardtest", harmful="prompt_harm_label is harmful",
        basis="wildguard", sources=(CARD, SAFETY_EVAL),
        unverified="the counts are those of the English part of PolyGuardPrompts, which is made of it",
        n_published=1725, counted=(1699, 754),
    ),
    Dataset(
        name="xstest", title="XSTest, prompts", target=PROMPT,
        read=prompts.xstest, files="xstest_prompts.csv", other_files=("xstest_v2_prompts.csv",),
        hub_id=XSTEST, revision="f600c994b256f12867dfa5b3eb3d545a3e62f8b5", url=page(XSTEST),
        licence="CC-BY-4.0", languages=("en",), split="all",
        harmful="label is unsafe: the contrasts of prompts that only sound unsafe", basis="ours",
        sources=(CARD, "its repository"), n_published=450, counted=(450, 200),
    ),
    Dataset(
        name="rtp_lx", title="RTP-LX, prompts", target=PROMPT,
        read=prompts.rtp_lx, files="data/test-*.parquet", other_files=("RTP_LX_*.json",),
        hub_id=RTP_LX, revision="f920c9ecc050deffce46621daa1dbcf3f7fd9f6d", url="https://github.com/microsoft/RTP-LX",
        licence="MIT", languages=(
            "ar", "bcms", "cs", "da", "de", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko", "nl",
            "no-nb", "pl", "pt", "ru", "sv", "sw", "th", "tr", "uk", "zh-hans", "zh-hant",
        ),
        split="all languages", harmful="mean toxicity above 1 on the annotators' scale of 1 (none) to 5", basis="ours",
        sources=("the authors' repository and annotation guide", "public evaluation code"),
        unverified="where the report cuts the scale (others cut at 3; the mean is in meta.toxicity), the commit beyond"
        " one listing of it, the name of the file there, and all languages of that copy",
    ),
    Dataset(
        name="polyguard", title="PolyGuardPrompts, prompts", target=PROMPT,
        read=pairs.wildguard_prompt, files="data/test-*.parquet",
        hub_id=POLYGUARD, revision=POLYGUARD_COMMIT, url=page(POLYGUARD),
        licence="CC-BY-4.0", languages=tuple(sorted(LANGUAGES.values())), split="test",
        harmful="prompt_harm_label is harmful", basis="ours", sources=(CARD,),
        unverified="the report names the set, but has no table of its prompts", n_published=29325,
    ),
)  # fmt: skip
