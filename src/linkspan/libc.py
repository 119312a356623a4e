"""System calls that Python 3.11 does not wrap, as the kernel has them. Each raises OSError with the kernel's errno.

``kernel``, ``runtime`` and ``images`` say with them what they need: namespaces, mounts, roots.
"""

from __future__ import annotations

import ctypes
import os

CLONE_FS = 0x200
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
"""linux/sched.h"""
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 1 << 0, 1 << 5, 1 << 12, 1 << 14
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
"""linux/mount.h"""
MNT_DETACH = 2
"""linux/fs.h: take the mount out of the tree now, let it go when nobody uses it."""
PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h"""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


def setns(descriptor: int, kind: int) -> None:
    """Moves the calling thread into a namespace (setns(2))."""
    _check(_libc.setns(descriptor, kind), "setns")


def unshare(kinds: int) -> None:
    """Gives the calling thread its own (unshare(2))."""
    _check(_libc.unshare(kinds), "unshare")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2). Relative names count from the calling thread's working directory."""
    words = (source or "none", target, kind or "none")
    encoded = [os.fsencode(word) for word in words]
    _check(_libc.mount(*encoded, flags, os.fsencode(data) if data else None), target)


def unmount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2). EINVAL: nothing is mounted there."""
    _check(_libc.umount2(os.fsencode(target), flags), target)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    _check(_libc.pivot_root(os.fsencode(new), os.fsencode(old)), new)


def become_subreaper() -> None:
    """Orphans among our descendants become children of this process (prctl(2))."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def sync_file_system(folder: str) -> None:
    """Writes out the file system that holds ``folder``: one call instead of one fsync for each of 10,000 files."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _check(_libc.syncfs(descriptor), folder)
    finally:
        os.close(descriptor)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
