"""Commands that list, remove, fetch and ask, against a fake daemon: what they send, and what a person sees."""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_fake_daemon import FakeDaemon, chunked

from linkspan.cli.main import main

ID = "sha256:" + "a" * 64
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path / "fake.sock")
    monkeypatch.setenv("LINKSPAN_HOST", fake.host)
    monkeypatch.setenv("LINKSPAN_CONFIG", str(tmp_path / "config"))
    yield fake
    fake.close()


@pytest.fixture
def typed(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Runs one command line; (exit status, output, error output)."""

    def run(*words: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = main(list(words))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


# What is listed


@pytest.mark.parametrize(
    ("words", "path", "answer", "shown"),
    [
        (["ps", "-q"], "/containers/json", [{"Id": "c" * 64}, {"Id": "d" * 64}], f"{'c' * 12}\n{'d' * 12}\n"),
        (["ps", "-q", "--no-trunc"], "/containers/json", [{"Id": "c" * 64}], f"{'c' * 64}\n"),
        (["network", "ls", "-q"], "/networks", [{"Id": "f" * 64, "Name": "web"}], f"{'f' * 12}\n"),
        (["volume", "ls", "-q"], "/volumes", {"Volumes": [{"Name": "v10"}, {"Name": "v9"}]}, "v9\nv10\n"),
        (["images", "-q"], "/images/json", [{"Id": ID, "RepoTags": ["a:1", "a:2"]}], f"{'a' * 12}\n"),
        (["history", "-q", "a"], "/images/a/history", [{"Id": ID}, {"Id": "<missing>"}], f"{'a' * 12}\n<missing>\n"),
        (["ps", "-q"], "/containers/json", [], ""),
    ],
)
def test_quiet_listings_are_names_alone(
    daemon: FakeDaemon, typed: Typed, words: list[str], path: str, answer: object, shown: str
) -> None:
    daemon.routes[f"GET {path}"] = (200, answer)
    assert typed(*words) == (0, shown, "")


def test_a_layout_wins_over_quiet(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /networks"] = (200, [{"Id": "f" * 64, "Name": "web"}])
    assert typed("network", "ls", "-q", "--format", "{{.Name}}") == (0, "web\n", "")


@pytest.mark.parametrize(
    ("words", "path", "item"),
    [
        (["ps"], "/containers/json", {"Id": "c" * 64}),
        (["network", "ls"], "/networks", {"Id": "f" * 64}),
        (["volume", "ls"], "/volumes", {"Name": "v"}),
    ],
)
def test_labels_are_shown_together_and_one_at_a_time(
    daemon: FakeDaemon, typed: Typed, words: list[str], path: str, item: dict[str, object]
) -> None:
    found = [{**item, "Labels": {"tier": "front", "owner": "me"}}]
    daemon.routes[f"GET {path}"] = (200, {"Volumes": found} if path == "/volumes" else found)
    layout = '{{.Labels}} {{.Label "tier"}} {{.Label "none"}}.'
    assert typed(*words, "--format", layout) == (0, "owner=me,tier=front front .\n", "")


def test_images_have_a_line_for_each_name_and_dangling_ones_have_none(daemon: FakeDaemon, typed: Typed) -> None:
    now = int(time.time())
    daemon.routes["GET /images/json"] = (
        200,
        [
            {"Id": ID, "RepoTags": ["a:1", "b:2"], "Created": now - 7200, "Size": 1_234_567, "SharedSize": -1},
            {"Id": "sha256:" + "b" * 64, "RepoTags": [], "Created": now - 86400, "Size": 999},
        ],
    )
    assert typed("images")[1].splitlines() == [
        "REPOSITORY   TAG       IMAGE ID       CREATED        SIZE",
        "a            1         aaaaaaaaaaaa   2 hours ago    1.23MB",
        "b            2         aaaaaaaaaaaa   2 hours ago    1.23MB",
        "<none>       <none>    bbbbbbbbbbbb   24 hours ago   999B",
    ]
    assert typed("images", "--format", "{{.SharedSize}}")[1].splitlines() == ["N/A", "N/A", "0B"]


def test_disk_usage_counts_what_could_be_reclaimed(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /system/df"] = (
        200,
        {
            "LayersSize": 4000,
            "Images": [{"Id": ID, "Size": 3000, "SharedSize": 0}, {"Id": "sha256:b", "Size": 1000}],
            "Containers": [
                {"ImageID": ID, "State": "running", "SizeRw": 10},
                {"ImageID": ID, "State": "exited", "SizeRw": 30},
            ],
            "Volumes": [{"Name": "v", "UsageData": {"Size": 500, "RefCount": 0}}],
        },
    )
    assert typed("system", "df")[1].splitlines() == [
        "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE",
        "Images          2         1         4kB       1kB (25%)",
        "Containers      2         1         40B       30B (75%)",
        "Local Volumes   1         0         500B      500B (100%)",
    ]


# What is removed


IMAGE_LINES = [{"Untagged": "a:1"}, {"Deleted": ID}]


@pytest.mark.parametrize(
    ("words", "path", "answer", "filters", "shown"),
    [
        (
            ["container", "prune", "-f"],
            "/containers/prune",
            {"ContainersDeleted": ["one", "two"], "SpaceReclaimed": 1500},
            None,
            "Deleted Containers:\none\ntwo\n\nTotal reclaimed space: 1.5kB\n",
        ),
        (
            ["image", "prune", "-f"],
            "/images/prune",
            {"ImagesDeleted": IMAGE_LINES, "SpaceReclaimed": 0},
            {"dangling": {"true": True}},
            f"Deleted Images:\nUntagged: a:1\nDeleted: {ID}\n\nTotal reclaimed space: 0B\n",
        ),
        (
            ["image", "prune", "-af", "--filter", "label=x"],
            "/images/prune",
            {"ImagesDeleted": None, "SpaceReclaimed": 0},
            {"label": {"x": True}, "dangling": {"false": True}},
            "Total reclaimed space: 0B\n",
        ),
        (
            ["network", "prune", "-f"],
            "/networks/prune",
            {"NetworksDeleted": ["web"]},
            None,
            "Deleted Networks:\nweb\n\n",
        ),
        (
            ["volume", "prune", "-af"],
            "/volumes/prune",
            {"VolumesDeleted": ["v"], "SpaceReclaimed": 2},
            {"all": {"true": True}},
            "Deleted Volumes:\nv\n\nTotal reclaimed space: 2B\n",
        ),
    ],
)
def test_a_prune_tells_what_went_and_what_it_gave_back(
    daemon: FakeDaemon, typed: Typed, words: list[str], path: str, answer: object, filters: object, shown: str
) -> None:
    daemon.routes[f"POST {path}"] = (200, answer)
    assert typed(*words) == (0, shown, "")
    (request,) = daemon.requests
    assert json.loads(request.query.get("filters", ["null"])[0]) == filters


def test_a_prune_asks_first_and_takes_silence_for_no(daemon: FakeDaemon, typed: Typed) -> None:
    status, output, _ = typed("network", "prune")
    assert status == 0
    assert output.startswith("WARNING! This will remove all custom networks")
    assert output.endswith("[y/N] ")
    assert daemon.requests == []
    daemon.routes["POST /networks/prune"] = (200, {"NetworksDeleted": ["web"]})
    assert "Deleted Networks:" in typed("network", "prune", stdin="y\n")[1]


def test_a_prune_of_everything_goes_from_containers_to_images(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["POST /containers/prune"] = (200, {"ContainersDeleted": ["one"], "SpaceReclaimed": 10})
    daemon.routes["POST /networks/prune"] = (200, {"NetworksDeleted": None})
    daemon.routes["POST /volumes/prune"] = (200, {"VolumesDeleted": ["v"], "SpaceReclaimed": 20})
    daemon.routes["POST /images/prune"] = (200, {"ImagesDeleted": IMAGE_LINES, "SpaceReclaimed": 30})
    assert typed("system", "prune", "-f", "--volumes") == (
        0,
        "Deleted Containers:\none\n\nDeleted Volumes:\nv\n\n"
        f"Deleted Images:\nUntagged: a:1\nDeleted: {ID}\n\nTotal reclaimed space: 60B\n",
        "",
    )
    assert [request.path.split("/")[1] for request in daemon.requests] == [
        "containers",
        "networks",
        "volumes",
        "images",
    ]


def test_removing_images_tells_each_name_and_goes_on(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["DELETE /images/a"] = (200, IMAGE_LINES)
    daemon.routes["DELETE /images/none"] = (200, [])
    daemon.routes["DELETE /images/b"] = (409, {"message": "conflict: b is in use"})
    status, output, errors = typed("rmi", "a", "b", "none")
    assert (status, output) == (1, f"Untagged: a:1\nDeleted: {ID}\n")
    assert errors == "Error response from daemon: conflict: b is in use\n"
    assert typed("rmi", "-f", "gone")[0] == 0


# Images that come and go


def test_a_pull_shows_its_steps_and_says_which_tag_it_took(daemon: FakeDaemon, typed: Typed) -> None:
    messages = [
        {"status": "Pulling from library/a", "id": "latest"},
        {"status": "Downloading", "id": "x", "progressDetail": {"current": 5, "total": 10}},
        {"status": "Status: Downloaded newer image for a:latest"},
    ]
    daemon.routes["POST /images/create"] = chunked([json.dumps(message).encode() + b"\n" for message in messages])
    assert typed("pull", "a") == (
        0,
        "Using default tag: latest\nlatest: Pulling from library/a\nStatus: Downloaded newer image for a:latest\n",
        "",
    )
    assert daemon.requests[0].query == {"fromImage": ["a"], "tag": ["latest"]}
    assert typed("pull", "-q", "a:1")[1] == "a:1\n"


def test_an_error_in_the_middle_of_a_pull_is_its_end(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["POST /images/create"] = chunked([b'{"status":"Pulling"}\n{"errorDetail":{"message":"no room"}}\n'])
    assert typed("pull", "a:1") == (1, "Pulling\n", "Error response from daemon: no room\n")


def test_an_archive_is_loaded_and_saved_whole(daemon: FakeDaemon, typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "in.tar").write_bytes(b"archive" * 1000)
    daemon.routes["POST /images/load"] = chunked([b'{"stream":"Loaded image: a:1\\n"}\n'])
    assert typed("load", "-i", str(tmp_path / "in.tar")) == (0, "Loaded image: a:1\n", "")
    assert daemon.requests[0].body == b"archive" * 1000
    assert daemon.requests[0].headers["content-type"] == "application/x-tar"
    daemon.routes["GET /images/get"] = chunked([b"one", b"two"], "application/x-tar")
    assert typed("save", "-o", str(tmp_path / "out.tar"), "a:1", "b:2")[0] == 0
    assert (tmp_path / "out.tar").read_bytes() == b"onetwo"
    assert daemon.requests[1].query == {"names": ["a:1", "b:2"]}


def test_a_save_that_breaks_off_leaves_no_file(daemon: FakeDaemon, typed: Typed, tmp_path: Path) -> None:
    daemon.routes["GET /images/get"] = lambda request, connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"
    )
    status, _, errors = typed("save", "-o", str(tmp_path / "out.tar"), "a")
    assert (status, errors) == (1, "linkspan: the daemon went away in the middle of an answer\n")
    assert not [path for path in tmp_path.iterdir() if "out.tar" in path.name]


# Logins


def test_a_login_that_works_is_kept_for_its_registry_and_sent_with_a_pull(
    daemon: FakeDaemon, typed: Typed, tmp_path: Path
) -> None:
    daemon.routes["POST /auth"] = (200, {"Status": "Login Succeeded"})
    login = typed("login", "-u", "me", "--password-stdin", "127.0.0.1:5000", stdin="secret\n")
    assert login == (0, "Login Succeeded\n", "")
    assert daemon.bodies("POST", "/auth") == [
        {"username": "me", "password": "secret", "serveraddress": "127.0.0.1:5000"}
    ]
    kept = tmp_path / "config" / "config.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    auths = json.loads(kept.read_text())["auths"]
    assert base64.b64decode(auths["127.0.0.1:5000"]["auth"]) == b"me:secret"
    daemon.routes["POST /images/create"] = chunked([])
    typed("pull", "-q", "127.0.0.1:5000/a")
    sent = json.loads(base64.urlsafe_b64decode(daemon.requests[-1].headers["x-registry-auth"]))
    assert sent == {"serveraddress": "127.0.0.1:5000", "username": "me", "password": "secret"}
    typed("pull", "-q", "elsewhere.example/a")
    assert "x-registry-auth" not in daemon.requests[-1].headers
    assert typed("logout", "127.0.0.1:5000")[0] == 0
    assert json.loads(kept.read_text())["auths"] == {}


def test_a_login_that_is_refused_is_not_kept(daemon: FakeDaemon, typed: Typed, tmp_path: Path) -> None:
    daemon.routes["POST /auth"] = (401, {"message": "unauthorized"})
    status, _, errors = typed("login", "-u", "me", "--password-stdin", stdin="wrong")
    assert (status, errors) == (1, "Error response from daemon: unauthorized\n")
    assert not (tmp_path / "config" / "config.json").exists()


# Questions


@pytest.fixture
def greenwich() -> Iterator[None]:
    """Local time is UTC."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_info_is_for_people_first(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /info"] = (
        200,
        {
            "Containers": 3,
            "ContainersRunning": 1,
            "ContainersPaused": 0,
            "ContainersStopped": 2,
            "Images": 4,
            "ServerVersion": "0.1.0",
            "Driver": "overlay",
            "DriverStatus": [["Exec Root Dir", "/run/linkspan"], ["Pid File", ""]],
            "CgroupVersion": "2",
            "Runtimes": {"runc": {}, "crun": {}},
            "Plugins": {"Network": ["bridge", "host"]},
            "SecurityOptions": ["name=seccomp,profile=builtin"],
            "KernelVersion": "6.1",
            "NCPU": 2,
            "MemTotal": 4 << 30,
            "DockerRootDir": "/var/lib/linkspan",
            "DefaultAddressPools": [{"Base": "172.17.0.0/16", "Size": 16}],
            "Labels": ["rack=1"],
            "LiveRestoreEnabled": True,
            "Warnings": ["WARNING: no swap limit"],
        },
    )
    status, output, errors = typed("info")
    assert (status, errors) == (0, "WARNING: no swap limit\n")
    assert output.partition("\nServer:\n")[2].splitlines() == [
        " Containers: 3",
        "  Running: 1",
        "  Paused: 0",
        "  Stopped: 2",
        " Images: 4",
        " Server Version: 0.1.0",
        " Storage Driver: overlay",
        " Cgroup Version: 2",
        " Runtimes: crun runc",
        " Network drivers: bridge host",
        " Security Options:",
        "  seccomp",
        " Kernel Version: 6.1",
        " Operating System: ",
        " OSType: ",
        " Architecture: ",
        " CPUs: 2",
        " Total Memory: 4GiB",
        " Name: ",
        " ID: ",
        " Data Root: /var/lib/linkspan",
        " Exec Root: /run/linkspan",
        " Default Address Pools:",
        "   Base: 172.17.0.0/16, Size: 16",
        " Labels:",
        "  rack=1",
        " Live Restore Enabled: true",
    ]


@pytest.mark.parametrize(("layout", "shown"), [("json", '{"ID":"x","NCPU":2}\n'), ("{{.NCPU}} CPUs", "2 CPUs\n")])
def test_info_may_be_laid_out(daemon: FakeDaemon, typed: Typed, layout: str, shown: str) -> None:
    daemon.routes["GET /info"] = (200, {"ID": "x", "NCPU": 2})
    assert typed("info", "--format", layout) == (0, shown, "")


def test_version_tells_the_client_also_when_no_daemon_answers(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /version"] = (500, {"message": "not well"})
    status, output, errors = typed("version")
    assert status == 1
    assert output.startswith("Client: Linkspan\n Version:")
    assert "Server:" not in output
    assert errors == "Error response from daemon: not well\n"


@pytest.mark.parametrize(
    ("layout", "shown"),
    [
        ([], "1970-01-01T00:00:05.000000007Z network create f00 (name=web)\n"),
        (["--format", "{{.Action}}"], "create\n"),
        (
            ["--format", "json"],
            '{"Type":"network","Action":"create","Actor":{"ID":"f00","Attributes":{"name":"web"}},'
            '"timeNano":5000000007}\n',
        ),
    ],
)
@pytest.mark.usefixtures("greenwich")
def test_events_are_printed_as_they_come(daemon: FakeDaemon, typed: Typed, layout: list[str], shown: str) -> None:
    actor = {"ID": "f00", "Attributes": {"name": "web"}}
    event = {"Type": "network", "Action": "create", "Actor": actor, "timeNano": 5_000_000_007}
    daemon.routes["GET /events"] = chunked([json.dumps(event).encode() + b"\n"])
    assert typed("events", *layout, "--filter", "type=network") == (0, shown, "")
    assert daemon.requests[0].query == {"filters": ['{"type":{"network":true}}']}


def test_an_update_names_its_containers_and_passes_warnings_on(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["POST /containers/one/update"] = (200, {"Warnings": ["swap is not limited here"]})
    assert typed("update", "-m", "64m", "one") == (0, "one\n", "WARNING: swap is not limited here\n")
    assert daemon.requests[0].document["Memory"] == 64 << 20
    status, _, errors = typed("update", "one")
    assert (status, errors) == (1, "linkspan: you must provide one or more flags when using this command\n")
