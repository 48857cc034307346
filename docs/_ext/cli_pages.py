"""The command line: a page for each command, with what its `--help` says."""

import pieces
from cyclopts import App

from guardrail.cli import main as cli
from guardrail.cli.exits import EXIT_CODES


def pages() -> dict[str, str]:
    """Return a page for each command, and the page that lists them."""
    listed, full = cli.build(), cli.build(is_list=False)
    made: dict[str, str] = {}
    text = "# Commands\n\nWhat `--help` says of each, made from the program. [Overview and examples](../../cli.md).\n\n"
    for words in _commands(full):
        name = "-".join(words)
        command = _at(full, words)
        made[f"cli/{name}.md"] = _page(command, words)
        text += f"- [`guardrail {' '.join(words)}`]({name}.md): {_line(_at(listed, words))}\n"
    toc = pieces.code("\n".join((":hidden:", "", *(name[4:-3] for name in made))), "{toctree}")
    codes = EXIT_CODES.partition(":\n")[2]
    made["cli/index.md"] = f"{text}\n## Exit codes\n{codes}\n{toc}"
    return made


def _commands(app: App, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the words of every command that is shown, in the order of the help."""
    found: list[tuple[str, ...]] = []
    for name in app:
        command = app[name]
        if name.startswith("-") or not command.show:
            continue
        inside = _commands(command, (*before, name))
        found += inside or [(*before, name)]
    return found


def _at(app: App, words: tuple[str, ...]) -> App:
    for word in words:
        app = app[word]
    return app


def _page(command: App, words: tuple[str, ...]) -> str:
    """Return the help of one command under its whole name."""
    text = command.generate_docs(output_format="markdown", recursive=False, usage_name=f"guardrail {' '.join(words)}")
    _, _, rest = text.partition("\n")
    return f"# guardrail {' '.join(words)}\n{rest}\n"


def _line(command: App) -> str:
    return " ".join((command.help or "").split())
