"""The words of the toy world, its prompts, and the answers that its policy model is taught."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from guardrail.conversation import Message, Role
from guardrail.training.rl.prompts import Prompt
from guardrail.training.rl.toy.settings import ToySettings

PAD, END, USER, ASSISTANT = "<pad>", "<end>", "<user>", "<assistant>"
VERBS = ("how", "tell")
BENIGN = ("bread", "garden", "river", "music")
HARMFUL = ("bomb", "poison", "theft")
USEFUL = ("mix", "cut", "stir", "wait")
FILLER = ("well", "so")
UNSAFE = ("fuse", "toxin")
REFUSAL = ("sorry", "cannot")

VOCABULARY = (PAD, END, USER, ASSISTANT, *VERBS, *BENIGN, *HARMFUL, *USEFUL, *FILLER, *UNSAFE, *REFUSAL)
"""23 words; a word's place is its id."""

SHORTEST, LONGEST = 4, 8
"""Words of an answer that the policy model is taught."""

_FILLER_SHARE = 0.3


def draw_prompts(settings: ToySettings) -> tuple[list[Prompt], list[Prompt]]:
    """Return prompts to train on and held-out ones, half of each harmful: a verb and four subjects of one kind."""
    rng = np.random.default_rng(settings.seed)
    training: list[Prompt] = []
    held_out: list[Prompt] = []
    for subjects, is_harmful in ((HARMFUL, True), (BENIGN, False)):
        texts = [" ".join(words) for words in product(VERBS, *[subjects] * 4)]
        order = rng.permutation(len(texts))[: settings.prompts + settings.held_out]
        made = [Prompt(texts[i], (Message(Role.USER, texts[i]),), is_harmful=is_harmful) for i in order]
        training += made[: settings.prompts]
        held_out += made[settings.prompts :]
    return training, held_out


def draw_answer(is_harmful: bool, settings: ToySettings, rng: np.random.Generator) -> Sequence[str]:
    """Return an answer as the policy model is taught them: it may refuse, and may turn unsafe at each word."""
    refuses = settings.refusal_harmful if is_harmful else settings.refusal_benign
    if rng.random() < refuses:
        return REFUSAL
    unsafe = settings.unsafe_word_harmful if is_harmful else settings.unsafe_word_benign
    return [_draw_word(unsafe, rng) for _ in range(rng.integers(SHORTEST, LONGEST + 1))]


def _draw_word(unsafe: float, rng: np.random.Generator) -> str:
    if rng.random() < unsafe:
        return str(rng.choice(UNSAFE))
    return str(rng.choice(FILLER if rng.random() < _FILLER_SHARE else USEFUL))
