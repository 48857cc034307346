"""A server that we did not write: `transformers serve`, with a model of ours."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

COMMAND = Path(sys.executable).with_name("transformers")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the model in a folder, in a process of its own; yield the server's URL once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    arguments = [str(COMMAND), "serve", str(folder), "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_there(f"{url}/health", process)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_there(url: str, process: "subprocess.Popen[bytes]") -> None:
    pause = threading.Event()
    while process.poll() is None:
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            pause.wait(0.2)  # another process starts: there is no event to wait for
    raise AssertionError("the server did not start")
