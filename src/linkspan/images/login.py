"""``docker login``: asks a registry whether it knows the user. Nothing is kept: the client stores what it sent."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from linkspan.errors import NotSupported, RegistryFailure
from linkspan.images.skopeo import is_insecure

PATIENCE = 30.0
"""Seconds that a registry may take to answer."""


async def login(server: str, username: str, password: str, insecure: Sequence[str]) -> None:
    """RegistryFailure when the registry refuses or cannot be reached. The password goes by standard input."""
    domain = (server or "docker.io").removeprefix("https://").removeprefix("http://").partition("/")[0]
    with tempfile.TemporaryDirectory(prefix="linkspan-login-") as folder:
        arguments = (
            "login",
            f"--tls-verify={'false' if is_insecure(domain, insecure) else 'true'}",
            f"--authfile={Path(folder) / 'auth.json'}",
            f"--username={username}",
            "--password-stdin",
            domain,
        )
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec("skopeo", *arguments, stdin=pipe, stdout=pipe, stderr=pipe)
        except FileNotFoundError:
            raise NotSupported("logging in to a registry needs skopeo", remedy="install skopeo") from None
        try:
            async with asyncio.timeout(PATIENCE):
                _, errors = await process.communicate(password.encode())
        except TimeoutError:
            process.kill()
            await process.wait()
            raise RegistryFailure(
                f"registry {domain} does not answer", remedy="check its name and the network"
            ) from None
        if process.returncode != 0:
            reason = errors.decode(errors="replace").strip().rpartition("\n")[2].rpartition(": ")[2].strip('"')
            raise RegistryFailure(f"registry {domain} refuses the login of {username}: {reason}")
