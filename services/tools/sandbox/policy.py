"""What a program in the sandbox may do: all of it, in one place.

Everything that is not named here is refused. Each line has a test in
tests/tools/sandbox/test_policy.py that a program tries to break.

A program is one process of Python code. It has no network, no environment, no
/proc, nothing to send signals to, no way to start another program, and no file
to write but those of its two private folders.
"""

from __future__ import annotations

from dataclasses import dataclass

WORKSPACE = "/workspace"
"""Where the program starts: its files, copied in, and copied out when it has ended."""

SCRATCH = "/tmp"  # noqa: S108 # nosec B108 - inside the sandbox, where nobody else is
"""For temporary files. Never copied out."""

STAGE = "/stage.py"
"""What confines the process from within and then runs the program in it."""

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
"""The only devices there are. None of them holds anything."""

LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
"""Shared libraries, read-only; the interpreter needs the C library. No folder of programs is among them."""

NOBODY = 65534
"""Whose the process is where the service runs as root: a user without any right or file."""


@dataclass(frozen=True)
class Limits:
    """How much a program may take. What is beyond fails in the program, or ends it.

    Attributes:
        seconds: Time from start to end; then it is killed.
        cpu_seconds: Processor time of all its threads; then it is killed.
        memory_bytes: Address space (RLIMIT_AS); then it has a MemoryError.
        file_bytes: Size of any one file (RLIMIT_FSIZE).
        workspace_bytes: Size of all files in its workspace; the same again for temporary ones.
        entries: Files and folders in its workspace; the same again for temporary ones.
        open_files: Open files at once (RLIMIT_NOFILE).
        threads: Threads at once (RLIMIT_NPROC). Processes: one.
        output_bytes: Bytes of standard output and of standard error, each; then it is killed.
    """

    seconds: float = 30
    cpu_seconds: int = 20
    memory_bytes: int = 768 * 2**20
    file_bytes: int = 32 * 2**20
    workspace_bytes: int = 64 * 2**20
    entries: int = 1024
    open_files: int = 64
    threads: int = 32
    output_bytes: int = 64 * 2**10


NAMESPACES = ("user", "pid", "net", "ipc", "uts", "cgroup", "mount")
"""What is the sandbox's own (bubblewrap only)."""

SYSTEM_CALLS: dict[str, tuple[str, ...]] = {
    "memory of its own": ("brk", "mmap", "munmap", "mprotect", "mremap", "madvise", "mincore", "membarrier"),
    "reading and writing open files": (
        *(
            "read",
            "write",
            "readv",
            "writev",
            "pread64",
            "pwrite64",
            "preadv",
            "pwritev",
            "preadv2",
            "pwritev2",
        ),
        *("lseek", "close", "close_range", "dup", "dup2", "dup3", "fsync", "fdatasync", "sendfile"),
        *("copy_file_range", "fadvise64", "fallocate", "ftruncate", "flock", "fcntl"),
    ),
    "files and folders, where it may see them": (
        *("open", "openat", "creat", "access", "faccessat", "faccessat2", "readlink", "readlinkat"),
        *("stat", "lstat", "fstat", "newfstatat", "statx", "statfs", "fstatfs", "getdents", "getdents64"),
        *("mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "truncate"),
        *("link", "linkat", "symlink", "symlinkat", "umask", "getcwd", "chdir", "fchdir"),
    ),
    "waiting": (
        *("poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait"),
        *("epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "pipe", "pipe2", "futex", "pause"),
        *("timerfd_create", "timerfd_settime", "timerfd_gettime", "nanosleep", "clock_nanosleep"),
    ),
    "time": (
        *("clock_gettime", "clock_getres", "gettimeofday", "time", "times", "alarm"),
        *("getitimer", "setitimer"),
    ),
    "signals to itself": (
        *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait"),
        *("rt_sigsuspend", "sigaltstack", "restart_syscall"),
    ),
    "threads of its own": (
        *("set_robust_list", "get_robust_list", "set_tid_address", "rseq", "arch_prctl"),
        *("sched_yield", "sched_getaffinity", "getcpu"),
    ),
    "what it is": (
        *("getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getgroups"),
        *("getresuid", "getresgid", "getpgrp", "getpgid", "getsid", "uname", "sysinfo", "getrusage"),
        *("getrlimit", "getrandom", "getpriority"),
    ),
    "talking to itself": ("sendto", "recvfrom", "shutdown", "getsockname", "getpeername", "getsockopt"),
    "ending": ("exit", "exit_group"),
}
"""System calls that are allowed, by what they are for; any other fails with EPERM.

Not among them, on purpose: fork and vfork, execve, kill and its kin, socket and
connect, ptrace and process_vm_*, mount and its kin, unshare and setns, chroot,
chown, mknod, memfd_create and shm*, mlock, set*id, setrlimit, setpriority,
keyctl and its kin, bpf, perf_event_open, userfaultfd, io_uring, seccomp.
"""

SYSTEM_CALLS_IN_NAMESPACES: dict[str, tuple[str, ...]] = {
    "marks of files": (
        *("chmod", "fchmod", "fchmodat", "fchmodat2", "utime", "utimes", "utimensat", "futimesat"),
    ),
}
"""Allowed under bubblewrap only: Landlock does not keep them away from files outside the folders."""

MISSING_CALLS = ("clone3", "openat2")
"""System calls that fail as if the kernel had none (ENOSYS), so that the C library takes the older one:
a filter cannot look into the structures that these take."""

CLONE_THREAD = 0x00010000
"""`clone` is allowed for what has this flag only: a thread, never a process. Under bubblewrap only: without a
user namespace the kernel would count the service's threads with the program's."""

IOCTLS = {"TCGETS": 0x5401, "FIONREAD": 0x541B, "FIONBIO": 0x5421, "FIONCLEX": 0x5450, "FIOCLEX": 0x5451}
"""`ioctl` is allowed for these requests only. Not for TIOCSTI, which types into a terminal."""

PRCTL_OPTIONS = {"PR_SET_NAME": 15, "PR_GET_NAME": 16}
"""`prctl` is allowed for these options only."""

AF_UNIX = 1
"""`socketpair` is allowed for this family only: both ends are the program's own."""

PRLIMIT_SELF = 0
"""`prlimit64` is allowed for the process itself only; no new limit is higher than the old."""
