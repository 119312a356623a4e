"""What things may be called: allow-lists, one function a noun. Each returns the name or raises InvalidRequest."""

from __future__ import annotations

import re

from linkspan.errors import Forbidden, InvalidRequest
from linkspan.model.network import PREDEFINED

LONGEST_NAME = 255
"""Bytes; the longest file name and the longest domain name (RFC 1035 section 2.3.4)."""

LONGEST_INTERFACE_NAME = 15
"""Bytes: IFNAMSIZ in linux/if.h, less the final zero."""

LONGEST_HOSTNAME = 64
"""Bytes: HOST_NAME_MAX, see sethostname(2)."""

_LETTERS = "start with a letter or digit, then letters, digits, _ . -"
_TWO_LETTERS = "use two or more characters: a letter or digit, then letters, digits, _ . -"
_ONE_OR_MORE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)
_TWO_OR_MORE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)
_HOSTNAME_LABEL = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?", re.ASCII)
_KERNEL_WORDS = ("all", "default", "lo")
"""``all`` and ``default`` are folders beside the interfaces in /proc/sys/net/ipv4/conf; ``lo`` is everywhere."""


def network_name(text: str) -> str:
    """Docker's rule: ``[a-zA-Z0-9][a-zA-Z0-9_.-]*``. Forbidden for predefined names, ``default`` and ``container``.

    With the last one nobody could run anything: ``--network container`` means something else (moby#51949).
    """
    _check(text, _ONE_OR_MORE, "network name", _LETTERS)
    if text in (*PREDEFINED, "default", "container"):
        raise Forbidden(f"network name {text} is predefined", remedy="take another name")
    return text


def container_name(text: str) -> str:
    """Docker's rule: ``[a-zA-Z0-9][a-zA-Z0-9_.-]+``; one leading slash, as Docker's API writes it, is dropped."""
    return _check(text.removeprefix("/"), _TWO_OR_MORE, "container name", _TWO_LETTERS)


def volume_name(text: str) -> str:
    """Docker's rule, the one of container names."""
    return _check(text, _TWO_OR_MORE, "volume name", _TWO_LETTERS)


def hostname(text: str) -> str:
    """Dot-separated labels (RFC 1123 section 2.1, with the underscore that people use), at most 64 bytes."""
    _check_labels(text, "hostname", LONGEST_HOSTNAME)
    return text


def domain_name(text: str) -> str:
    """As a hostname; setdomainname(2) allows 64 bytes."""
    _check_labels(text, "domain name", LONGEST_HOSTNAME)
    return text


def search_domain(text: str, what: str = "search domain") -> str:
    """A domain that names are looked up in: at most 253 bytes (RFC 1035)."""
    _check_labels(text, what, 253)
    return text


def alias(text: str) -> str:
    """A name under which a container is found on a network: a domain name (RFC 1035), at most 253 bytes."""
    _check_labels(text, "network alias", 253)
    return text


def interface_name(text: str, what: str = "interface name") -> str:
    """A network interface: 1 to 15 of letters, digits, ``_ . -``. The kernel allows more; text tools do not."""
    if len(text.encode()) > LONGEST_INTERFACE_NAME:
        raise InvalidRequest(f'{what} "{text}" is longer than {LONGEST_INTERFACE_NAME} bytes')
    _check(text, _ONE_OR_MORE, what, _LETTERS)
    if text in _KERNEL_WORDS:
        raise InvalidRequest(f'{what} "{text}" means something else to the kernel', remedy="take another name")
    return text


def _check(text: str, allowed: re.Pattern[str], what: str, rule: str) -> str:
    if not text:
        raise InvalidRequest(f"{what} is empty", remedy=rule)
    if not allowed.fullmatch(text):
        raise InvalidRequest(f'{what} "{text}" has characters that are not allowed', remedy=rule)
    if len(text) > LONGEST_NAME:
        raise InvalidRequest(f"{what} {text[:32]}… is longer than {LONGEST_NAME} bytes")
    return text


def _check_labels(text: str, what: str, longest: int) -> None:
    if not text or not all(_HOSTNAME_LABEL.fullmatch(label) for label in text.split(".")):
        raise InvalidRequest(
            f'{what} "{text}" is not valid', remedy="use letters, digits, - and _, in parts of at most 63 between dots"
        )
    if len(text) > longest:
        raise InvalidRequest(f'{what} "{text}" is longer than {longest} bytes')


def split_link(text: str) -> tuple[str, str]:
    """``db:database`` is the container db under the name database; ``db`` alone keeps its name."""
    name, _, alias = text.partition(":")
    name = name.removeprefix("/")
    return name, alias.rpartition("/")[2] or name
