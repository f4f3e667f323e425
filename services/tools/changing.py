"""Changing what lies beneath a folder, and nothing else.

Every path is split into a folder, which is opened beneath (see `beneath`), and
a name in it, on which the kernel acts relative to that folder's descriptor and
without following links. Files appear whole or not at all.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from services.tools.beneath import Folder, check_path, why
from services.tools.errors import FileExists, FileMissing, FolderNotEmpty, PathNotAllowed, WorkspaceFull

_PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNNAMED_FILE = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_UNNAMED_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT)
_RENAME_NOREPLACE = 1
_NO_RENAMEAT2 = (errno.ENOSYS, errno.EINVAL)
_COPY_BYTES = 2**20
MAX_DEPTH = 32
_TOO_DEEP = f"it is more than {MAX_DEPTH} folders deep"

Fill = Callable[[int], None]
"""Writes a file's bytes to its descriptor."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Scratch:
    """A file that is being written.

    Attributes:
        descriptor: Open for writing.
        name: Its name until it gets its own; empty where it has none yet, and
            so vanishes by itself with the process that writes it.
    """

    descriptor: int
    name: str

    @classmethod
    def best(cls, above: int) -> Scratch:
        """Without a name where the file system can."""
        try:
            return cls(os.open(".", _UNNAMED_FILE, _PRIVATE_FILE, dir_fd=above), "")
        except OSError as error:
            if error.errno not in _NO_UNNAMED_FILES:
                raise
        return cls.named(above)

    @classmethod
    def named(cls, above: int) -> Scratch:
        """With a name that nobody has."""
        name = _scratch_name()
        return cls(os.open(name, _NEW_FILE, _PRIVATE_FILE, dir_fd=above), name)

    def publish(self, above: int, name: str, *, replace: bool) -> None:
        """Give it its name in the folder.

        Raises:
            OSError: It has that name already, or cannot have it.
        """
        if not replace:
            self._link(above, name)
            return
        known = self.name or _scratch_name()
        if not self.name:
            self._link(above, known)
        try:
            os.rename(known, name, src_dir_fd=above, dst_dir_fd=above)
        except OSError:
            os.unlink(known, dir_fd=above)
            raise

    def _link(self, above: int, name: str) -> None:
        source = self.name or f"/proc/self/fd/{self.descriptor}"
        os.link(source, name, src_dir_fd=above, dst_dir_fd=above, follow_symlinks=not self.name)

    def discard(self, above: int) -> None:
        """Close it, and take away the name it was written under."""
        os.close(self.descriptor)
        if self.name:
            with suppress(FileNotFoundError):
                os.unlink(self.name, dir_fd=above)


def put(
    folder: Folder,
    path: str,
    fill: Fill,
    *,
    replace: bool,
    scratch: Callable[[int], Scratch] = Scratch.best,
) -> None:
    """Make a file, whole or not at all.

    Args:
        folder: Beneath which.
        path: Its path.
        fill: Writes its bytes.
        replace: Put it in the place of a file that is there.
        scratch: Opens what is written to until the file is whole.

    Raises:
        FileExists: There is something, and it is not to be replaced.
        FileMissing: There is no folder to hold it.
        PathNotAllowed: The path leads out, or a folder stands there.
        WorkspaceFull: There is no room for it.
    """
    with _place(folder, path) as (above, name):
        draft = scratch(above)
        try:
            fill(draft.descriptor)
            _take_room(folder, draft.descriptor, above, name)
            os.fsync(draft.descriptor)
            draft.publish(above, name, replace=replace)
        finally:
            draft.discard(above)


def _take_room(folder: Folder, descriptor: int, above: int, name: str) -> None:
    """Count a file that is about to get its name, and what it replaces."""
    size = os.fstat(descriptor).st_size
    try:
        folder.take(size - os.stat(name, dir_fd=above, follow_symlinks=False).st_size)
    except FileNotFoundError:
        folder.take(size, 1)


def append(folder: Folder, path: str, data: bytes) -> None:
    """Add to a file's end in one write, or make the file.

    Raises:
        FileMissing: There is no folder to hold it.
        PathNotAllowed: The path leads out, or to no plain file.
    """
    try:
        descriptor = folder.file(path, append=True)
    except FileMissing:
        put(folder, path, lambda made: write_all(made, data), replace=False)
        return
    try:
        folder.take(len(data))
        write_all(descriptor, data)
    except OSError as error:
        raise PathNotAllowed(path, why(error)) from error
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it.

    Raises:
        OSError: It cannot be written.
    """
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def copy_file(folder: Folder, path: str, target: str, *, replace: bool) -> None:
    """Copy a plain file.

    Raises:
        ToolsError: As `Folder.file` and `put` do.
    """
    source = folder.file(path)

    def fill(descriptor: int) -> None:
        while os.sendfile(descriptor, source, None, _COPY_BYTES):
            pass

    try:
        put(folder, target, fill, replace=replace)
    finally:
        os.close(source)


def move(folder: Folder, path: str, target: str, *, replace: bool) -> None:
    """Give a plain file or a folder another path.

    Raises:
        FileExists: There is something, and it is not to be replaced.
        FileMissing: What is to be moved, or the folder to hold it, is not there.
        PathNotAllowed: A path leads out, or to something else, or the folder would lie too deep.
    """
    if stat.S_ISDIR(folder.status(path).st_mode):
        _check_depth(folder, path, target)
    with _place(folder, path) as (above, name), _place(folder, target) as (below, new):
        if replace:
            os.rename(name, new, src_dir_fd=above, dst_dir_fd=below)
        else:
            _rename_to_new(above, name, below, new)


def _check_depth(folder: Folder, path: str, target: str) -> None:
    """Refuse a place for a folder that leaves too little depth for what it holds: so deep nobody measures."""
    most = MAX_DEPTH - len(_parts(target))
    with folder.folder(path) as moved:
        if most < 0 or _holds_deeper(moved.descriptor, most):
            raise PathNotAllowed(target, _TOO_DEEP)


def _holds_deeper(descriptor: int, levels: int) -> bool:
    """Whether there are folders in the folder deeper than so many levels."""
    with os.scandir(descriptor) as found:
        names = [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]
    if not levels:
        return bool(names)
    return any(_below_holds_deeper(descriptor, name, levels - 1) for name in names)


def _below_holds_deeper(descriptor: int, name: str, levels: int) -> bool:
    below = os.open(name, _FOLDER, dir_fd=descriptor)
    try:
        return _holds_deeper(below, levels)
    finally:
        os.close(below)


def _rename_to_new(above: int, name: str, below: int, new: str) -> None:
    """renameat2(2) with RENAME_NOREPLACE; where there is none, a look before the leap."""
    if _libc.renameat2(above, os.fsencode(name), below, os.fsencode(new), _RENAME_NOREPLACE) == 0:
        return
    code = ctypes.get_errno()
    if code not in _NO_RENAMEAT2:
        raise OSError(code, os.strerror(code))
    with suppress(FileNotFoundError):
        os.stat(new, dir_fd=below, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(name, new, src_dir_fd=above, dst_dir_fd=below)


def make_folder(folder: Folder, path: str, *, parents: bool) -> None:
    """Make a folder.

    Args:
        folder: Beneath which.
        path: Its path.
        parents: Make those above, too, and let it be there already.

    Raises:
        FileExists: There is something.
        FileMissing: The folder above is not there.
        PathNotAllowed: The path leads out, or through a file.
    """
    check_path(path)
    parts = _parts(path)
    if len(parts) > MAX_DEPTH:
        raise PathNotAllowed(path, _TOO_DEEP)
    for length in range(1 if parents else len(parts), len(parts) + 1):
        step = "/".join(parts[:length])
        try:
            with _place(folder, step) as (above, name):
                os.mkdir(name, _PRIVATE_FOLDER, dir_fd=above)
                _take_folder(folder, above, name)
        except FileExists:
            if not parents or not stat.S_ISDIR(folder.status(step).st_mode):
                raise


def _take_folder(folder: Folder, above: int, name: str) -> None:
    """Count a folder that was made, or take it away again."""
    try:
        folder.take(0, 1)
    except WorkspaceFull:
        os.rmdir(name, dir_fd=above)
        raise


def remove(folder: Folder, path: str, *, recursive: bool) -> None:
    """Take away a file or a folder. A link goes itself, not what it names.

    Raises:
        FileMissing: There is none.
        FolderNotEmpty: A folder holds something, and it is not `recursive`.
        PathNotAllowed: The path leads out.
    """
    with _place(folder, path) as (above, name):
        if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=above)
            return
        if recursive:
            with folder.folder(path) as below:
                _empty(below.descriptor, path)
        os.rmdir(name, dir_fd=above)


def _empty(descriptor: int, path: str, depth: int = 0) -> None:
    """Take away all that is in the folder; links are not followed."""
    if depth > MAX_DEPTH:
        raise PathNotAllowed(path, "it holds folders too deep to delete at once")
    with os.scandir(descriptor) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    for name, is_folder in entries:
        if not is_folder:
            os.unlink(name, dir_fd=descriptor)
            continue
        below = os.open(name, _FOLDER, dir_fd=descriptor)
        try:
            _empty(below, path, depth + 1)
        finally:
            os.close(below)
        os.rmdir(name, dir_fd=descriptor)


@contextmanager
def _place(folder: Folder, path: str) -> Iterator[tuple[int, str]]:
    """The descriptor of the folder that holds the path's last name, and that name.

    What the kernel refuses within becomes a typed error.
    """
    check_path(path)
    parts = _parts(path)
    if not parts:
        raise PathNotAllowed(path, "it is the workspace itself")
    with folder.folder("/".join(parts[:-1]) or ".") as above:
        try:
            yield above.descriptor, parts[-1]
        except FileExistsError:
            raise FileExists(path) from None
        except FileNotFoundError:
            raise FileMissing(path, "file") from None
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                raise FolderNotEmpty(path) from None
            raise PathNotAllowed(path, why(error)) from error


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _scratch_name() -> str:
    return f".parley-{secrets.token_hex(8)}"
