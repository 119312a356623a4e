"""What runtimes print when they refuse, turned into our errors. PURE.

Docker's clients read the kind of failure from its text, to exit with 126 or 127; so the texts are Docker's.
crun says ``executable file `x` not found in $PATH: No such file or directory`` or ``open executable: ...``,
runc ``exec: "x": executable file not found in $PATH`` or ``exec: "/x": stat /x: no such file or directory``.
"""

from __future__ import annotations

from linkspan.errors import CommandNotExecutable, CommandNotFound, RuntimeFailure

_NOT_EXECUTABLE = ("permission denied", "operation not permitted", "is a directory", "exec format error")


def failure_of(output: str, program: str, deed: str) -> RuntimeFailure:
    """The error for a runtime's output. ``deed`` is ``create``, ``start`` or ``exec``; ``program`` what it ran."""
    line = _last_line(output)
    lowered = line.lower()
    about_program = f"`{program}`" in line or f'"{program}"' in line or "executable" in lowered or "exec" in lowered
    prefix = f'OCI runtime {deed} failed: exec: "{program}"'
    if about_program and any(text in lowered for text in _NOT_EXECUTABLE):
        return CommandNotExecutable(f"{prefix}: permission denied")
    if about_program and ("not found" in lowered or "no such file or directory" in lowered):
        where = "executable file not found in $PATH" if "/" not in program else "stat: no such file or directory"
        return CommandNotFound(f"{prefix}: {where}")
    return RuntimeFailure(f"OCI runtime {deed} failed: {line or 'it gave no reason'}")


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.replace("\\n", "\n").splitlines() if line.strip()]
    return lines[-1] if lines else ""
