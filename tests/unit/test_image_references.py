"""References: Docker's grammar, its defaults, and its words for what is wrong."""

from __future__ import annotations

import pytest

from linkspan.errors import InvalidRequest
from linkspan.images.references import id_prefix, is_full_id, parse, parse_target

DIGEST = "sha256:" + "4f" * 32


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25", "nginx:1.25"),
        ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("someone/app", "docker.io/someone/app:latest", "someone/app:latest"),
        ("127.0.0.1:5000/app:1", "127.0.0.1:5000/app:1", "127.0.0.1:5000/app:1"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("quay.io/a/b/c:x", "quay.io/a/b/c:x", "quay.io/a/b/c:x"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}", f"nginx@{DIGEST}"),
        (f"nginx:1@{DIGEST}", f"docker.io/library/nginx@{DIGEST}", f"nginx@{DIGEST}"),
        ("a__b/c.d-e--f", "docker.io/a__b/c.d-e--f:latest", "a__b/c.d-e--f:latest"),
    ],
)
def test_a_reference_is_normalised_and_shown_as_people_write_it(text: str, full: str, familiar: str) -> None:
    reference = parse(text)
    assert reference.full == full
    assert reference.familiar == familiar
    assert parse(full) == parse(familiar)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":x",
        "nginx:",
        "a//b",
        "-a",
        "a_-b",
        "nginx:-tag",
        "nginx@sha256:12",
        "a b",
        "nginx:" + "t" * 129,
        "a\n",
        "../a",
    ],
)
def test_a_malformed_reference_is_refused_in_the_words_that_clients_match(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^invalid reference format"):
        parse(text)


def test_capital_letters_in_a_name_are_named_as_the_mistake() -> None:
    with pytest.raises(InvalidRequest, match=r"repository name \(library/Nginx\) must be lowercase"):
        parse("Nginx")


def test_a_name_that_looks_like_an_id_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="cannot specify 64-byte hexadecimal strings"):
        parse("4f" * 32)


def test_a_name_of_more_than_255_characters_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="must not be more than 255 characters"):
        parse("a" * 250)


def test_a_digest_is_no_target_for_a_tag() -> None:
    with pytest.raises(InvalidRequest, match="refusing to create a tag with a digest reference"):
        parse_target(f"nginx@{DIGEST}")


def test_ids_and_their_beginnings_are_told_from_names() -> None:
    assert id_prefix("sha256:4f4b") == "4f4b"
    assert id_prefix("4f4b87ef6d91") == "4f4b87ef6d91"
    assert id_prefix("nginx") == ""
    assert is_full_id(DIGEST)
    assert not is_full_id("4f4b")
