"""When a repair is undone again and again it is given up, told once, and forgiven after a while."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_house import House
from linkspan.engine import healing
from linkspan.engine.healing import FIGHTS, Healing
from linkspan.kernel import probe
from linkspan.kernel.notices import Notice
from linkspan.kernel.state import Key

TABLE: Key = ("table", "", "inet", "linkspan")
WINDOW = 2.0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as opened:
        opened.network("web")
        yield opened


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "bridge_netfilter", lambda: False)
    monkeypatch.setattr(healing, "POLL", 0.01)
    monkeypatch.setattr(healing, "WINDOW", WINDOW)
    monkeypatch.setattr(healing, "AGAIN", 0.05)
    monkeypatch.setattr(healing, "PAUSE", 0.0001)


async def lost(house: House, loop: Healing) -> bool:
    """Somebody deletes the table; whether it is back soon."""
    house.kernel.lose(TABLE)
    loop.notice((Notice(kind="firewall", name="inet linkspan", deleted=True, cause="nft (pid 7)"),))
    for _ in range(20):
        await asyncio.sleep(0.01)
        if TABLE in house.live():
            return True
    return False


def test_five_fights_are_enough_and_peace_is_believed_later(house: House) -> None:
    network = house.intent.network("web")

    async def story() -> None:
        loop = Healing(house.intent, house.wants, house.worker, house.events, house.networking.services)
        loop.start()
        for _ in range(FIGHTS):
            assert await lost(house, loop)
        assert not loop.is_drifted(network), "the last repair holds still"
        assert not await lost(house, loop)
        assert loop.is_drifted(network)
        actions = [event.action for event in house.events._past if event.action in ("repair", "drift")]
        assert actions == ["repair"] * FIGHTS + ["drift"]
        causes = {event.attributes["cause"] for event in house.events._past if event.action == "repair"}
        assert causes == {"nft (pid 7)"}

        await loop.repair()
        assert not loop.is_drifted(network)
        for _ in range(FIGHTS):
            assert await lost(house, loop)
        await asyncio.sleep(1.2 * WINDOW)
        assert await lost(house, loop), "it was let alone for a while"
        await loop.stop()

    house.run(story())
