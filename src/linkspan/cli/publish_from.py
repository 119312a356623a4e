"""``--publish-from``: who may come to published ports, as the labels that the daemon reads."""

from __future__ import annotations

from linkspan.cli.documents import Json

LABEL = "linkspan.publish-from"


def with_sources(labels: dict[str, Json], wishes: list[str]) -> dict[str, Json]:
    """The labels and one for each port that ``--publish-from`` names; the networks of one port are joined.

    ``10.0.0.0/8`` is for all ports, ``80=10.0.0.0/8`` for 80/tcp. The daemon judges ports and networks.
    """
    found = dict(labels)
    for wish in wishes:
        ports, equals, networks = wish.rpartition("=")
        if not networks or (equals and not ports):
            raise ValueError(
                f'invalid argument "{wish}" for "--publish-from" flag: write it as network,network or'
                " port/protocol=network,network"
            )
        label = f"{LABEL}.{ports if '/' in ports else f'{ports}/tcp'}" if ports else LABEL
        before = found.get(label)
        found[label] = f"{before},{networks}" if before else networks
    return found
