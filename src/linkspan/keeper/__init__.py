"""The keeper: a small process that holds what must outlive the daemon.

It answers names on sockets inside sandboxes, holds the reservations of published host ports, and relays what the
kernel cannot translate.

    face      what the engine sees of it             client    the daemon's end
    protocol  what daemon and keeper say             channel   how it travels, descriptors included
    memory    what was told, to tell it again        starting  how its process begins, and ends by force
    process   the keeper itself                      holdings  reserved ports
    names     sandboxes, joined with ``dns``         relay     held sockets to a container (also ``_tcp``, ``_udp``)

It imports little, since it lives long beside everything else: some 19 MB, most of them for Python and asyncio.
"""
