"""A lock that knows dead owners, also those on other nodes of a shared file system.

Owners of a lease are numbered: each has a file ``NAME.NUMBER.owner``, which is created exclusively, so that
of several processes only one gets a number. The owner is who has the highest; its file stays when the lease
is given back, and says so. A process whose number is no longer the highest has lost its lease.
"""

import json
import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clme import allocation, stopping
from clme.errors import UserError
from clme.files import make_folder

BEAT_SECONDS = 10.0
"""Between two signs of life of an owner."""
SILENT_SECONDS = 180.0
"""An owner from which nothing is heard for so long, by the clock of who waits, is taken to be dead."""
POLL_SECONDS = 1.0


class Lease:
    """A lock on a name in a folder; who wants it waits until the owner has given it back or is dead.

    An owner on this host is dead when its process is gone; an owner elsewhere, when its sign of life hasn't
    changed for a while. No clocks of different nodes are compared.

    Args:
        folder: where the owners' files are; it is made.
        name: what is locked, without dots; begins the files' names.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = Path(folder), name
        self.token = secrets.token_hex(8)
        self.number = 0
        self._beats = 0
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        make_folder(self._folder)
        try:
            self._acquire()
        except OSError as error:
            raise UserError(
                f"{self._folder}: can't be written ({error.strerror or error}); free the disk, or mend the"
                " folder's permissions, and rerun"
            ) from error
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._write(released=True)
        os.close(self._file)

    def check(self) -> None:
        """Make sure that this process is still the owner.

        Raises:
            UserError: another one has taken over, since this one was silent for too long.
        """
        newest = self._newest()
        # Read, and not only listed: where a network's file system remembers listings, it looks again.
        if newest != self.number or not self._read(newest):
            raise UserError(
                f"{self._folder / self._name}: {_named(self._read(newest))} has taken over from this process,"
                f" of which nothing was heard for {SILENT_SECONDS:.0f} s; what is finished is kept, and the"
                " other one goes on"
            )

    def _acquire(self) -> None:
        heard: bytes | None = None
        since = 0.0
        while True:
            newest = self._newest()
            said = self._read(newest)
            if heard is not None and said != heard:
                since = time.monotonic()
            silent = said == heard and time.monotonic() - since > SILENT_SECONDS
            if newest == 0 or _free(said) or silent:
                if self._claim(newest + 1):
                    return
                continue
            if heard is None:
                since = time.monotonic()
                print(
                    f"{self._folder / self._name}: {_named(said)} works on it; waiting",
                    file=sys.stderr,
                    flush=True,
                )
            heard = said
            stopping.heed(f"waiting for {self._folder / self._name}")
            time.sleep(POLL_SECONDS)

    def _claim(self, number: int) -> bool:
        """Try to become the owner with this number."""
        path = self._path(number)
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        self.number = number
        self._write()
        # While this process hesitated, others may have had their turn, and have removed their files.
        if self._newest() != number:
            os.close(self._file)
            path.unlink(missing_ok=True)
            return False
        for older in self._numbers():
            if older < number:
                self._path(older).unlink(missing_ok=True)
        return True

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            self._write()

    def _write(self, *, released: bool = False) -> None:
        """Write the owner's record, in place: each is at least as long as the one before."""
        self._beats += 1
        record = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "job": allocation.job_id(),
            "place": _place(),
            "started": _started(os.getpid()),
            "token": self.token,
            "beats": self._beats,
            **({"released": True} if released else {}),
        }
        try:
            os.pwrite(self._file, json.dumps(record).encode(), 0)
            os.fsync(self._file)
        except OSError:
            # No sign of life can be given: if that lasts, another process takes over, and `check` says so.
            return

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}.{number:06}.owner"

    def _numbers(self) -> list[int]:
        return [int(path.suffixes[-2][1:]) for path in self._folder.glob(f"{self._name}.*.owner")]

    def _newest(self) -> int:
        return max(self._numbers(), default=0)

    def _read(self, number: int) -> bytes:
        try:
            return self._path(number).read_bytes()
        except OSError:
            return b""


def _parsed(said: bytes) -> dict[str, Any]:
    """Read an owner's record; one that is being written is empty."""
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError:
        return {}
    return found


def _free(said: bytes) -> bool:
    """Tell whether an owner has given its lease back, or was a process here that is gone."""
    owner, here = _parsed(said), _place()
    if owner.get("released"):
        return True
    return here is not None and owner.get("place") == here and _started(owner["pid"]) != owner["started"]


def _named(said: bytes) -> str:
    owner = _parsed(said)
    job = f", job {owner['job']}" if owner.get("job") else ""
    return f"process {owner['pid']} on {owner['host']}{job}" if owner else "another process"


def _place() -> str | None:
    """Name where a process id means one process: a machine since it was started, and a container on it.

    None where the operating system doesn't tell.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """Return when a process started, in ticks since the machine did; None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else started
