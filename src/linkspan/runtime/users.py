"""Who the container's process is: names looked up in the texts of its /etc/passwd and /etc/group. PURE.

Rules as in moby/sys ``user.GetExecUser``; file formats: passwd(5), group(5).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from linkspan.errors import InvalidRequest

LARGEST_ID = 2**31 - 1


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """``additional`` holds the primary group first (a process without it could pass group denials)."""

    uid: int = 0
    gid: int = 0
    additional: tuple[int, ...] = (0,)
    home: str = "/"


def resolve(user: str, passwd: str, group: str, groups_added: tuple[str, ...] = ()) -> Identity:
    """The identity for ``--user`` text: empty, ``name``, ``uid``, ``name:group`` or ``uid:gid``.

    ``passwd`` and ``group`` are the files' contents, empty where missing; ``groups_added`` are names or numbers
    from ``--group-add``. InvalidRequest when a name is in neither file or a number is out of range.
    """
    user_part, _, group_part = user.partition(":")
    wanted = user_part or "0"
    entries = list(_fields(passwd, 7))
    entry = next((fields for fields in entries if fields[0] == wanted), None)
    number = _number(wanted)
    if entry is None and number is not None:
        entry = next((fields for fields in entries if _number(fields[2]) == number), None)
    if entry is None and number is None:
        raise InvalidRequest(f"unable to find user {wanted}: no matching entries in passwd file")
    name = entry[0] if entry else ""
    uid = (_number(entry[2]) if entry else number) or 0
    gid = (_number(entry[3]) if entry else 0) or 0
    home = (entry[5] if entry else "") or "/"
    additional: list[int] = []
    if group_part:
        gid = _group(group_part, group)
    elif name:
        additional = [
            member_gid
            for fields in _fields(group, 4)
            if name in fields[3].split(",") and (member_gid := _number(fields[2])) is not None
        ]
    additional += [_group(text, group) for text in groups_added]
    return Identity(uid=uid, gid=gid, additional=tuple(dict.fromkeys([gid, *additional])), home=home)


def _group(text: str, group: str) -> int:
    for fields in _fields(group, 4):
        gid = _number(fields[2])
        if fields[0] == text and gid is not None:
            return gid
    number = _number(text)
    if number is None:
        raise InvalidRequest(f"unable to find group {text}: no matching entries in group file")
    return number


def _fields(text: str, count: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= 3 and fields[0] and not line.startswith("#"):
            yield fields + [""] * (count - len(fields))


def _number(text: str) -> int | None:
    """The number that the text is, None if it is a name. InvalidRequest when it is out of range."""
    if not (text.isascii() and text.isdecimal()):
        return None
    value = int(text)
    if value > LARGEST_ID:
        raise InvalidRequest(f"uid or gid {text} is out of range", remedy=f"0 to {LARGEST_ID} are possible")
    return value
