"""Images end to end: base images, stacked layers, both storage drivers, a real registry on loopback."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from image_archives import docker_archive, entry, import_root, layer, load, save, stream
from linkspan.errors import Conflict, ImageNotFound, InvalidRequest, RegistryFailure, RuntimeFailure
from linkspan.images import overlay
from linkspan.images.face import Credentials, ImageUser, Progress
from linkspan.images.rootfs import RootFs
from linkspan.images.store import ImageStore

pytestmark = pytest.mark.scenario

LAYERS = [
    layer(
        entry("", tarfile.DIRTYPE, mode=0o711),
        ("a/kept", b"1"),
        ("a/gone", b"1"),
        ("b/old", b"1"),
        ("c/old", b"1"),
        entry("link", tarfile.SYMTYPE, linkname="/a"),
    ),
    layer(("a/.wh.gone", b""), ("b/.wh..wh..opq", b""), ("b/new", b"2"), (".wh.c", b""), (".wh.link", b"")),
    layer(("a/kept", b"three"), ("c/new", b"3"), entry("", tarfile.DIRTYPE, mode=0o755)),
]
"""Three layers that hide, replace and make again what lies below."""
BCRYPT_OF_SECRET = "$2b$05$UOWahHgI/QSrAJmSNMUI5eg7NKYegnXkjpgbrKx9MqkQ6J2XHQ4yS"
"""docker-registry takes no other kind of hash."""
SHOWN = {"a/kept": "three", "b/new": "2", "c/new": "3"}


@pytest.fixture(params=["overlay", "copy"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ImageStore]:
    yield from cleaned(ImageStore(tmp_path / "data", storage_driver=request.param))


@pytest.fixture
def overlay_store(tmp_path: Path) -> Iterator[ImageStore]:
    yield from cleaned(ImageStore(tmp_path / "data", storage_driver="overlay"))


def cleaned(store: ImageStore) -> Iterator[ImageStore]:
    yield store
    asyncio.run(store.roots.recover((), ()))


def make(store: ImageStore, container: str, reference: str) -> RootFs:
    return asyncio.run(store.roots.create(container, store.get(reference)))


def shown(root: RootFs) -> dict[str, str]:
    """Files and their content."""
    return {str(p.relative_to(root.path)): p.read_text() for p in root.path.rglob("*") if p.is_file()}


def pull(store: ImageStore, reference: str, credentials: Credentials | None = None) -> list[Progress]:
    async def steps() -> list[Progress]:
        return [progress async for progress in store.pull(reference, credentials)]

    return asyncio.run(steps())


def push(store: ImageStore, reference: str, credentials: Credentials | None = None) -> list[Progress]:
    async def steps() -> list[Progress]:
        return [progress async for progress in store.push(reference, credentials)]

    return asyncio.run(steps())


# Roots


def test_the_base_images_hold_a_shell_and_a_web_server(store: ImageStore, image_archives: list[Path]) -> None:
    for archive in image_archives:
        load(store, archive.read_bytes())
    nginx = store.get("nginx")
    assert (nginx.config.exposed_ports, nginx.config.stop_signal) == (("80/tcp",), "SIGQUIT")
    assert nginx.size < 20_000_000
    root = make(store, "web", "nginx")
    page = root.read_text("/usr/share/nginx/html/index.html")
    assert page is not None
    assert "Welcome to nginx" in page
    applets = subprocess.run(["chroot", root.path, "busybox", "--list"], capture_output=True, text=True, check=True)
    assert {"sh", "ifconfig", "wget", "ping", "nslookup", "nc", "httpd"} <= set(applets.stdout.split())
    assert store.get("busybox").config.command == ("sh",)


def test_a_root_shows_the_layers_stacked_and_reports_what_changed(store: ImageStore) -> None:
    load(store, docker_archive(LAYERS))
    root = make(store, "one", "made:1")
    assert shown(root) == SHOWN
    assert not (root.path / "link").exists()
    assert root.path.stat().st_mode & 0o777 == 0o755
    (root.path / "a" / "kept").write_text("changed")
    (root.path / "b" / "new").unlink()
    (root.path / "d").mkdir()
    (root.path / "d" / "fresh").write_text("four")
    (root.path / "etc").mkdir()
    (root.path / "etc" / "hosts").touch()
    changes = asyncio.run(store.roots.changes("one"))
    assert {(0, "/a/kept"), (2, "/b/new"), (1, "/d"), (1, "/d/fresh")} <= set(changes)
    assert not {path for _, path in changes} & {"/c", "/c/new", "/etc/hosts"}
    assert asyncio.run(store.roots.size("one")) == len("changed") + len("four")
    other = make(store, "two", "made:1")
    assert shown(other) == SHOWN


def test_a_root_keeps_what_was_written_over_unmounting_and_a_new_start(store: ImageStore, tmp_path: Path) -> None:
    load(store, docker_archive(LAYERS))
    (make(store, "one", "made:1").path / "written").write_text("x")
    make(store, "two", "made:1")
    asyncio.run(store.roots.unmount("one"))
    again = ImageStore(tmp_path / "data", storage_driver=store.storage_driver)
    asyncio.run(again.roots.recover(["one"], []))
    assert asyncio.run(again.roots.mount("one")).read_text("/written") == "x"
    with pytest.raises(RuntimeFailure, match="container two cannot be mounted"):
        asyncio.run(again.roots.mount("two"))


def test_a_hundred_and_thirty_layers_are_stacked(store: ImageStore) -> None:
    layers = [layer((f"file{number}", str(number).encode()), ("last", str(number).encode())) for number in range(130)]
    load(store, docker_archive(layers))
    root = make(store, "deep", "made:1")
    assert root.read_text("/last") == "129"
    assert len(list(root.path.iterdir())) == 131


def test_more_layers_than_overlayfs_stacks_are_refused(overlay_store: ImageStore) -> None:
    layers = [layer((f"{number}", b"")) for number in range(501)]
    with pytest.raises(InvalidRequest, match="the image has 501 layers, and overlayfs stacks 500 at most"):
        load(overlay_store, docker_archive(layers))


def test_a_data_root_on_an_overlay_falls_back_to_copies_and_says_so(overlay_store: ImageStore) -> None:
    load(overlay_store, docker_archive(LAYERS))
    upper = make(overlay_store, "below", "made:1").path / "data"
    upper.mkdir()
    assert overlay.why_not(upper) != ""
    with pytest.raises(RuntimeFailure, match="overlayfs does not work on the data-root"):
        ImageStore(upper, storage_driver="overlay")
    nested = ImageStore(upper)
    assert nested.storage_driver == "copy"
    assert "every container gets a full copy" in nested.warning
    load(nested, docker_archive(LAYERS))
    assert shown(make(nested, "above", "made:1")) == SHOWN


def test_the_driver_may_change_and_images_are_unpacked_again(tmp_path: Path) -> None:
    load(ImageStore(tmp_path / "data", storage_driver="copy"), docker_archive(LAYERS))
    for store in cleaned(ImageStore(tmp_path / "data", storage_driver="overlay")):
        assert shown(make(store, "one", "made:1")) == SHOWN


def test_paths_inside_a_root_never_leave_it(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("host")
    hostile = layer(
        entry("etc/passwd", tarfile.SYMTYPE, linkname=f"../../../../../../..{tmp_path}/secret"),
        entry("etc/group", tarfile.SYMTYPE, linkname="/other"),
        ("other", b"root:x:0:"),
        entry("way", tarfile.SYMTYPE, linkname=str(tmp_path)),
        entry("run", tarfile.SYMTYPE, linkname="/deep/run"),
        entry("fifo", tarfile.FIFOTYPE),
        entry("loop", tarfile.SYMTYPE, linkname="loop"),
    )
    load(store, docker_archive([hostile]))
    root = make(store, "one", "made:1")
    assert root.read_text("/etc/passwd") is None
    assert root.read_text("/etc/group") == "root:x:0:"
    assert root.read_text("/fifo") is None
    assert root.read_text("/nothing") is None
    root.ensure_folder("/way/made/here")
    assert not (tmp_path / "made").exists()
    assert (root.path / str(tmp_path)[1:] / "made" / "here").is_dir()
    root.ensure_folder("run/x")
    assert (root.path / "deep/run/x").is_dir()
    for path in ("/other", "/other/below", "/loop"):
        with pytest.raises(InvalidRequest):
            root.ensure_folder(path)


def test_a_volume_is_filled_with_owners_and_modes_and_only_when_empty(store: ImageStore, tmp_path: Path) -> None:
    folder = entry("srv/data", tarfile.DIRTYPE, mode=0o750, uid=33, gid=44)
    load(store, docker_archive([layer(folder, entry("srv/data/file", uid=33, gid=44, size=3, mode=0o600))]))
    root = make(store, "one", "made:1")
    volume = tmp_path / "volume"
    volume.mkdir()
    root.copy_up("/srv/data", volume)
    status = volume.stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o750, 33, 44)
    assert (volume / "file").stat().st_uid == 33
    (volume / "file").unlink()
    (volume / "other").touch()
    root.copy_up("/srv/data", volume)
    root.copy_up("/nothing", volume)
    assert os.listdir(volume) == ["other"]


# Removal and disk use


def test_removing_the_last_image_frees_its_layers_and_shared_ones_stay(store: ImageStore, tmp_path: Path) -> None:
    load(store, docker_archive(LAYERS[:1], ["base:1"]))
    load(store, docker_archive(LAYERS, ["top:1"]))
    assert store.layers_size() == store.get("top:1").size
    lines = asyncio.run(store.remove("top:1", force=False))
    assert [deed for deed, _ in lines] == ["Untagged", "Deleted", "Deleted", "Deleted"]
    assert shown(make(store, "one", "base:1")).keys() == {"a/kept", "a/gone", "b/old", "c/old"}
    asyncio.run(store.roots.remove("one"))
    asyncio.run(store.tag("base:1", "base:2"))
    assert asyncio.run(store.remove(store.get("base:1").id, force=False))[-2][0] == "Deleted"
    assert files_below(tmp_path / "data") == {"images/images.json"}


def test_a_container_keeps_its_root_when_its_image_is_removed_by_force(tmp_path: Path) -> None:
    users = [ImageUser(name="one", running=False)]
    for store in cleaned(ImageStore(tmp_path / "data", users=lambda _: users)):
        load(store, docker_archive(LAYERS))
        make(store, "one", "made:1")
        asyncio.run(store.roots.unmount("one"))
        with pytest.raises(Conflict, match="container one is using its referenced image"):
            asyncio.run(store.remove("made:1", force=False))
        asyncio.run(store.remove("made:1", force=True))
        with pytest.raises(ImageNotFound, match="No such image: made:1"):
            store.get("made:1")
        assert shown(asyncio.run(store.roots.mount("one"))) == SHOWN


def test_prune_takes_dangling_images_and_tells_what_it_freed(store: ImageStore) -> None:
    import_root(store, layer(("a", b"12345")), "mine")
    import_root(store, layer(("b", b"123")), "mine")
    lines, freed = asyncio.run(store.prune({}))
    assert freed == 5
    assert [deed for deed, _ in lines] == ["Deleted", "Deleted"]
    assert store.get("mine").size == 3


def test_what_a_killed_pull_left_is_collected_at_the_next_start(overlay_store: ImageStore, tmp_path: Path) -> None:
    load(overlay_store, docker_archive(LAYERS))
    data = tmp_path / "data"
    before = files_below(data)
    (data / "images/staging/x").mkdir()
    (data / "images/staging/x/part").write_text("half")
    (data / "images/blobs/sha256" / ("0" * 64)).write_text("orphan")
    (data / "overlay/layers/.new-1/diff").mkdir(parents=True)
    (data / "overlay/layers" / ("1" * 64)).mkdir()
    again = ImageStore(data)
    asyncio.run(again.roots.recover((), ()))
    assert files_below(data) == before
    assert len(list((data / "overlay/layers").iterdir())) == 3
    assert again.get("made:1") == overlay_store.get("made:1")


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# A registry


@pytest.fixture(scope="module")
def registry_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's docker-registry, unpacked and not installed."""
    installed = shutil.which("docker-registry")
    if installed is not None:
        return Path(installed)
    folder = tmp_path_factory.mktemp("registry")
    command = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "docker-registry"]
    if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode != 0:
        pytest.skip("docker-registry cannot be downloaded")
    (package,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return folder / "usr/bin/docker-registry"


def start_registry(program: Path, folder: Path, extra: str = "") -> tuple[str, Callable[[], None]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    configuration = folder / "registry.yml"
    storage = f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}"
    configuration.write_text(f"version: 0.1\n{storage}\nhttp: {{addr: {address}}}\n{extra}")
    process = subprocess.Popen([program, "serve", configuration], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop() -> None:
        process.terminate()
        process.wait()

    host, _, port = address.partition(":")
    for _ in range(100):
        try:
            socket.create_connection((host, int(port))).close()
            return address, stop
        except OSError:
            time.sleep(0.05)
    stop()
    raise RuntimeError("the registry did not start")


@pytest.fixture
def registry(registry_program: Path, tmp_path: Path) -> Iterator[str]:
    address, stop = start_registry(registry_program, tmp_path)
    yield address
    stop()


def test_a_pushed_image_is_pulled_with_the_same_id(overlay_store: ImageStore, registry: str, tmp_path: Path) -> None:
    load(overlay_store, docker_archive(LAYERS))
    asyncio.run(overlay_store.tag("made:1", f"{registry}/app:1"))
    lines = push(overlay_store, f"{registry}/app:1")
    assert lines[0].status == f"The push refers to repository [{registry}/app]"
    digest = lines[-1].aux["Digest"]
    assert lines[-2].status == f"1: digest: {digest} size: {lines[-1].aux['Size']}"
    assert overlay_store.get("made:1").digests == (f"{registry}/app@{digest}",)

    second = ImageStore(tmp_path / "second")
    seen = [(line.status, line.id) for line in pull(second, f"{registry}/app:1")]
    assert seen[0] == ("Pulling from app", "1")
    assert [status for status, _ in seen if status in ("Pulling fs layer", "Pull complete")] == [
        *["Pulling fs layer"] * 3,
        *["Pull complete"] * 3,
    ]
    assert seen[-2:] == [
        (f"Digest: {digest}", ""),
        (f"Status: Downloaded newer image for {registry}/app:1", ""),
    ]
    found = second.get(f"{registry}/app:1")
    assert found.id == overlay_store.get("made:1").id
    assert found == second.get(f"{registry}/app@{digest}")
    assert pull(second, f"{registry}/app:1")[-1].status == f"Status: Image is up to date for {registry}/app:1"
    assert pull(second, f"{registry}/app@{digest}")[-1].status.startswith("Status: Image is up to date")
    again = ImageStore(tmp_path / "third")
    load(again, save(second, f"{registry}/app:1"))
    assert again.get(found.id).tags == found.tags


def test_layers_that_are_here_already_are_not_downloaded_again(
    overlay_store: ImageStore, registry: str, tmp_path: Path
) -> None:
    for number, layers in enumerate((LAYERS[:2], LAYERS)):
        load(overlay_store, docker_archive(layers, [f"{registry}/app:{number}"]))
        push(overlay_store, f"{registry}/app:{number}")
    second = ImageStore(tmp_path / "second")
    pull(second, f"{registry}/app:0")
    statuses = [line.status for line in pull(second, f"{registry}/app:1")]
    assert statuses.count("Already exists") == 2
    assert statuses.count("Pulling fs layer") == 1


def test_a_tag_that_moved_leaves_the_old_image_without_it(
    overlay_store: ImageStore, registry: str, tmp_path: Path
) -> None:
    second = ImageStore(tmp_path / "second")
    for layers in (LAYERS[:1], LAYERS):
        load(overlay_store, docker_archive(layers, [f"{registry}/app:1"]))
        push(overlay_store, f"{registry}/app:1")
        pull(second, f"{registry}/app:1")
    assert len(second.list({"dangling": ["true"]})) == 1
    assert second.get(f"{registry}/app:1").id == overlay_store.get(f"{registry}/app:1").id


def test_a_missing_tag_and_a_missing_registry_are_named(overlay_store: ImageStore, registry: str) -> None:
    with pytest.raises(ImageNotFound, match=rf"^manifest for {registry}/app:7 not found: manifest unknown$"):
        pull(overlay_store, f"{registry}/app:7")
    with pytest.raises(ImageNotFound, match="An image does not exist locally with the tag"):
        push(overlay_store, f"{registry}/app:7")
    with pytest.raises(RegistryFailure, match=r"registry 127.0.0.1:1 cannot be reached: connection refused"):
        pull(overlay_store, "127.0.0.1:1/app")
    assert overlay_store.list({}) == ()


def test_a_damaged_layer_in_a_registry_leaves_no_image(
    overlay_store: ImageStore, registry: str, tmp_path: Path
) -> None:
    load(overlay_store, docker_archive(LAYERS[:1], [f"{registry}/app:1"]))
    push(overlay_store, f"{registry}/app:1")
    blobs = list((tmp_path / "registry").rglob("blobs/sha256/*/*/data"))
    (blob,) = [path for path in blobs if path.read_bytes().startswith(b"\x1f\x8b")]
    blob.write_bytes(blob.read_bytes()[:-4] + b"evil")
    second = ImageStore(tmp_path / "second")
    with pytest.raises(RegistryFailure) as error:
        pull(second, f"{registry}/app:1")
    assert "\n" not in str(error.value)
    assert second.list({}) == ()
    assert files_below(tmp_path / "second") == set()


def test_a_login_is_used_and_not_kept(overlay_store: ImageStore, registry_program: Path, tmp_path: Path) -> None:
    htpasswd = tmp_path / "htpasswd"
    htpasswd.write_text(f"me:{BCRYPT_OF_SECRET}\n")
    access = f"auth: {{htpasswd: {{realm: here, path: {htpasswd}}}}}\n"
    address, stop = start_registry(registry_program, tmp_path, access)
    name, login = f"{address}/app:1", Credentials(username="me", password="secret")
    try:
        load(overlay_store, docker_archive(LAYERS[:1], [name]))
        with pytest.raises(RegistryFailure, match="denied: requested access"):
            push(overlay_store, name)
        push(overlay_store, name, login)
        second = ImageStore(tmp_path / "second")
        with pytest.raises(ImageNotFound, match="pull access denied for"):
            pull(second, name, Credentials(username="me", password="wrong"))
        pull(second, name, login)
    finally:
        stop()
    assert not list(tmp_path.rglob("auth.json"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_a_client_that_leaves_stops_the_load_and_leaves_nothing(store: ImageStore, tmp_path: Path) -> None:
    before = files_below(tmp_path)
    archive = docker_archive([layer(("big", os.urandom(20_000_000))), *LAYERS])

    async def leave() -> None:
        steps = store.load(stream(archive))
        async for progress in steps:
            if progress.status == "Loading layer":
                break
        await steps.aclose()

    asyncio.run(leave())
    assert files_below(tmp_path) == before
    assert not list((tmp_path / "data" / store.storage_driver / "trash").iterdir())
    assert not Path("/proc/self/task").joinpath(str(os.getpid()), "children").read_text().split()
