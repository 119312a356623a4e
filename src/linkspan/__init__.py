"""Linkspan: a container network engine for Linux.

A map of the house (docs/design.md has the plan):

    model/    what people ask for, as frozen structs      plan/    model -> what the kernel should hold (pure)
    kernel/   the only package that touches networking    ipam/    address pools and who holds what
    engine/   the use cases: check, claim, write, apply   runtime/ containers as processes (conmon, crun)
    images/   pull, load, layers, overlay roots           store/   intent on disk (SQLite)
    api/      the Docker Engine API on a unix socket      cli/     the command line: one API call, rendered
    errors    everything that can go wrong, by name       openat2  paths below a directory that others may relink
"""

__version__ = "0.1.0"
