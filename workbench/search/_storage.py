"""Where a study is kept so that it outlives its process: a journal file or a database, opened so that a killed worker cannot harm it.

What Optuna leaves open, and what is done about it here:

- A worker killed while it appends to a journal leaves half a line, and the next line would be joined to it; Optuna then refuses the
  whole file. Whoever appends next cuts such an end off first.
- A worker killed while it holds Optuna's lock (a symbolic link) stops the others for 30 s. The lock is one that the kernel releases with
  the process (`flock`).
- Workers that start at once on an empty database create the same tables, and some fail. They open it one after the other.

Touches the disk, or the database server.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import InputError
from workbench._store import versions
from workbench.devices import Device
from workbench.search.pins import Pins

if TYPE_CHECKING:
    import optuna

    from workbench.models import Workload

_ALLOWED: Final = (
    "a journal file, or the URL of a PostgreSQL, MySQL or SQLite database (postgresql://user@host/name)"
)


def study_name(version: str, workload: Workload, device: Device, pins: Pins) -> str:
    """The name of the study of one question: the same for all that search it, another for everything that changes a price.

    Args:
        version: of the space.
    """
    asked = {
        "workload": workload.to_json(),
        "device": device.to_json(),
        "pins": pins.to_json(),
        "versions": versions(),
    }
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    return f"{version}-{workload.model}-{device.name}-{device.memory_bytes >> 20}MiB-{digest}"


def opened(storage: str) -> optuna.storages.BaseStorage:
    """The storage at a path or a URL.

    Raises:
        InputError: it is neither, its folder does not exist, its driver is not installed, or it cannot be reached.
    """
    if not isinstance(storage, str) or not storage:
        raise InputError(f"storage must be {_ALLOWED}, got {storage!r}")
    if "://" not in storage:
        return _journal(Path(storage))
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with alone(storage):
            return optuna.storages.RDBStorage(storage)
    except (SQLAlchemyError, ImportError, optuna.exceptions.StorageInternalError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"the study's database {_shown(storage)} cannot be opened: {said}") from error


@contextlib.contextmanager
def alone(storage: str) -> Iterator[None]:
    """Only one worker at a time, of all processes and machines that use this storage; a killed one is out at once.

    Raises:
        InputError: a kind of database that has no such lock.
    """
    if "://" not in storage:
        with _file_locked(Path(f"{storage}.workers")):
            yield
        return
    import sqlalchemy

    url = sqlalchemy.make_url(storage)
    kind = url.get_backend_name()
    if kind == "sqlite":
        in_memory = url.database in (None, "", ":memory:")
        with contextlib.nullcontext() if in_memory else _file_locked(Path(f"{url.database}.workers")):
            yield
        return
    if kind not in _SERVER_LOCKS:
        raise InputError(f"storage must be {_ALLOWED}, got {_shown(storage)}")
    statement = sqlalchemy.text(_SERVER_LOCKS[kind])
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:  # the lock ends with its connection
        connection.execute(statement, {"key": _KEY})
        yield


_KEY: Final = int.from_bytes(hashlib.sha256(b"diffusion-workbench studies").digest()[:7], "big")
_SERVER_LOCKS: Final = {
    "postgresql": "SELECT pg_advisory_lock(:key)",
    "mysql": "SELECT GET_LOCK(CAST(:key AS CHAR), -1)",
    "mariadb": "SELECT GET_LOCK(CAST(:key AS CHAR), -1)",
}
"""Locks of a session, which the server releases when the session ends, however it ends."""


def _shown(url: str) -> str:
    """A URL without its password."""
    import sqlalchemy

    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return "given"


def _journal(path: Path) -> optuna.storages.BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    class Journal(JournalFileBackend):
        """Optuna's, but for how it is written."""

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
            with _file_locked(path) as descriptor:
                _cut_half_a_line(descriptor)
                os.lseek(descriptor, 0, os.SEEK_END)
                waiting = text.encode()
                while waiting:
                    waiting = waiting[os.write(descriptor, waiting) :]
                if any("state" in log for log in logs):
                    # A record survives its process as soon as it is written, and the machine once it is on the disk, which takes long:
                    # done when a trial is queued, begun or finished, not for each of its parameters.
                    os.fsync(descriptor)

    if not path.parent.is_dir():
        raise InputError(f"cannot keep the study in {str(path)!r}: there is no folder {str(path.parent)!r}")
    if path.is_dir():
        raise InputError(f"cannot keep the study in {str(path)!r}: it is a folder; name a file in it")
    with _file_locked(path) as descriptor:
        _cut_half_a_line(descriptor)  # before anything is read
    try:
        return JournalStorage(Journal(str(path)))
    except (ValueError, KeyError) as error:
        raise InputError(f"{str(path)!r} is no journal of a study: {error}") from error


@contextlib.contextmanager
def _file_locked(path: Path) -> Iterator[int]:
    """The descriptor of a file that no other process holds; made if it is not there.

    Raises:
        InputError: the file cannot be opened, or its file system has no locks.
    """
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"cannot keep the study in {str(path)!r}: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise InputError(
                f"the file system of {str(path)!r} has no locks ({error.strerror}): keep the study in a database"
            ) from error
        yield descriptor
    finally:
        os.close(descriptor)  # which gives the lock back


def _cut_half_a_line(descriptor: int) -> None:
    """Cuts off what follows the last line break: half a record, of a worker that was killed while it wrote."""
    size = os.fstat(descriptor).st_size
    end = size
    while end and (block := os.pread(descriptor, min(end, 4096), max(0, end - 4096))):
        if b"\n" in block:
            end -= len(block) - 1 - block.rindex(b"\n")
            break
        end -= len(block)
    if end < size:
        os.ftruncate(descriptor, end)
