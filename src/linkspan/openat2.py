"""Opening a path below a directory that somebody else may rename and relink meanwhile (openat2(2)).

With ``RESOLVE_IN_ROOT`` the kernel treats the directory as ``/`` for absolute paths, ``..`` and symbolic links, and
refuses magic links such as ``/proc/self/root``. Checking a path first and opening it later was CVE-2018-15664.
"""

from __future__ import annotations

import ctypes
import errno
import os

# linux/openat2.h
RESOLVE_NO_XDEV = 0x01
"""No step into another mount."""
RESOLVE_IN_ROOT = 0x10

_SYS_OPENAT2 = 437
"""The same number on every architecture (asm-generic/unistd.h)."""
_RACES_RETRIED = 64
"""EAGAIN: a rename went on while the kernel resolved ``..``."""


class _OpenHow(ctypes.Structure):
    """``struct open_how`` of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)


def openat2(directory: int, path: str, flags: int, resolve: int) -> int:
    """Opens ``path`` as seen from a directory's descriptor; returns a descriptor. OSError as of open(2)."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(_RACES_RETRIED):
        descriptor: int = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(directory),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number != errno.EAGAIN:
            break
    raise OSError(number, os.strerror(number), path)
