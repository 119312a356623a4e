"""libnftables waits with select(2), and glibc ends a process that gives it a descriptor of 1024 or more."""

from __future__ import annotations

import sys

import pytest

from namespaces import Namespace

pytestmark = pytest.mark.kernel

CROWDED = """
import os, resource, sys
from linkspan.kernel.nft import Nft
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
if sys.argv[1] == "early":
    Nft().close()  # as the daemon does at its start
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(2000)]
try:
    lasting = [Nft() for _ in range(5)]
    for number in range(20):
        passing = Nft()
        passing.run([f"add table inet crowded{number}"])
        passing.close()
except OSError as error:
    print(error.strerror)
else:
    print(len(lasting[-1].tables()))
"""


def crowded(when: str) -> str:
    with Namespace() as namespace:
        return namespace.run(sys.executable, "-c", CROWDED, when).stdout.strip()


def test_contexts_work_in_a_process_with_thousands_of_descriptors() -> None:
    assert crowded("early") == "20"


def test_without_a_low_descriptor_there_is_an_error_and_no_abort() -> None:
    assert crowded("late") == "all 1024 low descriptors are in use, and libnftables needs one"
