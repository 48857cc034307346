"""An LLM's answer guarded by a service: deltas go there, what may be shown comes back.

The service may run anywhere, and the app may be written in any language; token_stream.mjs is the same in JavaScript.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from guardrail.client import Client

PROMPT = "What do the fans say about the game?"
ANSWER = "Most say it was fair. One says the referee is a fucking idiot and a stupid bitch, and everybody hates him."


@contextmanager
def service() -> Iterator[str]:
    """Run `guardrail serve` on a free port; yield its address, which its banner begins with."""
    command = [sys.executable, "-m", "guardrail.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield next(line for line in process.stderr or () if "serves" in line).split()[-1]
        finally:
            process.kill()


def deltas() -> Iterator[str]:
    """Stand for any LLM client that yields pieces of text."""
    yield from (word + " " for word in ANSWER.split())


def main() -> None:
    """Print what may be shown as soon as it may be shown."""
    with service() as url, Client(url) as client:
        print(PROMPT, client.check_prompt(PROMPT).action)
        with client.stream(PROMPT) as stream:
            for delta in deltas():
                print(stream.feed(delta), end="", flush=True)
                if stream.stop:
                    print(f"\n{stream.stop.message} ({stream.stop.category})")
                    break  # close the LLM's request here
            print(stream.finish())
        if stream.decision:
            print(stream.decision.action, stream.decision.stop_offset, f"{len(stream.verdicts)} tokens judged")


if __name__ == "__main__":
    main()
