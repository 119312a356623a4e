"""Bridges and veth pairs on rtnetlink: create, change, delete, and the reading of their marks.

A link is ours when its alias begins with our mark, or when it has our interface group and no alias yet: the kernel
takes the group at creation and the alias only afterwards, and a daemon may die between the two.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping

import msgspec

from linkspan.kernel.netlink import Netlink, NetlinkError
from linkspan.kernel.netns import Namespaces
from linkspan.kernel.state import HOST, Bridge, Veth
from linkspan.kernel.wire import link, nsid
from linkspan.kernel.wire.link import Link
from linkspan.kernel.wire.message import attribute, number, text

SMALLEST_MTU6 = 1280
MIXED_MTU = 0
"""What the MTU of a pair is called when its ends have different ones."""
ELSEWHERE = "?"
"""What the namespace of a peer is called when it is none of ours: somebody moved the interface."""


class Mark(msgspec.Struct, frozen=True):
    """How links of one daemon are known: its instance id (8 hex digits) and its interface group."""

    instance: str
    group: int

    @property
    def prefix(self) -> str:
        """What every alias begins with."""
        return f"linkspan:{self.instance}:"

    @property
    def trash(self) -> int:
        """The group of links that wait for being deleted."""
        return 0x5000_0000 | self._digest

    @property
    def doomed(self) -> int:
        """The group of links that are being deleted right now."""
        return 0x6000_0000 | self._digest

    @property
    def _digest(self) -> int:
        return int(self.instance, 16) & 0x0FFF_FFFF

    def ours(self, found: Link) -> bool:
        """Whether a link carries the mark. Links in the trash do, and are no state."""
        return found.alias.startswith(self.prefix) or (not found.alias and found.group == self.group != 0)

    def discarded(self, found: Link) -> bool:
        """Whether a link is waiting for being deleted."""
        return found.group in (self.trash, self.doomed)


class Foreign(Exception):
    """A name is taken by an object that is not ours, or by one of ours that differs. The text names it."""


class Links:
    """Bridges and veth pairs.

    Methods raise NetlinkError, Foreign, ValueError (a malformed value) or FileNotFoundError (no such namespace).
    """

    def __init__(self, host: Netlink, namespaces: Namespaces, mark: Mark) -> None:
        self._host = host
        self._namespaces = namespaces
        self._mark = mark
        self._ipv6 = os.path.isdir("/proc/sys/net/ipv6/conf")

    def socket(self, namespace: str) -> Netlink:
        """The netlink socket of a namespace. FileNotFoundError when it does not exist."""
        return self._host if namespace == HOST else self._namespaces.socket(namespace)

    def find(self, namespace: str, name: str) -> Link | None:
        """A link by name, whoever owns it."""
        try:
            return link.decode(self.socket(namespace).get(link.get_by_name(name)))
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def create_bridge(self, bridge: Bridge) -> None:
        """Makes a bridge, marks it, brings it up. Success when it is there already and equal."""
        self._check_alias(bridge.alias)
        socket = self.socket(bridge.namespace)
        request = link.create_bridge(name=bridge.name, mac=bridge.mac, mtu=bridge.mtu, group=bridge.group)
        try:
            socket.request(request)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            found = self._ours(bridge.namespace, bridge.name)
            if self.read_bridge(bridge.namespace, found) != bridge:
                raise Foreign(f"a bridge {bridge.name} of ours exists with other settings") from error
            return
        index = socket.index(bridge.name)
        with self._deleted_on_failure(socket, index):
            parts = [text(link.IFLA_IFALIAS, bridge.alias), number(link.IFLA_MTU, bridge.mtu)]
            socket.request(link.change(index, *parts))
            socket.request(link.change(index, self._policy(bridge.mtu)))
            if bridge.gso_max_size > link.LEGACY_GSO:
                self._let_sizes_grow(socket, index)
                socket.request(link.change(index, link.offload_sizes(bridge.gso_max_size)))
            socket.request(link.change(index, up=True))

    def _let_sizes_grow(self, socket: Netlink, bridge: int) -> None:
        """Gives the bridge a port for a moment: it takes its limit from its ports, and a new one has none."""
        passing = link.create_veth(
            name="lsgso%d",
            master=bridge,
            mtu=1500,
            group=self._mark.doomed,
            gso_max_size=link.LEGACY_GSO,
            peer_name="lsgso%d",
            peer_mac="",
            peer_namespace=None,
            up=False,
        )
        socket.request(passing)
        socket.request(link.delete_group(self._mark.doomed))

    def update_bridge(self, bridge: Bridge) -> None:
        """Asserts every setting of a bridge of ours, also of one whose making was cut short."""
        self._check_alias(bridge.alias)
        found = self._ours(bridge.namespace, bridge.name)
        parts = [
            text(link.IFLA_IFALIAS, bridge.alias),
            attribute(link.IFLA_ADDRESS, link.mac_bytes(bridge.mac)),
            number(link.IFLA_GROUP, bridge.group),
            *sizes(found, bridge.mtu, bridge.gso_max_size),
        ]
        socket = self.socket(bridge.namespace)
        if bridge.gso_max_size > max(found.gso_max_size, link.LEGACY_GSO):
            self._let_sizes_grow(socket, found.index)
        socket.request(link.change(found.index, *parts))
        socket.request(link.change(found.index, self._policy(bridge.mtu), up=True))

    def read_bridge(self, namespace: str, found: Link) -> Bridge:
        """A link of kind bridge as state."""
        return Bridge(
            name=found.name,
            mac=found.mac,
            mtu=found.mtu,
            alias=found.alias,
            group=found.group,
            gso_max_size=found.gso_max_size,
            up=found.up,
            namespace=namespace,
        )

    def create_veth(self, veth: Veth) -> None:
        """Makes a pair with its peer inside the namespace, both ends up. Success when it is there and equal.

        All or nothing: a pair that cannot be finished is deleted again. The kernel would make link-local addresses
        when the peer comes up, so both ends are told before not to.
        """
        self._check_alias(veth.alias)
        inside = self.socket(veth.peer_namespace)
        if not self._make_veth(veth):
            return
        index = self._host.index(veth.name)
        with self._deleted_on_failure(self._host, index):
            parts = [text(link.IFLA_IFALIAS, veth.alias), self._policy(veth.mtu)]
            if veth.hairpin or veth.isolated:
                parts.append(link.port_settings(hairpin=veth.hairpin, isolated=veth.isolated))
            self._host.request(link.change(index, *parts))
            peer = inside.index(veth.peer_name)
            inside.request(link.change(peer, self._policy(veth.mtu)))
            inside.request(link.change(peer, up=True))

    def _make_veth(self, veth: Veth) -> bool:
        """Creates the pair. False when it is there already and equal."""
        master = self._ours(HOST, veth.master).index if veth.master else 0
        with self._namespaces.opened(veth.peer_namespace) as descriptor:
            request = link.create_veth(
                name=veth.name,
                master=master,
                mtu=veth.mtu,
                group=veth.group,
                gso_max_size=veth.gso_max_size,
                peer_name=veth.peer_name,
                peer_mac=veth.peer_mac,
                peer_namespace=descriptor,
            )
            try:
                self._host.request(request)
                return True
            except NetlinkError as error:
                if error.errno != errno.EEXIST:
                    raise
            if self._stands(veth):
                return False
            self._host.request(request)
        return True

    def _stands(self, veth: Veth) -> bool:
        """Whether the pair is there and equal. False: it was going away, and now it is gone. Foreign otherwise.

        A pair of ours whose peer is in no namespace of ours is going away: the kernel takes a namespace apart some
        time after its pin is gone.
        """
        found = self.find(HOST, veth.name)
        if found is None:
            if self.find(veth.peer_namespace, veth.peer_name) is not None:
                raise Foreign(f"an interface {veth.peer_name} exists already in namespace {veth.peer_namespace}")
            return False
        if not self._mark.ours(found):
            raise Foreign(f"an interface {veth.name} exists that is not ours")
        master = {self._host.index(veth.master): veth.master} if veth.master else {}
        live = None if self._mark.discarded(found) else self.read_veth(found, master, self.numbers())
        if live is None or live.peer_namespace == ELSEWHERE:
            self._delete_index(self._host, found.index)
            return False
        if live != veth or (found.master and not veth.master):
            raise Foreign(f"a veth {veth.name} of ours exists with other settings")
        return True

    def update_veth(self, veth: Veth, before: Veth) -> None:
        """Asserts every setting of the outer end, and those of the inner one where they differ from ``before``.

        The inner end belongs to the sandbox's processes too: a port that goes to another bridge is no reason to touch
        what they may have changed.
        """
        self._check_alias(veth.alias)
        found = self._ours(HOST, veth.name)
        master = self._ours(HOST, veth.master).index if veth.master else 0
        parts = [
            text(link.IFLA_IFALIAS, veth.alias),
            number(link.IFLA_GROUP, veth.group),
            number(link.IFLA_MASTER, master),
            *sizes(found, veth.mtu, veth.gso_max_size),
        ]
        self._host.request(link.change(found.index, *parts))
        self._host.request(link.change(found.index, self._policy(veth.mtu), up=True))
        if master:
            port = link.port_settings(hairpin=veth.hairpin, isolated=veth.isolated)
            self._host.request(link.change(found.index, port))
        if (veth.mtu, veth.gso_max_size, veth.up) == (before.mtu, before.gso_max_size, before.up):
            return
        inside = self.socket(veth.peer_namespace)
        peer = link.decode(inside.get(link.get_by_name(veth.peer_name)))
        inside.request(link.change(peer.index, *sizes(peer, veth.mtu, veth.gso_max_size), up=True))

    def read_veth(self, found: Link, names: Mapping[int, str], namespaces: Mapping[int, str]) -> Veth | None:
        """The host's end of a pair as state; None when its peer is going away with its namespace.

        ``names`` are the host's interfaces by number, ``namespaces`` ours by the host's number for them.
        """
        try:
            if found.peer_nsid == nsid.UNKNOWN:
                peer = link.decode(self._host.get(link.get_by_index(found.peer)))
                namespace = HOST
            else:
                peer = link.decode(self._host.get(link.get_in_namespace(found.peer, found.peer_nsid)))
                namespace = namespaces.get(found.peer_nsid, ELSEWHERE)
        except NetlinkError as error:
            if error.errno in (errno.EINVAL, errno.ENODEV):
                return None
            raise
        return Veth(
            name=found.name,
            master=names.get(found.master, ""),
            mtu=found.mtu if peer.mtu == found.mtu else MIXED_MTU,
            alias=found.alias,
            group=found.group,
            hairpin=found.hairpin,
            isolated=found.isolated,
            gso_max_size=min(found.gso_max_size, peer.gso_max_size),
            up=found.up and peer.up,
            peer_namespace=namespace,
            peer_name=peer.name,
            peer_mac=peer.mac,
        )

    def numbers(self) -> dict[int, str]:
        """Our namespaces by the host's number for them."""
        found: dict[int, str] = {}
        for name in self._namespaces.names():
            with self._namespaces.opened(name) as descriptor:
                found[nsid.decode(self._host.get(nsid.get(descriptor)))] = name
        found.pop(nsid.UNKNOWN, None)
        return found

    def delete(self, namespace: str, name: str) -> None:
        """Removes a link of ours; absence is success, and a foreign link of that name stays."""
        with contextlib.suppress(FileNotFoundError):
            found = self.find(namespace, name)
            if found is not None and self._mark.ours(found):
                self._delete_index(self.socket(namespace), found.index)

    def _delete_index(self, socket: Netlink, index: int) -> None:
        try:
            socket.request(link.delete(index))
        except NetlinkError as error:
            if error.errno != errno.ENODEV:
                raise

    def _ours(self, namespace: str, name: str) -> Link:
        found = self.find(namespace, name)
        if found is None:
            raise NetlinkError(errno.ENODEV, f"no interface {name}")
        if not self._mark.ours(found):
            raise Foreign(f"an interface {name} exists that is not ours")
        return found

    def _check_alias(self, alias: str) -> None:
        if not alias.startswith(self._mark.prefix):
            raise ValueError(f"the alias {alias!r} does not begin with our mark {self._mark.prefix!r}")

    def _policy(self, mtu: int) -> bytes:
        """A link below IPv6's smallest MTU (RFC 8200, 5) has no IPv6, and the kernel refuses to hear of it."""
        return link.address_policy(ipv6=self._ipv6 and mtu >= SMALLEST_MTU6)

    @contextlib.contextmanager
    def _deleted_on_failure(self, socket: Netlink, index: int) -> Iterator[None]:
        try:
            yield
        except NetlinkError:
            self._delete_index(socket, index)
            raise


def outer_end(found: Link, names: Mapping[int, str], known: Veth) -> Veth:
    """The outer end of a pair as state, with the inner one as it is known. ``names`` are the host's by number."""
    return msgspec.structs.replace(
        known,
        master=names.get(found.master, ""),
        mtu=found.mtu,
        alias=found.alias,
        group=found.group,
        hairpin=found.hairpin,
        isolated=found.isolated,
        gso_max_size=found.gso_max_size,
        up=found.up,
    )


def sizes(found: Link, mtu: int, gso_max_size: int) -> list[bytes]:
    """Attributes that bring MTU and offload sizes (both bytes) of a link to what is wanted."""
    parts = [number(link.IFLA_MTU, mtu)]
    if found.gso_max_size != gso_max_size:
        parts.append(link.all_offload_sizes(gso_max_size))
    return parts
