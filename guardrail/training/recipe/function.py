"""A model that is a function of one's own: a client of another kind, a rule, or a double for trying a recipe out."""

import asyncio
import hashlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

from guardrail.errors import BudgetSpent, ConfigurationError, EngineError
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.identity import function_of
from guardrail.training.recipe.settings import ModelSettings

_RUNNING = threading.Lock()


class Function:
    """Answers with what a function returns; see `Model`. The function is called from several threads at once, as many
    as the model's `concurrency`; an async one is awaited in the event loop. It counts no tokens.
    """

    def __init__(self, settings: ModelSettings, folder: Path) -> None:
        """Run the file, once in a process, and find the function.

        Args:
            settings: of the model.
            folder: of the recipe.

        Raises:
            ConfigurationError: the file cannot be run, or has no such function.
        """
        path, name = function_of(settings, folder)
        self._path, self._name = path, f"{path.name}:{name}"
        try:
            function = getattr(_module(path), name, None)
        except (Exception, SystemExit) as error:  # the user's own code
            raise ConfigurationError(f"cannot run {path.name}: {_told(error, path)}") from error
        if not callable(function):
            raise ConfigurationError(f"{path.name} has no function {name}")
        self._function: Callable[[Call], Any] = function

    async def ask(self, call: Call, key: bytes) -> Reply:  # noqa: ARG002  # the protocol's: nothing is drawn here
        """Return what the function says of a call.

        Raises:
            EngineError: it raised an error, or returned something else than texts. One of ours, such as `CallRefused`,
                is passed on.
        """
        if inspect.iscoroutinefunction(self._function):
            with self._failing():
                said = await self._function(call)
        else:
            said = await asyncio.to_thread(self._call, call)
        return Reply(self._texts(said, call.n))

    async def close(self) -> None:
        """Nothing is held."""

    def _call(self, call: Call) -> Any:
        with self._failing():  # here in the thread: no future takes a StopIteration, and who awaits it waits for ever
            return self._function(call)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (EngineError, BudgetSpent):
            raise
        except (Exception, SystemExit) as error:  # the user's own code
            raise EngineError(f"function {self._name} failed: {_told(error, self._path)}") from error

    def _texts(self, said: Any, n: int) -> tuple[Text, ...]:
        found = (said,) if isinstance(said, str | Text) else said
        if not isinstance(found, Sequence) or not all(isinstance(one, str | Text) for one in found):
            raise EngineError(
                f"function {self._name} returned {type(said).__name__}", hint="return a text, or a list of n texts"
            )
        if len(found) != n:
            raise EngineError(f"function {self._name} returned {len(found)} texts, not {n}", hint="as `call.n` asks")
        return tuple(one if isinstance(one, Text) else Text(one) for one in found)


def _told(error: BaseException, path: Path) -> str:
    """Return the class of an error and the last line of a file that led to it, not what it says, which may be text."""
    places = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        places.append((error.filename, error.lineno))
    lines = [line for file, line in places if Path(file).resolve() == path.resolve()]
    return f"{type(error).__name__}{f' at {path.name}:{lines[-1]}' if lines else ''}"


def _module(path: Path) -> Any:
    """Return the module of a file, run now unless this process has it, in this version."""
    with _RUNNING:  # models of one file are opened in several threads at once, and must not see it half run
        return _run(path)


def _run(path: Path) -> Any:
    name = f"guardrail_recipe_{hashlib.sha256(str(path.resolve()).encode() + path.read_bytes()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise ConfigurationError(f"{path.name} is no Python file", hint="its name ends in .py")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # before it runs: dataclasses look themselves up there
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
