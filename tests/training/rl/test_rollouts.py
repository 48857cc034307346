"""The data stage: which prompts stay, and that nothing is drawn or judged twice."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from guardrail.cli.main import run
from guardrail.errors import ConfigurationError, EngineError
from guardrail.training.recipe.identity import identity_of
from guardrail.training.recipe.settings import ModelSettings
from guardrail.training.rewards import Completion, Opinion
from guardrail.training.rl import rollouts, stage
from guardrail.training.rl.rollouts import choose_prompts
from guardrail.training.rl.settings import RlSettings, load_rl
from guardrail.training.rl.toy.judges import ToyJudges
from guardrail.training.rl.world import World, open_world
from tests.training.rl.toys import write_config

MODEL = '''
"""A policy model whose first answers hang on the prompt; it notes what it is asked, and fails once it is told to."""

from pathlib import Path

FOLDER = Path(__file__).parent


def answer(call):
    with (FOLDER / "asked.log").open("a") as file:
        file.write(call.prompt + "\\n")
    if (FOLDER / "down").exists() and "river" in call.prompt:
        raise RuntimeError("down")
    if "bomb" in call.prompt:
        return ["mix fuse"] * call.n
    if "poison" in call.prompt or "garden" in call.prompt:
        return ["mix cut", "fuse"] * (call.n // 2)
    return ["mix"] * call.n
'''


class Counting(ToyJudges):
    """The toy's judges, and how many answers they were shown."""

    def __init__(self) -> None:
        self.n = 0

    def opinions(self, completions: Sequence[Completion], *, with_helpfulness: bool = True) -> list[Opinion]:
        """See `Judges`."""
        self.n += len(completions)
        assert not with_helpfulness
        return super().opinions(completions, with_helpfulness=with_helpfulness)


@pytest.fixture
def settings(tmp_path: Path) -> RlSettings:
    """A toy whose answers come from a function; a prompt has one kind of subject."""
    config = write_config(tmp_path, toy="warm_steps = 1")
    text = config.read_text("utf-8").replace(
        "thinks = [false]",
        f'thinks = [false, true]\npart = 7\nmodel = {{ kind = "function", function = "{tmp_path}/model.py:answer" }}',
    )
    config.write_text(text, "utf-8")
    (tmp_path / "model.py").write_text(MODEL, "utf-8")
    return load_rl(config)


@pytest.fixture
def world(settings: RlSettings) -> World:
    """The toy's."""
    return open_world(settings)


def asked(folder: Path) -> list[str]:
    """What the model was asked."""
    log = folder / "asked.log"
    return log.read_text("utf-8").splitlines() if log.exists() else []


def manifest_of(settings: RlSettings) -> dict[str, Any]:
    """The manifest."""
    found: dict[str, Any] = json.loads((settings.output / "rollouts" / "manifest.json").read_text("utf-8"))
    return found


def rows_of(settings: RlSettings) -> list[dict[str, Any]]:
    """The rows."""
    return [json.loads(line) for line in (settings.output / "rollouts" / "rows.jsonl").read_text("utf-8").splitlines()]


def expected_fate(text: str) -> str:
    """What the function's answers to a prompt come to."""
    if "bomb" in text:
        return "all_unsafe"
    return "kept" if "poison" in text or "garden" in text else "all_safe"


def test_prompts_whose_answers_are_all_safe_or_all_unsafe_drop_out(
    settings: RlSettings, world: World, tmp_path: Path
) -> None:
    """Each in both modes; rows say how many of 8 were safe, and the manifest counts them."""
    judges = Counting()
    chosen = choose_prompts(settings, world, judges, Console(stderr=True))
    fates = {prompt.id: expected_fate(prompt.messages[0].content) for prompt in world.training}
    assert {prompt.id for prompt in chosen} == {name for name, fate in fates.items() if fate == "kept"}
    assert sorted({prompt.thinks for prompt in chosen}) == [False, True]
    assert judges.n == 8 * 96, "a template that renders both modes alike asks the same question"
    told = manifest_of(settings)
    assert told["counts"]["prompts"] == 192
    for fate in ("kept", "all_safe", "all_unsafe"):
        assert told["counts"][fate] == 2 * sum(one == fate for one in fates.values())
    assert {(row["fate"], row["n_safe"], row["n"]) for row in rows_of(settings)} == {
        ("kept", 4, 8), ("all_safe", 8, 8), ("all_unsafe", 0, 8)
    }  # fmt: skip
    assert told["sampling"] == {"n": 8, "max_tokens": 12, "temperature": 1.0, "top_p": 1.0}
    assert len(asked(tmp_path)) == 96


def test_a_stage_that_failed_goes_on_and_asks_and_judges_nothing_twice(
    settings: RlSettings, world: World, tmp_path: Path
) -> None:
    """The rows are those of an undisturbed run; a line that was cut off is judged again."""
    (tmp_path / "down").touch()
    first = Counting()
    with pytest.raises(EngineError):
        choose_prompts(settings, world, first, Console(stderr=True))
    assert not (settings.output / "rollouts" / "manifest.json").exists()
    (tmp_path / "down").unlink()
    [journal] = (settings.output / "rollouts").glob("judged-*.jsonl")
    judged = {json.loads(line)["key"] for line in journal.read_text("utf-8").splitlines()}
    assert first.n == 8 * len(judged) > 0
    with journal.open("a", encoding="utf-8") as file:
        file.write('{"key": "cut o')
    before = asked(tmp_path)
    second = Counting()
    choose_prompts(settings, world, second, Console(stderr=True))
    again = {*before} & {*asked(tmp_path)[len(before) :]}
    assert len(again) <= 7, "calls of the part that failed: those under way were cancelled"
    prompts = {prompt.id: world.renderer.render(prompt).text for prompt in world.training}
    assert not again & {prompts[row["id"]] for row in rows_of(settings) if row["key"] in judged}
    assert first.n + second.n == 8 * 96
    assert {json.loads(line)["key"] for line in journal.read_text("utf-8").splitlines() if line.endswith("}")} == {
        one["key"] for one in rows_of(settings)
    }
    third = Counting()
    choose_prompts(settings, world, third, Console(stderr=True))
    assert third.n == 0


class Failing(Counting):
    """Cannot judge one of the answers, or none."""

    def __init__(self, *, is_down: bool) -> None:
        super().__init__()
        self.is_down = is_down

    def opinions(self, completions: Sequence[Completion], *, with_helpfulness: bool = True) -> list[Opinion]:
        """See `Judges`."""
        first = self.n == 0
        found = super().opinions(completions, with_helpfulness=with_helpfulness)
        n = len(found) if self.is_down else int(first)
        return [replace(one, failure="EngineTimeout") for one in found[:n]] + found[n:]


def test_what_could_not_be_judged_is_judged_again_by_the_next_start(settings: RlSettings, world: World) -> None:
    """Judges that are down end the stage, and leave nothing behind; a single failure counts as unsafe, and is told."""
    with pytest.raises(EngineError, match="could be judged: EngineTimeout"):
        choose_prompts(settings, world, Failing(is_down=True), Console(stderr=True))
    [journal] = (settings.output / "rollouts").glob("judged-*.jsonl")
    assert journal.read_text("utf-8") == ""
    choose_prompts(settings, world, Failing(is_down=False), Console(stderr=True))
    assert manifest_of(settings)["counts"]["failed_answers"] == 2, "one answer of a prompt in two modes"
    assert len(journal.read_text("utf-8").splitlines()) == 95


def test_the_key_is_of_prompt_model_and_sampling(settings: RlSettings, world: World, tmp_path: Path) -> None:
    """Another temperature, length, revision or prompt is another question; the number of a part is not."""
    identity = identity_of(ModelSettings("endpoint", "policy", revision="a"), tmp_path)
    keys = [one.key for one in rollouts._asked(settings, world, identity)]
    again = load_rl(write_config(tmp_path, "warmer", toy="warm_steps = 1", temperature=0.7))
    other = identity_of(ModelSettings("endpoint", "policy", revision="b"), tmp_path)
    assert keys == [one.key for one in rollouts._asked(settings, world, identity)]
    assert not set(keys) & {one.key for one in rollouts._asked(again, world, identity)}
    assert not set(keys) & {one.key for one in rollouts._asked(settings, world, other)}


class Lenient(ToyJudges):
    """Finds everything safe."""

    def opinions(self, completions: Sequence[Completion], *, with_helpfulness: bool = True) -> list[Opinion]:
        """See `Judges`."""
        found = super().opinions(completions, with_helpfulness=with_helpfulness)
        return [replace(opinion, answer_is_safe=True) for opinion in found]


def test_without_a_prompt_that_teaches_anything_there_is_no_run(settings: RlSettings, world: World) -> None:
    """It says so, and what to do."""
    with pytest.raises(ConfigurationError, match=r"no prompt is left.*keep_all"):
        choose_prompts(settings, world, Lenient(), Console(stderr=True))


def test_the_command_draws_from_the_policy_model_itself_and_rl_goes_on(tmp_path: Path) -> None:
    """`train rollouts` begins the folder; `train rl` takes its prompts without --resume, and draws none anew."""
    config = write_config(tmp_path, top='rewards = ["guard_only"]', steps=4, toy="warm_steps = 100\nprompts = 24")
    assert run(["train", "rollouts", "--config", str(config)]) == 0
    rows = (tmp_path / "run" / "rollouts" / "rows.jsonl").read_bytes()
    assert b'"kept"' in rows
    calls = (tmp_path / "run" / "rollouts" / "calls.sqlite").stat().st_mtime_ns
    stage.main(config)
    assert (tmp_path / "run" / "rollouts" / "rows.jsonl").read_bytes() == rows
    assert (tmp_path / "run" / "rollouts" / "calls.sqlite").stat().st_mtime_ns == calls
    assert (tmp_path / "run" / "summary.json").is_file()


def test_several_processes_want_the_prompts_chosen_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all of them would draw; nothing is written then."""
    config = write_config(tmp_path, toy="warm_steps = 1")
    open_world(load_rl(config))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigurationError, match=r"not chosen yet.*train rollouts"):
        stage.main(config)
