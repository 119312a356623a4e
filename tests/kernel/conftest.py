"""For tests of the real kernel: one of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.kernel.linux import LinuxKernel
from linux_objects import private_kernel


@pytest.fixture
def linux(tmp_path: Path) -> Iterator[LinuxKernel]:
    """A kernel whose host is a namespace of this test's own."""
    with private_kernel(tmp_path) as kernel:
        yield kernel
