"""Exit codes: what a script learns from a command without reading its output."""

from enum import IntEnum

from guardrail.decision import Decision, Reason


class Exit(IntEnum):
    """Exit codes of every command; documented in docs/cli.md and under `guardrail --help`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    STOPPED = 3
    ENGINE = 4
    BUDGET = 5
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_CODES = """\
Exit codes:

- 0: the text was allowed or flagged; the command did its work
- 1: a check of the command itself failed, such as a comparison in `verify`, or `scan`, `records`, `replay` or
  `calibrate` met rows that it could not read
- 2: wrong usage or configuration: an option, a policy, a file, a model, a missing extra
- 3: the text was stopped
- 4: the model failed, and the policy stops on failure; or a stage of `train` could not ask its model
- 5: a stage of `train` has spent its budget; started again, it goes on
- 130, 141: interrupted; the reader of the output went away
"""


def exit_of(decision: Decision) -> Exit:
    """Return the exit code of a decision; a stop because of a failure is told from one because of the text."""
    if not decision.stopped:
        return Exit.OK
    return Exit.ENGINE if decision.reason is Reason.FAILURE else Exit.STOPPED
