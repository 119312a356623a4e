"""The only package that touches Linux networking. It knows no model: it gets plain values and makes them real.

    state     the vocabulary of want, applied and live (pure)    diff     want x have -> steps (pure)
    render    a step as the ip and nft commands a person types   wire/    codecs, one message family a file (pure)
    netlink   sockets, batches, dumps, multicast                 nft      libnftables through ctypes
    netns     create, pin, enter                                 linux    the real kernel behind one small face
    spares    namespaces that wait for their sandboxes           resolver sockets on 127.0.0.11 inside them
    fake      the same face on dictionaries, for tests           applied  what we last put there; all or nothing
    probe     what this kernel can do                            worker   the one thread: queue, batches, idle work
    memory    what holds and what is wanted, by scope            batching steps in portions; fail closed (pure)
    observe   the kernel's events: what is news (notices)        healing  what deviates from what is wanted (pure)
    conntrack connections that must forget their way             holders  who holds a port of the host
    foreign   other people's firewalls, and what lifts a drop    passage  what foreign rules do to a packet (pure)

Rules that every module here keeps: names and numbers in, no text spliced for the kernel, marks of ownership on
everything, deleting what is absent is success.
"""
