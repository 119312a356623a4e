"""The daemon's flags and daemon.json."""

from __future__ import annotations

import grp
import json
import os
import signal
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from linkspan.api import config
from linkspan.api.config import configuration, parse, read_file
from linkspan.engine.config import DaemonConfig
from linkspan.errors import InvalidRequest, LinkspanError, NotSupported
from linkspan.model.container import Ulimit


@pytest.fixture(autouse=True)
def no_default_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "absent.json")


def test_without_flags_everything_has_its_default() -> None:
    assert parse([]) == (DaemonConfig(), False)


def test_flags_arrive() -> None:
    found, validate = parse(
        "-H unix:///a -H unix:///b --data-root /d --exec-root /e -p /p -G docker -D --validate --mtu 1400 "
        "--default-address-pool base=10.10.0.0/16,size=24 --bip 192.168.5.1/24 --fixed-cidr 192.168.5.0/25 "
        "--default-gateway 192.168.5.1 --icc=false --ipv6 --dns 1.1.1.1 --dns-opt ndots:1 --label a=b "
        "--default-ulimit nofile=64:128 --live-restore --storage-driver overlay2 --init --shutdown-timeout 3".split()
    )
    assert validate
    assert found.hosts == ("unix:///a", "unix:///b")
    assert (found.data_root, found.exec_root, found.pid_file) == (Path("/d"), Path("/e"), Path("/p"))
    assert (found.group, found.log_level, found.mtu) == ("docker", "debug", 1400)
    assert found.default_address_pools == ((IPv4Network("10.10.0.0/16"), 24),)
    assert (found.bridge_address, found.fixed_range) == ("192.168.5.1/24", IPv4Network("192.168.5.0/25"))
    assert found.default_gateway == IPv4Address("192.168.5.1")
    assert (found.inter_container, found.ipv6, found.init, found.masquerade) == (False, True, True, True)
    assert (found.dns, found.dns_options, found.labels) == (("1.1.1.1",), ("ndots:1",), ("a=b",))
    assert found.default_ulimits == (Ulimit(name="nofile", soft=64, hard=128),)
    assert (found.storage_driver, found.shutdown_timeout) == ("overlay", 3)


def test_the_file_speaks_dockers_keys(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(
        json.dumps(
            {
                "hosts": ["unix:///x"],
                "data-root": "/d",
                "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}],
                "icc": False,
                "dns": ["9.9.9.9"],
                "debug": True,
                "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1, "Hard": 2}},
                "live-restore": True,
            }
        )
    )
    found, _ = parse(["--config-file", str(file), "--mtu", "1300"])
    assert (found.hosts, found.data_root, found.mtu) == (("unix:///x",), Path("/d"), 1300)
    assert (found.inter_container, found.dns, found.log_level) == (False, ("9.9.9.9",), "debug")
    assert found.default_address_pools == ((IPv4Network("10.0.0.0/8"), 24),)
    assert found.default_ulimits == (Ulimit(name="nofile", soft=1, hard=2),)


@pytest.mark.parametrize(
    ("flags", "file", "words"),
    [
        ({}, {"data-rot": "/x"}, "data-rot (did you mean data-root?)"),
        ({}, {"zzzz": 1}, "zzzz"),
        ({"mtu": "1400"}, {"mtu": 1500}, "mtu: (from flag: 1400, from file: 1500)"),
        ({"host": ["unix:///a"]}, {"hosts": ["unix:///b"]}, "hosts: (from flag"),
        ({"debug": "true"}, {"debug": True}, "debug"),
        ({"mtu": "many"}, {}, "'many' for --mtu"),
        ({"mtu": "70000"}, {}, "between 0 and 65535"),
        ({"data-root": "d"}, {}, "absolute path"),
        ({"log-level": "loud"}, {}, "invalid logging level: loud"),
        ({"bip": "172.17.0.0/16"}, {}, "is not a host's address"),
        ({"bip": "172.17.0.1"}, {}, "with its prefix"),
        ({"bip": "fd00::1/64"}, {}, "IPv4"),
        ({"fixed-cidr": "172.17.0.1/16"}, {}, "has host bits set"),
        ({"bip": "10.0.0.1/24", "fixed-cidr": "10.0.1.0/25"}, {}, "outside of the bridge's subnet"),
        ({"fixed-cidr-v6": "fd00::/64"}, {}, "needs --ipv6"),
        ({"default-address-pool": ["base=10.0.0.0/16"]}, {}, "must look like base="),
        ({"default-address-pool": ["base=10.0.0.0/16,size=8"]}, {}, "invalid size 8"),
        ({"default-address-pool": ["base=10.0.0.0/16,size=31"]}, {}, "invalid size 31"),
        (
            {"default-address-pool": ["base=10.0.0.0/16,size=24", "base=10.0.4.0/22,size=24"]},
            {},
            "10.0.4.0/22 overlaps 10.0.0.0/16",
        ),
        ({"dns": ["name"]}, {}, "not an IP address"),
        ({"default-ulimit": ["nofile=9:1"]}, {}, "soft limit"),
        ({"storage-driver": "zfs"}, {}, "use overlay or copy"),
        ({"icc": "perhaps"}, {}, "true or false"),
        ({"ip": "localhost"}, {}, "'localhost' for --ip: it is not an IP address"),
        ({"default-network-opt": ["com.docker.network.driver.mtu=1400"]}, {}, "must look like bridge=KEY=VALUE"),
        ({"default-network-opt": ["overlay=a=b"]}, {}, "invalid driver 'overlay' for --default-network-opt"),
        (
            {"default-network-opt": ["bridge=com.docker.network.driver.mut=1400"]},
            {},
            "did you mean com.docker.network.driver.mtu?",
        ),
        ({}, {"default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1"}}}, '"1" is not an MTU'),
        ({}, {"default-network-opts": {"bridge": {"com.docker.network.driver.mtu": 1}}}, "it must be a text"),
        ({"host-gateway-ip": ["10.0.0.1", "10.0.0.2"]}, {}, "more than one IPv4 address"),
        ({}, {"host-gateway-ip": "a", "host-gateway-ips": ["b"]}, "are one setting; leave host-gateway-ip out"),
        ({"log-opt": ["max-size"]}, {}, "must look like KEY=VALUE"),
        ({"log-opt": ["max-size=much"]}, {}, "max-size"),
        ({}, {"log-opts": {"colour": "red"}}, "unknown log opt 'colour' for json-file log driver"),
        ({"userland-proxy": "perhaps"}, {}, "true or false"),
        ({}, {"dns": "1.1.1.1"}, "list"),
        ({}, {"mtu": True}, "whole number"),
        ({}, {"ipv6": "x"}, "true or false"),
    ],
)
def test_a_mistake_is_one_sentence(flags: dict[str, object], file: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        configuration(flags, file)
    assert words in str(caught.value)


def test_live_restore_cannot_be_turned_off() -> None:
    with pytest.raises(NotSupported):
        configuration({"live-restore": "false"}, {})


def test_what_ports_networks_and_logs_default_to_comes_from_flags_or_from_the_file() -> None:
    flags = configuration(
        {
            "ip": "127.0.0.1",
            "default-network-opt": ["bridge=com.docker.network.driver.mtu=1400"],
            "host-gateway-ip": ["10.0.0.1", "fd00::1"],
            "log-opt": ["max-size=10m", "max-file=3"],
            "userland-proxy": "false",
        },
        {},
    )
    file = configuration(
        {},
        {
            "ip": "127.0.0.1",
            "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1400"}},
            "host-gateway-ips": ["10.0.0.1", "fd00::1"],
            "log-opts": {"max-size": "10m", "max-file": "3"},
            "userland-proxy": True,
            "allow-direct-routing": False,
        },
    )
    assert flags == file
    assert str(flags.publish_address) == "127.0.0.1"
    assert flags.default_network_options == {"bridge": {"com.docker.network.driver.mtu": "1400"}}
    assert flags.host_gateway == ("10.0.0.1", "fd00::1")
    assert flags.default_log_options == {"max-size": "10m", "max-file": "3"}


def test_docker_s_default_address_means_both_families() -> None:
    assert configuration({}, {"ip": "0.0.0.0"}).publish_address is None
    assert str(configuration({"ip": "::"}, {}).publish_address) == "::"


def test_docker_s_older_key_of_the_host_s_gateway_is_understood() -> None:
    assert configuration({}, {"host-gateway-ip": "10.0.0.1"}).host_gateway == ("10.0.0.1",)


def test_direct_routing_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(NotSupported, match="allow-direct-routing=true is not supported yet; use networks in gateway"):
        configuration({"allow-direct-routing": "true"}, {})


DOCKERS_FILE = {
    "log-driver": "json-file",
    "live-restore": True,
    "userland-proxy": False,
    "iptables": True,
    "ip6tables": True,
    "storage-driver": "overlay2",
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
    "registry-mirrors": [],
    "experimental": False,
    "features": {},
    "default-runtime": "runc",
}


def test_a_file_for_docker_is_taken_where_it_asks_for_what_is_done_anyway() -> None:
    found = configuration({}, DOCKERS_FILE)
    assert (found.storage_driver, found.runtime) == ("overlay", "runc")


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("log-driver", "journald", "log-driver=journald"),
        ("iptables", False, ""),
        ("exec-opts", ["native.cgroupdriver=systemd"], "exec-opts=['native.cgroupdriver=systemd']"),
        ("registry-mirrors", ["http://127.0.0.1:5000"], "registry-mirrors="),
        ("userns-remap", "default", "userns-remap=default"),
        ("experimental", True, "experimental=true"),
    ],
)
def test_what_docker_would_do_and_we_do_not_is_refused(key: str, value: object, shown: str) -> None:
    with pytest.raises(NotSupported) as caught:
        configuration({}, {key: value})
    assert shown in str(caught.value)
    assert "not supported here" in str(caught.value)


def test_several_keys_that_are_not_supported_are_all_named() -> None:
    with pytest.raises(NotSupported) as caught:
        configuration({}, {"tls": True, "bridge": "br0", "debug": True})
    assert "tls=true" in str(caught.value)
    assert "bridge=br0" in str(caught.value)


def test_unknown_flags_are_errors_of_our_own() -> None:
    with pytest.raises(InvalidRequest, match="--nonsense"):
        parse(["--nonsense"])


def test_a_named_file_must_exist_and_be_an_object(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no such file"):
        read_file(tmp_path / "nope.json")
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(LinkspanError, match=r"bad\.json"):
        read_file(tmp_path / "bad.json")


ENGINE = """
import linkspan.engine, fake_engine, os, sys
from linkspan.api import daemon, sole_daemon
# under a name of its own: a real daemon may run on this machine
daemon.sole_daemon = lambda: sole_daemon.sole_daemon(f"linkspan.test.{os.getpid()}")
class Engine(fake_engine.FakeEngine):
    def __init__(self, config): super().__init__()
    async def start(self): pass
    async def stop(self): print("engine stopped", flush=True)
linkspan.engine.Engine = Engine
sys.exit(daemon.main(sys.argv[1:]))
"""
OWN_GROUP = grp.getgrgid(os.getgid()).gr_name


def daemon(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    places = ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"), "--pidfile", f"{folder}/pid"]
    return subprocess.Popen(
        [sys.executable, "-c", ENGINE, *places, "--host", f"unix://{folder}/s", "--group", OWN_GROUP, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def test_the_daemon_says_when_it_is_ready_and_stops_at_sigterm(tmp_path: Path) -> None:
    running = daemon(tmp_path)
    try:
        assert running.stderr is not None
        assert running.stderr.readline() == f"linkspan: listening on unix://{tmp_path}/s\n"
        assert (tmp_path / "pid").read_text() == f"{running.pid}\n"
        second = daemon(tmp_path)
        output = second.communicate(timeout=20)[1]
        assert second.returncode == 1
        assert "is in use by another Linkspan daemon" in output
        running.send_signal(signal.SIGHUP)
        running.send_signal(signal.SIGTERM)
        output, _ = running.communicate(timeout=20)
    finally:
        running.kill()
        running.wait()
    assert (running.returncode, output) == (0, "engine stopped\n")
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "pid").exists()


def test_validate_reads_the_settings_and_runs_nothing(tmp_path: Path) -> None:
    good = daemon(tmp_path, "--validate")
    assert good.communicate(timeout=20)[0] == "configuration OK\n"
    bad = daemon(tmp_path, "--validate", "--mtu", "x")
    assert bad.communicate(timeout=20)[1].startswith("linkspan: invalid value 'x' for --mtu")
    assert (good.returncode, bad.returncode) == (0, 1)
    assert not (tmp_path / "exec").exists()
