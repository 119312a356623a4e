"""The loop that leads the kernel back goes on, whatever the kernel says to it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_house import House
from linkspan.engine import healing
from linkspan.engine.healing import Healing
from linkspan.kernel import probe
from linkspan.kernel.netlink import NetlinkError
from linkspan.kernel.notices import Notice

CALLS = "net/bridge/bridge-nf-call-iptables"
LOST = Notice(kind="link", name="eth9", ours=False, deleted=True)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as opened:
        yield opened


@pytest.fixture(autouse=True)
def quiet_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "bridge_netfilter", lambda: False)


def test_what_another_program_switches_on_is_followed_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """br_netfilter: what is planned from then on agrees, and what is there already too."""
    monkeypatch.setattr(healing, "POLL", 0.01)
    house.network("web")

    async def story() -> None:
        loop = Healing(house.intent, house.wants, house.worker, house.events, house.networking.services)
        loop.start()
        await asyncio.sleep(0.05)
        assert not house.wants.facts.bridge_netfilter
        monkeypatch.setattr(probe, "bridge_netfilter", lambda: True)
        for _ in range(200):
            await asyncio.sleep(0.01)
            if house.wants.facts.bridge_netfilter and ("sysctl", "", CALLS) in house.live():
                break
        await loop.stop()
        assert ("sysctl", "", CALLS) in house.live()

    house.run(story())


def test_an_uplink_that_goes_while_it_is_asked_about_ends_no_healing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[OSError | tuple[str, ...]] = [NetlinkError(errno.ENODEV, "No such device"), ("eth0",)]

    def advertised() -> tuple[str, ...]:
        answer = answers.pop(0) if answers else ("eth0",)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(healing, "POLL", 0.01)
    monkeypatch.setattr(probe, "advertised_links", advertised)
    monkeypatch.setattr(probe, "default_mtu", lambda: 1500)

    async def story() -> None:
        loop = Healing(house.intent, house.wants, house.worker, house.events, house.networking.services)
        loop.start()
        loop.notice((LOST,))
        for _ in range(200):
            await asyncio.sleep(0.01)
            if house.wants.facts.advertised_links == ("eth0",):
                break
        await loop.stop()
        assert house.wants.facts.advertised_links == ("eth0",)

    house.run(story())
