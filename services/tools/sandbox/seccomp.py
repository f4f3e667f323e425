"""The policy's system calls as a filter for the kernel."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from functools import cache

from services.tools.sandbox import policy


class FilterUnusable(Exception):
    """The filter cannot be made on this machine; the message says why."""


@cache
def program(*, namespaces: bool) -> bytes:
    """The filter, compiled: what `struct sock_fprog` points to.

    Args:
        namespaces: Whether the program is alone in namespaces of its own.

    Raises:
        FilterUnusable: libseccomp is missing or too old.
    """
    try:
        import pyseccomp  # Loads libseccomp, a system library that may be missing.

        return _compile(pyseccomp, namespaces)
    except (ImportError, RuntimeError, OSError) as error:
        raise FilterUnusable(f"libseccomp is missing or too old ({error})") from error


def _compile(pyseccomp, namespaces: bool) -> bytes:  # type: ignore[no-untyped-def]
    allow, argument = pyseccomp.ALLOW, pyseccomp.Arg
    made = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for names in (*policy.SYSTEM_CALLS.values(), *_more(namespaces)):
        for name in names:
            _add(pyseccomp, made, allow, name)
    for name in policy.MISSING_CALLS:
        _add(pyseccomp, made, pyseccomp.ERRNO(errno.ENOSYS), name)
    for request in policy.IOCTLS.values():
        made.add_rule(allow, "ioctl", argument(1, pyseccomp.EQ, request))
    for option in policy.PRCTL_OPTIONS.values():
        made.add_rule(allow, "prctl", argument(0, pyseccomp.EQ, option))
    made.add_rule(allow, "socketpair", argument(0, pyseccomp.EQ, policy.AF_UNIX))
    made.add_rule(allow, "prlimit64", argument(0, pyseccomp.EQ, policy.PRLIMIT_SELF))
    if namespaces:
        thread = policy.CLONE_THREAD
        made.add_rule(allow, "clone", argument(0, pyseccomp.MASKED_EQ, thread, thread))
    return _exported(made)


def _more(namespaces: bool) -> Iterable[tuple[str, ...]]:
    return policy.SYSTEM_CALLS_IN_NAMESPACES.values() if namespaces else ()


def _add(pyseccomp, made, action: int, name: str) -> None:  # type: ignore[no-untyped-def]
    """Add a rule; a call that this architecture has not got (`open` on arm64) needs none."""
    if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) >= 0:
        made.add_rule(action, name)


def _exported(made) -> bytes:  # type: ignore[no-untyped-def]
    descriptor = os.memfd_create("filter", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "w+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()
