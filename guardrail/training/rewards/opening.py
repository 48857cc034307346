"""Loads what settings name: a rewarder with its guard, its refusal detector and its helpfulness model."""

from collections.abc import Sequence
from contextlib import ExitStack

from guardrail.engines.runtime import Runtime
from guardrail.errors import ConfigurationError
from guardrail.generative.reader import GenerativeReader
from guardrail.guard import Guard
from guardrail.records.base import Sink
from guardrail.training.rewards.endpoint import Pooling, RewardServer, client_of
from guardrail.training.rewards.helpfulness import HelpfulnessModel, Scaled
from guardrail.training.rewards.judging import TextJudge
from guardrail.training.rewards.refusals import GenDetector, PhraseDetector, RefusalDetector
from guardrail.training.rewards.rewarder import Rewarder
from guardrail.training.rewards.settings import (
    HelpfulnessModelSettings,
    JudgeSettings,
    RefusalSettings,
    RewardSettings,
    key_of,
)

WHOLE_CHARS = 1_000_000
"""Stride of a Gen model whose verdict on the whole answer alone counts: one question an answer."""


def open_rewarder(settings: RewardSettings, *, sinks: Sequence[Sink] = ()) -> Rewarder:
    """Return a rewarder; close it at the end.

    Args:
        settings: what judges.
        sinks: where each judgement of the guard is recorded.

    Raises:
        ConfigurationError: a model or policy cannot be loaded, or the guard is asked for refusals and is no Gen model.
    """
    with ExitStack() as opened:
        guard = opened.enter_context(_open_guard(settings.guard))
        if settings.refusals.detector == "guard":
            _refuse_silent(guard, settings.guard)
        judge = TextJudge(guard, policy=settings.guard.policy, sinks=sinks, at_once=settings.guard.at_once)
        refusals = _open_refusals(settings.refusals)
        if refusals:
            opened.callback(refusals.close)
        helpfulness = open_helpfulness(settings.helpfulness) if settings.helpfulness else None
        opened.pop_all()
        return Rewarder(judge, refusals, helpfulness)


def open_helpfulness(settings: HelpfulnessModelSettings) -> HelpfulnessModel:
    """Return the helpfulness model that settings name.

    Raises:
        ConfigurationError: it cannot be loaded.
    """
    model = _open_model(settings)
    return model if (settings.offset, settings.scale) == (0, 1) else Scaled(model, settings.offset, settings.scale)


def _open_model(settings: HelpfulnessModelSettings) -> HelpfulnessModel:
    if settings.kind == "checkpoint":
        from guardrail.training.rewards.classifier import Classifier

        return Classifier(
            settings.model, revision=settings.revision, max_length=settings.max_length, batch=settings.batch,
            device=settings.device,
        )  # fmt: skip
    client = client_of(settings.base_url, key_of(settings.api_key_env), settings.timeout_s)
    return Pooling(client, settings.model) if settings.kind == "pooling" else RewardServer(client)


def _open_guard(settings: JudgeSettings) -> Guard:
    if settings.base_url:
        return Guard.generative(
            settings.base_url, model=settings.model, api_key=key_of(settings.api_key_env),
            timeout_s=settings.timeout_s, stride_chars=WHOLE_CHARS,
        )  # fmt: skip
    runtime = Runtime(threads=settings.threads, device=settings.device)
    if settings.model == "default":
        return Guard.default(runtime=runtime)
    return Guard.load(settings.model, engine=settings.engine, precision=settings.precision, runtime=runtime)


def _open_refusals(settings: RefusalSettings) -> RefusalDetector | None:
    if settings.detector == "guard":
        return None
    if settings.detector == "phrases":
        return PhraseDetector()
    named = JudgeSettings(model=settings.model, base_url=settings.base_url, api_key_env=settings.api_key_env)
    guard = _open_guard(named)
    try:
        _refuse_silent(guard, named)
    except ConfigurationError:
        guard.close()
        raise
    return GenDetector(guard, at_once=settings.at_once)


def _refuse_silent(guard: Guard, settings: JudgeSettings) -> None:
    """Refuse a guard that says nothing of refusals."""
    if not isinstance(guard.reader, GenerativeReader):
        raise ConfigurationError(
            f"{settings.model} is no Qwen3Guard-Gen model, and says nothing of refusals",
            hint='set [refusals] detector = "phrases", or name a Gen model',
        )
