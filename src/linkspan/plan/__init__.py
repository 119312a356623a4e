"""What the kernel should hold, as a pure function of what people asked for.

One file a network mode: ``bridge``, and ``sandbox`` for what belongs to the namespace as a whole (host, none and
container networks are sandboxes without endpoints of their own). ``host`` is what every network rests on;
``firewall`` holds the constant ruleset and its elements. Nothing here reads or writes anything.
"""
