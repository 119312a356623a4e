"""Seccomp filters compiled ahead, by libseccomp, so that not every start has to.

Compiling Docker's profile takes libseccomp 16 ms, half of crun's time for a container, and the result depends on
nothing but the profile and the capabilities. crun takes a finished filter from an annotation
(``run.oci.seccomp_bpf_data``, crun(1)). The ``seccomp`` section stays in the configuration: a crun that does not
know the annotation compiles it as ever. What comes out is byte for byte what crun would have made; a test says so.

Interface: seccomp_init(3), seccomp_rule_add(3), seccomp_export_bpf(3); ``seccomp.h`` of libseccomp 2.5.
"""

from __future__ import annotations

import base64
import ctypes
import os
from collections import OrderedDict

import msgspec

from linkspan.runtime import oci

KEPT = 64
"""How many filters are remembered; there is one for each set of capabilities in use."""
ANNOTATION = "run.oci.seccomp_bpf_data"

_ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
"""Without SCMP_ACT_NOTIFY: its descriptor is the runtime's to pass on."""
_WITH_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_EPERM = 1
_OPERATORS = ("", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
_UNKNOWN_SYSCALL = -1
_EEXIST = -17


class _Argument(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class _Linux(msgspec.Struct, frozen=True):
    seccomp: msgspec.Raw = msgspec.Raw(b"")


class _Config(msgspec.Struct, frozen=True):
    linux: _Linux = _Linux()


class FilterCache:
    """Finished filters by the text of their ``seccomp`` section. Without libseccomp it adds nothing."""

    def __init__(self) -> None:
        self._library = _load()
        self._filters: OrderedDict[bytes, str] = OrderedDict()

    def annotated(self, config: bytes) -> bytes:
        """A ``config.json`` with its filter as an annotation; unchanged where there is none to be had.

        The first time for a profile takes some 20 ms: call it in a thread.
        """
        section = bytes(msgspec.json.decode(config, type=_Config).linux.seccomp)
        if not section or self._library is None or b'"annotations"' in config:
            return config
        text = self._filter(self._library, section)
        if not text:
            return config
        return config[:-1] + f',"annotations":{{"{ANNOTATION}":"{text}"}}}}'.encode()

    def prepare(self, section: oci.Seccomp) -> None:
        """Compiles a filter before it is needed."""
        if self._library is not None:
            self._filter(self._library, msgspec.json.encode(section))

    def knows(self, config: bytes) -> bool:
        """Whether ``annotated`` has nothing to compile."""
        return bytes(msgspec.json.decode(config, type=_Config).linux.seccomp) in self._filters

    def _filter(self, library: ctypes.CDLL, section: bytes) -> str:
        text = self._filters.get(section)
        if text is None:
            text = compile_filter(library, msgspec.json.decode(section, type=oci.Seccomp))
            self._filters[section] = text
            if len(self._filters) > KEPT:
                self._filters.popitem(last=False)
        return text


def compile_filter(library: ctypes.CDLL, section: oci.Seccomp) -> str:
    """The BPF program in base64; empty where libseccomp refuses, so that the runtime reports it in its own way."""
    default = _action(section.default_action, section.default_errno_ret)
    if default is None:
        return ""
    context = library.seccomp_init(default)
    if not context:
        return ""
    output = os.memfd_create("filter")
    try:
        if not _fill(library, context, section, default) or library.seccomp_export_bpf(context, output):
            return ""
        size = os.lseek(output, 0, os.SEEK_END)
        return base64.b64encode(os.pread(output, size, 0)).decode()
    finally:
        os.close(output)
        library.seccomp_release(context)


def _fill(library: ctypes.CDLL, context: int, section: oci.Seccomp, default: int) -> bool:
    for name in section.architectures:
        token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
        if not token or library.seccomp_arch_add(context, token) not in (0, _EEXIST):
            return False
    for rule in section.syscalls:
        action = _action(rule.action, rule.errno_ret)
        if action is None:
            return False
        if action == default:
            continue
        arguments = (_Argument * len(rule.args))()
        for place, argument in enumerate(rule.args):
            operator = _OPERATORS.index(argument.op.removeprefix("SCMP_CMP_"))
            arguments[place] = _Argument(argument.index, operator, argument.value, argument.value_two)
        for name in rule.names:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == _UNKNOWN_SYSCALL:
                continue
            if library.seccomp_rule_add_array(context, action, number, len(rule.args), arguments):
                return False
    return True


def _action(name: str, number: int | None) -> int | None:
    base = _ACTIONS.get(name)
    if base is None or name not in _WITH_NUMBER:
        return base
    return base | (_EPERM if number is None else number)


def _load() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Argument),
    )
    return library
