"""libnftables through ctypes: text in, JSON out (libnftables(3)). A buffer of commands is one atomic transaction.

Commands go in as text, since text is what tells *which* command failed (an error names its line), and since the
JSON of nft 1.0.6 does not carry a whole ruleset there and back (a dnat by a map of concatenations loses its type).
Nothing from outside is spliced: ``tables`` writes every part of an element quoted and against an allow-list.

A context belongs to the network namespace in which it was made.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import cast

import msgspec

from linkspan.kernel.low_descriptors import returned, with_low_descriptor

OUTPUT_JSON = 1 << 4
OUTPUT_NUMERIC_PROTOCOL = 1 << 7
"""6 instead of tcp: we write numbers, and names depend on /etc/protocols."""
OUTPUT_HANDLE = 1 << 3
OUTPUT_TERSE = 1 << 11
"""Leaves the elements of sets out (nftables/libnftables.h)."""

_ERROR = re.compile(r"^\S*?:(\d+):\d+-\d+: Error: (?:Could not process rule: )?(.*)$", re.MULTILINE)
_WITH_HANDLE = re.compile(r"^(.*) # handle (\d+)$", re.MULTILINE)
_CODES = {
    **{os.strerror(code): code for code in errno.errorcode},
    "element does not exist": errno.ENOENT,
    "interval overlaps with an existing one": errno.EEXIST,
}


class NftProblem(msgspec.Struct, frozen=True):
    """One refused command: its place in the list, an errno (EINVAL where nft has only words) and the words."""

    command: int
    code: int
    reason: str


class NftError(OSError):
    """A transaction was refused as a whole. ``problems`` names the commands at fault, at least one."""

    def __init__(self, problems: tuple[NftProblem, ...]) -> None:
        super().__init__(problems[0].code, problems[0].reason)
        self.problems = problems


class Nft:
    """A libnftables context. OSError when the library is missing, or the process has no low descriptor left."""

    def __init__(self) -> None:
        self._library = _load()
        self._context = with_low_descriptor(self._new, self._library.nft_ctx_free)
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def _new(self) -> int | None:
        context: int | None = self._library.nft_ctx_new(0)
        if not context:
            raise OSError(errno.ENOMEM, "libnftables gives no context")
        return context

    def close(self) -> None:
        """Frees the context."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None
            returned()

    def run(self, commands: Sequence[str]) -> None:
        """Runs commands (each of one or several lines) as one transaction. NftError: none of them stands."""
        self._library.nft_ctx_output_set_flags(self._context, 0)
        descriptor = os.memfd_create("nft")
        try:
            os.write(descriptor, ("\n".join(commands) + "\n").encode())
            path = f"/proc/self/fd/{descriptor}".encode()
            result = self._library.nft_run_cmd_from_filename(self._context, path)
        finally:
            os.close(descriptor)
        words = self._words()
        if result != 0:
            raise NftError(problems_in(words, commands))

    def tables(self) -> list[tuple[str, str]]:
        """Family and name of every table of the namespace."""
        listed = self._list("list tables")
        return [(str(item["family"]), str(item["name"])) for kind, item in listed if kind == "table"]

    def table(self, family: str, name: str, *, elements: bool = True) -> list[tuple[str, dict[str, object]]]:
        """The parts of a table as (kind, attributes), kind being table, set, map, chain, rule, counter ...

        Empty when there is no such table. ``elements`` False is much faster with large sets.
        """
        return self._list(f"list table {family} {name}", terse=not elements)

    def chains(self) -> list[dict[str, object]]:
        """Every chain of the namespace without its rules: quick, whatever the tables hold."""
        return [part for kind, part in self._list("list chains") if kind == "chain"]

    def rules_as_text(self, family: str, name: str) -> dict[int, str]:
        """The rules of a table by handle, in nft's own words; those say more of iptables' extensions than JSON does."""
        self._library.nft_ctx_output_set_flags(self._context, OUTPUT_HANDLE | OUTPUT_TERSE)
        _, listing, _ = self._execute(f"list table {family} {name}")
        return {int(match[2]): match[1].strip() for match in _WITH_HANDLE.finditer(listing)}

    def set(self, family: str, table: str, name: str) -> list[object]:
        """The elements of one set or map as listed; empty when there is no such table or set."""
        listed = self._list(f"list set {family} {table} {name}")
        return [entry for kind, part in listed if kind == "set" for entry in cast("list[object]", part.get("elem", []))]

    def _list(self, command: str, *, terse: bool = False) -> list[tuple[str, dict[str, object]]]:
        flags = OUTPUT_JSON | OUTPUT_NUMERIC_PROTOCOL | (OUTPUT_TERSE if terse else 0)
        self._library.nft_ctx_output_set_flags(self._context, flags)
        result, listing, words = self._execute(command)
        if result != 0:
            if os.strerror(errno.ENOENT) in words:
                return []
            raise NftError(problems_in(words, (command,)))
        if not listing:
            return []
        decoded = json.loads(listing)
        return [next(iter(entry.items())) for entry in decoded["nftables"] if "metainfo" not in entry]

    def _execute(self, text: str) -> tuple[int, str, str]:
        result = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        output = self._library.nft_ctx_get_output_buffer(self._context) or b""
        return result, output.decode(errors="replace"), self._words()

    def _words(self) -> str:
        words: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        return words.decode(errors="replace")


def problems_in(words: str, commands: Sequence[str]) -> tuple[NftProblem, ...]:
    """nft's error messages, each laid at the door of the command that it is about."""
    first_lines = []
    line = 1
    for command in commands:
        first_lines.append(line)
        line += command.count("\n") + 1
    found: dict[int, NftProblem] = {}
    for match in _ERROR.finditer(words):
        at = int(match.group(1))
        place = max(bisect_right(first_lines, at) - 1, 0)
        reason = match.group(2).split(";")[0].strip()
        found.setdefault(place, NftProblem(place, _CODES.get(reason, errno.EINVAL), reason))
    if not found:
        first = words.strip().splitlines()[0] if words.strip() else "nft gave no reason"
        return (NftProblem(0, errno.EINVAL, first.removeprefix("Error: ")),)
    return tuple(found[place] for place in sorted(found))


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL("libnftables.so.1")
    library.nft_ctx_new.argtypes = (ctypes.c_uint32,)
    library.nft_ctx_new.restype = ctypes.c_void_p
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = (ctypes.c_void_p,)
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = (ctypes.c_void_p,)
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_ctx_output_set_flags.argtypes = (ctypes.c_void_p, ctypes.c_uint)
    library.nft_run_cmd_from_filename.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    library.nft_run_cmd_from_buffer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    return library
