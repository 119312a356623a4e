"""What ``rmi`` may do to an image, decided before anything is touched (pure). The rules and words are Docker's."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from linkspan.errors import Conflict
from linkspan.images.documents import short
from linkspan.images.face import ImageUser
from linkspan.images.references import Reference
from linkspan.model.image import Image


class RemovalPlan(msgspec.Struct, frozen=True, kw_only=True):
    """References to take away, and whether the image itself goes."""

    untag: tuple[Reference, ...] = ()
    delete: bool = False


def by_reference(
    image: Image, reference: Reference, names: Sequence[Reference], users: Sequence[ImageUser], *, force: bool
) -> RemovalPlan:
    """``rmi nginx:latest``: takes the name away; with the last name the image goes, unless somebody runs it.

    ``names`` are all references of the image. Conflict when a container uses the image and this is its last name.
    """
    tags = [name for name in names if name.tag]
    last = tags == [reference] or (not tags and [reference] == list(names))
    if last and users and not force:
        raise Conflict(
            f'conflict: unable to remove repository reference "{reference.familiar}" (must force) - '
            f"{_using(users)} its referenced image {short(image.id)}"
        )
    if last:
        # Digests without a tag would keep a name that nobody asked for.
        return RemovalPlan(untag=tuple(names), delete=not any(user.running for user in users))
    untag = [reference]
    if not any(tag != reference and tag.name == reference.name for tag in tags):
        untag += [name for name in names if name.digest and name.name == reference.name and name != reference]
    return RemovalPlan(untag=tuple(untag))


def by_id(image: Image, names: Sequence[Reference], users: Sequence[ImageUser], *, force: bool) -> RemovalPlan:
    """``rmi 4f4b87ef6d91``: all names and the image. Conflict when it is in use or has names in several places."""
    running = [user for user in users if user.running]
    if running:
        raise Conflict(
            f"conflict: unable to delete {short(image.id)} (cannot be forced) - image is being used by running "
            f"container {_names(running)}"
        )
    conflict = f"conflict: unable to delete {short(image.id)} (must be forced)"
    if not force and len({name.name for name in names}) > 1:
        raise Conflict(f"{conflict} - image is referenced in multiple repositories")
    if not force and users:
        raise Conflict(f"{conflict} - image is being used by stopped container {_names(users)}")
    return RemovalPlan(untag=tuple(names), delete=True)


def _names(users: Sequence[ImageUser]) -> str:
    return ", ".join(user.name for user in users)


def _using(users: Sequence[ImageUser]) -> str:
    return f"container {_names(users)} is using" if len(users) == 1 else f"containers {_names(users)} are using"
