"""What Linkspan did in the kernel, what became of it, and who can reach whom: facts for ``linkspan.insight``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from linkspan.dns.names import Figures
from linkspan.engine.firewalls import read_rules
from linkspan.engine.healing import Healing
from linkspan.engine.networking import Networking
from linkspan.errors import KernelFailure
from linkspan.insight import doctor, examination
from linkspan.insight.commands import Member, network_commands
from linkspan.insight.exposure import exposures
from linkspan.insight.firewalls import foreign_rules
from linkspan.insight.views import DriftEntry, DriftReport, Exposure, Finding, NetworkCommands, Repaired
from linkspan.kernel import addresses, foreign, probe
from linkspan.kernel.healing import Deviation
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.nft import NftError
from linkspan.kernel.probe import Abilities
from linkspan.kernel.render import commands, describe
from linkspan.kernel.state import Scope
from linkspan.model.network import Network
from linkspan.plan.bridge import options_of

REFUSED = {
    "mac": "a forged MAC address",
    "ipv4": "a forged IPv4 address",
    "ipv6": "a forged IPv6 address",
    "arp": "forged ARP",
    "neighbour": "forged neighbour discovery",
    "router": "a router's message",
    "dhcp": "a DHCP server's answer",
    "ethertype": "neither IP nor ARP in them",
}
"""What people call the reasons of ``plan.spoofing``."""


class Insights:
    """The engine's noun. ``repin`` runs on the kernel thread: it makes lost pins again before a repair."""

    def __init__(
        self,
        networking: Networking,
        healing: Healing,
        kernel: LinuxKernel,
        abilities: Abilities,
        repin: Callable[[], None],
    ) -> None:
        self._networking = networking
        self._firewalls = networking.firewalls
        self._intent = networking.intent
        self._wants = networking.wants
        self._worker = networking.worker
        self._healing = healing
        self._kernel = kernel
        self._abilities = abilities
        self._repin = repin

    async def exposures(self, container: str = "") -> tuple[Exposure, ...]:
        """Every way in from outside; of one container where it is named. NotFound, KernelFailure."""
        name = self._intent.container(container).name if container else ""
        rules = await self._worker.call(read_rules)
        found = exposures(
            self._intent.sandboxes.values(),
            self._intent.networks,
            self._intent.endpoints.values(),
            host_addresses=await self._worker.call(addresses.held_by_host),
            rules=rules,
        )
        return tuple(item for item in found if not name or item.container == name)

    async def drift(self) -> DriftReport:
        """Compares what is wanted with what is there, and changes nothing. KernelFailure.

        What went with something else is not told: a table stands for its elements, a bridge for its addresses.
        """
        found = await self._worker.audit()
        rules = await self._worker.call(read_rules)
        obstacles = foreign.obstacles(rules, [options_of(item).bridge_name for item in self._firewalls.outgoing()])
        return DriftReport(
            entries=tuple(self._entry(each) for each in found if not each.implied), foreign=foreign_rules(obstacles)
        )

    async def repair(self) -> Repaired:
        """Leads everything back, inside sandboxes too, and what was given up. KernelFailure."""
        await self._worker.call(self._repin)
        return self._told(await self._healing.repair(), "repaired")

    async def collect_garbage(self, *, dry: bool) -> Repaired:
        """Removes (``dry``: tells) what carries our mark and belongs to nothing. KernelFailure."""
        if dry:
            found = await self._worker.garbage()
            return Repaired(done=tuple(f"would remove {describe(item.object)}" for item in found))
        return self._told(await self._worker.collect(), "removed")

    async def diagnose(self) -> tuple[Finding, ...]:
        """All checks of ``doctor``."""
        seen = await self._examine()
        try:
            refused = await self._worker.call(self._kernel.drops)
        except NftError as error:
            raise KernelFailure(f"the counters of the firewall cannot be read: {error}") from error
        return (*doctor.diagnose(seen), *self._refusals(refused))

    def network_commands(self, reference: str) -> tuple[NetworkCommands, ...]:
        """A network and its endpoints as the commands that would make them. NotFound."""
        network = self._intent.network(reference)
        members = []
        for endpoint in self._intent.endpoints_on(network.id):
            sandbox = self._intent.sandboxes[endpoint.sandbox_id]
            places = self._intent.placed(self._intent.endpoints_in(sandbox.id))
            members.append(Member(name=sandbox.owner_name, sandbox=sandbox, places=tuple(places)))
        return network_commands(network, members, self._wants.facts)

    async def name_figures(self) -> tuple[Figures, ...]:
        """Queries and latency of every sandbox with a resolver. KeeperFailure."""
        return await self._networking.keeper.figures()

    def _entry(self, each: Deviation) -> DriftEntry:
        given_up = each.object.key in self._healing.given_up
        return DriftEntry(
            scope=self._named(each.scope),
            object=describe(each.object),
            state=each.state,
            detail=_difference(each),
            commands=tuple(line for step in each.steps() for line in commands(step)),
            status="drifted" if given_up else "new",
        )

    def _named(self, scope: Scope | None) -> str:
        """``network web``, ``endpoint of db on web``, ``sandbox of db``, ``host``."""
        kind, identity = scope or ("nobody", "")
        if kind == "network" and identity in self._intent.networks:
            return f"network {self._intent.networks[identity].name}"
        if kind == "endpoint" and identity in self._intent.endpoints:
            endpoint = self._intent.endpoints[identity]
            owner = self._intent.sandboxes[endpoint.sandbox_id].owner_name
            return f"endpoint of {owner} on {self._intent.networks[endpoint.network_id].name}"
        if kind == "sandbox" and identity in self._intent.sandboxes:
            return f"sandbox of {self._intent.sandboxes[identity].owner_name}"
        return f"{kind} {identity[:12]}".strip()

    def _told(self, found: Iterable[Deviation], verb: str) -> Repaired:
        done, failed = [], []
        for each in found:
            if each.implied:
                continue
            what = f"{self._named(each.scope)}: {describe(each.object)}" if each.scope else describe(each.object)
            if each.repaired:
                done.append(f"{verb} {what}")
            else:
                failed.append(f"{what}: {each.failure or 'it stands on something that could not be repaired'}")
        return Repaired(done=tuple(done), failed=tuple(failed))

    def _bridges(self) -> list[Network]:
        return [item for item in self._intent.networks.values() if item.driver == "bridge"]

    async def _examine(self) -> doctor.Examination:
        networks, outgoing = self._bridges(), self._firewalls.outgoing()
        rules = await self._worker.call(read_rules)
        bridges = [(item.name, options_of(item).bridge_name) for item in networks if item.id in self._wants.raised]
        facts = self._wants.facts
        settings = await self._worker.call(probe.settings)
        managers = await asyncio.to_thread(examination.managers)
        uplink = await self._worker.call(probe.default_mtu)
        routes = await self._worker.call(probe.on_link_routes, self._kernel.mark)
        return doctor.Examination(
            missing=probe.missing(self._abilities),
            obstacles=foreign.obstacles(rules, [options_of(item).bridge_name for item in outgoing]),
            legacy_tables=await self._worker.call(examination.legacy_tables),
            bridge_calls=examination.bridge_calls(settings),
            forwarding=examination.forwarding(settings),
            ipv6_used=any(item.enable_ipv6 for item in networks),
            networks=len(bridges),
            reverse_path=examination.reverse_path(settings, sorted({name for _, name in routes})),
            routes=tuple(routes),
            subnets=tuple((item.name, pool.subnet) for item in networks for pool in item.pools),
            uplink_mtu=uplink,
            mtus=tuple((item.name, options_of(item).mtu or facts.default_mtu) for item in outgoing),
            tracked=settings.conntrack_count or 0,
            tracked_limit=settings.conntrack_max or 0,
            name_servers=await asyncio.to_thread(examination.name_servers),
            host_addresses=frozenset(await self._worker.call(addresses.held_by_host)),
            published=tuple(
                (sandbox.owner_name, item.address)
                for sandbox in self._intent.sandboxes.values()
                for item in sandbox.publications
                if not item.wildcard
            ),
            ports=await self._worker.call(examination.bridge_ports, bridges),
            managers=managers,
            unmanaged=await asyncio.to_thread(examination.unmanaged, managers),
        )

    def _refusals(self, refused: Mapping[str, Mapping[str, int]]) -> Iterable[Finding]:
        """Which containers send what they may not (``plan.spoofing``)."""
        names = {item.host_interface: item for item in self._intent.endpoints.values()}
        found = False
        for interface, reasons in refused.items():
            endpoint = names.get(interface)
            if endpoint is None:
                continue
            owner = self._intent.sandboxes[endpoint.sandbox_id].owner_name
            network = self._intent.networks[endpoint.network_id].name
            told = ", ".join(f"{frames} with {REFUSED.get(reason, reason)}" for reason, frames in reasons.items())
            found = True
            yield Finding(
                check="anti-spoofing",
                level="warning",
                text=f"container {owner} sent frames on {network} that were dropped: {told}",
                remedy="if it routes or moves addresses, connect it with --driver-opt linkspan.anti_spoofing=false",
            )
        if not found:
            yield Finding(check="anti-spoofing", level="ok", text="no frames with foreign addresses were dropped")


def _difference(each: Deviation) -> str:
    """Which fields differ, as ``mtu is 1400, not 1500``."""
    if each.want is None or each.have is None:
        return ""
    fields = [name for name in each.want.__struct_fields__ if getattr(each.want, name) != getattr(each.have, name)]
    return ", ".join(f"{name} is {getattr(each.have, name)}, not {getattr(each.want, name)}" for name in fields)
