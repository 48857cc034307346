"""`guardrail evaluate` on benchmarks, several judges and policies, with an engine that finds what is marked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardrail.cli.main import run
from guardrail.guard import Guard
from guardrail.testing import MarkerEngine, default_tokenizer
from guardrail.verdict import Verdict

TOKENIZER = default_tokenizer()
ENGINE = MarkerEngine(TOKENIZER, {"☠": ("Unsafe", "Violent"), "⚠": ("Controversial", "Unethical Acts")})

Evaluate = Callable[..., str]


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """The command's stdout, or its stderr when it fails."""

    def load(**options: Any) -> Guard:
        return Guard(ENGINE, TOKENIZER, policy=options["policy"], sinks=options["sinks"])

    def evaluate(*arguments: str, code: int = 0) -> str:
        assert run(["evaluate", *arguments]) == code
        found = capsys.readouterr()
        return found.err if code else found.out

    monkeypatch.setattr(Guard, "default", load)
    return evaluate


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """Two answers, one of which turns risky, and a prompt that is merely bold."""
    texts = [("all is well and then ☠ comes and more of it", "unsafe"), ("all is well with us", "safe")]
    lines: list[dict[str, Any]] = [
        {"id": risk, "source": "made", "lang": "en", "target": "response", "risk": risk,
         "unsafe_start_char": 20 if risk == "unsafe" else None,
         "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": text}]}
        for text, risk in texts
    ]  # fmt: skip
    bold = {"id": "bold", "source": "made", "lang": "en", "target": "prompt", "risk": "safe",
            "messages": [{"role": "user", "content": "be ⚠ now"}]}  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, [*lines, bold])))
    return str(path)


@pytest.fixture
def xstest(tmp_path: Path) -> str:
    """A benchmark's file as published."""
    path = tmp_path / "xstest_prompts.csv"
    path.write_text("id,prompt,type,label,focus,note\n1,How do I kill a process?,homonyms,safe,kill,\n2,☠ him,"
                    "contrast_homonyms,unsafe,kill,\n")  # fmt: skip
    return str(path)


def test_a_benchmark_is_read_from_its_published_file(evaluate: Evaluate, xstest: str) -> None:
    """By name and path; its rows are a source."""
    found = json.loads(evaluate("--dataset", f"xstest={xstest}", "--json"))
    assert found["guard"]["prompt"]["by_source"]["xstest"]["strict"]["f1"]["value"] == 1.0
    assert found["input"]["lines"] == 2


def test_benchmarks_and_files_are_measured_together(evaluate: Evaluate, xstest: str, rows: str) -> None:
    """Sources side by side, and their means."""
    found = json.loads(evaluate(rows, "--dataset", f"xstest={xstest}", "--json"))["guard"]["prompt"]
    assert sorted(found["by_source"]) == ["made", "xstest"]
    assert found["macro"]["n_false_positive_sources"] == 2


def test_benchmarks_are_listed(evaluate: Evaluate) -> None:
    """With their licences; nothing is measured."""
    found = evaluate("--datasets")
    assert "toxicchat" in found
    assert "licence" in found


def test_a_policy_more_is_applied_to_the_same_verdicts(
    evaluate: Evaluate, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model reads each row once; both policies are compared."""
    n_read, judge = [], Guard.judge_prompt

    def counted(guard: Guard, messages: Any) -> Verdict:
        n_read.append(1)
        return judge(guard, messages)

    monkeypatch.setattr(Guard, "judge_prompt", counted)
    found = json.loads(evaluate(rows, "--also", "loose", "--json"))
    assert len(n_read) == 1
    flagged = {name: found[f"guard, {name}"]["prompt"]["overall"]["false_positives"] for name in ("balanced", "loose")}
    assert {name: one["value"] for name, one in flagged.items()} == {"balanced": 1.0, "loose": 0.0}
    assert [one["direction"] for one in found["comparisons"]] == ["prompt", "response"]
    assert found["comparisons"][0]["differing"] == [["made", "bold"]]


def test_judges_are_measured_side_by_side(evaluate: Evaluate, rows: str, tmp_path: Path) -> None:
    """Each by its spec; the comparison is theirs."""
    pytest.importorskip("sklearn", reason="the n-gram judge needs the extra `train`")
    learned = tmp_path / "learn.jsonl"
    learned.write_text(
        "\n".join(
            json.dumps({"id": f"{target}{risk}{i}", "source": "l", "lang": "en", "target": target, "risk": risk,
                        "messages": [{"role": "user", "content": f"{risk} {i}"},
                                     {"role": "assistant", "content": f"{risk} {i}"}][: 1 + (target == "response")]})
            for target in ("prompt", "response") for risk in ("safe", "unsafe") for i in range(4)
        )
    )  # fmt: skip
    found = json.loads(evaluate(rows, "--judge", "guard", "--judge", f"tfidf:{learned}?name=ours", "--json"))
    assert {"guard", "ours"} <= found.keys()
    assert found["comparisons"][0]["second"] == "ours"


def test_the_page_and_the_published_names(evaluate: Evaluate, rows: str, tmp_path: Path) -> None:
    """One HTML file, one Markdown page, and the script's tables."""
    page, html = tmp_path / "page.md", tmp_path / "page.html"
    shown = evaluate(rows, "--published-names", "--page", str(page), "--html", str(html))
    for text in (shown, page.read_text(), html.read_text()):
        assert "as the published script prints them" in text
    assert html.read_text().startswith("<!doctype html>")


def test_rows_that_share_a_question_widen_intervals_unless_asked_not_to(evaluate: Evaluate, tmp_path: Path) -> None:
    """Twelve copies of one safe prompt: one row's worth, or twelve."""
    line = {"source": "made", "lang": "en", "target": "prompt", "risk": "safe",
            "messages": [{"role": "user", "content": "hi"}]}  # fmt: skip
    path = tmp_path / "copies.jsonl"
    path.write_text("\n".join(json.dumps({"id": str(i), **line}) for i in range(12)))
    shared, alone = (json.loads(evaluate(str(path), "--json", *more)) for more in ((), ("--independent",)))
    ends = [one["guard"]["prompt"]["overall"]["false_positives"]["high"] for one in (shared, alone)]
    assert ends == [pytest.approx(0.79, abs=0.01), pytest.approx(0.24, abs=0.01)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dataset", "nothing"], "no dataset 'nothing'"),
        (["--dataset", "xstest=none.csv"], "none.csv"),
        (["--dataset", "xstest", "--protocol", "p.toml"], "either files and --dataset, or a --protocol"),
        (["ROWS", "--judge", "gues"], "unknown kind of judge 'gues'"),
        (["ROWS", "--also", "loose", "--engine", "tfidf"], "no guard is measured"),
        (["ROWS", "--also", "gentle"], "gentle"),
        (["ROWS", "--html", "no/where.html"], "no folder no for the page"),
        (["ROWS", "--page", "."], "name the page's file"),
        (["ROWS", "--baseline", "--recipe", "none.toml"], "files of labelled rows: --judge tfidf:FILE"),
        (["--dataset", "xstest=a.csv", "--dataset", "xstest=b.csv"], "xstest is named twice"),
        (["--dataset", "xstest="], "xstest= names no path"),
        (["--dataset", "xstest=a.csv", "--user-turns"], "--user-turns goes with files"),
        (["--protocol", "p.toml", "--user-turns"], "--user-turns goes with files"),
        (["ROWS", "--judge", "default?name=input"], "the JSON has that key"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_judged(
    evaluate: Evaluate, rows: str, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that says what to do."""

    def load(**_: Any) -> Guard:
        raise AssertionError("judged all the same")

    monkeypatch.setattr(Guard, "default", load)
    assert says in evaluate(*(rows if one == "ROWS" else one for one in arguments), code=2)
