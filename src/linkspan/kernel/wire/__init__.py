"""Netlink messages to and from bytes, one message family a file. Pure: no socket, no state.

    message   header, acknowledgement, attributes        link      RTM_*LINK: bridges, veth pairs, ports, counters
    address   RTM_*ADDR                                   route     RTM_*ROUTE
    nsid      RTM_GETNSID: namespaces by number           frame     gratuitous ARP and neighbour advertisement
    conntrack IPCTNL_MSG_CT_*: tracked connections        sockets   SOCK_DIAG_BY_FAMILY: sockets by local port

Each family has a frozen struct for what is read back, ``decode`` for it, and one function for every request that
we send. Numbers come from the kernel headers named at their place. All integers of rtnetlink are in host order.
"""
