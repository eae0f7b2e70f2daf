"""One process at a time in a folder."""

import fcntl
import os
import pathlib
import weakref

from iss_rnns import errors
from iss_rnns import files

FILE = ".lock"  # in the folder; it stays there, the lock does not


class Lock:
    """Held while this object lives, at the longest while its process does.

    Args:
      descriptor: of the locked file.
    """

    def __init__(self, descriptor: int):
        # The system takes the lock away when the last descriptor is closed,
        # however the process ends.
        weakref.finalize(self, os.close, descriptor)


# By device and inode: a process does not lock itself out.
_held: weakref.WeakValueDictionary[tuple[int, int], Lock] = (
    weakref.WeakValueDictionary()
)


def lock(folder: files.PathLike) -> Lock:
    """Locks a folder, which must be there, against other processes.

    A process that locks it again gets the same lock.

    Raises:
      UserError: if another process holds it.
      OSError: if the folder cannot be written.
    """
    path = pathlib.Path(folder) / FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    status = os.fstat(descriptor)
    file = status.st_dev, status.st_ino
    held = _held.get(file)
    if held is not None:
        os.close(descriptor)
        return held
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace")
        os.close(descriptor)
        raise errors.UserError(
            f"{folder} is in use by another process"
            f"{f' ({holder})' if holder.isdecimal() else ''}; wait until it "
            "has ended, or choose another --run_name"
        ) from None
    except OSError as error:
        print(
            f"note: cannot lock {folder}: {errors.reason(error)}; see to it "
            "that no other process uses it",
            flush=True,
        )
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    held = _held[file] = Lock(descriptor)
    return held
