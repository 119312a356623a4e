"""Published and exposed ports as ``ps`` and ``inspect`` show them: one entry for each port on each host address."""

from __future__ import annotations

from collections.abc import Iterator

from linkspan.api.wire.decoding import Json
from linkspan.engine.views import ContainerView
from linkspan.model.port import Publication


def exposed_names(view: ContainerView) -> list[str]:
    """``80/tcp`` for all that the image exposes and the request exposed or published."""
    spec = view.container.spec
    published = [f"{each.port}/{each.protocol}" for each in spec.port_bindings]
    return sorted({*view.image_config.exposed_ports, *spec.exposed_ports, *published})


def port_map(view: ContainerView) -> dict[str, list[Json] | None]:
    """``NetworkSettings.Ports``: null for a port that is exposed alone, empty without a network of its own.

    On networks in gateway mode routed a port is open at the container's address: its host port is an empty text.
    """
    if not _connected(view):
        return {}
    shown: dict[str, list[Json] | None] = dict.fromkeys(exposed_names(view))
    for each in view.publications:
        address = str(each.address)
        for port, host_port in _pairs(each):
            place: Json = {"HostIp": address, "HostPort": str(host_port or "")}
            key = f"{port}/{each.protocol}"
            places = shown.get(key)
            if places is None:
                shown[key] = [place]
            else:
                places.append(place)
    return shown


def port_list(view: ContainerView) -> list[Json]:
    """``Ports`` of ``GET /containers/json``."""
    if not _connected(view):
        return []
    shown: list[Json] = []
    published: set[str] = set()
    for each in view.publications:
        address = str(each.address)
        for port, host_port in _pairs(each):
            published.add(f"{port}/{each.protocol}")
            entry: Json = {"IP": address, "PrivatePort": port, "PublicPort": host_port, "Type": each.protocol}
            shown.append(entry if host_port else {"PrivatePort": port, "Type": each.protocol})
    for name in exposed_names(view):
        if name not in published:
            number, _, protocol = name.partition("/")
            shown.append({"PrivatePort": int(number), "Type": protocol or "tcp"})
    return shown


def _connected(view: ContainerView) -> bool:
    """Whether ports mean something: a partner's are those of the container whose network it uses, as with Docker."""
    return view.state.running and bool(view.networks) and view.container.spec.network_mode.kind == "bridge"


def _pairs(publication: Publication) -> Iterator[tuple[int, int]]:
    """(container's port, host's port or 0) of each single port."""
    for offset in range(publication.count):
        host_port = publication.host_port + offset if publication.host_port else 0
        yield publication.port + offset, host_port
