"""Docker's requests -> the model: bodies as real clients sent them, and what is refused."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest

from linkspan.api.wire.container_create import container_spec, update
from linkspan.api.wire.container_types import ContainerCreate, ContainerUpdate
from linkspan.api.wire.credentials import credentials
from linkspan.api.wire.decoding import convert, decode
from linkspan.api.wire.host_config import host_config
from linkspan.api.wire.network_modes import endpoint_request
from linkspan.api.wire.networks import NetworkConnect, NetworkCreate, network_request
from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.container import ContainerSpec, Mount, NetworkMode, PortBinding, RestartPolicy, Ulimit
from linkspan.model.network import PoolRequest

BODIES = Path(__file__).parents[1] / "golden" / "requests"
CLIENTS = ("docker-28", "docker-20.10")


def body(name: str) -> bytes:
    return (BODIES / f"{name}.json").read_bytes()


def spec_of(**members: object) -> ContainerSpec:
    return container_spec(convert({"Image": "busybox", **members}, ContainerCreate))[0]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_option_of_a_real_docker_run_arrives(client: str) -> None:
    spec, warnings = container_spec(decode(body(f"{client}-run"), ContainerCreate))
    assert warnings == ()
    assert spec.network_mode == NetworkMode(kind="bridge", raw="my_bridge")
    (endpoint,) = spec.endpoints
    assert (endpoint.network, endpoint.ipv4, endpoint.aliases) == ("my_bridge", IPv4Address("172.30.5.9"), ("al",))
    assert endpoint.mac == "02:11:22:33:44:55"
    assert spec.mounts == (
        Mount(kind="bind", source="/tmp", target="/x", read_only=True, create_source=True, text="/tmp:/x:ro"),
        Mount(kind="bind", source="/etc", target="/e"),
        Mount(kind="tmpfs", target="/t", tmpfs_size=64 << 20, tmpfs_mode=0o1777, text="/t:size=64m,mode=1777"),
    )
    assert (spec.hostname, spec.user, spec.working_dir) == ("web", "1:1", "/w")
    assert (spec.entrypoint, spec.command) == (("/bin/e",), ("sleep", "100"))
    assert (spec.stop_signal, spec.stop_timeout, spec.read_only, spec.init) == ("SIGINT", 3, True, True)
    assert spec.restart == RestartPolicy(name="on-failure", max_retries=3)
    limits = spec.resources
    assert (limits.memory, limits.nano_cpus, limits.pids_limit) == (64 << 20, 1_500_000_000, 10)
    assert limits.ulimits == (Ulimit(name="nofile", soft=64, hard=128),)
    assert [device.host_path for device in limits.devices] == ["/dev/null"]
    assert (spec.security.cap_add, spec.security.cap_drop) == (("CAP_NET_ADMIN",), ("ALL",))
    assert spec.security.no_new_privileges
    assert set(spec.port_bindings) == {
        PortBinding(port=80, host_port="8080"),
        PortBinding(port=53, protocol="udp", host_ip="127.0.0.1"),
    }
    assert (spec.dns, spec.dns_search, spec.dns_options) == (("1.1.1.1",), ("ex.com",), ("ndots:1",))
    assert (spec.extra_hosts, spec.group_add, spec.sysctls) == (("h:1.2.3.4",), ("5",), {"net.ipv4.ip_forward": "1"})
    assert (spec.shm_size, spec.oom_score_adj, spec.pid_mode) == (1 << 20, 5, "host")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_plain_docker_run_asks_for_nothing_special(client: str) -> None:
    spec, _ = container_spec(decode(body(f"{client}-run-plain"), ContainerCreate))
    expected = ContainerSpec(
        image="busybox",
        command=("false",),
        auto_remove=True,
        attach_stdout=True,
        attach_stderr=True,
        endpoints=spec.endpoints,
    )
    assert spec == expected
    assert [endpoint.network for endpoint in spec.endpoints] == ["bridge"]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_real_network_create_arrives(client: str) -> None:
    request = network_request(decode(body(f"{client}-network"), NetworkCreate))
    assert request.pools == (
        PoolRequest(
            subnet="172.30.0.0/16", ip_range="172.30.5.0/24", gateway="172.30.0.1", auxiliary={"r": "172.30.0.9"}
        ),
    )
    assert (request.name, request.driver, request.enable_ipv4, request.enable_ipv6) == (
        "my_bridge",
        "bridge",
        True,
        False,
    )
    assert request.labels == {"a": "b"}
    assert request.options == {"com.docker.network.bridge.name": "x"}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_real_connect_arrives(client: str) -> None:
    connect = decode(body(f"{client}-connect"), NetworkConnect)
    request = endpoint_request("my_bridge", connect.endpoint_config)
    assert connect.container == "a"
    assert (request.ipv4, request.aliases) == (IPv4Address("172.30.0.7"), ("q",))


@pytest.mark.parametrize("client", CLIENTS)
def test_what_inspect_shows_can_be_created_again(client: str) -> None:
    spec, _ = container_spec(decode(body(f"{client}-run"), ContainerCreate))
    shown = msgspec.json.decode(msgspec.json.encode(host_config(spec)))
    again = spec_of(HostConfig=shown)
    for field in ("mounts", "resources", "security", "restart", "port_bindings", "sysctls", "dns", "shm_size", "init"):
        assert getattr(again, field) == getattr(spec, field), field


def test_nulls_mean_absent_and_names_with_null_still_count() -> None:
    spec = spec_of(
        Hostname=None,
        Env=None,
        HostConfig={"Binds": None, "Memory": None, "PortBindings": {"80/tcp": None}},
        NetworkingConfig={"EndpointsConfig": {"other": None}},
        ExposedPorts={"99": None},
    )
    assert spec.exposed_ports == ("99/tcp",)
    assert [endpoint.network for endpoint in spec.endpoints] == ["bridge", "other"]


@pytest.mark.parametrize(("given", "kept"), [("", ()), ([""], ()), ([], ()), (None, None), ("sh", ("sh",))])
def test_an_empty_entrypoint_resets_the_images_one(given: object, kept: tuple[str, ...] | None) -> None:
    assert spec_of(Entrypoint=given).entrypoint == kept


@pytest.mark.parametrize(
    ("text", "kind", "container"),
    [
        ("", "bridge", ""),
        ("host", "host", ""),
        ("none", "none", ""),
        ("web", "bridge", ""),
        ("container:x", "container", "x"),
    ],
)
def test_network_modes(text: str, kind: str, container: str) -> None:
    mode = spec_of(HostConfig={"NetworkMode": text}).network_mode
    assert (mode.kind, mode.container, mode.raw) == (kind, container, text or "default")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"Image": ""}, "Image"),
        ({"Hostname": "a b"}, "invalid hostname format: a b"),
        ({"Env": ["=x"]}, "invalid environment variable: '=x'"),
        ({"WorkingDir": "x"}, "the working directory 'x'"),
        ({"StopSignal": "SIGFOO"}, "invalid signal: SIGFOO"),
        ({"StopSignal": "65"}, "invalid signal: 65"),
        ({"MacAddress": "02:11"}, "invalid MAC address: 02:11"),
        ({"MacAddress": "01:11:22:33:44:55"}, "not the address of one interface"),
        ({"ExposedPorts": {"80/xyz": {}}}, "80/xyz"),
        ({"ExposedPorts": {"0": {}}}, "'0'"),
        ({"HostConfig": {"Memory": 1024}}, "Minimum memory limit allowed is 6MB"),
        ({"HostConfig": {"Memory": "x"}}, "HostConfig.Memory"),
        ({"HostConfig": {"Memory": 8 << 20, "MemorySwap": 7 << 20}}, "memoryswap"),
        ({"HostConfig": {"NanoCpus": 1, "CpuQuota": 5000}}, "Conflicting options: Nano CPUs"),
        ({"HostConfig": {"CpusetCpus": "a"}}, "invalid cpuset-cpus 'a'"),
        ({"HostConfig": {"CapAdd": ["FOO"]}}, "invalid capability: 'FOO'"),
        ({"HostConfig": {"SecurityOpt": ["foo=bar"]}}, "invalid --security-opt: 'foo=bar'"),
        ({"HostConfig": {"SecurityOpt": ["seccomp={"]}}, "invalid seccomp profile"),
        ({"HostConfig": {"Binds": ["a:b:c:d"]}}, "'a:b:c:d'"),
        ({"HostConfig": {"Binds": ["/a:/b:what"]}}, "invalid mode 'what'"),
        ({"HostConfig": {"Binds": ["/a:b"]}}, "must be absolute"),
        ({"HostConfig": {"Binds": ["../a:/b"]}}, "is not a volume name"),
        ({"HostConfig": {"Binds": ["/a:/b", "/c:/b/"]}}, "Duplicate mount point: /b"),
        ({"HostConfig": {"Binds": ["/a:/.."]}}, "the destination can't be '/'"),
        ({"HostConfig": {"Mounts": [{"Type": "odd", "Target": "/x"}]}}, "mount type 'odd' is unknown"),
        ({"HostConfig": {"Tmpfs": {"/t": "size=lots"}}}, "'lots' is not a size"),
        ({"HostConfig": {"Tmpfs": {"/t": "size=" + "9" * 400}}}, "is larger than any size"),
        ({"HostConfig": {"RestartPolicy": {"Name": "maybe"}}}, "unknown policy 'maybe'"),
        ({"HostConfig": {"RestartPolicy": {"Name": "always"}, "AutoRemove": True}}, "can't create 'AutoRemove'"),
        ({"HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 2}}}, "maximum retry count"),
        ({"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 4}]}}, "soft limit"),
        ({"HostConfig": {"Ulimits": [{"Name": "odd"}]}}, "invalid ulimit type: odd"),
        ({"HostConfig": {"ExtraHosts": ["web"]}}, "bad format for add-host: 'web'"),
        ({"HostConfig": {"ExtraHosts": ["web:x"]}}, "invalid IP address in add-host: 'x'"),
        ({"HostConfig": {"ExtraHosts": ["web:fe80::1%\n10.0.0.1 bank"]}}, "invalid IP address in add-host: 'fe80::1%"),
        ({"HostConfig": {"Dns": ["name"]}}, "name is not an IP address"),
        ({"HostConfig": {"Dns": ["fe80::1%\nsearch evil"]}}, "is not an IP address"),
        ({"HostConfig": {"Binds": ["/a\0b:/c"]}}, "invalid volume specification"),
        ({"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/a\0b", "Target": "/c"}]}}, "must be an absolute path"),
        ({"Env": ["A=b\0c"]}, "invalid environment variable: 'A=b\\x00c'"),
        ({"HostConfig": {"NetworkMode": "container:"}}, "invalid network mode"),
        ({"HostConfig": {"IpcMode": "odd"}}, "invalid IPC mode: odd"),
        ({"HostConfig": {"ShmSize": -1}}, "SHM size"),
        ({"HostConfig": {"CgroupParent": "a/" + "x" * 256}}, "invalid cgroup parent"),
        ({"HostConfig": {"CgroupParent": "a b"}}, "invalid cgroup parent 'a b'"),
        ({"HostConfig": {"OomScoreAdj": 2000}}, "2000"),
        ({"HostConfig": {"Runtime": "kata"}}, "runtime name: kata"),
        ({"HostConfig": {"NetworkMode": "host", "Sysctls": {"net.core.somaxconn": "1"}}}, "net.core.somaxconn"),
        ({"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "x"}]}}}, "invalid host address 'x'"),
        ({"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "70000"}]}}}, "'70000'"),
        (
            {"NetworkingConfig": {"EndpointsConfig": {"w": {"IPAMConfig": {"IPv4Address": "::1"}}}}},
            "invalid IPv4 address: ::1",
        ),
        (
            {"NetworkingConfig": {"EndpointsConfig": {"w": {"IPAMConfig": {"IPv6Address": "fd00::9%\nx"}}}}},
            "invalid IPv6 address: fd00::9%",
        ),
    ],
)
def test_a_bad_value_is_refused_and_named(members: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        spec_of(**members)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "members",
    [
        {"Hostname": "x"},
        {"MacAddress": "02:11:22:33:44:55"},
        {"ExposedPorts": {"80": {}}},
        {"HostConfig": {"Dns": ["1.1.1.1"]}},
        {"HostConfig": {"ExtraHosts": ["a:1.1.1.1"]}},
        {"HostConfig": {"Links": ["a"]}},
        {"HostConfig": {"PublishAllPorts": True}},
        {"HostConfig": {"PortBindings": {"80": [{}]}}},
        {"NetworkingConfig": {"EndpointsConfig": {"web": {}}}},
    ],
)
def test_what_belongs_to_a_network_of_ones_own_conflicts_with_container_mode(members: dict[str, object]) -> None:
    host = {**members.pop("HostConfig", {}), "NetworkMode": "container:x"}
    with pytest.raises(InvalidRequest, match="conflicting options"):
        spec_of(**members, HostConfig=host)


@pytest.mark.parametrize(
    "host",
    [
        {"VolumesFrom": ["x"]},
        {"StorageOpt": {"size": "1g"}},
        {"UsernsMode": "remap"},
        {"VolumeDriver": "nfs"},
        {"DeviceRequests": [{"Count": -1}]},
        {"BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1}]},
        {"LogConfig": {"Type": "syslog"}},
        {"Mounts": [{"Type": "image", "Source": "x", "Target": "/x"}]},
    ],
)
def test_what_would_change_the_container_and_cannot_be_kept_is_refused(host: dict[str, object]) -> None:
    with pytest.raises(NotSupported):
        spec_of(HostConfig=host)


def test_settings_without_effect_are_accepted_with_a_warning() -> None:
    create = convert(
        {"Image": "b", "HostConfig": {"SecurityOpt": ["apparmor=unconfined"], "NetworkMode": "host",
                                      "PortBindings": {"80": [{}]}}}, ContainerCreate)  # fmt: skip
    _, warnings = container_spec(create)
    assert warnings == (
        "the security option apparmor has no effect here",
        "Published ports are discarded when using host network mode",
    )


def test_a_port_of_a_container_without_a_network_is_told_to_lead_nowhere() -> None:
    host = {"NetworkMode": "none", "PortBindings": {"80/tcp": [{}]}}
    _, warnings = container_spec(convert({"Image": "b", "HostConfig": host}, ContainerCreate))
    assert warnings == ("nothing is published: the container is on no network",)


@pytest.mark.parametrize("option", ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"])
def test_spellings_of_no_new_privileges(option: str) -> None:
    assert spec_of(HostConfig={"SecurityOpt": [option]}).security.no_new_privileges


def test_an_update_names_only_what_it_changes() -> None:
    resources, restart = update(decode(b'{"Memory": 134217728, "RestartPolicy": {}}', ContainerUpdate))
    assert resources.memory == 134217728
    assert restart is None


def test_credentials_come_from_the_header_and_none_means_none() -> None:
    assert credentials("") is None
    assert credentials("e30=") is None
    found = credentials("eyJ1c2VybmFtZSI6ICJhIiwgInBhc3N3b3JkIjogImIifQ==")
    assert found is not None
    assert (found.username, found.password) == ("a", "b")
    with pytest.raises(InvalidRequest) as caught:
        credentials("c2VjcmV0")
    assert "secret" not in str(caught.value)
