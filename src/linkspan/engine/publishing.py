"""What a definition publishes on the networks that it names: asked before it is stored, and at each start. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from linkspan.engine.config import DaemonConfig
from linkspan.engine.ports import unrelayed
from linkspan.model.container import ContainerSpec
from linkspan.model.image import ImageConfig
from linkspan.model.network import BridgeOptions, Network
from linkspan.model.port import MOST_HELD
from linkspan.model.publishing import Wish, wishes
from linkspan.plan.firewall import TRANSLATED
from linkspan.plan.gateways import gateway_of


def wishes_of(
    spec: ContainerSpec, image: ImageConfig, networks: Sequence[Network], config: DaemonConfig, *, ipv6: bool
) -> tuple[Wish, ...]:
    """What is to be published; ``networks`` in the order of their priority, ``ipv6``: the host has it.

    Nothing where no network reaches out. InvalidRequest, NotSupported.
    """
    options = {version: _publishing(networks, version) for version in (4, 6)}
    first = options[4] or options[6]
    if first is None:
        return ()
    return wishes(
        spec,
        image,
        first,
        options6=options[6],
        default=config.publish_address,
        ipv4=options[4] is not None,
        ipv6=ipv6 and (options[6] is not None or first.gateway_mode4 in TRANSLATED),
    )


def unanswered(wanted: Sequence[Wish], networks: Sequence[Network]) -> Iterator[str]:
    """A warning for each range that nobody answers in IPv6, since the container has none and no relay is so wide."""
    if _publishing(networks, 6) is None:
        for wish in wanted:
            for item in wish.publications(wish.first):
                if item.address.version == 6 and item.count > MOST_HELD:
                    yield unrelayed(item)


def _publishing(networks: Sequence[Network], version: int) -> BridgeOptions | None:
    """The options of the network that gives the sandbox its gateway in a family: the one that publishes."""
    return next((network.bridge for network in networks if gateway_of(network, version)), None)
