"""What a person calls an image: ``nginx``, ``127.0.0.1:5000/app:1``, ``app@sha256:…``, an id or its beginning.

The grammar, the defaults and the error texts are Docker's (github.com/distribution/reference): clients match on
"invalid reference format".
"""

from __future__ import annotations

import re

import msgspec

from linkspan.errors import InvalidRequest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME = 255
"""Bytes of domain and path together."""

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_FULL_ID = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_ID_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A normalised reference: ``docker.io/library/nginx:latest``. ``tag`` or ``digest`` may be empty."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Domain and path: ``docker.io/library/nginx``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """As people write it: ``nginx``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        first, _, rest = self.path.partition("/")
        return rest if first == "library" and "/" not in rest and rest else self.path

    @property
    def suffix(self) -> str:
        """``:tag`` or ``@digest``; a digest wins, since it is what decides."""
        if self.digest:
            return f"@{self.digest}"
        return f":{self.tag}" if self.tag else ""

    @property
    def full(self) -> str:
        """``docker.io/library/nginx:latest``: the key in the catalog."""
        return self.name + self.suffix

    @property
    def familiar(self) -> str:
        """``nginx:latest``, ``127.0.0.1:5000/app:1``, ``nginx@sha256:…``."""
        return self.familiar_name + self.suffix


def parse(text: str) -> Reference:
    """Reads a reference; one with neither tag nor digest gets ``:latest``.

    InvalidRequest with Docker's words when it is malformed.
    """
    if not text:
        raise InvalidRequest("invalid reference format: the image reference is empty")
    if _FULL_ID.fullmatch(text):
        raise InvalidRequest(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    rest, digest = _split_digest(text)
    domain, remainder = _split_domain(rest)
    path, tag = _split_tag(remainder)
    if path != path.lower() and _PATH.fullmatch(path.lower()):
        raise InvalidRequest(f"invalid reference format: repository name ({path}) must be lowercase")
    if not _PATH.fullmatch(path) or not _DOMAIN.fullmatch(domain):
        raise InvalidRequest(f"invalid reference format: {text!r} is no image reference")
    if len(domain) + 1 + len(path) > MAX_NAME:
        raise InvalidRequest(f"repository name must not be more than {MAX_NAME} characters: {text[:40]}…")
    if not tag and not digest:
        tag = DEFAULT_TAG
    return Reference(domain=domain, path=path, tag=tag, digest=digest)


def _split_digest(text: str) -> tuple[str, str]:
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise InvalidRequest(f"invalid reference format: {digest!r} in {text!r} is no digest")
    return rest, digest


def _split_tag(remainder: str) -> tuple[str, str]:
    path, colon, tag = remainder.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidRequest(f"invalid reference format: {tag!r} is no tag")
    return path, tag


def _split_domain(text: str) -> tuple[str, str]:
    """A first part is a registry when it has a dot, a colon or capitals, or is ``localhost``."""
    first, slash, rest = text.partition("/")
    looks_like_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not looks_like_host:
        domain, remainder = DEFAULT_DOMAIN, text
    else:
        domain, remainder = first, rest
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = f"library/{remainder}"
    return domain, remainder


def parse_target(text: str) -> Reference:
    """Reads what ``tag`` and ``import`` give a name: a tag, never a digest."""
    reference = parse(text)
    if reference.digest:
        raise InvalidRequest("refusing to create a tag with a digest reference")
    return reference


def id_prefix(text: str) -> str:
    """The hexadecimal digits when ``text`` may be an image id or the beginning of one, else an empty string."""
    match = _ID_PREFIX.fullmatch(text)
    return match.group(1) if match else ""


def is_full_id(text: str) -> bool:
    """Whether ``text`` is a whole image id, with or without ``sha256:``."""
    return _FULL_ID.fullmatch(text) is not None
