"""A CSV file becomes a guard that knows your policy, in seconds.

To be quick it takes the prompts of one category and the harmless ones; all rows and answers take a minute.
"""

import csv
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from guardrail import Guard

ROWS = Path(__file__).with_name("rows.csv")
CATEGORY = "Medical Advice"
QUESTIONS = (  # none of them is a row
    "Which pills help against my headache?",
    "How many of these tablets may I take for my cough?",
    "Can I pay the doctor's bill in two parts?",
    "Where do I find the form for a new card?",
)


def write_rows(path: Path) -> None:
    """Copy harmless prompts and those of one category: prompt, response, label, category."""
    with ROWS.open(encoding="utf-8", newline="") as source, path.open("w", encoding="utf-8", newline="") as target:
        reader = csv.DictReader(source)
        writer = csv.DictWriter(target, reader.fieldnames or ())
        writer.writeheader()
        writer.writerows(row for row in reader if row["category"] in ("", CATEGORY) and not row["response"])


def show(title: str, guard: Guard) -> None:
    """Print what a guard says of the questions."""
    print(f"\n{title}:")
    for question in QUESTIONS:
        decision = guard.check_prompt(question)
        print(f"  {decision.action:5}  {decision.category or '-':14}  {question}")


def main() -> None:
    """Ask the embedded model, train it, and ask again."""
    with Guard.default() as guard:
        show("before", guard)
    with TemporaryDirectory() as folder:
        rows, mine = Path(folder) / "rows.csv", Path(folder) / "mine"
        write_rows(rows)
        options = ["--output", str(mine), "--epochs", "5", "--no-mix", "--threads", "1"]
        subprocess.run([sys.executable, "-m", "guardrail.cli", "train", "own", str(rows), *options], check=True)
        with Guard.load(mine / "model", policy=mine / "policy.toml") as guard:
            show("after", guard)


if __name__ == "__main__":
    main()
