"""SQLite's write-ahead log, switched on by several processes at once."""

import sqlite3
import time


def use_log(connection: sqlite3.Connection, patience_s: float) -> None:
    """Set the journal's mode. SQLite does not wait for others here, so this does.

    Args:
        connection: to the file.
        patience_s: how long others are waited for.

    Raises:
        sqlite3.OperationalError: the file is still locked then.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return
