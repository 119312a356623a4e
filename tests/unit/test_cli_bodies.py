"""What ``linkspan`` sends for a command line, compared with what Docker's own client sent for the same words.

The other side is recorded in tests/golden/docker-bodies.json. LINKSPAN_UPDATE_GOLDEN=1 records it again, which needs
the docker client (not its daemon).
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_fake_daemon import FakeDaemon

from linkspan.cli.main import main

GOLDEN = Path(__file__).parent.parent / "golden" / "docker-bodies.json"
UPDATE = os.environ.get("LINKSPAN_UPDATE_GOLDEN") == "1"

PATHS = {
    "create": "/containers/create",
    "run": "/containers/create",
    "network create": "/networks/create",
    "network connect": "/networks/web/connect",
    "network disconnect": "/networks/web/disconnect",
    "exec": "/containers/box/exec",
    "update": "/containers/box/update",
    "volume create": "/volumes/create",
}

LINES = """
create busybox
create --name web -it busybox sh -c 'echo $HOME'
create -t busybox
create --net=container:nginx_bridge -t busybox
create --network host nginx
create --network none busybox ifconfig -a
create -h box --domainname example.org --network web --ip 10.5.0.9 --ip6 fd00::9 --link-local-ip 169.254.1.1 busybox
create --network web --network-alias a --network-alias b --mac-address 02:42:ac:11:00:09 busybox
create --network name=web,alias=a,alias=b,ip=10.5.0.9,mac-address=02:42:ac:11:00:09 --network other busybox
create --network name=web,driver-opt=com.example.a=1,driver-opt=com.example.b=2,gw-priority=7 busybox
create --network web --link db:database busybox
create --link db:database busybox
create -eFOO=1 -e BAR --env LINKSPAN_TEST_PASSED busybox
create -v /a:/b:ro -v data:/data -v /anonymous --tmpfs /run:size=64m --tmpfs /tmp busybox
create --mount type=bind,source=/a,target=/b,readonly --mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770 busybox
create --mount type=volume,src=data,dst=/d,volume-nocopy,volume-label=a=b --mount dst=/anonymous busybox
create --mount type=bind,src=/a,dst=/b,bind-propagation=rshared,bind-recursive=disabled busybox
create --read-only --privileged --cap-add NET_ADMIN --cap-drop ALL --security-opt no-new-privileges busybox
create --security-opt seccomp=unconfined --security-opt systempaths=unconfined --group-add wheel busybox
create --sysctl net.ipv4.ip_forward=1 --ulimit nofile=1024:2048 --ulimit nproc=5 --shm-size 128m busybox
create -m 512m --memory-swap 1g --memory-reservation 256m --cpus 1.5 --cpu-shares 512 --pids-limit 99 busybox
create --memory-swap -1 -m 1.5g --cpuset-cpus 0-1 --oom-score-adj -500 --oom-kill-disable busybox
create --restart on-failure:3 --init --stop-signal SIGINT --stop-timeout 3 busybox
create --restart unless-stopped -l a=b --label c busybox
create --add-host db:10.0.0.1 --add-host six=[fd00::1] --add-host host.docker.internal:host-gateway busybox
create --dns 9.9.9.9 --dns-search example.org --dns-option ndots:2 --dns-opt rotate busybox
create -p 8080:80 -p 127.0.0.1:53:53/udp -p 9000-9002:9000-9002 -p 7000-7005:70 -p 443 -p [::1]:81:81 busybox
create --expose 90 --expose 100-102/udp -P busybox
create -p [fd00::1]::80 -p 127.0.0.1:8000-8002:9000-9002/udp -p 0.0.0.0:7000-7005:70 -p 10-12 busybox
create -p target=90,published=9000-9010 -p mode=host,target=91-92,published=91-92 --expose 90 busybox
create --network name=web,link-local-ip=169.254.1.2,ip6=fd00::9,driver-opt=com.docker.network.endpoint.ifname=l0 busybox
create --network name=web,gw-priority=-1 --network name=other,gw-priority=100,alias=b busybox
create --network web --link db:database --link cache --dns 9.9.9.9 --add-host=me=host-gateway busybox
create -p target=80,published=8080,protocol=udp busybox
create --entrypoint /bin/sh -w /tmp -u 1000:1000 busybox -c true
create --entrypoint '' busybox true
create --ipc host --pid host --uts host --userns host --cgroupns private --cgroup-parent /a busybox
create --device /dev/null --device /dev/zero:/dev/nought:r --device-cgroup-rule 'c 1:3 r' busybox
create --log-driver none busybox
create --log-driver json-file --log-opt max-size=1m busybox
create --no-healthcheck busybox
create --health-cmd 'true' --health-interval 10s --health-timeout 1m30s --health-retries 2 busybox
create --rm -i busybox cat
create --volumes-from box --runtime crun --annotation a=b busybox
create -a stdout busybox
network create web
network create --driver bridge --subnet 172.30.0.0/16 --ip-range 172.30.5.0/24 --gateway 172.30.0.1 my_bridge
network create --internal --attachable --label a=b --opt com.docker.network.driver.mtu=1400 --scope local web
network create --ipv6 --subnet fd00:1::/64 --subnet 10.9.0.0/24 --gateway 10.9.0.1 --gateway fd00:1::1 web
network create --subnet 10.9.0.0/24 --aux-address a=10.9.0.5 --aux-address b=10.9.0.6 web
network create --subnet 10.9.0.0/24,10.10.0.0/24 --ip-range 10.10.0.0/25 --aux-address a=10.9.0.5 web
network create --ipv4=false --ipv6 -o a=b --ipam-driver default --ipam-opt c=d web
network connect --ip 10.5.0.9 --ip6 fd00::9 --alias a --alias b --driver-opt x=y web box
network connect --gw-priority 5 --link db:database --link-local-ip 169.254.1.3 web box
network connect web box
network disconnect -f web box
exec -t box sh
exec -d -u root -w /tmp -e A=1 --privileged box sleep 5
exec -i box cat -A
update --memory 1g --cpus 2 --restart always --pids-limit -1 box
volume create --driver local --label a=b -o type=tmpfs data
""".strip().splitlines()


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    monkeypatch.setenv("LINKSPAN_TEST_PASSED", "on")
    monkeypatch.delenv("BAR", raising=False)
    fake = FakeDaemon(tmp_path / "fake.sock")
    fake.routes = {f"POST {path}": (418, {"message": "enough"}) for path in PATHS.values()}
    fake.routes["GET /containers/box/json"] = (200, {"Id": "box", "State": {"Running": True}, "Config": {}})
    yield fake
    fake.close()


def asked(daemon: FakeDaemon, line: str) -> Any:
    path = next(path for start, path in PATHS.items() if line.startswith(start + " "))
    (body,) = daemon.bodies("POST", path)
    return body


def essence(value: Any) -> Any:
    """Without what stands for "not asked": the daemon reads null, zero and absence alike."""
    if isinstance(value, dict):
        return {
            key: kept for key, item in value.items() if (kept := essence(item)) not in (None, "", 0, [], {}, [0, 0])
        }
    return [essence(item) for item in value] if isinstance(value, list) else value


def expected(line: str) -> Any:
    """Docker's body, without fields that say what the API's defaults say."""
    body = essence(json.loads(GOLDEN.read_text())[line])
    host = body.get("HostConfig", {})
    if host.get("MemorySwappiness") == -1:
        del host["MemorySwappiness"]
    if line.startswith(("create", "run")):
        assert body.pop("OnBuild", None) is None
    return body


@pytest.mark.parametrize("line", LINES)
def test_the_body_says_what_dockers_client_says(line: str, daemon: FakeDaemon) -> None:
    if UPDATE:
        record(line, daemon)
    status = main(["-H", daemon.host, *shlex.split(line)])
    assert status == 1
    assert essence(asked(daemon, line)) == expected(line)


def record(line: str, daemon: FakeDaemon) -> None:
    words = shlex.split(line)
    environment = {**os.environ, "DOCKER_HOST": daemon.host, "DOCKER_CONFIG": str(daemon.path.parent)}
    subprocess.run(["docker", *words], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    known[line] = asked(daemon, line)
    GOLDEN.write_text(json.dumps({key: known[key] for key in LINES if key in known}, indent=1) + "\n")
    daemon.requests.clear()
