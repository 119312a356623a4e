"""Names: what a query means (``wire``), who is called what (``names``, ``table``), and who else knows (``upstreams``).

``resolver`` is the whole for all sandboxes, ``asker`` one sandbox's view and its fast path, ``server`` answers on a
sandbox's two sockets (``stream``: one TCP connection), ``reply`` and ``cache`` deal with other servers' answers.
``wire``, ``reply``, ``services`` and ``table`` are pure. The sockets belong to the keeper, which also opens those that
``upstreams`` asks through.
"""
