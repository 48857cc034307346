"""Which files data passes: a prompt through a chain, a delta through the HTTP stream, a row, a checkpoint.

    python -m tools.walks            # all four
    python -m tools.walks chain      # chain, stream, recipe or export

Runs each for real, and prints the files of the package in the order in which they are first entered, how often each is
entered from another one, and from which. A file that is entered once and leaves at once adds little; two that enter
each other again and again may be one idea in two places. `docs/walks.md` says what was made of it.
"""

import argparse
import inspect
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from shutil import copytree
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HARMFUL = "You are a fucking idiot and a stupid bastard."


class Walk:
    """Notes which file of the package calls into which."""

    def __init__(self) -> None:
        self.steps: Counter[tuple[str, str]] = Counter()
        self.order: dict[str, None] = {}
        self.is_over = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """See `sys.setprofile`."""
        if not self.is_over and event == "call" and (here := _name(frame)):
            back = frame.f_back
            while back and not _name(back):  # foreign code in between: the standard library, a framework
                back = back.f_back
            there = _name(back) if back else ""
            if here != there:
                self.order.setdefault(here)
                self.steps[there, here] += 1

    def table(self) -> Iterator[str]:
        """Yield lines: a file, how often it is entered, and from where."""
        for here in self.order:
            found = {there: n for (there, to), n in self.steps.items() if to == here}
            told = ", ".join(f"{there or 'outside'} {n}" for there, n in sorted(found.items(), key=lambda one: -one[1]))
            yield f"{here:45} {sum(found.values()):6}  {told}"


def _name(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    is_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED  # and no body of a module or a class
    if not is_function or not path.is_relative_to(ROOT):
        return ""
    name = path.relative_to(ROOT).as_posix()
    return name if name.startswith(("guardrail/", "adapters/", "onnx_export/")) else ""


@contextmanager
def walking() -> Iterator[Walk]:
    """Watch all threads that are started from here on, and this one."""
    walk = Walk()
    threading.setprofile(walk)
    sys.setprofile(walk)
    try:
        yield walk
    finally:
        walk.is_over = True  # threads that go on keep their profile function
        sys.setprofile(None)
        threading.setprofile(None)


def chain(_: Path) -> Walk:
    """Return the walk of a prompt and a streamed answer through `guard | llm | guard`."""
    from langchain_core.language_models import FakeListChatModel

    from guardrail import Guard
    from guardrail.adapters.langchain import GuardRunnable

    with Guard.default() as guard:
        runnable = GuardRunnable(guard)
        walked = runnable | FakeListChatModel(responses=[HARMFUL]) | runnable
        with walking() as walk:
            for _chunk in walked.stream("What do you think of me?"):
                pass
    return walk


def stream(_: Path) -> Walk:
    """Return the walk of an answer's deltas through the HTTP stream."""
    from fastapi.testclient import TestClient

    from guardrail.service import create_app

    with ExitStack() as stack, walking() as walk:  # over before the service ends
        client = stack.enter_context(TestClient(create_app(), base_url="http://localhost"))
        opened = client.post("/v1/streams", json={"messages": [{"role": "user", "content": "What do you think?"}]})
        walk.steps.clear()
        walk.order.clear()
        for word in HARMFUL.split():
            client.post(f"/v1/streams/{opened.json()['id']}/deltas", json={"text": f"{word} "})
    return walk


def recipe(folder: Path) -> Walk:
    """Return the walk of rows through two stages of the recipe, as the command runs them."""
    from guardrail.cli.main import run

    copied = folder / "examples" / "recipe"
    copytree(ROOT / "examples" / "recipe", copied)
    with chdir(folder), walking() as walk:
        for stage in ("synthesise", "respond"):
            run(["train", stage, "--config", str(copied / "tiny.toml")])
    return walk


def export(folder: Path) -> Walk:
    """Return the walk of a checkpoint into ONNX, and of a first text through it."""
    import onnx  # noqa: F401  # before the walk: it is foreign, and slow to load

    from guardrail import Guard
    from guardrail.onnx_export import export_checkpoint
    from tests.tiny import write_tiny

    source = write_tiny(folder / "tiny")
    with walking() as walk:
        export_checkpoint(source, folder / "exported")
        with Guard.load(folder / "exported") as guard:
            guard.check_prompt("Hello")
    return walk


WALKS: dict[str, Callable[[Path], Walk]] = {"chain": chain, "stream": stream, "recipe": recipe, "export": export}


def main() -> None:
    """Print the walks that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("walks", nargs="*", metavar="WALK", help=f"{', '.join(WALKS)}; all without one")
    walks = parser.parse_args().walks or [*WALKS]
    if unknown := sorted({*walks} - WALKS.keys()):
        parser.error(f"there is no {', '.join(unknown)}")
    for name in walks:
        with tempfile.TemporaryDirectory() as folder:
            walk = WALKS[name](Path(folder))
        print(f"\n{name}: {len(walk.order)} files, entered {sum(walk.steps.values()):,} times")
        print("\n".join(walk.table()))


if __name__ == "__main__":
    main()
