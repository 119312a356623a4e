"""Mount namespaces and mount propagation, by the system calls themselves.

Every mount namespace is a copy of its maker's, and a copy of a mount keeps it alive. So the folders in which we
mount things (data-root, exec-root) are *shared*, and the namespace that runtimes start in is a *slave*: what the
daemon mounts or unmounts later happens there too (mount_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from linkspan import libc
from linkspan.errors import RuntimeFailure


class MountEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of /proc/PID/mountinfo (proc(5)). ``root`` is the path inside the file system that is mounted."""

    device: str
    root: str
    point: str
    options: str
    shared: bool
    kind: str
    super_options: str


def parse_mounts(text: str) -> tuple[MountEntry, ...]:
    """The lines of a mountinfo file, in their order: a later one on the same point covers the earlier."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split(" ")
        if len(fields) < 6 or len(rest) < 3:
            continue
        found.append(
            MountEntry(
                device=fields[2],
                root=_unescape(fields[3]),
                point=_unescape(fields[4]),
                options=fields[5],
                shared=any(tag.startswith("shared:") for tag in fields[6:]),
                kind=rest[0],
                super_options=rest[2],
            )
        )
    return tuple(found)


def read_mounts() -> tuple[MountEntry, ...]:
    """The calling thread's mounts. RuntimeFailure where /proc is not mounted."""
    try:
        text = Path("/proc/thread-self/mountinfo").read_text(errors="surrogateescape")
    except FileNotFoundError as error:
        raise RuntimeFailure("/proc is not mounted here", remedy="mount it: mount -t proc proc /proc") from error
    return parse_mounts(text)


def prepare_mounts(*folders: Path) -> None:
    """Sees to it that mounts made below each folder reach our slave namespaces; repeating it is harmless.

    A folder on a shared mount is fine as it is; else it becomes a bind mount of itself, and shared.
    RuntimeFailure when the kernel refuses.
    """
    for folder in folders:
        path = os.path.realpath(folder)
        holder = _holder(path, read_mounts())
        if holder is not None and holder.shared:
            continue
        if holder is None or holder.point != path:
            _mount(path, path, libc.MS_BIND | libc.MS_REC)
        _mount("", path, libc.MS_SHARED)


def release_mounts(*folders: Path) -> None:
    """Undoes ``prepare_mounts``: unmounts those of the folders that are bind mounts of themselves."""
    for folder in folders:
        path = os.path.realpath(folder)
        with contextlib.suppress(OSError):
            while _is_self_bind(path, read_mounts()):
                libc.unmount(path)


class Home:
    """The mount namespace and the root of the *calling thread*, to come back to."""

    def __init__(self) -> None:
        self._namespace = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def enter(self) -> None:
        """Moves the calling thread there, out of a namespace of its own. RuntimeFailure when the kernel refuses."""
        with _told("come back from a mount namespace"):
            libc.setns(self._namespace, libc.CLONE_NEWNS)
        os.fchdir(self._root)
        os.chroot(".")  # setns went to the root of the machine, which is not ours in a chroot

    def close(self) -> None:
        """Lets both go."""
        os.close(self._namespace)
        os.close(self._root)


def unshared_mounts() -> frozenset[tuple[str, str, str]]:
    """(device, root, point) of those of the process's mounts of which no other namespace learns. Not the pins."""
    text = Path(f"/proc/{os.getpid()}/mountinfo").read_text(errors="surrogateescape")
    found = (entry for entry in parse_mounts(text) if not entry.shared and entry.kind != "nsfs")
    return frozenset((entry.device, entry.root, entry.point) for entry in found)


def enter_slave(hidden: tuple[str, ...], rebase: Path | None) -> None:
    """Moves the *calling thread* into a new mount namespace that follows the present one.

    ``hidden`` mount points are taken away there. ``rebase`` names an empty folder that becomes the new namespace's
    root, a bind mount of ``/``: where ``/`` is no mount point, as in a plain chroot, pivot_root(2) would fail for
    the runtime. RuntimeFailure when the kernel refuses.
    """
    if rebase is not None and _holder(os.path.realpath(rebase), read_mounts()) is None:
        # It would lie on a mount that cannot be seen from here, let alone made a slave: the bind would get out.
        raise RuntimeFailure(f"{rebase} is not below a prepared folder", remedy="call prepare_mounts first")
    with _told("make a mount namespace"):
        libc.unshare(libc.CLONE_NEWNS)
    if rebase is None:
        _mount("", "/", libc.MS_REC | libc.MS_SLAVE)
    else:
        _leave_chroot(rebase)
    for point in hidden:
        with _told(f"hide {point} from the container runtime"):
            libc.unmount(point)


def enter_private(path: str) -> None:
    """Moves the *calling thread* into a new mount namespace where mounts at and below ``path`` are its own.

    RuntimeFailure when the kernel refuses.
    """
    with _told("make a mount namespace"):
        libc.unshare(libc.CLONE_NEWNS)
    holder = _holder(os.path.realpath(path), read_mounts())
    if holder is not None:  # else it lies on a mount that no namespace shares with us
        _mount("", holder.point, libc.MS_REC | libc.MS_SLAVE)


def bind(source: str, target: str) -> None:
    """Binds a file or folder, with what is mounted below it. RuntimeFailure when the kernel refuses."""
    _mount(source, target, libc.MS_BIND | libc.MS_REC)


def make_read_only(target: str) -> None:
    """Makes a bind mount read-only. RuntimeFailure when the kernel refuses."""
    _mount("", target, libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY)


def _leave_chroot(rebase: Path) -> None:
    """Makes the present root the root of the calling thread's own mount namespace.

    Another chroot(2) would not do: whoever enters a container's mount namespace (setns(2), for exec) starts at the
    namespace's root, and in a chroot that is the root of the whole machine. So we go there first, by entering our
    own namespace, and pivot from there.
    """
    inside = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    own = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _told("leave the chroot in a mount namespace of our own"):
            libc.setns(own, libc.CLONE_NEWNS)
        _mount("", "/", libc.MS_REC | libc.MS_SLAVE)
        os.fchdir(inside)
    finally:
        os.close(own)
        os.close(inside)
    _mount(".", os.path.relpath(rebase, "/"), libc.MS_BIND | libc.MS_REC)
    os.chdir(os.path.relpath(rebase, "/"))
    # "." twice: the old root is put over the new one and taken off again (pivot_root(2), NOTES)
    with _told("make the chroot the root of its mount namespace"):
        libc.pivot_root(".", ".")
    with _told("let the machine's root go"):
        libc.unmount(".")
    os.chdir("/")


def root_is_mount_point() -> bool:
    """Whether pivot_root(2) can leave the present root."""
    return any(entry.point == "/" for entry in read_mounts())


def become_subreaper() -> None:
    """Orphaned descendants become this process's children, so that their exit codes are ours (prctl(2))."""
    with _told("become a child subreaper"):
        libc.become_subreaper()


def _mount(source: str, target: str, flags: int) -> None:
    with _told(f"mount {source or target}"):
        libc.mount(source, target, "", flags)


@contextlib.contextmanager
def _told(deed: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RuntimeFailure(f"cannot {deed}: {error.strerror}") from error


def _holder(path: str, mounts: tuple[MountEntry, ...]) -> MountEntry | None:
    """The mount that the path lies on."""
    best: MountEntry | None = None
    for entry in mounts:
        prefix = entry.point.rstrip("/")
        if (path == prefix or path.startswith(prefix + "/")) and (best is None or len(entry.point) >= len(best.point)):
            best = entry
    return best


def _is_self_bind(path: str, mounts: tuple[MountEntry, ...]) -> bool:
    entry = _holder(path, mounts)
    if entry is None or entry.point != path:
        return False
    parent = _holder(os.path.dirname(path), mounts)
    if parent is None:  # in a chroot mountinfo does not show what "/" lies on; the path there ends as ours does
        return entry.root.endswith(path)
    if parent.device != entry.device:
        return False
    return entry.root == os.path.join(parent.root, os.path.relpath(path, parent.point))


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
