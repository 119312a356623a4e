"""The program that speaks to registries. Logins go through a file that only root reads, never through arguments.

``skopeo inspect --raw`` gives manifests and configurations byte for byte, so image ids and digests stay what the
registry says; ``skopeo copy`` moves the layers, and skips blobs that lie in our shared folder already.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from linkspan.errors import ImageNotFound, LinkspanError, NotSupported, RegistryFailure
from linkspan.images.face import Credentials
from linkspan.images.references import Reference

_ANSWER_SECONDS = 60
"""How long a registry may take to give a manifest."""
_POLICY = "/etc/containers/policy.json"
_FATAL = re.compile(r'level=fatal msg="((?:[^"\\]|\\.)*)"')
_UNREACHABLE = ("connection refused", "no such host", "timeout", "no route to host", "network is unreachable", "EOF")
_DENIED = ("unauthorized", "authentication required", "denied", "invalid username/password")


class Session:
    """Runs skopeo for one registry and one login, with scratch files in ``folder``."""

    def __init__(self, folder: Path, reference: Reference, credentials: Credentials | None, insecure: bool) -> None:
        self._folder = folder
        self._reference = reference
        self._secure = "false" if insecure else "true"
        self._login = folder / "auth.json"
        descriptor = os.open(self._login, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_login(reference.domain, credentials))

    async def manifest(self, suffix: str) -> bytes:
        """The manifest of this repository's ``:tag`` or ``@digest``, byte for byte."""
        return await self._inspect(suffix, "--raw")

    async def config(self, suffix: str) -> bytes:
        """The image configuration, byte for byte."""
        return await self._inspect(suffix, "--raw", "--config")

    async def _inspect(self, suffix: str, *flags: str) -> bytes:
        arguments = ("inspect", *flags, f"--tls-verify={self._secure}", f"docker://{self._reference.name}{suffix}")
        async with self._process(*arguments) as process:
            try:
                output, _ = await asyncio.wait_for(process.communicate(), _ANSWER_SECONDS)
            except TimeoutError:
                raise RegistryFailure(
                    f"registry {self._reference.domain} did not answer in {_ANSWER_SECONDS} seconds"
                ) from None
            if process.returncode != 0:
                raise self._failure("pull")
            return output

    async def download(self, suffix: str, shared: Path) -> AsyncGenerator[int, None]:
        """Puts missing layers into the shared blob folder. Yields the bytes on their way, several times a second."""
        target = self._folder / "oci"
        arguments = (
            "copy",
            f"--src-tls-verify={self._secure}",
            f"--dest-shared-blob-dir={shared}",
            "--dest-oci-accept-uncompressed-layers",
            f"docker://{self._reference.name}{suffix}",
            f"oci:{target}:image",
        )
        async with self._process(*arguments) as process:
            end = asyncio.create_task(process.communicate())
            while not end.done():
                await asyncio.wait((end,), timeout=0.2)
                yield sum(_size(part) for part in target.glob("oci-put-blob*"))
            if process.returncode != 0:
                raise self._failure("pull")

    async def upload(self, source: Path, suffix: str) -> AsyncGenerator[str, None]:
        """Pushes a ``dir:`` folder. Yields the digest of each blob as it begins, and the manifest's at last."""
        result = self._folder / "digest"
        arguments = (
            "copy",
            f"--dest-tls-verify={self._secure}",
            f"--digestfile={result}",
            f"dir:{source}",
            f"docker://{self._reference.name}{suffix}",
        )
        async with self._process(*arguments) as process:
            if process.stdout is not None:
                async for line in process.stdout:
                    words = line.decode(errors="replace").split()
                    if words[:2] == ["Copying", "blob"]:
                        yield words[2]
            if await process.wait() != 0:
                raise self._failure("push")
        yield result.read_text().strip()

    @asynccontextmanager
    async def _process(self, verb: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        policy = () if os.path.exists(_POLICY) else ("--insecure-policy",)
        with open(self._folder / "errors", "wb") as errors:
            try:
                process = await asyncio.create_subprocess_exec(
                    "skopeo",
                    *policy,
                    verb,
                    f"--authfile={self._login}",
                    *arguments,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                )
            except FileNotFoundError:
                raise NotSupported(
                    "images cannot be pulled or pushed without skopeo", remedy="install skopeo"
                ) from None
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _failure(self, deed: str) -> LinkspanError:
        text = (self._folder / "errors").read_text(errors="replace")
        found = _FATAL.findall(text)
        message = found[-1].replace('\\"', '"') if found else text.strip().rpartition("\n")[2]
        return explain(message, self._reference, deed)


def explain(message: str, reference: Reference, deed: str) -> LinkspanError:
    """One sentence from skopeo's chain of reasons. ImageNotFound when clients should see a 404."""
    lowered = message.lower()
    reason = message.rpartition('\\": ')[2].rpartition('": ')[2]
    if "manifest unknown" in lowered or "manifest_unknown" in lowered:
        return ImageNotFound(f"manifest for {reference.familiar} not found: manifest unknown")
    if "name unknown" in lowered or "name_unknown" in lowered or "repository name not known" in lowered:
        return ImageNotFound(f"repository {reference.familiar_name} not found: name unknown")
    if any(word in lowered for word in _DENIED):
        if deed == "push":
            return RegistryFailure(
                f"denied: requested access to {reference.familiar_name} is denied", remedy="log in to the registry"
            )
        return ImageNotFound(
            f"pull access denied for {reference.familiar_name}, repository does not exist or may require 'docker login'"
        )
    if any(word.lower() in lowered for word in _UNREACHABLE):
        last = reason.rpartition(": ")[2]
        return RegistryFailure(
            f"registry {reference.domain} cannot be reached: {last}",
            remedy="check its name and the network, or load an image from a file",
        )
    if "http response to https client" in lowered or "x509:" in lowered or "tls:" in lowered:
        return RegistryFailure(
            f"registry {reference.domain} offers no trusted TLS: {reason}",
            remedy="trust its certificate, or list it in insecure-registries",
        )
    return RegistryFailure(f"registry {reference.domain} refused the {deed} of {reference.familiar}: {reason}")


def is_insecure(domain: str, configured: Sequence[str]) -> bool:
    """Whether a registry may be spoken to without trusted TLS: this host's own, and those that were configured.

    ``configured`` holds hosts, host:port pairs and subnets, as in Docker's ``insecure-registries``.
    """
    host = domain.rpartition(":")[0] if re.search(r":[0-9]+$", domain) else domain
    if host == "localhost" or domain in configured or host in configured:
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or any(address in network for network in _subnets(configured))


def _subnets(configured: Sequence[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    subnets = []
    for text in configured:
        try:
            subnets.append(ipaddress.ip_network(text))
        except ValueError:
            continue
    return subnets


def _login(domain: str, credentials: Credentials | None) -> bytes:
    """containers-auth.json(5). Without a login it is empty: root's own logins are not the client's."""
    entry: dict[str, str] = {}
    if credentials is not None and credentials.token:
        entry = {"auth": base64.b64encode(b"<token>:").decode(), "identitytoken": credentials.token}
    elif credentials is not None and credentials.username:
        pair = f"{credentials.username}:{credentials.password}"
        entry = {"auth": base64.b64encode(pair.encode()).decode()}
    return msgspec.json.encode({"auths": {domain: entry} if entry else {}})


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
