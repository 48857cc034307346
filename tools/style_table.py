"""Prints how the code measures up to our rules on length, annotations and handlers, and every outlier with its reason.

A body is counted in lines without its docstring, from its first statement to its last. An outlier is a body of more
than 30 lines, a file of more than 300, or a broad handler that does not raise again; its reason is a comment beside it:
`# long: why` above a function, or above the docstring of a file, and any comment on the line of a handler.
"""

import ast
import io
import math
import re
import statistics
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("guardrail", "adapters", "onnx_export", "tests")
MOST_BODY, MOST_FILE = 30, 300
"""Lines that need no reason."""

_FIRST_LINES = 5
"""Where a file's reason may stand."""

_LONG = re.compile(r"#\s*long:\s*(?P<reason>\S.*)")
_CODE = re.compile(r"noqa(: ?[A-Z]+\d+(, ?[A-Z]+\d+)*)?[\s#:-]*", re.ASCII)
_BROAD = {"Exception", "BaseException"}

_HEAD = (
    "| folder | files | functions | body: median, p90, max | file: median, max | annotated "
    "| comments per 100 lines | broad handlers |"
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Outlier:
    """What is longer or broader than the rule.

    Attributes:
        place: file and line.
        what: name and size.
        reason: that stands beside it; empty where there is none.
    """

    place: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Measured:
    """One file.

    Attributes:
        n_lines: of the file.
        bodies: lines of each function.
        n_annotated: functions whose every argument and result is annotated.
        n_comments: comments, those behind code included.
        n_broad: broad handlers that do not raise again.
        outliers: of this file.
    """

    n_lines: int
    bodies: tuple[int, ...]
    n_annotated: int
    n_comments: int
    n_broad: int
    outliers: tuple[Outlier, ...]


def measure(source: str, place: str) -> Measured:
    """Measure a file's text; `place` is its path, for the outliers."""
    functions, handlers = _nodes(source)
    return Measured(
        n_lines=source.count("\n"),
        bodies=tuple(map(_body_length, functions)),
        n_annotated=sum(map(_is_annotated, functions)),
        n_comments=len(_comments(source)),
        n_broad=len(handlers),
        outliers=tuple(find_outliers(source, place)),
    )


def find_outliers(source: str, place: str) -> list[Outlier]:
    """Return the outliers of a file's text, which comments are looked up for only where there are some."""
    functions, handlers = _nodes(source)
    long, n_lines = [node for node in functions if _body_length(node) > MOST_BODY], source.count("\n")
    if not (long or handlers or n_lines > MOST_FILE):
        return []
    comments = _comments(source)
    found = [
        Outlier(f"{place}:{node.lineno}", f"{node.name}, {_body_length(node)} lines", _function_reason(node, comments))
        for node in long
    ]
    found += [Outlier(f"{place}:{node.lineno}", "broad handler", _handler_reason(node, comments)) for node in handlers]
    if n_lines > MOST_FILE:
        first = [_long_reason(comments.get(line, "")) for line in range(1, _FIRST_LINES + 1)]
        found.append(Outlier(place, f"file, {n_lines} lines", next(filter(None, first), "")))
    return found


def read_folder(folder: str) -> Iterator[tuple[str, str]]:
    """Yield text and place of each Python file of a folder at the top of the repository."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path.read_text("utf-8"), path.relative_to(ROOT).as_posix()


def table(folders: Sequence[str] = FOLDERS) -> tuple[str, list[Outlier]]:
    """Return the table as Markdown, a row a folder, and all outliers."""
    rows = [_HEAD, "|---" * 8 + "|"]
    outliers: list[Outlier] = []
    for folder in folders:
        files = [measure(source, place) for source, place in read_folder(folder)]
        rows.append(_row(folder, files))
        outliers += [outlier for file in files for outlier in file.outliers]
    return "\n".join(rows), outliers


def _row(folder: str, files: Sequence[Measured]) -> str:
    bodies = sorted(body for file in files for body in file.bodies)
    lengths = sorted(file.n_lines for file in files)
    n_annotated, n_lines = sum(file.n_annotated for file in files), sum(lengths)
    p90 = bodies[math.ceil(0.9 * len(bodies)) - 1]
    return (
        f"| `{folder}/` | {len(files)} | {len(bodies)} | {statistics.median(bodies):g}, {p90}, {bodies[-1]} "
        f"| {statistics.median(lengths):g}, {lengths[-1]} | {100 * n_annotated / len(bodies):.1f} % "
        f"| {100 * sum(file.n_comments for file in files) / n_lines:.1f} | {sum(file.n_broad for file in files)} |"
    )


def _nodes(source: str) -> tuple[list[Function], list[ast.ExceptHandler]]:
    """Return all functions of a file's text, and its broad handlers."""
    functions: list[Function] = []
    handlers: list[ast.ExceptHandler] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            functions.append(node)
        elif isinstance(node, ast.ExceptHandler) and _is_broad(node):
            handlers.append(node)
    return functions, handlers


def _body_length(node: Function) -> int:
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1 if body else 0


def _is_annotated(node: Function) -> bool:
    """Whether the result and every argument but self and cls is annotated."""
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    named = [one for one in given if one is not None and one.arg not in ("self", "cls")]
    return node.returns is not None and all(one.annotation is not None for one in named)


def _is_broad(node: ast.ExceptHandler) -> bool:
    """Whether a handler takes everything and goes on: one that ends by raising hides nothing."""
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    takes_all = any(kind is None or (isinstance(kind, ast.Name) and kind.id in _BROAD) for kind in kinds)
    return takes_all and not isinstance(node.body[-1], ast.Raise)


def _comments(source: str) -> dict[int, str]:
    """Return every comment by its line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def _function_reason(node: Function, comments: dict[int, str]) -> str:
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    return next(filter(None, (_long_reason(comments.get(line, "")) for line in range(first - 1, node.lineno + 1))), "")


def _handler_reason(node: ast.ExceptHandler, comments: dict[int, str]) -> str:
    """Return what the comment on a handler's line says besides the rule that it switches off."""
    return _CODE.sub("", comments.get(node.lineno, "").lstrip("# ")).strip()


def _long_reason(comment: str) -> str:
    found = _LONG.search(comment)
    return found["reason"].strip() if found else ""


def main() -> int:
    """Print the table and the outliers; return 1 if one of them has no reason."""
    rows, outliers = table()
    print(rows)
    print(
        f"\n{len(outliers)} outliers (body > {MOST_BODY}, file > {MOST_FILE}, broad handler that does not raise again):"
    )
    for one in outliers:
        print(f"- {one.place}: {one.what}: {one.reason or 'NO REASON'}")
    return int(any(not one.reason for one in outliers))


if __name__ == "__main__":
    sys.exit(main())
