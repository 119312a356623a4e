"""Hardware addresses: made and read."""

from __future__ import annotations

import pytest

from linkspan.errors import InvalidRequest
from linkspan.ipam.mac import random_mac
from linkspan.model.mac import parse_mac


def test_a_random_address_is_local_and_unicast_whatever_the_bytes() -> None:
    for first in range(256):
        made = random_mac(lambda count, first=first: bytes((first,)) + bytes(range(1, count)))
        leading = int(made[:2], 16)
        assert leading & 3 == 2
        assert made[2:] == ":01:02:03:04:05"
        assert parse_mac(made) == made


@pytest.mark.parametrize("text", ["02:42:AC:11:00:02", "02-42-ac-11-00-02", "0242.ac11.0002"])
def test_the_usual_spellings_are_read(text: str) -> None:
    assert parse_mac(text) == "02:42:ac:11:00:02"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "banana",
        "02:42:ac:11:00",
        "02:42:ac:11:00:02:03",
        "02:42-ac:11:00:02",
        "2:42:ac:11:0:2",
        "0242ac110002",
        "02:42:ac:11:00:02\n",
        "02:42:ac:11:00:0٢",
    ],
)
def test_malformed_text_is_refused_and_shown(text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_mac(text)

    assert f"invalid MAC address: {text}; write it as" in str(refusal.value)


def test_a_multicast_address_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="01:00:5e:00:00:01 is not the address of one interface"):
        parse_mac("01:00:5e:00:00:01")


def test_zero_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="00:00:00:00:00:00 is not the address of one interface"):
        parse_mac("00:00:00:00:00:00")
