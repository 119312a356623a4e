"""Addresses: which subnets a network gets (``pools``, pure), and who holds which address (``book``).

    notation    subnets and addresses as people write them      pools       a network's request -> its address pools
    subnets     the next free subnet of a base (pure)           intervals   a set of integers as sorted intervals
    mac         random hardware addresses                       book        reservations, claims and cursors

Nothing here touches the kernel or the disk: the engine tells what is in use and stores what was claimed.
"""
