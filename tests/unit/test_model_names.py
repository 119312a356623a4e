"""Allow-lists for names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from linkspan.errors import Forbidden, InvalidRequest
from linkspan.model.names import (
    alias,
    container_name,
    domain_name,
    hostname,
    interface_name,
    network_name,
    volume_name,
)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (network_name, "my_bridge"),
        (network_name, "n"),
        (network_name, "a.b-c_d"),
        (container_name, "web.1"),
        (container_name, "9-lives"),
        (volume_name, "data_1"),
        (hostname, "web"),
        (hostname, "web.example.org"),
        (hostname, "my_host"),
        (hostname, "a" * 63),
        (domain_name, "example.org"),
        (alias, ".".join(["a" * 60] * 4)),
        (interface_name, "br-0123456789ab"),
        (interface_name, "eth0.100"),
    ],
)
def test_a_good_name_is_returned_as_it_is(check: Callable[[str], str], text: str) -> None:
    assert check(text) == text


@pytest.mark.parametrize(
    ("check", "text", "sentence"),
    [
        (network_name, "", "network name is empty"),
        (network_name, "-web", 'network name "-web" has characters that are not allowed'),
        (network_name, "web net", "not allowed; start with a letter or digit"),
        (network_name, "web\n", "not allowed"),
        (network_name, "wéb", "not allowed"),
        (network_name, "container:web", "not allowed"),
        (network_name, "n" * 256, "is longer than 255 bytes"),
        (container_name, "w", "use two or more characters"),
        (container_name, "//web", "not allowed"),
        (container_name, "/", "container name is empty"),
        (volume_name, "../etc", "not allowed"),
        (hostname, "", 'hostname "" is not valid'),
        (hostname, "-web", "is not valid"),
        (hostname, "web-", "is not valid"),
        (hostname, "web..org", "is not valid"),
        (hostname, "a" * 64, "parts of at most 63"),
        (hostname, "a" * 40 + "." + "b" * 40, "is longer than 64 bytes"),
        (hostname, "web\n127.0.0.1 evil", "is not valid"),
        (alias, "web db", 'network alias "web db" is not valid'),
        (interface_name, "", "interface name is empty"),
        (interface_name, "sixteen-bytes-xx", "is longer than 15 bytes"),
        (interface_name, "ööööööööö", "is longer than 15 bytes"),
        (interface_name, "..", "not allowed"),
        (interface_name, "a/b", "not allowed"),
        (interface_name, "all", "means something else to the kernel"),
    ],
)
def test_a_bad_name_is_refused_and_shown(check: Callable[[str], str], text: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check(text)

    assert sentence in str(refusal.value)


def test_the_slash_of_dockers_api_is_dropped() -> None:
    assert container_name("/web") == "web"


@pytest.mark.parametrize("text", ["bridge", "host", "none", "default", "container"])
def test_predefined_network_names_are_forbidden(text: str) -> None:
    with pytest.raises(Forbidden, match=f"network name {text} is predefined"):
        network_name(text)
