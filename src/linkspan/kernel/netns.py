"""Network namespaces of ours: made in the calling thread, pinned by a bind mount, entered and left again.

A pin is the file ``<exec_root>/netns/<name>``, and the folder is a shared mount of its own (``prepare``), so that
pins show up in copies of this mount namespace and do not get lost in them. Every namespace has one netlink socket,
opened when it is made: it costs 10 µs and saves a change of namespace for each piece of work inside.

The functions here move the *calling thread*; nothing else may run on it meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from linkspan import libc
from linkspan.kernel.netlink import Netlink
from linkspan.kernel.wire import link

FOLDER = "netns"
LOOPBACK = 1
"""The loopback interface is the first of every namespace."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def prepare(exec_root: Path) -> Path:
    """Makes the folder of pins a shared mount of its own, whatever an earlier daemon left. OSError."""
    folder = exec_root / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_mount(folder):
        libc.mount(str(folder), str(folder), "", libc.MS_BIND)
        libc.mount(
            "", str(folder), "", libc.MS_PRIVATE
        )  # or it stays a peer of the mount below, and each pin is mounted twice
    libc.mount("", str(folder), "", libc.MS_SHARED)
    return folder


def release(exec_root: Path) -> None:
    """Undoes ``prepare`` and drops every pin: for uninstalling and for tests. Absence is success."""
    folder = exec_root / FOLDER
    if not folder.exists():
        return
    for pin in folder.iterdir():
        drop_pin(pin)
    while is_mount(folder):
        libc.unmount(str(folder))
    for leftover in folder.iterdir():
        leftover.unlink()
    folder.rmdir()


def is_mount(folder: Path) -> bool:
    """Whether something is mounted at exactly this path (proc(5), mountinfo)."""
    wanted = str(folder.resolve())
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        return any(unescaped(line.split(" ", 5)[4]) == wanted for line in lines)


def unescaped(path: str) -> str:
    """A path of mountinfo, where blanks, tabs, line ends and backslashes are octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), path)


def own() -> int:
    """A new descriptor of the calling thread's namespace; the caller closes it."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def entered(namespace: int) -> Iterator[None]:
    """Runs the body in another namespace and comes back, whatever happens. OSError."""
    home = own()
    try:
        libc.setns(namespace, libc.CLONE_NEWNET)
        try:
            yield
        finally:
            libc.setns(home, libc.CLONE_NEWNET)
    finally:
        os.close(home)


def create() -> Netlink:
    """A new namespace with its loopback up, held by nothing but the netlink socket inside. OSError."""
    home = own()
    try:
        libc.unshare(libc.CLONE_NEWNET)
        try:
            inside = Netlink()
        finally:
            libc.setns(home, libc.CLONE_NEWNET)
    finally:
        os.close(home)
    inside.request(link.change(LOOPBACK, up=True))
    return inside


def open_inside(namespace: int) -> Netlink:
    """A netlink socket in another namespace. OSError."""
    with entered(namespace):
        return Netlink()


def pinned(path: Path) -> bool:
    """Whether the file is a namespace, and not only the place for one."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_dev == os.stat("/proc/self/ns/net").st_dev
    return False


def pin(namespace: int, path: Path) -> None:
    """Shows the namespace at ``path``. FileExistsError when one is pinned there; OSError."""
    if pinned(path):
        raise FileExistsError(errno.EEXIST, "a namespace is pinned there already", str(path))
    path.touch(mode=0o444)
    try:
        libc.mount(f"/proc/self/fd/{namespace}", str(path), "", libc.MS_BIND)
    except OSError:
        path.unlink()
        raise


def drop_pin(path: Path) -> None:
    """Removes a pin, or what is left of one; absence is success. OSError.

    The namespace lives while somebody uses it.
    """
    while pinned(path):
        libc.unmount(str(path))
    path.unlink(missing_ok=True)


class Namespaces:
    """The pinned namespaces below one exec-root and their netlink sockets."""

    def __init__(self, exec_root: Path) -> None:
        self.folder = exec_root / FOLDER
        self._sockets: dict[str, Netlink] = {}

    def close(self) -> None:
        """Closes all sockets: the namespaces stay."""
        for inside in self._sockets.values():
            inside.close()
        self._sockets.clear()

    def path(self, name: str) -> Path:
        """Where the pin is, or will be. ValueError when the name cannot be a file's."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a namespace")
        return self.folder / name

    def names(self) -> list[str]:
        """All namespaces that are pinned, in order; files that are no namespace any more are left out."""
        if not self.folder.is_dir():
            return []
        return sorted(entry.name for entry in self.folder.iterdir() if pinned(entry))

    def exists(self, name: str) -> bool:
        """Whether a namespace is pinned under the name."""
        return pinned(self.path(name))

    def keep(self, name: str, inside: Netlink) -> None:
        """Pins the namespace of a socket under a name; the socket is ours then. FileExistsError when it is pinned.

        OSError; then the socket is still the caller's.
        """
        descriptor = inside.namespace()
        try:
            pin(descriptor, self.path(name))
        finally:
            os.close(descriptor)
        self._sockets[name] = inside

    def repin(self, name: str, pid: int) -> None:
        """Pins the namespace of a process again, when the pin was lost. OSError (ENOENT: no such process)."""
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            drop_pin(self.path(name))
            self._forget(name)
            pin(descriptor, self.path(name))
        finally:
            os.close(descriptor)

    def open(self, name: str) -> int:
        """A new descriptor of the namespace; the caller closes it. FileNotFoundError when it is not pinned."""
        path = self.path(name)
        if not pinned(path):
            raise FileNotFoundError(errno.ENOENT, "no such namespace", name)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """A descriptor of the namespace, or of our own for the empty name, while the body runs. FileNotFoundError."""
        descriptor = self.open(name) if name else own()
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def socket(self, name: str) -> Netlink:
        """The netlink socket inside, opened again after a restart. FileNotFoundError when it is not pinned."""
        inside = self._sockets.get(name)
        if inside is None:
            with self.opened(name) as descriptor:
                inside = self._sockets[name] = open_inside(descriptor)
        return inside

    def unpin(self, name: str) -> Netlink | None:
        """Drops the pin and hands over the socket inside, if there is one: the namespace lives until it is closed."""
        drop_pin(self.path(name))
        return self._sockets.pop(name, None)

    def delete(self, name: str) -> None:
        """Drops the pin and the socket. The kernel takes an unused namespace apart later; absence is success."""
        drop_pin(self.path(name))
        self._forget(name)

    def broken(self) -> list[str]:
        """Files among the pins that are no namespace any more: unmounted by somebody, or left by a reboot."""
        if not self.folder.is_dir():
            return []
        return sorted(entry.name for entry in self.folder.iterdir() if not pinned(entry))

    def repair(self) -> list[str]:
        """Removes the files that ``broken`` tells; returns their names."""
        names = self.broken()
        for name in names:
            drop_pin(self.folder / name)
            self._forget(name)
        return names

    def _forget(self, name: str) -> None:
        inside = self._sockets.pop(name, None)
        if inside is not None:
            inside.close()
