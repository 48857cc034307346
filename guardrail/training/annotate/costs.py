"""What `annotate` would cost."""

from collections.abc import Sequence
from dataclasses import replace

from guardrail.decision import Direction
from guardrail.generative.template import PROMPT_FORM, PROMPT_TASK, RESPONSE_FORM, RESPONSE_TASK
from guardrail.training.annotate.settings import AnnotateSettings
from guardrail.training.annotate.voting import Annotator, instructions
from guardrail.training.recipe.stage import CHARS_PER_TOKEN, Estimate, Profile, Usage

_ANSWER_TOKENS = {"llm": 30, "guard": 12}
"""Of an annotator's answer: the JSON; the lines of Qwen3Guard-Gen, about ten as others measured."""

_RISKY_SHARE = 0.4
"""Of unlabelled answers. A guess of ours."""


def estimate(settings: AnnotateSettings, annotators: Sequence[Annotator], profile: Profile) -> Estimate:
    """Return what labelling rows like these would cost; see `Stage`."""
    n = profile.n_prompts + profile.n_responses
    share = 1.0 if settings.votes_for == "all" else profile.n_unlabelled / n if n else 0.0
    n_prompts, n_responses = profile.n_prompts * share, profile.n_responses * share
    usage: dict[str, Usage] = {}
    for annotator in annotators:
        prompt, response = (_told_tokens(annotator, target) for target in (Direction.PROMPT, Direction.RESPONSE))
        n_input = n_prompts * (prompt + profile.prompt_tokens)
        n_input += n_responses * (response + profile.prompt_tokens + profile.response_tokens)
        n_output = (n_prompts + n_responses) * _ANSWER_TOKENS["llm" if annotator.prompts else "guard"]
        asked = Usage(n_prompts + n_responses, n_input, n_output)
        usage[annotator.model] = usage.get(annotator.model, Usage()).plus(asked)
    unlabelled_responses = profile.n_unlabelled * (profile.n_responses / n if n else 0.0)
    after = replace(
        profile, n_unlabelled=0.0, n_risky_responses=profile.n_risky_responses + _RISKY_SHARE * unlabelled_responses
    )
    told = (
        f"{_RISKY_SHARE:.0%} of the unlabelled answers are risky (a guess)",
        "rows that people labelled are voted on too: they are not counted here unless votes_for is all",
        "every annotator answers at once, and prompts and answers are as often unlabelled",
    )
    return Estimate(usage, after, told)


def _told_tokens(annotator: Annotator, target: Direction) -> float:
    """Return the tokens of the instructions."""
    if annotator.prompts:
        return (
            len(instructions(annotator.prompts, target)) + len(annotator.prompts.texts["conversation"])
        ) / CHARS_PER_TOKEN
    is_response = target is Direction.RESPONSE
    return len(RESPONSE_TASK + RESPONSE_FORM if is_response else PROMPT_TASK + PROMPT_FORM) / CHARS_PER_TOKEN
