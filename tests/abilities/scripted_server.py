"""The counting server with answers by rule: `RULES.json` beside the log lists [model, text in the last turn, answers].

An empty model is any. Equal questions get the answers one after the other, so that samples can differ.
"""

import json
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training" / "recipe"))

import server  # type: ignore[import-not-found]  # its folder is put on the path above

NOTHING = "I do not know."


class Rules:
    """Answers questions."""

    def __init__(self, path: Path) -> None:
        self._rules = json.loads(path.read_text("utf-8"))
        self._asked: Counter[int] = Counter()
        self._lock = threading.Lock()

    def texts(self, asked: dict[str, Any], _name: str) -> list[str]:
        """Return the samples."""
        last = asked["messages"][-1]["content"]
        for i, (model, part, answers) in enumerate(self._rules):
            if model in ("", asked["model"]) and part in last:
                with self._lock:
                    n = self._asked[i]
                    self._asked[i] += 1
                return [answers[n % len(answers)]]
        return [NOTHING]


if __name__ == "__main__":
    server.Handler.texts = staticmethod(Rules(Path(sys.argv[1]).with_name("RULES.json")).texts)
    server.main()
