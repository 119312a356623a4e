"""Names: what a query means (``wire``), who is called what (``names``, ``table``), and who else knows (``upstreams``).

``wire`` and ``table`` are pure. The sockets belong to the keeper; ``upstreams`` opens its own.
"""
