"""Opening what lies beneath a folder, and nothing else.

The kernel resolves the path (openat2(2), RESOLVE_BENEATH, Linux 5.6), so no
check can be raced: a symlink that is swapped in between is simply refused.
Where openat2 is missing or forbidden, the path is walked component by
component with O_NOFOLLOW, which refuses the same things.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.tools.errors import FileMissing, PathNotAllowed
from services.tools.room import Room

_OPENAT2 = 437  # The same number on every architecture but alpha.
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
_MAX_PATH_CHARACTERS = 4095  # PATH_MAX without the NUL; the walk by component knows no such limit.
_ATTEMPTS = 8  # openat2 answers EAGAIN when the tree was renamed under it.

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ_FILE = _READ | os.O_NONBLOCK | os.O_NOCTTY  # A fifo or a terminal must not block or take over.
_READ_FOLDER = _READ | os.O_DIRECTORY
_APPEND_FILE = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_LOOK_AT = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW

_WHY = {
    errno.ELOOP: "symbolic links are not followed",
    errno.EXDEV: "it leads out of the workspace",
    errno.ENAMETOOLONG: "it is too long",
    errno.EACCES: "the system refuses it",
    errno.EPERM: "the system refuses it",
    errno.ENXIO: "it is no plain file",
    errno.ENODEV: "it is no plain file",
    errno.EISDIR: "it is a folder",
    errno.ENOTDIR: "a file stands where a folder should",
    errno.EINVAL: "a folder cannot lie within itself",
    errno.ENOSPC: "there is no room left",
    errno.EDQUOT: "there is no room left",
    errno.EROFS: "it cannot be written to",
}

Opener = Callable[[int, str, int], int]
"""Opens a path beneath a folder's descriptor with these flags; raises `OSError`."""


class _OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def open_in_kernel(folder: int, path: str, flags: int) -> int:
    """An `Opener` by openat2(2).

    Raises:
        OSError: As the kernel says; ENOSYS where it has no openat2.
    """
    # With O_NOFOLLOW a link at the end would read as "not a folder"; _RESOLVE refuses it by name.
    how = _OpenHow(flags=flags & ~os.O_NOFOLLOW, mode=0, resolve=_RESOLVE)
    code = errno.EAGAIN
    for _ in range(_ATTEMPTS):
        opened = _libc.syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(folder),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if opened >= 0:
            return int(opened)
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(code, os.strerror(code), path)


def open_by_component(folder: int, path: str, flags: int) -> int:
    """An `Opener` that opens one component after the other and follows no link."""
    *parents, last = [part for part in path.split("/") if part not in ("", ".")] or ["."]
    at = os.dup(folder)
    try:
        for name in parents:
            at, above = os.open(name, _READ_FOLDER, dir_fd=at), at
            os.close(above)
        name = last
        return os.open(name, flags, dir_fd=at)
    except NotADirectoryError:
        # O_DIRECTORY with O_NOFOLLOW says the same of a link as of a file.
        if stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
        raise
    finally:
        os.close(at)


@functools.cache
def best_opener() -> Opener:
    """openat2 where it works, found out by trying; the walk elsewhere."""
    here = os.open("/", _READ_FOLDER)
    try:
        os.close(open_in_kernel(here, ".", _READ_FOLDER))
    except OSError:
        return open_by_component
    finally:
        os.close(here)
    return open_in_kernel


@dataclass(frozen=True)
class Entry:
    """Something in a folder.

    Attributes:
        name: Its name, with what is no UTF-8 replaced.
        is_folder: A folder, or else a plain file.
        size_bytes: Size of a file; 0 for a folder.
    """

    name: str
    is_folder: bool
    size_bytes: int


class Folder:
    """A folder held open by its descriptor. Use it in a `with`."""

    def __init__(self, descriptor: int, opener: Opener, room: Room | None = None) -> None:
        """Take over an open descriptor of a folder.

        Args:
            descriptor: The folder.
            opener: How paths beneath it are opened.
            room: How much may be added beneath it; None: as much as there is.
        """
        self._descriptor = descriptor
        self._opener = opener
        self.room = room

    @classmethod
    def at(cls, path: Path, opener: Opener) -> Folder:
        """Hold this folder. The path is the service's own, not a caller's.

        Raises:
            OSError: It cannot be opened.
        """
        return cls(os.open(path, _READ_FOLDER), opener)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    @property
    def descriptor(self) -> int:
        """The folder's own descriptor, which it closes itself."""
        return self._descriptor

    def take(self, size_bytes: int, entries: int = 0) -> None:
        """Use up room for what is to be added beneath.

        Raises:
            WorkspaceFull: There is not so much left.
        """
        if self.room is not None:
            self.room.take(size_bytes, entries)

    def file(self, path: str, *, append: bool = False) -> int:
        """A descriptor of a plain file beneath; the caller closes it.

        Args:
            path: The file.
            append: Open it for writing at its end, instead of for reading.

        Raises:
            FileMissing: There is none.
            PathNotAllowed: The path leads out, through a link, or to something
                that is no plain file with a single name.
        """
        descriptor = self._open(path, _APPEND_FILE if append else _READ_FILE)
        try:
            _check_plain(os.fstat(descriptor), path)
        except PathNotAllowed:
            os.close(descriptor)
            raise
        return descriptor

    def folder(self, path: str) -> Folder:
        """A folder beneath.

        Raises:
            FileMissing: There is none.
            PathNotAllowed: The path leads out, or through a link.
        """
        return Folder(self._open(path, _READ_FOLDER), self._opener, self.room)

    def status(self, path: str) -> os.stat_result:
        """What the kernel knows of a plain file or a folder beneath.

        Raises:
            FileMissing: There is none.
            PathNotAllowed: The path leads out, through a link, or to something else.
        """
        descriptor = self._open(path, _LOOK_AT)
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if not stat.S_ISDIR(status.st_mode):
            _check_plain(status, path)
        return status

    def entries(self) -> Iterator[Entry]:
        """The plain files and folders in it, in no order; everything else is left out."""
        with os.scandir(self._descriptor) as found:
            for entry in found:
                status = _status(entry)
                if status is None or not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                    continue
                is_folder = stat.S_ISDIR(status.st_mode)
                name = os.fsencode(entry.name).decode("utf-8", "replace")
                yield Entry(name, is_folder, 0 if is_folder else status.st_size)

    def _open(self, path: str, flags: int) -> int:
        check_path(path)
        try:
            return self._opener(self._descriptor, path, flags)
        except (FileNotFoundError, NotADirectoryError):
            raise FileMissing(path, "folder" if flags & os.O_DIRECTORY else "file") from None
        except OSError as error:
            raise PathNotAllowed(path, why(error)) from error


def check_path(path: str) -> None:
    """Refuse what no opener may see; the openers refuse the rest.

    Raises:
        PathNotAllowed: The path is empty, too long, absolute, or leads upwards.
    """
    if not path:
        raise PathNotAllowed(path, "it is empty")
    if "\0" in path:
        raise PathNotAllowed(path.replace("\0", "�"), "it holds a NUL character")
    if len(path) > _MAX_PATH_CHARACTERS:
        raise PathNotAllowed(path, _WHY[errno.ENAMETOOLONG])
    if path.startswith("/"):
        raise PathNotAllowed(path, "it must be relative to the workspace")
    if ".." in path.split("/"):
        raise PathNotAllowed(path, "it may not lead upwards")


def why(error: OSError) -> str:
    """What the kernel refused, in words that fit after a colon."""
    return _WHY.get(error.errno or 0, "the system refuses it")


def _check_plain(status: os.stat_result, path: str) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise PathNotAllowed(path, _WHY[errno.ELOOP])
    if stat.S_ISDIR(status.st_mode):
        raise PathNotAllowed(path, "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise PathNotAllowed(path, "it is no plain file")
    if status.st_nlink > 1:
        raise PathNotAllowed(path, "the file has another name, which may lie outside the workspace")


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What the entry is; None where it vanished meanwhile."""
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None
