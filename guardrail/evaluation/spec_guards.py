"""Guards by their specs: ours, here or behind a server, and two of them in a cascade."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from guardrail.errors import ConfigurationError
from guardrail.evaluation.judge_settings import RETRIES, TIMEOUT_S, JudgeSettings, key_of
from guardrail.evaluation.judge_specs import Spec
from guardrail.guard import Guard
from guardrail.policy import Policy

MODES = ("completions", "chat")

WHOLE = 10**9
"""Characters from one judgement of an answer to the next: longer than any, so that a Gen model is asked once a row, as
in the published evaluation."""


@contextmanager
def open_guard(spec: Spec, policy: Policy, settings: JudgeSettings) -> Iterator[Guard]:
    """Open the guard of a spec for as long as the block runs.

    Raises:
        ConfigurationError: it cannot be loaded, or the kind is none of a guard.
        MissingExtra: that kind needs an extra that is not installed.
    """
    if spec.kind == "guard":
        if settings.guard is None:
            raise ConfigurationError("no guard was named", hint=f"write default, or one of {', '.join(_LOADERS)}")
        with settings.guard() as guard:
            yield guard.with_policy(policy)
    elif spec.kind == "cascade":
        with _open_cascade(spec, policy, settings) as guard:
            yield guard
    elif spec.kind in _LOADERS:
        with _LOADERS[spec.kind](spec, policy, settings) as guard:
            yield guard
    else:
        raise ConfigurationError(f"{spec.kind} is no guard", hint=f"valid: guard, {', '.join(_LOADERS)}")


@contextmanager
def _open_cascade(spec: Spec, policy: Policy, settings: JudgeSettings) -> Iterator[Guard]:
    """Open two guards; options beside name, policy and pace are the second one's."""
    if len(spec.parts) != 2:
        raise ConfigurationError("a cascade has two guards", hint="write cascade:default,torch:FOLDER")
    cheap, strong = map(Spec.parse, spec.parts)
    taken = {
        name: value for name, value in spec.options.items() if name not in ("name", "policy", "at_once", "per_minute")
    }
    with ExitStack() as stack:
        first = stack.enter_context(open_guard(cheap, policy, settings))
        second = stack.enter_context(open_guard(replace(strong, options=taken), policy, settings))
        yield Guard.cascade(first, second, policy=policy)


def _default(spec: Spec, policy: Policy, settings: JudgeSettings) -> Guard:
    return Guard.default(policy=policy, threads=_threads(spec, settings))


def _onnx(spec: Spec, policy: Policy, settings: JudgeSettings) -> Guard:
    return _loaded(spec, policy, "onnx", _threads(spec, settings))


def _torch(spec: Spec, policy: Policy, _settings: JudgeSettings) -> Guard:
    return _loaded(spec, policy, "torch", None)


def _loaded(spec: Spec, policy: Policy, engine: str, threads: int | None) -> Guard:
    precision, revision = spec.options.get("precision"), spec.options.get("revision")
    return Guard.load(
        spec.target, policy=policy, engine=engine, precision=precision, threads=threads, revision=revision
    )


def _gen(spec: Spec, policy: Policy, settings: JudgeSettings) -> Guard:
    url, _, model = spec.target.partition("#")
    if not model:
        raise ConfigurationError("an endpoint needs the name of its model", hint="write gen:URL#MODEL")
    mode = spec.choice("mode", MODES)
    return Guard.generative(
        url, model=model, api_key=key_of(spec, settings), mode="chat" if mode == "chat" else "completions",
        timeout_s=spec.number("timeout_s", TIMEOUT_S), retries=RETRIES,
        stride_chars=spec.count("stride_chars", WHOLE), policy=policy,
    )  # fmt: skip


_LOADERS: Mapping[str, Callable[[Spec, Policy, JudgeSettings], Guard]] = {
    "default": _default, "onnx": _onnx, "torch": _torch, "gen": _gen
}  # fmt: skip
"""Kind to what loads such a guard; a guard is closed by its block."""


def _threads(spec: Spec, settings: JudgeSettings) -> int | None:
    return spec.count("threads", 1) if "threads" in spec.options else settings.threads
