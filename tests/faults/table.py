"""Prints the table of docs/faults.md: python -m tests.faults.table."""

import logging
import tempfile
from pathlib import Path

from tests.faults import of_engines, of_service, of_stores
from tests.faults.scene import Scene, Seen
from tests.postgres import PostgresServer


def row(name: str, seen: Seen) -> str:
    """Return a line of the table."""
    return f"| {name} | {seen.did} | {seen.says} | {seen.leaked} | {seen.lost} |"


def main() -> None:
    """Put the gate before every fault."""
    logging.disable()
    print("| fault | what the gate did | what the records say | characters leaked | records lost |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, fault) in enumerate({**of_engines.FAULTS, **of_stores.FAULTS, **of_service.FAULTS}.items()):
            scene = Path(folder) / str(i)
            scene.mkdir()
            print(row(name, fault(Scene(scene))), flush=True)
        server = PostgresServer()
        try:
            for name, of_database in of_stores.OF_DATABASES.items():
                print(row(name, of_database(Scene(Path(folder)), server)), flush=True)
        finally:
            server.close()


if __name__ == "__main__":
    main()
