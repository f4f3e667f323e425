"""Inside the sandbox: takes the last rights from this process, then runs the program in it.

Run as a script by an interpreter without site packages, so it uses the parts of
the standard library that are written in C alone: `os` and `ctypes` would take as
long to load as the interpreter. It is told what to do by one message over a
socket, answers with one byte and the handle of the workspace, and forgets the
socket before the program's first line.
"""

import _ctypes
import builtins
import marshal
import posix
import resource
import sys
from _signal import signal  # type: ignore[import-not-found]
from _socket import SCM_RIGHTS, SOL_SOCKET, socket

TYPE_CHECKING = False
if TYPE_CHECKING:  # Loading it takes as long as all the rest.
    from typing import Any, NoReturn

READY = b"+"
FAILED = 125
LENGTH_BYTES = 8

_MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 2, 4, 32
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = (
    1,
    22,
    24,
    38,
    47,
)
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION = 0x20080522
_MAX_CAPABILITIES = 64
_FILTER_STEP_BYTES = 8
_SIGKILL, _SIGXCPU = 9, 24
_MOST_OPEN = 2**16
_FILE_KINDS, _FOLDER = 0o170000, 0o040000

# The same numbers on every architecture.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1
_LANDLOCK_OLDEST = 3  # Before that a file could be emptied from outside its folders.
_LANDLOCK_NET, _LANDLOCK_IOCTL, _LANDLOCK_SCOPES = 4, 5, 6
_RULE_WRITE_FILE, _RULE_READ_FILE, _RULE_READ_DIR = 1 << 1, 1 << 2, 1 << 3
_RULE_REMOVE_DIR, _RULE_REMOVE_FILE = 1 << 4, 1 << 5
_RULE_MAKE_DIR, _RULE_MAKE_FILE, _RULE_MAKE_LINK, _RULE_TRUNCATE = 1 << 7, 1 << 8, 1 << 12, 1 << 14
_RULES_UP_TO_TRUNCATE, _RULES_UP_TO_IOCTL = (1 << 15) - 1, (1 << 16) - 1
READ = _RULE_READ_FILE | _RULE_READ_DIR
USE_FILE = _RULE_READ_FILE | _RULE_WRITE_FILE
MOVE = 1 << 13
"""From one folder to another: nothing in the sandbox needs it."""
READ_AND_CHANGE = (
    READ
    | _RULE_WRITE_FILE
    | _RULE_REMOVE_DIR
    | _RULE_REMOVE_FILE
    | _RULE_MAKE_DIR
    | _RULE_MAKE_FILE
    | _RULE_MAKE_LINK
    | _RULE_TRUNCATE
)

_EOPNOTSUPP = 95


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Short(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "H"


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Text(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "z"


class _Function(_ctypes.CFuncPtr):
    """A function of the C library."""

    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Int


class _Libc:
    """The C library, which the interpreter has loaded."""

    def __init__(self) -> None:
        self._handle = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
        for name in ("prctl", "unshare", "mount", "capset", "syscall"):
            setattr(self, name, _Function((name, self)))  # type: ignore[arg-type]


_libc: "Any" = _Libc()


class _Program(_ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("steps", _Short), ("first", _Text))


class _Capabilities(_ctypes.Structure):
    """`struct __user_cap_header_struct`."""

    _fields_ = (("version", _Int), ("pid", _Int))


class _Ruleset(_ctypes.Structure):
    """`struct landlock_ruleset_attr`."""

    _fields_ = (("fs", _Long), ("net", _Long), ("scoped", _Long))


class _PathRule(_ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = (("access", _Long), ("parent", _Int))


def main(control: int) -> None:
    """Take the order, confine this process, run the program."""
    connection = socket(fileno=control)
    order = _receive(connection)
    try:
        confine(order)
        _fill(order)
        workspace = posix.open(order["workspace"], posix.O_RDONLY | posix.O_DIRECTORY)
        rights = workspace.to_bytes(4, sys.byteorder)
        connection.sendmsg([READY], [(SOL_SOCKET, SCM_RIGHTS, rights)])
    except OSError as error:
        connection.sendall(str(error).encode())
        sys.exit(FAILED)
    connection.close()
    posix.closerange(3, _MOST_OPEN)
    _filter_calls(order["filter"])
    _run(order)


def _receive(connection: socket) -> "dict[str, Any]":
    length = int.from_bytes(_exactly(connection, LENGTH_BYTES), "big")
    order: dict[str, Any] = marshal.loads(_exactly(connection, length))  # noqa: S302 # nosec B302 - from the service
    return order


def _exactly(connection: socket, size: int) -> bytes:
    taken = bytearray()
    while len(taken) < size:
        piece = connection.recv(min(size - len(taken), 2**20))
        if not piece:
            sys.exit(FAILED)  # The service has ended.
        taken += piece
    return bytes(taken)


def confine(order: "dict[str, Any]") -> None:
    """Give up what this process could do beyond the policy, but for system calls.

    Raises:
        OSError: The kernel does not play along.
    """
    if order["namespaces"]:
        _bound_folders(order, order["limits"])
    else:
        _check(_libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0))
    if order["become"]:
        posix.setgroups([])
        posix.setresgid(*[order["become"]] * 3)
        posix.setresuid(*[order["become"]] * 3)
        _check(_libc.unshare(_CLONE_NEWUSER))
    _drop_capabilities()
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if not order["namespaces"]:
        _restrict_paths(order)
    for name, limits in order["rlimits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, tuple(limit if hard == -1 else min(limit, hard) for limit in limits))


def _bound_folders(order: "dict[str, Any]", limits: "dict[str, Any]") -> None:
    """The folders to write in lie in memory; they get their size, and the number of their entries."""
    flags = _Long(_MS_REMOUNT | _MS_NOSUID | _MS_NODEV)
    # The folder itself is an entry, too.
    data = f"size={limits['workspace_bytes']},nr_inodes={limits['entries'] + 1}".encode()
    for folder in (order["workspace"], order["scratch"]):
        _check(_libc.mount(b"tmpfs", folder.encode(), b"tmpfs", flags, data))


def _drop_capabilities() -> None:
    for capability in range(_MAX_CAPABILITIES):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # Fails beyond the kernel's last, and without any.
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = _Capabilities(_CAPABILITY_VERSION, 0)
    _check(_libc.capset(_ctypes.byref(header), bytes(24)))


def _restrict_paths(order: "dict[str, Any]") -> None:
    allowed = dict.fromkeys(order["readable"], READ)
    allowed |= dict.fromkeys(order["devices"], USE_FILE)
    allowed |= dict.fromkeys((order["workspace"], order["scratch"]), READ_AND_CHANGE)
    restrict_paths(allowed)


def landlock_version() -> int:
    """The version of Landlock's interface that this kernel has.

    Raises:
        OSError: It has none, or one that is too old.
    """
    version = _syscall(_LANDLOCK_CREATE_RULESET, None, _Long(0), _LANDLOCK_CREATE_RULESET_VERSION)
    if version < _LANDLOCK_OLDEST:
        raise OSError(_EOPNOTSUPP, f"Landlock is of version {version}, {_LANDLOCK_OLDEST} is needed")
    return version


def restrict_paths(allowed: "dict[str, int]") -> None:
    """Landlock: no path but those that are named; no TCP; no signal or abstract socket beyond.

    Raises:
        OSError: The kernel does not play along, or a path is not there.
    """
    version = landlock_version()
    rules = _RULES_UP_TO_IOCTL if version >= _LANDLOCK_IOCTL else _RULES_UP_TO_TRUNCATE
    ruleset = _Ruleset(rules, 3 if version >= _LANDLOCK_NET else 0, 3 if version >= _LANDLOCK_SCOPES else 0)
    size = 8 if version < _LANDLOCK_NET else 16 if version < _LANDLOCK_SCOPES else 24
    handle = _syscall(_LANDLOCK_CREATE_RULESET, _ctypes.byref(ruleset), _Long(size), 0)
    for path, access in allowed.items():
        _allow_path(handle, path, access)
    _syscall(_LANDLOCK_RESTRICT_SELF, handle, 0)
    posix.close(handle)


def _allow_path(handle: int, path: str, access: int) -> None:
    parent = posix.open(path, posix.O_PATH)
    if not _is_folder(path):
        access &= _RULE_READ_FILE | _RULE_WRITE_FILE | _RULE_TRUNCATE
    rule = _PathRule(access, parent)
    _syscall(_LANDLOCK_ADD_RULE, handle, _LANDLOCK_RULE_PATH_BENEATH, _ctypes.byref(rule), 0)
    posix.close(parent)


def _filter_calls(steps: bytes) -> None:
    program = _Program(len(steps) // _FILTER_STEP_BYTES, steps)
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, _ctypes.byref(program), 0, 0) != 0:
        posix._exit(FAILED)


def _fill(order: "dict[str, Any]") -> None:
    """Write the program and its files; their times say later which were changed."""
    posix.chdir(order["workspace"])
    for path, content in order["files"]:
        _make_folders(path)
        _write(path, content)
        posix.utime(path, ns=(0, order["stamp"]))
    _write(f"{order['scratch']}/program.py", order["code"].encode("utf-8", "surrogatepass"))


def _make_folders(path: str) -> None:
    """Make the folders above a path that are not there."""
    place = path.find("/")
    while place > 0:
        if not _is_folder(path[:place]):
            posix.mkdir(path[:place])
        place = path.find("/", place + 1)


def _is_folder(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & _FILE_KINDS == _FOLDER
    except FileNotFoundError:
        return False


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(content)


def _run(order: "dict[str, Any]") -> "NoReturn":
    """Run the program as an interpreter would, without a trace of what came before it."""
    for name in tuple(posix.environ):  # The interpreter and bubblewrap have put a name or two into it.
        posix.unsetenv(name)
    posix.environ.clear()
    # A process 1 would not end by the signal itself.
    signal(_SIGXCPU, lambda *_: posix._exit(128 + _SIGXCPU))
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]
    sys.argv = ["program.py", *order["arguments"]]
    sys.path.insert(0, order["workspace"])
    module = sys.modules["__main__"] = type(sys)("__main__")
    module.__file__ = f"{order['scratch']}/program.py"
    source = order["code"]
    try:
        exec(compile(source, module.__file__, "exec"), module.__dict__)  # noqa: S102 # nosec B102 - what all this is for
    except SystemExit:
        raise
    except BaseException as error:
        trace = error.__traceback__
        sys.excepthook(type(error), error.with_traceback(trace and trace.tb_next), trace and trace.tb_next)
        sys.exit(1)
    sys.exit(0)


def _syscall(number: int, *arguments: "Any") -> int:
    return _check(_libc.syscall(_Long(number), *arguments))


def _check(answer: int) -> int:
    if answer < 0:
        code = _ctypes.get_errno()
        raise OSError(code, posix.strerror(code))
    return answer


if __name__ == "__main__":
    main(int(sys.argv[1]))
