"""The hub: its cache without network, and errors that say what to do; the real library, in processes of its own."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from guardrail.evaluation.datasets import DATASETS
from tests.evaluation.datasets.published import XSTEST, write

CODE = """
import json, sys
from guardrail.errors import ConfigurationError
from guardrail.evaluation.datasets import load_dataset
for name in sys.argv[1:]:
    try:
        print(json.dumps([row.id for row in load_dataset(name)]))
    except ConfigurationError as error:
        print(json.dumps(str(error)))
"""


def told(home: Path, *names: str, **environment: str) -> list[list[str] | str]:
    """Return, for each set, its rows' ids or the error; the library reads its environment when it is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    kept |= {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", **environment}
    command = [sys.executable, "-c", CODE, *names]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_offline_the_cache_serves_and_what_is_missing_is_explained(tmp_path: Path) -> None:
    """What was fetched once is read again; else the error names the id, the file and the option."""
    dataset = DATASETS["xstest"]
    cached = tmp_path / "hub" / "datasets--Paul--XSTest" / "snapshots" / dataset.revision
    write(cached / "xstest_prompts.csv", XSTEST)
    rows, missing, nowhere = told(tmp_path, "xstest", "toxicchat", "harmbench", HF_HUB_OFFLINE="1")
    assert rows == ["xstest/1", "xstest/2"]
    assert "lmsys/toxic-chat is not in the hub's cache" in missing
    assert "fetch data/0124/toxic-chat_annotation_test.csv of lmsys/toxic-chat at 29df8e4" in missing
    assert "toxicchat=PATH, a file or a folder" in missing
    assert "harmbench is not on the hub (fetch harmbench_behaviors_text_test.csv from https://github.com" in nowhere


class _Hub(BaseHTTPRequestHandler):
    """The part of the hub's protocol that a gated repository shows."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", "Access to this dataset is restricted")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815  (the standard library's name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the standard library's name)
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    """The address of a hub whose repositories are all gated."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_gated_set_says_where_to_accept_its_conditions(tmp_path: Path, hub: str) -> None:
    """And that a token is needed."""
    (error,) = told(tmp_path, "wildguardtest", HF_ENDPOINT=hub)
    assert "allenai/wildguardmix is gated" in error
    assert "accept its conditions at https://huggingface.co/datasets/allenai/wildguardmix, then set HF_TOKEN" in error
