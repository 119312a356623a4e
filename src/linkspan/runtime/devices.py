"""Device nodes of a container and the rules of its devices cgroup. PURE.

Defaults as Docker's (moby, ``oci/defaults.go``; runtime-spec config-linux.md, Default Devices).
"""

from __future__ import annotations

import msgspec

from linkspan.runtime import oci


class DeviceNode(msgspec.Struct, frozen=True, kw_only=True):
    """A host device as found by ``linkspan.runtime.host_devices``, under the path that it gets inside."""

    path: str
    kind: str
    """``c`` or ``b``."""
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    access: str = "rwm"


_ORDINARY: tuple[tuple[int, int | None], ...] = (
    (1, 3),  # null
    (1, 5),  # zero
    (1, 7),  # full
    (1, 8),  # random
    (1, 9),  # urandom
    (5, 0),  # tty
    (5, 2),  # ptmx
    (136, None),  # pts
)

_DEFAULT_RULES: tuple[oci.DeviceRule, ...] = (
    oci.DeviceRule(allow=False, access="rwm"),
    oci.DeviceRule(allow=True, type="c", access="m"),
    oci.DeviceRule(allow=True, type="b", access="m"),
    *(oci.DeviceRule(allow=True, type="c", major=major, minor=minor, access="rwm") for major, minor in _ORDINARY),
)


def rules(given: tuple[DeviceNode, ...], *, privileged: bool) -> tuple[oci.DeviceRule, ...]:
    """What the container may open: everything when privileged, else the ordinary nodes and those given to it."""
    if privileged:
        return (oci.DeviceRule(allow=True, access="rwm"),)
    return _DEFAULT_RULES + tuple(
        oci.DeviceRule(allow=True, type=node.kind, major=node.major, minor=node.minor, access=node.access)
        for node in given
    )


def nodes(given: tuple[DeviceNode, ...]) -> tuple[oci.Device, ...]:
    """The nodes to be made under /dev. The runtime adds the ordinary ones (null, zero, tty ...) by itself."""
    return tuple(
        oci.Device(
            path=node.path,
            type=node.kind,
            major=node.major,
            minor=node.minor,
            file_mode=node.mode,
            uid=node.uid,
            gid=node.gid,
        )
        for node in given
    )
