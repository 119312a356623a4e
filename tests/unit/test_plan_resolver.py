"""The resolver's table in a sandbox: a constant for each port."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from linkspan.plan import resolver


def test_the_table_rewrites_port_53_there_and_back() -> None:
    table = resolver.table("box", 61234)
    assert table.key == ("table", "box", "ip", "linkspan")
    assert table.ruleset.count("127.0.0.11") == 4
    assert table.ruleset.count("dport set 61234") == table.ruleset.count("sport 61234") == 2
    assert "PORT" not in table.ruleset
    assert "ct " not in table.ruleset


@given(st.integers(0, 0xFFFFFFFF))
def test_the_port_is_above_those_that_the_kernel_chooses(instance: int) -> None:
    port = resolver.port_of(f"{instance:08x}")
    assert 61000 <= port < 65000
    assert resolver.port_of(f"{instance:08x}") == port
