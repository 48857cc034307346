import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from guardrail.audit.pages.figures import Bars
from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import CallRefused, ConfigurationError, EngineTimeout
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import ModelSettings, RecipeSettings, load_recipe
from guardrail.training.recipe.stage import Profile
from guardrail.training.respond.answering import Answering
from guardrail.training.respond.settings import AnswererSettings, RespondSettings
from guardrail.training.respond.stage import make
from tests.training.recipe_job import MemoryJob

MODELS = {name: ModelSettings("function", function="m.py:f") for name in ("chat", "base", "thinker")}
EVERYBODY = (
    AnswererSettings("chat", samples=2),
    AnswererSettings("chat", "refuse", name="no"),
    AnswererSettings("base", "base"),
    AnswererSettings("thinker", "reasoning"),
)


class Model:
    """Answers with what it is told; keeps what it was asked."""

    def __init__(self, *answers: Text | Exception) -> None:
        self.calls: list[Call] = []
        self._answers = answers

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        number = len(self.calls) - 1
        await asyncio.sleep(0)
        if self._answers:
            answer = self._answers[number % len(self._answers)]
            if isinstance(answer, Exception):
                raise answer
            return Reply((answer,))
        text = f"{call.model} {call.form} {call.sample} on {len(call.messages)}"
        return Reply((Text(text, thinking="hm"),))


def prompt(number: int = 0, **values: object) -> RecipeRow:
    row = RecipeRow(
        f"p-{number}", f"p-{number}", "set", "en", (Message(Role.USER, f"How do I bake {number} loaves?"),),
        Direction.PROMPT, RiskLevel.SAFE, is_human=True, meta={"votes": [1]},
    )  # fmt: skip
    return replace(row, **values)  # type: ignore[arg-type]  # fields by name


def run(
    settings: RespondSettings, rows: Sequence[RecipeRow], folder: Path, model: Model
) -> tuple[list[RecipeRow], dict[str, int]]:
    job = MemoryJob(rows, folder, model)
    make(settings, RecipeSettings(folder, models=MODELS)).run(job)
    made = job.map("rows", job.rows, Answering(settings, None, 1), n_items=len(rows))  # type: ignore[arg-type]
    return job.output, dict(made.counts)


def test_answers_stand_behind_their_prompt_in_the_order_of_the_answerers(tmp_path: Path) -> None:
    """Every answer is a row of the prompt's family that says who gave it."""
    rows, counts = run(RespondSettings(EVERYBODY), [prompt(0), prompt(1)], tmp_path, Model())
    ends = ["", "/r-chat-0", "/r-chat-1", "/r-no-0", "/r-base-0", "/r-thinker-0"]
    assert [row.id for row in rows] == [f"p-{i}{end}" for i in (0, 1) for end in ends]
    assert rows[0] == prompt(0)
    first = rows[1]
    assert (first.root, first.risk, first.is_human, first.target) == ("p-0", None, False, Direction.RESPONSE)
    assert first.messages == (*prompt(0).messages, Message(Role.ASSISTANT, "chat chat 0 on 1"))
    assert first.meta == {"parent": "p-0", "model": "chat", "mode": "instruct", "is_cut": False}
    assert counts["prompts asked"] == 2
    assert counts["answers: chat"] == 4


def test_thinking_is_kept_apart_and_of_reasoning_models_only(tmp_path: Path) -> None:
    """An instructed model that thinks all the same keeps its answer alone."""
    rows, _ = run(RespondSettings(EVERYBODY), [prompt()], tmp_path, Model())
    assert [row.messages[-1].reasoning for row in rows[1:]] == [None, None, None, None, "hm"]


def test_each_mode_asks_in_its_own_way(tmp_path: Path) -> None:
    """Samples differ by their number, refusals are told to, a base model continues a transcript."""
    model = Model()
    run(RespondSettings(EVERYBODY), [prompt()], tmp_path, model)
    first, second, refusing, base, thinker = model.calls
    assert replace(first, sample=1) == second
    assert first.messages == thinker.messages == prompt().messages
    assert refusing.messages[0].role is Role.SYSTEM
    assert refusing.messages[1:] == prompt().messages
    assert (base.form, base.messages, base.stop) == ("completion", (), ("\nUser:", "\n---"))
    assert base.prompt.endswith("\n---\nUser: How do I bake 0 loaves?\nAssistant:")


def test_a_conversation_keeps_its_one_system_prompt(tmp_path: Path) -> None:
    """Ours goes into it, and a transcript shows all turns."""
    turns = (
        Message(Role.SYSTEM, "Be brief."),
        Message(Role.USER, "$5 for a loaf?"),
        Message(Role.ASSISTANT, "Yes."),
        Message(Role.USER, "Why?"),
    )
    model = Model()
    run(RespondSettings(EVERYBODY[1:3]), [prompt(messages=turns)], tmp_path, model)
    assert [m.role for m in model.calls[0].messages] == [m.role for m in turns]
    assert model.calls[0].messages[0].content.endswith("\n\nBe brief.")
    shown = "System: Be brief.\nUser: $5 for a loaf?\nAssistant: Yes.\nUser: Why?\nAssistant:"
    assert model.calls[1].prompt.endswith(shown)


def test_a_base_model_that_overlooks_the_stop_is_cut_there(tmp_path: Path) -> None:
    """What it wrote as the user's next turn is no part of its answer, nor is the answer cut off then."""
    model = Model(Text(" Use yeast.\nUser: And then?\nAssistant: Bake", is_cut=True))
    rows, counts = run(RespondSettings((AnswererSettings("base", "base"),), cut="drop"), [prompt()], tmp_path, model)
    assert rows[1].messages[-1].content == "Use yeast."
    assert counts["cut: base"] == 0


@pytest.mark.parametrize(
    ("answers", "reason", "n_kept"),
    [
        ((Text(" \n"), Text("Flour.")), "empty answer", 1),
        ((Text("Flour."), Text("Flour.\n")), "repeated answer", 1),
        ((Text("Flour", is_cut=True), Text("Flour.")), "answer cut off", 1),
        ((CallRefused("p"), Text("Flour.")), "call refused", 1),
    ],
)
def test_answers_of_no_use_are_left_out_and_counted(
    answers: tuple[Text | Exception, ...], reason: str, n_kept: int, tmp_path: Path
) -> None:
    """The prompt stays whatever becomes of its answers."""
    settings = RespondSettings((AnswererSettings("chat", samples=2),), cut="drop")
    rows, counts = run(settings, [prompt()], tmp_path, Model(*answers))
    assert len(rows) == 1 + n_kept
    assert counts[f"dropped: {reason}"] == counts[f"{reason}: chat"] == 1


def test_cut_answers_are_kept_by_default_and_say_so(tmp_path: Path) -> None:
    """A cut answer is still an answer."""
    settings = RespondSettings((AnswererSettings("chat"),))
    rows, _ = run(settings, [prompt()], tmp_path, Model(Text("Flour", is_cut=True)))
    assert rows[1].meta["is_cut"] is True


def test_a_server_that_is_away_ends_the_stage(tmp_path: Path) -> None:
    """Only a refused call is one row's matter."""
    with pytest.raises(EngineTimeout):
        run(RespondSettings((AnswererSettings("chat"),)), [prompt()], tmp_path, Model(EngineTimeout("away")))


@pytest.mark.parametrize(
    "row",
    [
        prompt(lang="de"),
        prompt(source="other"),
        prompt(target=Direction.RESPONSE, messages=(*prompt().messages, Message(Role.ASSISTANT, "Flour."))),
        prompt(messages=(*prompt().messages, Message(Role.TOOL, "12 degrees"))),
    ],
)
def test_rows_that_are_not_asked_pass_through(row: RecipeRow, tmp_path: Path) -> None:
    """Other languages, other sources, answers, and tool results, which no user's turn follows."""
    model = Model()
    settings = RespondSettings((AnswererSettings("chat"),), langs=("en",), sources=("set",))
    rows, _ = run(settings, [row], tmp_path, model)
    assert rows == [row]
    assert not model.calls


def test_a_share_takes_families_whole(tmp_path: Path) -> None:
    """Partners of a pair are both answered or neither, about as many as asked for, and others with another seed."""
    rows = [replace(prompt(i), root=f"pair-{i // 2}") for i in range(400)]
    made, _ = run(RespondSettings((AnswererSettings("chat"),), share=0.25), rows, tmp_path, Model())
    answered = {row.meta["parent"] for row in made if row.target is Direction.RESPONSE}
    assert 60 < len(answered) < 140
    assert all((f"p-{i}" in answered) is (f"p-{i + 1}" in answered) for i in range(0, 400, 2))


def test_the_report_counts_by_answerer_and_warns(tmp_path: Path) -> None:
    """Refusals, cut answers, and thinking that never came are told."""
    settings = RespondSettings((AnswererSettings("chat", max_tokens=9), AnswererSettings("thinker", "reasoning")))
    job = MemoryJob([prompt()], tmp_path, Model(Text("I'm sorry, but I can't help.", is_cut=True), Text("Flour.")))
    summary = make(settings, RecipeSettings(tmp_path, models=MODELS)).run(job)
    chat = summary.values["answerers"]["chat"]
    assert (chat["answers"], chat["refusals"], chat["cut"], chat["mean_chars"]) == (1, 1, 1, 28)
    assert len(summary.warnings) == 2
    bars = summary.figures[1]
    assert isinstance(bars, Bars)
    assert bars.series["chat"] == [1, 0, 0, 0, 0]


def test_an_estimate_counts_samples_and_shares() -> None:
    """Calls are prompts times samples; what is made has no label yet."""
    settings = RespondSettings((AnswererSettings("chat", samples=3), AnswererSettings("base", "base", share=0.5)))
    stage = make(settings, RecipeSettings(Path("out"), models=MODELS))
    estimate = stage.estimate(Profile(n_prompts=100, n_responses=7))
    assert (estimate.usage["chat"].n_calls, estimate.usage["base"].n_calls) == (300, 50)
    assert (estimate.after.n_responses, estimate.after.n_unlabelled) == (357, 350)
    assert estimate.usage["base"].n_input / 50 > estimate.usage["chat"].n_input / 300


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (RespondSettings(), "nobody"),
        (RespondSettings((AnswererSettings("who"),)), "no model 'who'"),
        (RespondSettings((AnswererSettings("chat"), AnswererSettings("chat", "refuse"))), "called 'chat'"),
        (RespondSettings((AnswererSettings("chat", samples=2, temperature=0),)), "temperature 0"),
        (RespondSettings((AnswererSettings("base", "base"),), stop=()), "stop"),
        (RespondSettings((AnswererSettings("judge"),)), "guard"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: RespondSettings, message: str) -> None:
    """Before anything is asked."""
    models = {**MODELS, "judge": ModelSettings("guard", "default")}
    with pytest.raises(ConfigurationError, match=message):
        make(settings, RecipeSettings(Path("out"), models=models))


def test_a_recipe_file_sets_it_up(tmp_path: Path) -> None:
    """As the docs show it."""
    path = tmp_path / "recipe.toml"
    path.write_text(
        'output = "out"\n[models.chat]\nkind = "endpoint"\n[respond]\nshare = 0.5\n'
        '[[respond.answerers]]\nmodel = "chat"\nmode = "reasoning"\nsamples = 4\n'
    )
    recipe = load_recipe(path)
    assert recipe.respond is not None
    assert make(recipe.respond, recipe).models == ("chat",)
