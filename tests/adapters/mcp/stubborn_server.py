"""A server process that behaves as badly as its client asks: python stubborn_server.py JOURNAL.

It notes its process id and every line in JOURNAL; the method "die" ends it at once with the code in its params, "deaf"
makes it ignore all that should end it, "echo" answers with the params.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    print(f"server is up\narguments: {' '.join(sys.argv[2:])}", file=sys.stderr, flush=True)
    with Path(sys.argv[1]).open("a", encoding="utf-8", buffering=1) as journal:
        journal.write(f"{os.getpid()}\n")
        for line in sys.stdin:
            journal.write(line)
            message = json.loads(line)
            if message["method"] == "die":
                sys.exit(message["params"]["code"])
            if message["method"] == "deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if message["method"] in ("echo", "deaf", "tools/call"):
                result = message["params"]
                print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
            if message["method"] == "deaf":
                time.sleep(60)
