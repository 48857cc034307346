"""A proxy process whose guard stops at "☠": python marked_proxy.py RECORDS -- command."""

import sys

from guardrail import Guard
from guardrail.adapters.mcp import run_proxy
from guardrail.cli.mcp import log_to_stderr
from guardrail.records import JsonlSink
from guardrail.testing import MarkerEngine, default_tokenizer

if __name__ == "__main__":
    _, records, _, *command = sys.argv
    tokenizer = default_tokenizer()
    engine = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")})
    log_to_stderr()
    with JsonlSink(records) as sink, Guard(engine, tokenizer, sinks=[sink]) as guard:
        sys.exit(run_proxy(guard, command))
