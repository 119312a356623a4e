"""The system calls that Python 3.11 does not wrap: setns(2), unshare(2), mount(2), umount2(2)."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MS_PRIVATE = 0x40000
MS_SHARED = 0x100000
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


def setns(descriptor: int) -> None:
    """Moves the calling thread into a network namespace. OSError."""
    _checked(_libc.setns(descriptor, CLONE_NEWNET), "setns")


def unshare_network() -> None:
    """Moves the calling thread into a new network namespace. OSError."""
    _checked(_libc.unshare(CLONE_NEWNET), "unshare")


def bind_mount(source: str, target: str) -> None:
    """Shows ``source`` at ``target``. OSError."""
    _checked(_libc.mount(os.fsencode(source), os.fsencode(target), b"none", MS_BIND, None), target)


def make_private(target: str) -> None:
    """Takes a mount out of the group that it shares mounts with. OSError."""
    _checked(_libc.mount(b"none", os.fsencode(target), b"none", MS_PRIVATE, None), target)


def make_shared(target: str) -> None:
    """Lets mounts below ``target`` spread to copies of this mount namespace. OSError."""
    _checked(_libc.mount(b"none", os.fsencode(target), b"none", MS_SHARED, None), target)


def unmount(target: str) -> None:
    """Takes a mount away; what still uses it keeps it. OSError (EINVAL: nothing is mounted there)."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), target)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
