"""Policies as the service tells them, and the gate in JavaScript that reads verdicts by them."""

import json
import random
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardrail import Policy, Rules, TokenVerdict, Verdict, load_policy
from guardrail.actions import Action
from guardrail.gate import Gate
from guardrail.policy import CategoryRule, DebounceRule
from guardrail.policy_file import READY_POLICIES
from guardrail.service import Settings
from guardrail.taxonomy import RESPONSE_LABELS
from tests.service.servers import marker_guard, serving
from tests.service.test_operators import KEYS

GATE = Path(__file__).resolve().parents[2] / "guardrail" / "service" / "static" / "gate.js"
NODE = shutil.which("node")
RUN = """
import { judge } from %s;
import { readFileSync } from "node:fs";
const cases = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(({ rules, verdicts }) => {
  const found = judge(rules, verdicts);
  return found && [found.action, found.risk, found.category, found.start, found.token.index];
})));
"""


def some_rules(draw: random.Random) -> Rules:
    """Any rules."""

    def pair() -> list[Action]:
        levels = [Action.ALLOW, Action.FLAG, Action.STOP]
        return sorted(draw.choices(levels, k=2), key=lambda action: action.rank)

    def threshold() -> float | None:
        return draw.choice([None, None, draw.random()])

    controversial, unsafe = pair()
    categories = {}
    for name in draw.sample(RESPONSE_LABELS.categories, draw.randint(0, 4)):
        own = pair()
        categories[name] = CategoryRule(controversial=own[0], unsafe=own[1], threshold=threshold())
    return Rules(
        controversial, unsafe, categories, threshold(), threshold(), draw.randint(1, 3), draw.choice([*DebounceRule])
    )


def some_verdicts(draw: random.Random) -> list[TokenVerdict]:
    """Any verdicts, with runs and ties."""

    def vector(size: int) -> tuple[float, ...]:
        weights = [draw.choice([0.0, 1.0, draw.random() ** 3]) for _ in range(size)]
        total = sum(weights)
        return tuple(weight / total for weight in weights) if total else (1 / size,) * size

    verdicts, verdict = [], None
    for index in range(draw.randint(0, 24)):
        if verdict is None or draw.random() < 0.7:
            verdict = Verdict(RESPONSE_LABELS, vector(3), vector(len(RESPONSE_LABELS.categories)))
        verdicts.append(TokenVerdict(verdict, index, 3 * index, 3 * index + 3))
    return verdicts


def found_in_python(rules: Rules, verdicts: list[TokenVerdict]) -> list[Any] | None:
    """What the gate finds."""
    gate = Gate(replace(Policy(), response=rules))
    gate.feed("abc" * len(verdicts))
    for token in verdicts:
        gate.judge(token)
    found = gate.finding
    return [found.action, found.risk, found.category, found.start, found.token.index] if found else None


def values(token: TokenVerdict) -> dict[str, Any]:
    """A verdict as events tell it."""
    return {
        "index": token.index, "start": token.start, "end": token.end,
        "risk_probabilities": token.risk_probabilities, "category_probabilities": token.category_probabilities,
    }  # fmt: skip


@pytest.mark.skipif(NODE is None, reason="node is not installed: the gate in JavaScript is not compared")
def test_the_gate_in_javascript_finds_what_the_gate_in_python_finds(tmp_path: Path) -> None:
    """For 2000 random answers by random rules: action, level, category, start and token."""
    draw = random.Random(6)
    cases = [(some_rules(draw), some_verdicts(draw)) for _ in range(2000)]
    expected = [found_in_python(*case) for case in cases]
    given = [{"rules": asdict(rules), "verdicts": list(map(values, verdicts))} for rules, verdicts in cases]
    script = tmp_path / "compare.mjs"
    shutil.copy(GATE, tmp_path / "gate.mjs")
    script.write_text(RUN % json.dumps("./gate.mjs"))
    done = subprocess.run(
        [str(NODE), str(script)], input=json.dumps(given), capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == expected
    kinds = {None if found is None else found[0] for found in expected}
    assert kinds == {None, "allow", "flag", "stop"}


def test_policies_are_told_with_the_callers_own_first() -> None:
    """Rules of both directions; a key's policy is its own."""
    with serving(Settings(keys=KEYS)) as running:
        http = httpx.Client(base_url=running.url, headers={"authorization": "Bearer strict-0123456789abcdef"})
        with http:
            listed = http.get("/v1/policies").json()["data"]
            one = http.get("/v1/policies/loose").json()
        assert httpx.get(f"{running.url}/v1/policies").status_code == 401
    assert [policy["name"] for policy in listed] == ["strict", "balanced", "loose", "shadow"]
    assert {policy["name"] for policy in listed} == set(READY_POLICIES)
    assert one["sha256"] == load_policy("loose").sha256
    assert (one["response"]["controversial"], one["response"]["debounce"]) == ("allow", 2)


def test_a_policy_of_the_services_own_is_told_and_no_file_is_read(tmp_path: Path) -> None:
    """By its name; a path in the address names nothing."""
    own = replace(load_policy("balanced"), name="house", response=Rules(non_safe_threshold=0.3))
    file = tmp_path / "secret.toml"
    file.write_text('name = "secret"')
    with serving(guard=marker_guard(own)) as running, httpx.Client(base_url=running.url) as http:
        assert http.get("/v1/policies/house").json()["response"]["non_safe_threshold"] == 0.3
        for name in (str(file), "..%2Fsecret.toml", str(file).replace("/", "%2F"), "nothing"):
            assert http.get(f"/v1/policies/{name}").status_code == 404
