"""Each line of the policy, as a program finds it that tries to break it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pyseccomp
import pytest

from services.tools.sandbox import policy
from services.tools.sandbox.policy import Limits
from services.tools.sandbox.sandbox import Finished, LimitReached, Sandbox

Run = Callable[..., Awaitable[Finished]]

TRY = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    answer = libc.syscall(ctypes.c_long(number), *arguments)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer

def attempt(what):
    try:
        print("done", what())
    except (OSError, RuntimeError, MemoryError, ValueError, ImportError) as error:
        print("refused", type(error).__name__, getattr(error, "errno", ""))
"""


async def outcomes(run: Run, attempts: Sequence[str]) -> dict[str, str]:
    """What became of attempts that one program makes: `refused`, or `done` and what it gave."""
    finished = await run(TRY + "".join(f"\nattempt(lambda: {attempt})" for attempt in attempts))
    assert finished.exit_status == 0, finished.stderr
    return dict(zip(attempts, finished.stdout.splitlines(), strict=True))


async def all_refused(run: Run, *attempts: str) -> None:
    done = [
        attempt for attempt, what in (await outcomes(run, attempts)).items() if not what.startswith("refused")
    ]
    assert done == []


async def outcome(run: Run, attempt: str, **more: object) -> list[str]:
    """What became of an attempt: `refused` and the error, or `done`."""
    finished = await run(f"{TRY}\nattempt(lambda: {attempt})", **more)
    assert finished.exit_status == 0, finished.stderr
    return finished.stdout.split()


def raw(name: str, arguments: str) -> str:
    """A system call as an attempt, past the C library."""
    return f"call({pyseccomp.resolve_syscall(pyseccomp.system_arch(), name)}, {arguments})"


async def test_there_is_no_network(run: Run) -> None:
    await all_refused(
        run,
        "__import__('socket').socket()",
        "__import__('socket').socket(__import__('socket').AF_UNIX)",
        "__import__('socket').socket(__import__('socket').AF_NETLINK, 3)",
        "__import__('socket').create_connection(('127.0.0.1', 22), 1)",
        "__import__('socket').socketpair(__import__('socket').AF_INET)",
        "__import__('urllib.request').request.urlopen('http://169.254.169.254/')",
    )


async def test_a_pair_of_sockets_of_its_own_works(run: Run) -> None:
    assert (await outcome(run, "len(__import__('socket').socketpair())")) == ["done", "2"]
    finished = await run("import asyncio\nasync def go(): print('event loop')\nasyncio.run(go())")
    assert finished.stdout == "event loop\n"


async def test_the_environment_is_empty(run: Run) -> None:
    os.environ["PARLEY_TEST_SECRET"] = "hunter2"
    try:
        finished = await run("import os\nprint(dict(os.environ))")
    finally:
        del os.environ["PARLEY_TEST_SECRET"]
    assert finished.stdout == "{}\n"


async def test_proc_is_hidden(run: Run) -> None:
    paths = (
        "/proc/self/environ",
        "/proc/1/environ",
        "/proc/self/mem",
        "/proc/cpuinfo",
        "/proc/1/root/etc/passwd",
    )
    await all_refused(run, *(f"open({path!r}, 'rb').read(10)" for path in paths))


async def test_the_machine_s_files_cannot_be_read(run: Run) -> None:
    paths = ("/etc/passwd", "/etc/shadow", __file__, "/sys/kernel", "/dev/mem", "/run")
    await all_refused(
        run, *(f"os.listdir({path!r})" for path in paths), *(f"open({path!r}, 'rb')" for path in paths)
    )


async def test_a_folder_above_the_interpreter_shows_nothing_else(run: Run) -> None:
    finished = await run(
        "import os\nfor above in ('/root', '/work', '/usr', '/'):\n"
        "    try: print(above, sorted(os.listdir(above)))\n    except OSError: pass"
    )
    for secret in ("main", "sbin", "proc", "sys", "home", ".ssh", "shared"):
        assert f"'{secret}'" not in finished.stdout


async def test_nothing_is_written_outside(run: Run) -> None:
    paths = (
        "/x",
        "/usr/lib/x",
        "/dev/x",
        "/etc/x",
        "/etc/ld.so.cache",
        "/dev/shm/x",  # noqa: S108
        "/stage.py",
        "../x",
        "/var/tmp/x",  # noqa: S108
    )
    await all_refused(run, *(f"open({path!r}, 'wb')" for path in paths))


async def test_the_machine_s_files_cannot_be_changed(run: Run, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("whole")
    victim.chmod(0o666)
    await all_refused(
        run,
        f"os.truncate({str(victim)!r}, 0)",
        f"os.unlink({str(victim)!r})",
        f"os.chmod({str(victim)!r}, 0o777)",
        f"os.utime({str(victim)!r})",
        f"os.rename({str(victim)!r}, 'mine')",
        f"os.link({str(victim)!r}, 'mine')",
        f"os.open({str(victim)!r}, os.O_RDONLY | os.O_TRUNC)",
    )
    assert victim.read_text() == "whole"
    assert victim.stat().st_mode & 0o777 == 0o666


async def test_it_writes_where_it_may(run: Run) -> None:
    finished = await run(
        "import os, tempfile\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('kept')\n"
        "print(len(tempfile.mkdtemp()) > 0)"
    )
    assert finished.stdout == "True\n"
    assert finished.collected.files == {"a/b/c": b"kept"}


async def test_it_reaches_no_other_process(run: Run) -> None:
    await all_refused(
        run,
        "os.kill(os.getppid(), 9)",
        "os.kill(1, 9)",
        "os.kill(-1, 9)",
        "os.killpg(0, 9)",
        "os.pidfd_open(os.getppid())",
        raw("tgkill", "os.getppid(), os.getppid(), 9"),
        raw("rt_sigqueueinfo", "os.getppid(), 9, 0"),
        raw("ptrace", "16, os.getppid(), 0, 0"),
        raw("process_vm_readv", "os.getppid(), 0, 0, 0, 0, 0"),
        raw("kcmp", "os.getppid(), os.getpid(), 0, 0, 0"),
    )


async def test_it_stays_one_process(run: Run) -> None:
    await all_refused(
        run,
        "os.fork()",
        raw("vfork", ""),
        raw("clone", "17, 0, 0, 0, 0"),
        raw("clone3", "0, 0"),
        "os.execv('/bin/sh', ['sh'])",
        "os.posix_spawn('/usr/bin/true', ['true'], {})",
        "__import__('subprocess').run(['true'])",
        "__import__('sys').executable and os.execv(os.path.realpath('/usr/bin/python3'), ['python3'])",
    )


async def test_a_fork_bomb_does_not_get_past_its_first_fork(run: Run) -> None:
    finished = await run("import os\nwhile True:\n    os.fork()")
    assert finished.exit_status == 1
    assert "PermissionError" in finished.stderr


async def test_threads_are_counted(run: Run, sandbox: Sandbox) -> None:
    finished = await run(
        "import threading\ngate = threading.Event()\nstarted = 0\ntry:\n    for _ in range(1000):\n"
        "        threading.Thread(target=gate.wait).start()\n        started += 1\n"
        "except RuntimeError:\n    print(started)\ngate.set()",
        limits=Limits(threads=8),
    )
    most = 8 if sandbox.confinement.namespaces else 0
    assert 0 <= most - int(finished.stdout) <= 2


async def test_what_only_root_or_an_attacker_needs_is_refused(run: Run) -> None:
    await all_refused(
        run,
        raw("mount", "b'none', b'/workspace', b'tmpfs', 0, 0"),
        raw("umount2", "b'/workspace', 2"),
        raw("pivot_root", "b'.', b'.'"),
        raw("fsopen", "b'tmpfs', 0"),
        raw("unshare", "0x10000000"),
        raw("setns", "0, 0"),
        "os.chroot('.')",
        "os.setuid(0)",
        "os.setresgid(0, 0, 0)",
        "os.setgroups([])",
        "os.chown('.', 0, 0)",
        "os.mknod('device', 0o20666, os.makedev(1, 1))",
        "os.mkfifo('fifo')",
        raw("keyctl", "3, 0"),
        raw("add_key", "b'user', b'x', b'y', 1, -3"),
        raw("request_key", "b'user', b'x', 0, -3"),
        raw("bpf", "0, 0, 0"),
        raw("perf_event_open", "0, 0, -1, -1, 0"),
        raw("userfaultfd", "0"),
        raw("io_uring_setup", "8, 0"),
        raw("seccomp", "0, 0, 0"),
        raw("shmget", "0, 4096, 0"),
        raw("mq_open", "0, 0, 0, 0"),
        "os.memfd_create('x')",
        raw("mlock", "0, 4096"),
        raw("personality", "-1, 0, 0"),
        raw("sethostname", "b'x', 1"),
        raw("syslog", "0"),
        raw("init_module", "0, 0"),
        raw("kexec_load", "0, 0, 0, 0"),
        raw("open_by_handle_at", "0, 0, 0"),
        "os.setpriority(0, 0, -5)",
        "__import__('resource').setrlimit(0, (-1, -1))",
        "libc.prctl(4, 1, 0, 0, 0) and os.fork()",
        "__import__('fcntl').ioctl(0, 0x5412, b'x')",
    )


async def test_it_has_no_capability_and_gains_none(run: Run) -> None:
    finished = await run(
        f"{TRY}\nheader = (ctypes.c_uint32 * 2)(0x20080522, 0)\ndata = (ctypes.c_uint32 * 6)()\n"
        "attempt(lambda: call(125, header, data))\nprint(os.access('/usr/bin', os.X_OK), os.getuid() == 0)"
    )
    assert finished.stdout.splitlines()[0].startswith("refused")


async def test_memory_is_bounded(run: Run) -> None:
    limits = Limits(memory_bytes=256 * 2**20)
    assert (await outcome(run, "len(bytearray(2**30))", limits=limits))[:2] == ["refused", "MemoryError"]
    finished = await run("hoard = []\nwhile True: hoard.append(bytearray(2**20))", limits=limits)
    assert finished.exit_status == 1
    assert "MemoryError" in finished.stderr


async def test_a_file_is_bounded(run: Run) -> None:
    limits = Limits(file_bytes=2**20)
    finished = await run(
        "with open('x', 'wb', 0) as f:\n    while True: f.write(bytes(2**18))", limits=limits
    )
    assert "File too large" in finished.stderr
    assert len(finished.collected.files["x"]) == 2**20


@pytest.mark.parametrize("where", ["'.'", "__import__('tempfile').gettempdir()"])
async def test_the_disk_cannot_be_filled(run: Run, sandbox: Sandbox, where: str) -> None:
    limits = Limits(workspace_bytes=2 * 2**20, file_bytes=2**20)
    code = (
        f"import os\nos.chdir({where})\nn = 0\nwhile True:\n    n += 1\n"
        "    with open(f'f{n}', 'wb') as f: f.write(bytes(2**18))"
    )
    await _filled(run, sandbox, code, limits, "workspace_bytes")


@pytest.mark.parametrize(
    "making", ["open(f'f{n}', 'w').close()", "os.mkdir(f'f{n}')", "os.symlink('x', f'f{n}')"]
)
async def test_nor_by_many_names(run: Run, sandbox: Sandbox, making: str) -> None:
    code = f"import os\nn = 0\nwhile True:\n    n += 1\n    {making}"
    await _filled(run, sandbox, code, Limits(entries=100), "entries")


async def _filled(run: Run, sandbox: Sandbox, code: str, limits: Limits, limit: str) -> None:
    """In memory of its own the program gets an error; elsewhere it is ended."""
    if sandbox.confinement.namespaces:
        finished = await run(code, limits=limits)
        assert "No space left" in finished.stderr
        return
    with pytest.raises(LimitReached) as caught:
        await run(code, limits=limits)
    assert caught.value.limit == limit


async def test_open_files_are_bounded(run: Run) -> None:
    finished = await run("held = []\nwhile True: held.append(open('x', 'w'))", limits=Limits(open_files=32))
    assert "Too many open files" in finished.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_endless_output_ends_the_program(run: Run, stream: str) -> None:
    with pytest.raises(LimitReached) as caught:
        await run(f"import sys\nwhile True: sys.{stream}.write('x' * 1000)", limits=Limits(output_bytes=5000))
    assert caught.value.limit == "output_bytes"


async def test_time_is_bounded(run: Run) -> None:
    with pytest.raises(LimitReached) as caught:
        await run("import time\ntime.sleep(1000)", limits=Limits(seconds=1))
    assert caught.value.limit == "seconds"


async def test_processor_time_is_bounded(run: Run) -> None:
    with pytest.raises(LimitReached) as caught:
        await run("while True: pass", limits=Limits(cpu_seconds=1, seconds=120))
    assert caught.value.limit == "cpu_seconds"


async def test_who_ignores_the_warning_is_killed(run: Run) -> None:
    code = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    with pytest.raises(LimitReached):
        await run(code, limits=Limits(cpu_seconds=1, seconds=120))


async def test_no_handle_of_the_service_is_open(run: Run) -> None:
    finished = await run(
        "import os\nopen_ = []\nfor n in range(1024):\n    try:\n        os.fstat(n)\n"
        "        open_.append(n)\n    except OSError: pass\nprint(open_)"
    )
    assert finished.stdout == "[0, 1, 2]\n"


async def test_standard_input_is_empty(run: Run) -> None:
    assert (await run("print(repr(__import__('sys').stdin.read()))")).stdout == "''\n"


async def test_only_the_named_devices_are_there(run: Run) -> None:
    finished = await run(
        "for name in ('null', 'zero', 'full', 'random', 'urandom'):\n    open(f'/dev/{name}', 'rb').close()\n"
        "for name in ('tty', 'ptmx', 'mem', 'kmsg', 'fuse', 'vda', 'kvm', 'shm/x'):\n"
        "    try:\n        open(f'/dev/{name}', 'rb')\n        print(name)\n    except OSError: pass"
    )
    assert (finished.exit_status, finished.stdout) == (0, "")


def test_every_named_system_call_exists() -> None:
    """A slip of the pen would silently allow less."""
    groups = (policy.SYSTEM_CALLS, policy.SYSTEM_CALLS_IN_NAMESPACES, {"": policy.MISSING_CALLS})
    x86 = pyseccomp.Arch.X86_64
    unknown = {
        name
        for group in groups
        for names in group.values()
        for name in names
        if pyseccomp.resolve_syscall(x86, name) == -1
    }
    assert unknown <= {"fchmodat2"}  # newer than some libseccomp
