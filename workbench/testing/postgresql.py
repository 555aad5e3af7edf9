"""A PostgreSQL server of its own, for tests and studies of what several workers do to one database. Starts processes."""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def missing() -> str:
    """Why there can be no server here; "" if there can."""
    if _programs() is None:
        return "no PostgreSQL server is installed (Debian: postgresql)"
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg, SQLAlchemy's driver for PostgreSQL, is not installed"
    return ""


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database that lives as long as this context; it listens on a socket in a folder of its own."""
    programs = _programs()
    assert programs is not None, missing()
    # the server refuses to run as root; its folder must then be one that its own user may enter
    user = "postgres" if os.geteuid() == 0 else None
    owner = user or getpass.getuser()
    with tempfile.TemporaryDirectory(prefix="workbench-pg-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o777)
        data = Path(folder) / "data"

        def call(program: str, *arguments: str) -> None:
            subprocess.run(
                [programs / program, "-D", str(data), *arguments],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                user=user,
            )

        call("initdb", "-U", owner, "-A", "trust", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        call("pg_ctl", "-w", "-l", str(data / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://{owner}@/postgres?host={folder}"
        finally:
            call("pg_ctl", "-m", "immediate", "stop")


def _programs() -> Path | None:
    """The folder of the newest server's programs, where Debian puts them."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    return folders[-1] if folders and (folders[-1] / "initdb").exists() else None
