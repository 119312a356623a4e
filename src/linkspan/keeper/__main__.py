"""``python -m linkspan.keeper EXEC_ROOT INSTANCE``: started by the daemon, never by hand.

The exec-root is there for people who look at the list of processes.
"""

from __future__ import annotations

import sys

sys.modules["ssl"] = None  # type: ignore[assignment]  # asyncio does without; it is a fifth of the keeper's memory

from linkspan.keeper.process import main  # noqa: E402

if __name__ == "__main__":
    main(sys.argv[2])
