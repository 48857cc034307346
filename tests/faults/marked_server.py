"""`guardrail serve` with a guard that judges by the marker: python tests/faults/marked_server.py CONFIG."""

import sys
from functools import partial
from pathlib import Path

from guardrail.service import create_app, load_settings, run
from tests.service.servers import marker_guard

if __name__ == "__main__":
    settings = load_settings(Path(sys.argv[1]))
    run.serve(create_app(settings, guard=marker_guard()), settings, partial(print, file=sys.stderr, flush=True))
