"""Pure rules of images: import's changes, filters, and what rmi may do."""

from __future__ import annotations

import re

import pytest

from linkspan.errors import Conflict, ImageNotFound, InvalidRequest, RegistryFailure
from linkspan.images.documents import Index, choose_platform, read_image, read_manifest
from linkspan.images.face import ImageUser
from linkspan.images.instructions import apply_changes
from linkspan.images.references import parse
from linkspan.images.removal import by_id, by_reference
from linkspan.images.selection import listed, moment, prunable
from linkspan.images.skopeo import explain, is_insecure
from linkspan.model.image import Image, ImageConfig


def image(number: int = 1, created: float = 0.0, tags: tuple[str, ...] = ("a:1",), **labels: str) -> Image:
    identity = f"sha256:{number:064x}"
    config = ImageConfig(labels=labels)
    return Image(id=identity, created=created, architecture="amd64", os="linux", size=1, config=config, tags=tags)


def missing(reference: str) -> Image:
    raise ImageNotFound(f"No such image: {reference}")


# Changes


def test_changes_set_the_defaults_of_an_imported_image() -> None:
    config = apply_changes(
        ImageConfig(),
        [
            'CMD ["nginx", "-g", "daemon off;"]',
            "entrypoint /start.sh --fast",
            "ENV A=1 B='two words'",
            "ENV A 3 and more",
            "EXPOSE 80 53/udp 8000-8001",
            "LABEL one=1",
            "USER www-data:33",
            'VOLUME ["/data", "/more"]',
            "WORKDIR /srv",
            "WORKDIR below",
            "STOPSIGNAL SIGQUIT",
        ],
    )
    assert config == ImageConfig(
        command=("nginx", "-g", "daemon off;"),
        entrypoint=("/bin/sh", "-c", "/start.sh --fast"),
        env=("A=3 and more", "B=two words"),
        exposed_ports=("80/tcp", "53/udp", "8000/tcp", "8001/tcp"),
        labels={"one": "1"},
        user="www-data:33",
        volumes=("/data", "/more"),
        working_dir="/srv/below",
        stop_signal="SIGQUIT",
    )


@pytest.mark.parametrize(
    "change", ["RUN rm -rf /", "EXPOSE 0", "EXPOSE 70000", "EXPOSE x", "ENV", "LABEL =x", "CMD [1]"]
)
def test_a_bad_change_is_refused(change: str) -> None:
    with pytest.raises(InvalidRequest):
        apply_changes(ImageConfig(), [change])


# Filters


def test_filters_choose_by_label_reference_time_and_dangling() -> None:
    images = (
        image(1, 10, ("docker-like/app:1",), tier="front"),
        image(2, 20, ("app:2",)),
        image(3, 30, ()),
    )

    def ids(**filters: tuple[str, ...]) -> list[int]:
        return [int(found.id[7:], 16) for found in listed(images, filters, missing, 100)]

    assert ids() == [3, 2, 1]
    assert ids(dangling=("true",)) == [3]
    assert ids(label=("tier=front",)) == [1]
    assert ids(label=("tier", "missing")) == []
    assert ids(reference=("app",)) == [2]
    assert ids(reference=("*/app:*", "app:2")) == [2, 1]
    assert ids(until=("80s",)) == [1]
    with pytest.raises(InvalidRequest, match="invalid filter 'colour'"):
        ids(colour=("red",))
    with pytest.raises(ImageNotFound):
        ids(before=("nothing",))


def test_prune_takes_dangling_images_unless_told_to_take_all() -> None:
    images = (image(1), image(2, tags=()), image(3, tags=(), keep="yes"))
    assert prunable(images, {}, 0) == images[1:]
    assert prunable(images, {"dangling": ("false",)}, 0) == images
    assert prunable(images, {"label!": ("keep",)}, 0) == images[1:2]


def test_a_moment_is_a_unix_time_a_date_or_an_age() -> None:
    assert moment("12.5", 100) == 12.5
    assert moment("1m30s", 100) == 10
    assert moment("1970-01-01T00:00:10Z", 100) == 10
    with pytest.raises(InvalidRequest, match="neither a time nor an age"):
        moment("soon", 100)


# Removal

NAME, OTHER, DIGEST = parse("a:1"), parse("b:1"), parse("a@sha256:" + "0" * 64)
STOPPED, RUNNING = ImageUser(name="web", running=False), ImageUser(name="db", running=True)


def test_the_last_tag_takes_the_image_and_its_digests_along() -> None:
    plan = by_reference(image(), NAME, (NAME, DIGEST), (), force=False)
    assert plan.untag == (NAME, DIGEST)
    assert plan.delete


def test_one_tag_of_several_is_only_taken_away() -> None:
    plan = by_reference(image(), OTHER, (NAME, OTHER, DIGEST), (RUNNING,), force=False)
    assert plan.untag == (OTHER,)
    assert not plan.delete


def test_the_last_tag_of_a_used_image_is_refused_naming_the_container() -> None:
    with pytest.raises(Conflict, match=r"\(must force\) - container web is using its referenced image"):
        by_reference(image(), NAME, (NAME,), (STOPPED,), force=False)


def test_force_keeps_the_image_of_a_running_container_without_a_name() -> None:
    plan = by_reference(image(), NAME, (NAME,), (RUNNING,), force=True)
    assert plan.untag == (NAME,)
    assert not plan.delete


def test_an_image_is_not_deleted_by_id_while_it_runs_or_has_names_elsewhere() -> None:
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image is being used by running container db"):
        by_id(image(), (NAME,), (STOPPED, RUNNING), force=True)
    with pytest.raises(Conflict, match="stopped container web"):
        by_id(image(), (NAME,), (STOPPED,), force=False)
    with pytest.raises(Conflict, match="referenced in multiple repositories"):
        by_id(image(), (NAME, OTHER), (), force=False)
    assert by_id(image(), (NAME, OTHER), (STOPPED,), force=True).delete


# Documents and registries


def test_an_index_gives_the_manifest_for_this_machine_or_says_that_there_is_none() -> None:
    index = read_manifest(
        b'{"schemaVersion":2,"manifests":[{"digest":"sha256:1","size":1,"platform":{"os":"linux","architecture":"arm64"}}'
        b',{"digest":"sha256:2","size":1,"platform":{"os":"linux","architecture":"amd64"}}]}',
        "app",
    )
    assert isinstance(index, Index)
    assert choose_platform(index, "amd64", "app").digest == "sha256:2"
    with pytest.raises(InvalidRequest, match="no matching manifest for linux/riscv64"):
        choose_platform(index, "riscv64", "app")


def test_a_manifest_with_a_path_for_a_digest_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="is no sha256 digest"):
        read_manifest(b'{"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1},"layers":[]}', "app")


def test_an_image_reads_with_nulls_and_times_of_nanoseconds() -> None:
    found = read_image(
        b'{"architecture":"amd64","os":"linux","created":"2024-05-01T10:00:00.123456789Z","config":{"Env":null,"Cmd":'
        b'["sh"],"ExposedPorts":{"80/tcp":{}}},"rootfs":{"type":"layers","diff_ids":null},"history":null}',
        (),
    )
    assert found.created == pytest.approx(1714557600.123456)
    assert found.config.command == ("sh",)
    assert found.config.exposed_ports == ("80/tcp",)


@pytest.mark.parametrize(
    ("message", "kind", "text"),
    [
        ("reading manifest 2 in x/app: manifest unknown: manifest unknown", ImageNotFound, "manifest for .* not found"),
        ("unauthorized: authentication required", ImageNotFound, "pull access denied for 127.0.0.1:5000/app"),
        (
            'Get "http://127.0.0.1:5000/v2/": dial tcp: connect: connection refused',
            RegistryFailure,
            "cannot be reached",
        ),
        ('Get "https://127.0.0.1:5000/v2/": x509: certificate signed by unknown', RegistryFailure, "no trusted TLS"),
        ("something else", RegistryFailure, "refused the pull of 127.0.0.1:5000/app:1: something else"),
    ],
)
def test_a_registry_says_in_one_sentence_what_it_refused(message: str, kind: type[Exception], text: str) -> None:
    error = explain(message, parse("127.0.0.1:5000/app:1"), "pull")
    assert type(error) is kind
    assert re.search(text, str(error))


def test_loopback_and_listed_registries_need_no_tls() -> None:
    assert is_insecure("127.0.0.1:5000", ())
    assert is_insecure("[::1]:5000", ())
    assert is_insecure("localhost", ())
    assert not is_insecure("docker.io", ())
    assert is_insecure("registry.test:5000", ("registry.test:5000",))
    assert is_insecure("10.1.2.3:5000", ("10.0.0.0/8", "nonsense/"))
