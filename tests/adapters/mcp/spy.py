"""Stands between a client and the proxy and keeps every byte that the client gets: python spy.py FILE -- command."""

import subprocess
import sys
import threading
from pathlib import Path


def pump(process: "subprocess.Popen[bytes]") -> None:
    """Pass the client's lines on."""
    assert process.stdin
    for line in sys.stdin.buffer:
        process.stdin.write(line)
        process.stdin.flush()
    process.stdin.close()


if __name__ == "__main__":
    with (
        Path(sys.argv[1]).open("ab", buffering=0) as heard,
        subprocess.Popen(sys.argv[3:], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        threading.Thread(target=pump, args=(process,), daemon=True).start()
        assert process.stdout
        for line in process.stdout:
            heard.write(line)
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
