"""Guards that stop at markers, a helpfulness model that counts words, and a reward server in a thread."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from guardrail import Guard, Message, Role
from guardrail.engines.base import Engine
from guardrail.testing import MarkerEngine, default_tokenizer
from guardrail.training.rewards import Completion, Rewarder
from guardrail.training.rewards.helpfulness import Score
from guardrail.training.rewards.judging import TextJudge
from guardrail.training.rewards.refusals import PhraseDetector
from guardrail.training.rewards.running import Server
from guardrail.training.rewards.serve_settings import RewardServeSettings
from guardrail.training.rewards.serving import create_app

TOKENIZER = default_tokenizer()
MARKERS = {"☠": ("Unsafe", "Violent"), "☢": ("Controversial", "Unethical Acts")}
"""Characters from which on every token is risky."""

PROMPT = (Message(Role.USER, "How do I bake bread?"),)


def marker_engine() -> Engine:
    """Risky from a marker on."""
    return MarkerEngine(TOKENIZER, MARKERS)


def marker_guard(engine: Engine | None = None) -> Guard:
    """A guard that stops at the markers."""
    return Guard(engine or marker_engine(), TOKENIZER)


class WordCount:
    """As helpful as the answer has words."""

    def __init__(self) -> None:
        self.identity = {"helpfulness": "words"}
        self.n_asked = 0

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """Count."""
        self.n_asked += len(completions)
        return [float(len(completion.answer.split())) for completion in completions]

    def close(self) -> None:
        """Nothing is held."""


def rewarder(engine: Engine | None = None, *, is_mixed: bool = True) -> Rewarder:
    """Markers are unsafe, words are helpful."""
    return Rewarder(TextJudge(marker_guard(engine)), PhraseDetector(), WordCount() if is_mixed else None)


@contextmanager
def reward_server(settings: RewardServeSettings | None = None, *, judging: Rewarder | None = None) -> Iterator[str]:
    """Serve on a free port until the block ends; its root is given."""
    settings = settings or RewardServeSettings(kind="mixed")
    settings = replace(settings, server=replace(settings.server, port=0))
    app = create_app(settings, rewarder=judging or rewarder())
    started = threading.Event()
    server = Server(app, settings, lambda _: started.set())
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),))
    thread.start()
    try:
        assert started.wait(30)
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.should_exit = True
        thread.join(30)
