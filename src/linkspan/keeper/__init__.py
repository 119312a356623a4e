"""The keeper: a small process that holds what must outlive the daemon.

It answers names on sockets inside sandboxes, holds the reservations of published host ports, and relays what the
kernel cannot translate. ``protocol`` is what daemon and keeper say, ``process`` is the keeper, ``client`` the
daemon's end, ``face`` what the engine sees of it.
"""
