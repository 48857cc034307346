"""Policies: actions are monotone, strict never allows more than loose, files refuse what they do not know."""

from dataclasses import replace
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.errors import PolicyError
from guardrail.policy import CategoryRule, Policy, Reading, Rules
from guardrail.policy_file import READY_POLICIES, load_policy, parse_policy
from guardrail.taxonomy import RESPONSE_LABELS, RiskLevel
from guardrail.verdict import Verdict

actions = st.sampled_from(Action)
pairs = st.tuples(actions, actions).map(lambda pair: sorted(pair, key=lambda action: action.rank))
probabilities = st.none() | st.floats(0, 1)
categories = st.dictionaries(
    st.sampled_from(RESPONSE_LABELS.categories),
    st.builds(lambda pair, t: CategoryRule(pair[0], pair[1], t), pairs, probabilities),
    max_size=3,
)
rules = st.builds(
    lambda pair, categories, unsafe, non_safe: Rules(pair[0], pair[1], categories, unsafe, non_safe),
    pairs, categories, probabilities, probabilities,
)  # fmt: skip


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    """Any verdict of the published response heads."""
    weights = [draw(st.floats(0.01, 1)) for _ in range(11)]
    risk, category = weights[:3], weights[3:]
    return Verdict(RESPONSE_LABELS, tuple(w / sum(risk) for w in risk), tuple(w / sum(category) for w in category))


def riskier(verdict: Verdict, share: float) -> Verdict:
    """Move a share of each safer level's probability up."""
    safe, controversial, unsafe = (verdict.probability(level) for level in RiskLevel)
    moved = {
        RiskLevel.SAFE: safe * (1 - share),
        RiskLevel.CONTROVERSIAL: controversial * (1 - share) + safe * share / 2,
        RiskLevel.UNSAFE: unsafe + controversial * share + safe * share / 2,
    }
    return replace(verdict, risk_vector=tuple(moved[level] for level in verdict.labels.risks))


@given(rules, verdicts(), st.floats(0, 1))
def test_raising_the_risk_level_never_softens_the_action(rules: Rules, verdict: Verdict, share: float) -> None:
    """A riskier verdict of the same category gets at least the same action, whenever its level is at least as high."""
    raised = riskier(verdict, share)
    if (
        rules.level(raised).rank >= rules.level(verdict).rank
        and raised.non_safe_probability >= verdict.non_safe_probability
    ):
        assert rules.action(raised).rank >= rules.action(verdict).rank


@given(rules, verdicts())
def test_strict_never_allows_more_than_loose(rules: Rules, verdict: Verdict) -> None:
    """Readings of one verdict are ordered."""
    strict, loose = rules.read(Reading.STRICT), rules.read(Reading.LOOSE)
    assert loose.action(verdict).rank <= rules.action(verdict).rank <= strict.action(verdict).rank


@given(verdicts())
def test_permuting_labels_changes_nothing_by_name(verdict: Verdict) -> None:
    """Indices never matter."""
    labels = replace(verdict.labels, risks=verdict.labels.risks[::-1], categories=verdict.labels.categories[::-1])
    turned = Verdict(labels, verdict.risk_vector[::-1], verdict.category_vector[::-1])
    assert turned.risk_probabilities == verdict.risk_probabilities
    assert turned.category_probabilities == verdict.category_probabilities
    assert Rules().action(turned) is Rules().action(verdict) or len(set(verdict.risk_vector)) < 3


def test_the_category_is_hidden_when_the_risk_is_safe() -> None:
    """The head always names something; the verdict does not."""
    verdict = Verdict(RESPONSE_LABELS, (0.8, 0.1, 0.1), (1.0,) + (0.0,) * 7)
    assert (verdict.risk, verdict.category, verdict.top_category) == (RiskLevel.SAFE, None, "Violent")


@pytest.mark.parametrize("name", READY_POLICIES)
def test_ready_policies_load_and_every_setting_is_explained(name: str) -> None:
    """Each setting of a ready policy stands under a comment of its own."""
    assert load_policy(name).name == name
    lines = files("guardrail.assets").joinpath("policies", f"{name}.toml").read_text("utf-8").splitlines()
    settings = [i for i, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    assert [lines[i] for i in settings if not lines[i - 1].startswith("# ")] == []


def test_the_dataclass_defaults_are_the_balanced_policy() -> None:
    """One default, in two places that must agree."""
    assert load_policy("balanced") == Policy()


RULES = 'controversial = "flag"\nunsafe = "stop"\n'
MINIMAL = f'name = "mine"\n[prompt]\n{RULES}[response]\n{RULES}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nam = 1", "nam: unknown key; valid: cascade, custom_categories"),
        (MINIMAL.replace('"flag"', '"stpo"', 1), "'allow', 'flag', 'ask' or 'stop'"),
        (MINIMAL.replace('"stop"', '"allow"', 1), "harder than unsafe"),
        (MINIMAL + "debounce = 0", "response.debounce"),
        (MINIMAL + "debunce = 1", "response.debunce: unknown key; valid: categories"),
        (MINIMAL + "unsafe_threshold = 1.5", "response.unsafe_threshold"),
        (
            'custom_categories = ["Climate"]\n' + MINIMAL + '[response.categories.Weather]\nunsafe = "flag"',
            "unknown category 'Weather'; valid: Climate, Copyright",
        ),
        (MINIMAL + '[response.categories.PII]\nunsave = "flag"', "valid: controversial, threshold, unsafe"),
        (MINIMAL.replace("[response]", "debounce = 2\n[response]"), "single verdict"),
        ('on_held = "allow"\n' + MINIMAL, "never released"),
        ("name = ", "not valid TOML"),
        ("name = " + "[" * 20_000, "not valid TOML"),
        ("name = " + "9" * 20_000, "not valid TOML"),
    ],
)
def test_bad_policies_are_refused_with_what_is_valid(text: str, says: str) -> None:
    """The error names the key and the valid values."""
    with pytest.raises(PolicyError) as caught:
        parse_policy(text)
    assert says in str(caught.value)


@pytest.mark.parametrize("declared", ["", 'custom_categories = ["Weather"]\n'], ids=["undeclared", "declared"])
def test_custom_categories_may_carry_rules(declared: str) -> None:
    """A model's own categories need not be declared: the guard checks them by its model. Where some are, others are
    refused with the file.
    """
    policy = parse_policy(declared + MINIMAL + '[response.categories.Weather]\nunsafe = "flag"')
    assert policy.response.categories["Weather"].unsafe is Action.FLAG


def test_any_spelling_of_a_category_is_understood() -> None:
    """Policy files may use the checkpoint's short names."""
    policy = parse_policy(MINIMAL + '[response.categories."Illegal Acts"]\nunsafe = "flag"')
    assert list(policy.response.categories) == ["Non-violent Illegal Acts"]


def test_thresholds_replace_argmax() -> None:
    """With thresholds the level follows probabilities, not the winner."""
    verdict = Verdict(RESPONSE_LABELS, (0.5, 0.3, 0.2), (1.0,) + (0.0,) * 7)
    assert Rules().level(verdict) is RiskLevel.SAFE
    assert Rules(unsafe_threshold=0.25).level(verdict) is RiskLevel.UNSAFE
    assert Rules(non_safe_threshold=0.4).level(verdict) is RiskLevel.CONTROVERSIAL
    assert (
        Rules(categories={"Violent": CategoryRule(threshold=0.6)}, unsafe_threshold=0.25).action(verdict)
        is Action.ALLOW
    )


def test_stop_messages_follow_category_then_default_then_language() -> None:
    """The most specific text in the policy's language is shown."""
    policy = replace(Policy(), language="de", messages={"PII": {"de": "Keine Daten."}, "default": {"en": "No."}})
    assert policy.stop_message("PII") == "Keine Daten."
    assert policy.stop_message("Violent") == "No."
    assert replace(Policy(), language="zh").stop_message(None).startswith("该")
    assert replace(Policy(), language="xx").stop_message(None).startswith("This content")


def test_the_hash_changes_with_any_setting() -> None:
    """Records can tell two policies of one name apart."""
    assert Policy().sha256 != replace(Policy(), response=Rules(debounce=3)).sha256


@pytest.mark.parametrize("change", [{"max_held_chars": 0}, {"prompt": Rules(debounce=2)}])
def test_impossible_policies_cannot_be_built(change: dict[str, object]) -> None:
    """The dataclass refuses too, not only the file reader."""
    with pytest.raises(PolicyError):
        replace(Policy(), **change)  # type: ignore[arg-type]


def test_a_missing_policy_names_the_ready_ones() -> None:
    """A typo in a ready policy's name is answered with the list."""
    with pytest.raises(PolicyError, match="strict, balanced, loose, shadow"):
        load_policy("balancd")


def test_a_policy_file_has_rules_for_tools() -> None:
    """Trusted, read, always ask, by name or pattern; the default for the rest; the first that fits counts."""
    policy = parse_policy(
        'max_repairs = 5\non_stop = "repair"\n'
        + MINIMAL
        + '[tools]\ncontroversial = "ask"\non_result = "extract"\n[tools.default]\ncall = "ask"\n'
        + '[tools.names."mcp_*"]\ncall = "trusted"\nresult = "trusted"\n[tools.names.mcp_x]\ncall = "ask"\n'
        + '[messages.tool_call]\nen = "No."\n'
    )
    assert (policy.max_repairs, policy.tools.on_result, policy.call_message("PII")) == (5, "extract", "No.")
    assert policy.call_rules().controversial is Action.ASK
    assert policy.response.controversial is Action.FLAG
    rules = [policy.tools.rule(name) for name in ("mcp_x", "shell")]
    assert [(rule.call, rule.result) for rule in rules] == [("trusted", "trusted"), ("ask", "read")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[tools]\ncall = "read"', "tools.call: unknown key; valid: controversial, default, names, on_result"),
        ('[tools.default]\nresult = "ask"', "valid: trusted, read"),
        ('[tools.names.x]\ncalls = "read"', "tools.names.x.calls: unknown key; valid: call, result"),
        ('[tools]\ncontroversial = "flagg"', "tools.controversial"),
        ('[tools]\n[response.categories.PII]\nunsafe = "ask"', "only tool calls can wait"),
    ],
)
def test_bad_rules_for_tools_are_refused(text: str, says: str) -> None:
    """The error names the key and the valid values."""
    with pytest.raises(PolicyError) as caught:
        parse_policy(MINIMAL + text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("rules", "risk", "level"),
    [
        (Rules(unsafe_threshold=0.9), {"Unsafe": 0.25, "Controversial": 0.25}, RiskLevel.CONTROVERSIAL),
        (Rules(unsafe_threshold=0.9), {"Unsafe": 0.25, "Controversial": 0.125}, RiskLevel.SAFE),
        (Rules(non_safe_threshold=0.1), {"Unsafe": 0.5, "Controversial": 0.0}, RiskLevel.UNSAFE),
        (Rules(non_safe_threshold=0.1), {"Unsafe": 0.4375, "Controversial": 0.0}, RiskLevel.CONTROVERSIAL),
    ],
)
def test_a_threshold_that_is_not_set_is_one_half(rules: Rules, risk: dict[str, float], level: RiskLevel) -> None:
    """Where the other one is set: exactly one half is enough."""
    vector = tuple(risk.get(one, 1 - sum(risk.values())) for one in RESPONSE_LABELS.risks)
    assert rules.level(Verdict(RESPONSE_LABELS, vector, (1.0,) + (0.0,) * 7)) is level
