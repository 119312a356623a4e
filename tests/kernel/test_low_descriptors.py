"""libnftables waits with select(2), and glibc ends a process that gives it a descriptor of 1024 or more."""

from __future__ import annotations

import os
import sys

import pytest

from linkspan.kernel.low_descriptors import FD_SETSIZE, moved_up
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

RIVALS = """
import os, resource, threading
from linkspan.kernel.nft import Nft
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
Nft().close()
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1500)]
over = threading.Event()
def open_and_close():
    while not over.wait(0.0002):
        os.close(os.open("/dev/null", os.O_RDONLY))
rivals = [threading.Thread(target=open_and_close) for _ in range(3)]
for rival in rivals:
    rival.start()
for _ in range(500):
    Nft().close()
over.set()
for rival in rivals:
    rival.join()
print("lived")
"""


def told(program: str, *words: str) -> str:
    with Namespace() as namespace:
        return namespace.run(sys.executable, "-c", program, *words).stdout.strip()


def test_contexts_work_in_a_process_with_thousands_of_descriptors() -> None:
    assert told(CROWDED, "early") == "20"


def test_without_a_low_descriptor_there_is_an_error_and_no_abort() -> None:
    assert told(CROWDED, "late") == "all 1024 low descriptors are in use, and libnftables needs one"


def test_threads_that_take_the_low_descriptors_at_the_wrong_moment_end_no_process() -> None:
    assert told(RIVALS) == "lived"


def test_what_is_moved_up_leaves_its_low_number_to_others() -> None:
    low = os.open(os.devnull, os.O_RDONLY)
    high = moved_up(low)
    try:
        assert high >= FD_SETSIZE
        assert os.read(high, 1) == b""
        assert os.open(os.devnull, os.O_RDONLY) == low
    finally:
        os.close(low)
        os.close(high)
