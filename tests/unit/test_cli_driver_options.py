"""Driver options on the command line: their names are offered, and values with commas arrive whole."""

from __future__ import annotations

import pytest

from linkspan.cli import driver_options
from linkspan.cli.commands.network_attach import CONNECT_OPTIONS
from linkspan.cli.complete import candidates
from linkspan.cli.grammar import Command, parse
from linkspan.cli.network_option import attachment
from linkspan.model import endpoint_options, options

SYSCTLS = "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0"


def test_the_names_are_those_that_the_model_reads() -> None:
    assert set(driver_options.NETWORK) == set(options._READ)
    assert set(driver_options.ENDPOINT) == set(endpoint_options.KEYS)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["network", "create", "--opt", "com.docker.network.driver"], ["com.docker.network.driver.mtu="]),
        (["network", "create", "-o", "linkspan.dns_s"], ["linkspan.dns_search="]),
        (["plan", "network", "create", "--opt=linkspan.dns_o"], ["--opt=linkspan.dns_options="]),
        (["network", "connect", "--driver-opt", "linkspan.e"], ["linkspan.endpoint.host_ifname="]),
    ],
)
def test_names_of_options_are_completed(words: list[str], found: list[str]) -> None:
    assert [word for word, _ in candidates(words)] == found


def test_a_value_with_commas_stands_in_quotes() -> None:
    """As Go's pflag reads a StringSlice, and Docker the long form of ``--network``."""
    connect = Command(lambda call: 0, options=CONNECT_OPTIONS)
    key, _, value = SYSCTLS.partition("=")
    assert parse(connect, "connect", ["--driver-opt", f'a=b,"{SYSCTLS}"']).pairs("driver-opt") == {"a": "b", key: value}
    assert parse(connect, "connect", ["--driver-opt", "a=b,c=d"]).pairs("driver-opt") == {"a": "b", "c": "d"}
    assert attachment(f'name=web,"driver-opt={SYSCTLS}",ip=10.0.0.9').driver_options == {key: value}
