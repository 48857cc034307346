"""Wrong first commands end in one line that says what to do."""

import subprocess
import sys

import pytest

from guardrail.cli.main import run

WITHOUT_TORCH = (
    "import sys; sys.modules['torch'] = None; from guardrail.cli.main import run; sys.exit(run(sys.argv[1:]))"
)


def test_training_without_its_extra_names_it() -> None:
    """Whichever file of the training is the first to want torch."""
    command = ["train", "own", "rows.csv", "--output", "mine"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == 'guardrail: torch is not installed (pip install "guardrail-stream[train]")\n'


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["check", "two", "words"], "(a text of several words needs quotes; see guardrail check --help)"),
        (["scan", "rows.jsonl"], "(see guardrail scan --help)"),
        (["train", "sft"], "(see guardrail train sft --help)"),
        (["chek", "a"], "(see guardrail --help)"),
        (["--nothing"], "(see guardrail --help)"),
        ([], ""),
    ],
    ids=str,
)
def test_a_wrong_command_is_sent_to_its_own_help(
    command: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where its options are listed; nothing at all shows the commands."""
    assert run(command) == (2 if command else 0)
    assert capsys.readouterr().err.strip().endswith(told)
