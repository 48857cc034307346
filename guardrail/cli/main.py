"""The entry point `guardrail`: registers the commands and turns errors into one line and an exit code."""

import importlib.metadata
import itertools
import os
import sys

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from guardrail.cli.exits import EXIT_CODES, Exit
from guardrail.errors import BudgetSpent, ContentStopped, EngineError, GuardError, MissingExtra

DESCRIPTION = """\
Judge prompts and streamed answers with a safety model, token by token, on this machine.

```sh
guardrail check "How do I bake bread?"
guardrail check --prompt "Who are you?" "I am a baker."
cat answer.txt | guardrail stream
guardrail demo
```

`check` and `stream` use the small embedded model unless `--model` names another one.
"""

# Named, not imported: `guardrail --help` stays quick, and a command loads only what it runs.
_COMMANDS = {
    "check": ("guardrail.cli.check:check", "Judge one text: a prompt, or an answer to one."),
    "stream": ("guardrail.cli.stream:stream", "Pass an answer from stdin to stdout until its first risky token."),
    "scan": ("guardrail.cli.scan:scan", "Judge data sets: JSONL and Parquet files."),
    "serve": ("guardrail.cli.serve:serve", "Serve moderation, a guarding proxy and token streams over HTTP."),
    "demo": ("guardrail.cli.demo:demo", "Watch a guarded LangChain chain stop streamed answers."),
    "export": ("guardrail.cli.export:export", "Export a checkpoint to ONNX."),
    "calibrate-kv": ("guardrail.cli.export:calibrate_kv", "Give an exported model an int8 KV cache."),
    "verify": ("guardrail.cli.export:verify", "Compare an exported model with the torch network."),
    "evaluate": ("guardrail.cli.evaluate:evaluate", "Measure a model on labelled files."),
    "abilities": ("guardrail.cli.abilities:abilities", "Measure what language models can do, and how safe they are."),
    "report": ("guardrail.cli.report:report", "Say what records tell, as tables or as a page."),
    "replay": ("guardrail.cli.replay:replay", "Show what another policy would have done with recorded traffic."),
    "calibrate": ("guardrail.cli.calibrate:calibrate", "Choose thresholds on your own traffic, and write a policy."),
    "bench": ("guardrail.cli.bench:bench", "Measure speed and memory of a model on this machine."),
    "doctor": ("guardrail.cli.doctor:doctor", "Say what is installed, which model judges, how fast this machine is."),
    "leaktest": ("guardrail.cli.leaktest:leaktest", "List what your chain, agent or gateway lets out after a stop."),
    "mcp": ("guardrail.cli.mcp:mcp", "Screen what passes between an MCP client and a server."),
}
_STAGES = {
    "tokenizer": ("guardrail.cli.train:tokenizer", "Train a tokenizer with Qwen3's rules."),
    "pretrain": ("guardrail.cli.train:pretrain", "Train the backbone as a language model."),
    "distil": ("guardrail.cli.train:distil", "Train the backbone to foretell a sentence encoder's vectors."),
    "teach": ("guardrail.cli.train:teach", "Give labelled rows the soft labels of teachers that have not seen them."),
    "sft": ("guardrail.cli.train:sft", "Train the four heads on labelled text."),
    "own": ("guardrail.cli.own:own", "Teach a guard your own policy: from a CSV file to an exported model."),
    "sft-gen": ("guardrail.cli.train:sft_gen", "Train a generative guard on labelled text."),
    "rollouts": ("guardrail.cli.train:rollouts", "Choose the prompts of `rl` by answers to them."),
    "rl": ("guardrail.cli.train:rl", "Train a language model with the guard as a reward."),
    "helpfulness": ("guardrail.cli.train:helpfulness", "Train a model that scores how helpful answers are."),
    "synthesise": ("guardrail.cli.recipe:synthesise", "Recipe: make prompts over the taxonomy."),
    "respond": ("guardrail.cli.recipe:respond", "Recipe: answer prompts with models of several kinds."),
    "annotate": ("guardrail.cli.recipe:annotate", "Recipe: label rows by the votes of several models."),
    "translate": ("guardrail.cli.recipe:translate", "Recipe: translate rows, and check what comes back."),
    "controversial": ("guardrail.cli.recipe:controversial", "Recipe: find rows that strict and loose disagree on."),
    "relabel": ("guardrail.cli.recipe:relabel", "Recipe: correct labels by a teacher that has not seen them."),
    "token-labels": ("guardrail.cli.recipe:token_labels", "Recipe: find the first risky token of risky answers."),
    "mix": ("guardrail.cli.recipe:mix", "Recipe: balance, de-duplicate, check for leaks, split."),
    "all": ("guardrail.cli.recipe:all_stages", "Recipe: run all its stages, in order."),
    "status": ("guardrail.cli.recipe:status", "Recipe: show how its stages stand, also while they run."),
    "review": ("guardrail.cli.review:review", "Recipe: say what people found in a sheet of translations."),
}

_RECORDS = {
    "count": ("guardrail.cli.records:count", "Say how many records a store holds, and from when."),
    "export": ("guardrail.cli.records:export", "Write records as CSV, JSON lines or Parquet."),
    "prune": ("guardrail.cli.records:prune", "Delete old records for good."),
}
_REWARDS = {
    "serve": ("guardrail.cli.reward:serve", "Serve rewards to OpenRLHF, verl, TRL and other trainers over HTTP."),
}
_GROUPS = ("train", "records", "reward")
"""Commands that only hold others."""


def build(*, is_list: bool = True) -> App:
    """Return the command line.

    Args:
        is_list: whether commands are only listed, each in a line; else their help is their docstring.
    """
    app = App(
        name="guardrail",
        help=DESCRIPTION,
        help_format="markdown",
        help_epilogue=EXIT_CODES,
        version=lambda: importlib.metadata.version("guardrail-stream"),
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,
    )
    train = App(name="train", help="Train a guard model; each stage is set up by a TOML file.")
    app.command(train)
    records = App(name="records", help="Count, export and delete records: files of JSON lines, SQLite, PostgreSQL.")
    app.command(records)
    reward = App(name="reward", help="The guard as a reward for reinforcement learning.")
    app.command(reward)
    for parent, commands in ((app, _COMMANDS), (train, _STAGES), (records, _RECORDS), (reward, _REWARDS)):
        for name, (target, summary) in commands.items():
            parent.command(target, name=name, help=summary if is_list else None)
    train.command(_STAGES["token-labels"][0], name="token_labels", show=False)  # as its section of the recipe is called
    return app


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; return its exit code. What users can cause ends in one line on stderr, never in a traceback."""
    app = build(is_list=not [name for name in arguments[:2] if name not in (*_GROUPS, "--help", "-h")])
    try:
        result = app(arguments, result_action="return_value", exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(Exit.USAGE, error, _hint(error, arguments))
    except ModuleNotFoundError as error:  # torch is imported in many files of the training
        if arguments[:1] not in (["train"], ["reward"]) or (error.name or "guardrail").startswith("guardrail"):
            raise
        return _fail(Exit.USAGE, MissingExtra((error.name or "").partition(".")[0], "train"))
    except EngineError as error:
        return _fail(Exit.ENGINE, error)
    except BudgetSpent as spent:
        return _fail(Exit.BUDGET, spent)
    except ContentStopped as stop:
        return _fail(Exit.STOPPED, stop)
    except BrokenPipeError:
        _forget_stdout()
        return Exit.BROKEN_PIPE
    except (GuardError, OSError) as error:
        return _fail(Exit.USAGE, error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return result if isinstance(result, int) else Exit.OK


def _hint(error: CycloptsError, arguments: list[str]) -> str:
    """Return where the command's options are listed, and what somebody forgot who gave too many words."""
    names = [*itertools.takewhile(lambda word: not word.startswith("-"), arguments[:2])]
    known = {*_COMMANDS, *_GROUPS}
    command = [*names[:1], *(names[1:] if names[0] in _GROUPS else [])] if names and names[0] in known else []
    quotes = "a text of several words needs quotes; " if isinstance(error, UnusedCliTokensError) else ""
    return f"{quotes}see {' '.join(['guardrail', *command, '--help'])}"


def _fail(code: Exit, error: Exception, hint: str = "") -> int:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    print(f"guardrail: {text}{f' ({hint})' if hint else ''}", file=sys.stderr)
    return code


def _forget_stdout() -> None:
    """Point stdout at nothing: the interpreter's last flush would fail again, with a message."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
