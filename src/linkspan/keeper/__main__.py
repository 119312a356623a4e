"""``python -m linkspan.keeper EXEC_ROOT INSTANCE``: started by the daemon, never by hand."""

from __future__ import annotations

import sys

sys.modules["ssl"] = None  # type: ignore[assignment]  # asyncio does without; it is a fifth of the keeper's memory

from pathlib import Path  # noqa: E402

from linkspan.keeper.process import main  # noqa: E402

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
