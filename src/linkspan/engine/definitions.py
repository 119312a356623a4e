"""From what ``create`` asked for to a definition that can be stored: references resolved, companions checked.

Nothing is written here. What is refused here would otherwise fail at every start.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from linkspan.engine.intent import Intent
from linkspan.engine.networks import Networks
from linkspan.engine.signals import signal_number
from linkspan.engine.wishes import refuse_same_names
from linkspan.errors import InvalidRequest, NotFound
from linkspan.model.container import ContainerSpec, Mount, NetworkMode
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.image import ImageConfig
from linkspan.model.names import domain_name, hostname, split_link


def settled(name: str, spec: ContainerSpec, intent: Intent, networks: Networks) -> ContainerSpec:
    """The definition with its network mode and endpoints resolved to ids and its names checked.

    NotFound for a network or container that does not exist, InvalidRequest for options that exclude each other.
    """
    if spec.hostname:
        hostname(spec.hostname)
    if spec.domainname:
        domain_name(spec.domainname)
    if spec.stop_signal:
        signal_number(spec.stop_signal)
    mode = spec.network_mode
    if mode.kind == "container":
        mode = _partner_mode(name, spec, intent)
        return msgspec.structs.replace(spec, network_mode=mode, endpoints=())
    endpoints = _endpoints(spec, networks, intent)
    spec = msgspec.structs.replace(spec, links=tuple(intent.settled_link(text) for text in spec.links))
    if spec.links and endpoints and not intent.networks[endpoints[0].network].predefined:
        # As with Docker: on a user-defined network a link is a name that this container alone knows there.
        first = msgspec.structs.replace(endpoints[0], links=(*endpoints[0].links, *spec.links))
        return msgspec.structs.replace(spec, links=(), endpoints=(first, *endpoints[1:]))
    _refuse_links_elsewhere(spec.links, endpoints, intent)
    return msgspec.structs.replace(spec, endpoints=endpoints)


def _refuse_links_elsewhere(links: Sequence[str], endpoints: Sequence[EndpointRequest], intent: Intent) -> None:
    """As Docker does: a name on the default network that leads to another network is of no use."""
    for link in links if endpoints else ():
        target = intent.container(split_link(link)[0])
        if endpoints[0].network not in (item.network for item in target.spec.endpoints):
            raise InvalidRequest(
                f"cannot link to {target.name}, as it does not belong to the default network",
                remedy="put both on a network that you made, where they know each other by name",
            )


def with_volumes(spec: ContainerSpec, image: ImageConfig) -> tuple[Mount, ...]:
    """The mounts of a definition with those volumes added that the image or ``Volumes`` ask for without a name.

    Their ``source`` is empty: the engine makes a volume for each. InvalidRequest for two mounts on one path.
    """
    mounts = list(spec.mounts)
    targets = [_clean(mount.target) for mount in mounts]
    for target in targets:
        if targets.count(target) > 1:
            raise InvalidRequest(f"Duplicate mount point: {target}", remedy="give every mount a path of its own")
    for path in dict.fromkeys((*spec.volumes, *image.volumes)):
        if _clean(path) not in targets:
            mounts.append(Mount(kind="volume", target=_clean(path), anonymous=True))
            targets.append(_clean(path))
    return tuple(mounts)


def _clean(path: str) -> str:
    return path.rstrip("/") or "/"


def _partner_mode(name: str, spec: ContainerSpec, intent: Intent) -> NetworkMode:
    reference = spec.network_mode.container
    if reference == name:
        raise InvalidRequest(
            f"cannot join network of container {reference}: it is the container itself", remedy="name another one"
        )
    _refuse_companions(spec)
    try:
        owner = intent.container(reference).id
    except NotFound:
        orphaned = next((item for item in intent.sandboxes.values() if item.owner_name == reference), None)
        if orphaned is None:
            raise
        owner = orphaned.owner
    return NetworkMode(kind="container", raw=f"container:{owner}", container=owner)


def _refuse_companions(spec: ContainerSpec) -> None:
    """What belongs to a sandbox cannot be asked for by a partner (Docker's words)."""
    asked = (
        (spec.hostname, "hostname and the network mode"),
        (spec.dns or spec.dns_search or spec.dns_options, "dns and the network mode"),
        (spec.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (spec.links, "container type network can't be used with links. This would result in undefined behavior"),
        (spec.endpoints, "the network mode and connecting to networks"),
        (spec.exposed_ports and spec.publish_all, "port publishing and the container type network mode"),
    )
    for value, what in asked:
        if value:
            raise InvalidRequest(
                f"conflicting options: {what}", remedy="set it on the container whose network is joined"
            )


def _endpoints(spec: ContainerSpec, networks: Networks, intent: Intent) -> tuple[EndpointRequest, ...]:
    """One request for each network, the network mode's first."""
    if spec.network_disabled:
        return ()
    raw = spec.network_mode.raw
    first = intent.network({"default": "bridge", "": "bridge"}.get(raw, raw))
    requests: dict[str, EndpointRequest] = {first.id: EndpointRequest(network=first.id)}
    for request in spec.endpoints:
        network = intent.network({"default": "bridge"}.get(request.network, request.network))
        requests[network.id] = request
    if len(requests) > 1:
        _refuse_mixture([intent.networks[item].driver for item in requests])
    settled_requests = []
    for network_id, request in requests.items():
        settled_requests.append(networks.checked_request(intent.networks[network_id], request))
    refuse_same_names(settled_requests)
    return tuple(settled_requests)


def _refuse_mixture(drivers: Sequence[str]) -> None:
    if "host" in drivers or "null" in drivers:
        raise InvalidRequest(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            remedy="use host or none alone",
        )
