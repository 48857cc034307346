"""The benchmarks of answers."""

from guardrail.evaluation.datasets import pairs, qwen3guardtest, responses
from guardrail.evaluation.datasets.dataset import Dataset
from guardrail.evaluation.datasets.pairs import LANGUAGES
from guardrail.evaluation.datasets.places import (
    AEGIS2,
    AEGIS2_COMMIT,
    BEAVERTAILS,
    BEAVERTAILS_COMMIT,
    CARD,
    HARMBENCH,
    HARMBENCH_COMMIT,
    POLYGUARD,
    POLYGUARD_COMMIT,
    QWEN3GUARDTEST,
    QWEN3GUARDTEST_COMMIT,
    RESPONSE,
    SAFE_RLHF,
    SAFETY_EVAL,
    WILDGUARD,
    WILDGUARD_COMMIT,
    XSTEST_RESPONSE,
    page,
)

_QWEN = ("the evaluation script of Qwen3Guard", CARD)
_QWEN_LABEL = "label is Unsafe, which people said"
_INDICES = "label is Unsafe; unsafe_start_index and unsafe_end_index cover the first unsafe sentence"

RESPONSE_SETS = (
    Dataset(
        name="harmbench_response", title="HarmBench, validation set of its text classifier", target=RESPONSE,
        read=responses.harmbench_response, files="text_behaviors_val_set.json",
        other_files=("harmbench_text_behaviors_val_set.json",),
        url=f"{HARMBENCH}/blob/{HARMBENCH_COMMIT}/data/classifier_val_sets/text_behaviors_val_set.json",
        licence="MIT", languages=("en",), split="all",
        harmful="two of three people say so; the prompt is the test case that the model answered", basis="wildguard",
        sources=("its repository", SAFETY_EVAL), n_published=602, counted=(602, 273),
    ),
    Dataset(
        name="saferlhf", title="PKU-SafeRLHF v0, test, pairs that differ", target=RESPONSE,
        read=responses.safe_rlhf, files="round0/test.jsonl.xz", other_files=("test.jsonl.xz", "test.jsonl"),
        hub_id=SAFE_RLHF, revision="ff7ba91063016c78a225b0f74e1c0860bb18230f", url=page(SAFE_RLHF),
        licence="CC-BY-NC-4.0", is_non_commercial=True, languages=("en",),
        split="test of v0, 1,000 entries with one safe and one unsafe answer, by seed 42",
        harmful="is_response_N_safe is false", basis="wildguard", sources=(CARD, SAFETY_EVAL),
        counted=(2000, 1000), n_pairs=1000,
    ),
    Dataset(
        name="beavertails", title="BeaverTails 30k, test", target=RESPONSE,
        read=responses.beavertails, files="round0/30k/test.jsonl.gz",
        hub_id=BEAVERTAILS, revision=BEAVERTAILS_COMMIT, url=page(BEAVERTAILS),
        licence="CC-BY-NC-4.0", is_non_commercial=True, languages=("en",), split="30k_test",
        harmful="is_safe is false", basis="wildguard", sources=(CARD, SAFETY_EVAL),
        n_published=3021, counted=(3021, 1733),
    ),
    Dataset(
        name="beavertails_330k", title="BeaverTails 330k, test", target=RESPONSE,
        read=responses.beavertails, files="round0/330k/test.jsonl.xz",
        hub_id=BEAVERTAILS, revision=BEAVERTAILS_COMMIT, url=page(BEAVERTAILS),
        licence="CC-BY-NC-4.0", is_non_commercial=True, languages=("en",),
        split="330k_test; the same answer may stand there several times, each with one person's label",
        harmful="is_safe is false", basis="ours", sources=(CARD, "public evaluation code"), n_published=33396,
    ),
    Dataset(
        name="xstest_response", title="XSTest-Response", target=RESPONSE,
        read=responses.xstest_response, files="data/response_harmfulness-*.parquet",
        companion="data/response_refusal-*.parquet", read_with=responses.xstest_with_refusals,
        hub_id=XSTEST_RESPONSE, revision="4cd03695944eb5940c5a2dfcdf2a493a8f288dbc", url=page(XSTEST_RESPONSE),
        is_gated=True, licence="ODC-BY", languages=("en",), split="response_harmfulness",
        harmful="label is harmful; refusals are those of response_refusal by the same prompt and answer",
        basis="wildguard", sources=(CARD, SAFETY_EVAL),
        unverified="that both parts hold the same pairs, as their sizes (446 and 449) suggest, and the commit beyond"
        " one other's cache",
        n_published=446,
    ),
    Dataset(
        name="aegis2_response", title="Aegis AI Content Safety 2.0 (Nemotron Content Safety V2), test, answers",
        target=RESPONSE, read=pairs.aegis2_response, files="test.json",
        hub_id=AEGIS2, revision=AEGIS2_COMMIT, url=page(AEGIS2),
        licence="CC-BY-4.0", languages=("en",), split="test, entries with an answer",
        harmful="response_label is unsafe, said by people or a jury of models", basis="ours", sources=(CARD,),
        n_published=1964, counted=(813, 394),
    ),
    Dataset(
        name="wildguardtest_response", title="WildGuardTest, answers", target=RESPONSE,
        read=pairs.wildguard_response, files="test/wildguard_test.parquet",
        hub_id=WILDGUARD, revision=WILDGUARD_COMMIT, url=page(WILDGUARD), is_gated=True,
        licence="ODC-BY", languages=("en",), split="wildguardtest",
        harmful="response_harm_label is harmful; response_refusal_label says who refuses", basis="wildguard",
        sources=(CARD, SAFETY_EVAL),
        unverified="the counts are those of the English part of PolyGuardPrompts, which is made of it",
        n_published=1725, counted=(1709, 284),
    ),
    Dataset(
        name="polyguard_response", title="PolyGuardPrompts, answers", target=RESPONSE,
        read=pairs.wildguard_response, files="data/test-*.parquet",
        hub_id=POLYGUARD, revision=POLYGUARD_COMMIT, url=page(POLYGUARD),
        licence="CC-BY-4.0", languages=tuple(sorted(LANGUAGES.values())), split="test",
        harmful="response_harm_label is harmful", basis="ours", sources=(CARD,), n_published=29325,
    ),
    Dataset(
        name="qwen3guardtest_thinking", title="Qwen3GuardTest, answers with reasoning", target=RESPONSE,
        read=qwen3guardtest.thinking, files="thinking.jsonl",
        hub_id=QWEN3GUARDTEST, revision=QWEN3GUARDTEST_COMMIT, url=page(QWEN3GUARDTEST),
        licence="CC-BY-NC-4.0", is_non_commercial=True, languages=("en",), split="thinking",
        harmful=_QWEN_LABEL, basis="report", sources=_QWEN, n_published=1059, counted=(1059, 569),
    ),
    Dataset(
        name="qwen3guardtest_thinking_loc", title="Qwen3GuardTest, answers with reasoning, located", target=RESPONSE,
        read=qwen3guardtest.thinking, files="thinking_loc.jsonl",
        hub_id=QWEN3GUARDTEST, revision=QWEN3GUARDTEST_COMMIT, url=page(QWEN3GUARDTEST),
        licence="CC-BY-NC-4.0", is_non_commercial=True, languages=("en",), split="thinking_loc",
        harmful=_INDICES, basis="report", sources=_QWEN, n_published=569, counted=(569, 569),
    ),
    Dataset(
        name="qwen3guardtest_response_loc", title="Qwen3GuardTest, answers, located", target=RESPONSE,
        read=qwen3guardtest.response, files="response_loc.jsonl",
        hub_id=QWEN3GUARDTEST, revision=QWEN3GUARDTEST_COMMIT, url=page(QWEN3GUARDTEST),
        licence="CC-BY-NC-4.0", is_non_commercial=True, languages=("und",), split="response_loc",
        harmful=_INDICES, basis="report", sources=_QWEN, unverified="its languages", n_published=813,
        counted=(813, 813),
    ),
)  # fmt: skip
