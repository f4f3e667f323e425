"""Programs against the host. What the kernel refuses, the program meets as an error of its own."""

from __future__ import annotations

from tests.attacks.tool_target import OK, Deed, Outcome, ToolAttack, ToolTarget, call

REFUSED = (OK, "PermissionError")
MISSING = (OK, "FileNotFoundError")
READ_ONLY = (OK, "OSError")
LIMIT = ("RESOURCE_EXHAUSTED", "PROGRAM_LIMIT_REACHED")
TRY = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
"""


def program(code: str, seconds: int = 20, files: tuple[str, ...] = ()) -> Deed:
    return call("python_run", code=code, files=list(files), timeout_seconds=seconds)


async def a_link_left_behind(target: ToolTarget) -> Outcome:
    """A program leaves a link for the next tool to follow."""
    code = "import os\nos.symlink('/etc/passwd', 'left')"
    left = await target.call("python_run", {"code": code, "files": []})
    assert left.result["left_out"] == ["left"]
    return await target.call("file_read", {"file_path": "left"})


fine = program("print(6 * 7)")
writes = program("open('out.txt', 'w').write('x')\nprint(open('out.txt').read())")
hears_itself = program("import socket\na, b = socket.socketpair()\na.send(b'x')\nassert b.recv(1) == b'x'")
threads = program("import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()")
remembers = program("x = bytearray(2**20)")

SANDBOX = (
    ToolAttack("a fork bomb", program("import os\nwhile True: os.fork()"), REFUSED, threads),
    ToolAttack(
        "a thread bomb",
        program(
            "import threading, os\ngate = threading.Event()\ntry:\n"
            "    while True: threading.Thread(target=gate.wait, daemon=True).start()\n"
            "finally: gate.set()"
        ),
        (OK, "RuntimeError"),
        threads,
    ),
    ToolAttack(
        "another program started",
        program("import os\nos.execv('/bin/sh', ['sh', '-c', 'id'])"),
        REFUSED,
        fine,
    ),
    ToolAttack(
        "memory taken without end",
        program("hoard = []\nwhile True: hoard.append(bytearray(2**22))"),
        (OK, "MemoryError"),
        remembers,
    ),
    ToolAttack(
        "memory that the limit does not count",
        program("import os\nos.memfd_create('x')"),
        REFUSED,
        remembers,
    ),
    ToolAttack(
        "the disk filled",
        program("n = 0\nwhile True:\n    n += 1\n    open(f'/tmp/f{n}', 'wb').write(bytes(2**23))"),
        (OK, "OSError"),
        writes,
    ),
    ToolAttack(
        "one file without end",
        program("with open('/tmp/x', 'wb', 0) as f:\n    while True: f.write(bytes(2**22))"),
        (OK, "OSError"),
        writes,
    ),
    ToolAttack(
        "names without end",
        program("import os\nn = 0\nwhile True:\n    n += 1\n    os.mkdir(f'f{n}')"),
        (OK, "OSError"),
        writes,
    ),
    ToolAttack(
        "handles without end",
        program("held = []\nwhile True: held.append(open('x', 'w'))"),
        (OK, "OSError"),
        writes,
    ),
    ToolAttack("output without end", program("while True: print('x' * 1000)"), LIMIT, fine),
    ToolAttack("a loop without end", program("while True: pass", seconds=1), LIMIT, fine),
    ToolAttack("sleep without end", program("import time\ntime.sleep(1000)", seconds=1), LIMIT, fine),
    ToolAttack("a signal to the parent", program("import os\nos.kill(os.getppid(), 9)"), REFUSED, fine),
    ToolAttack(
        "another process looked into",
        program(f"{TRY}\ncall(101, 16, os.getppid(), 0, 0)"),
        REFUSED,
        fine,
    ),
    ToolAttack("a socket of the network", program("import socket\nsocket.socket()"), REFUSED, hears_itself),
    ToolAttack(
        "the metadata service from the sandbox",
        program("import urllib.request as u\nu.urlopen('http://169.254.169.254/')"),
        (OK, "urllib.error.URLError"),
        hears_itself,
    ),
    ToolAttack(
        "a socket of the machine's own",
        program("import socket\nsocket.socket(socket.AF_UNIX).connect('/run/docker.sock')"),
        REFUSED,
        hears_itself,
    ),
    ToolAttack("the environment read from the sandbox", program("open('/proc/self/environ')"), MISSING, fine),
    ToolAttack("a file of the host read", program("open('/etc/passwd')"), MISSING, writes),
    ToolAttack("a device of the host read", program("open('/dev/mem', 'rb')"), MISSING, writes),
    ToolAttack("written outside", program("open('/usr/lib/x', 'w')"), READ_ONLY, writes),
    ToolAttack("a device made", program("import os\nos.mknod('x', 0o20666, 257)"), REFUSED, writes),
    ToolAttack(
        "something mounted", program(f"{TRY}\ncall(165, b'x', b'/workspace', b'tmpfs', 0, 0)"), REFUSED, fine
    ),
    ToolAttack("namespaces of its own", program(f"{TRY}\ncall(272, 0x10000000)"), REFUSED, fine),
    ToolAttack("root taken", program("import os\nos.setuid(0)"), REFUSED, fine),
    ToolAttack(
        "limits raised", program("import resource\nresource.setrlimit(0, (-1, -1))"), (OK, "ValueError"), fine
    ),
    ToolAttack(
        "words typed into a terminal",
        program("import fcntl\nfcntl.ioctl(0, 0x5412, b'x')"),
        REFUSED,
        fine,
    ),
    ToolAttack(
        "a handle of the service used",
        program(
            "import os\nfor n in range(3, 1024):\n    try: os.write(n, b'x'); break\n"
            "    except OSError as e: last = e\nelse: raise last"
        ),
        (OK, "OSError"),
        fine,
    ),
    ToolAttack(
        "the service's own code imported", program("import services.tools"), (OK, "ModuleNotFoundError"), fine
    ),
    ToolAttack(
        "an interpreter that is broken",
        program("import ctypes\nctypes.string_at(0)"),
        (OK, "status 139"),
        fine,
    ),
    ToolAttack("a link left behind", a_link_left_behind, ("NOT_FOUND", "FILE_NOT_FOUND"), writes),
    ToolAttack(
        "files for a program from outside",
        program("pass", files=("../../x",)),
        ("PERMISSION_DENIED", "PATH_NOT_ALLOWED"),
        program("open('welcome.txt')", files=("welcome.txt",)),
    ),
)
