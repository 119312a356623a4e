"""The OCI configuration, from the parts that it is made of."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from linkspan.errors import InvalidRequest, LinkspanError, NotSupported
from linkspan.model.container import Container, ContainerSpec, Mount, NetworkMode, Resources, Security, Ulimit
from linkspan.model.image import ImageConfig
from linkspan.runtime import capabilities, seccomp
from linkspan.runtime.command import command_of, environment_of
from linkspan.runtime.devices import DeviceNode
from linkspan.runtime.exec_process import ExecInput, build_exec
from linkspan.runtime.facts import CgroupMounts, Facts
from linkspan.runtime.mounts import ResolvedMount, SandboxFiles
from linkspan.runtime.spec import SpecInput, build, check
from linkspan.runtime.users import Identity

EVERYTHING = frozenset(capabilities.NAMES)
FACTS = Facts(capabilities=EVERYTHING, cpus=4)
OLD = Facts(
    capabilities=EVERYTHING - {"CAP_SYS_RESOURCE"},
    cgroups=CgroupMounts(version="v1", controllers={"memory": "/sys/fs/cgroup/memory"}),
    hard_limits={"nofile": 20000},
    cpus=2,
)
HOST = NetworkMode(kind="host", raw="host")


def config(facts: Facts = FACTS, image: ImageConfig | None = None, **changes: Any) -> dict[str, Any]:
    """A container's config.json; ``input_`` changes go to SpecInput, the rest to the definition."""
    given = {name.removeprefix("input_"): changes.pop(name) for name in list(changes) if name.startswith("input_")}
    spec = ContainerSpec(image="busybox", **{"command": ("true",), **changes})
    basics: dict[str, Any] = {
        "container": Container(id="c" * 64, name="box", created=0.0, image_id="", spec=spec),
        "image": image or ImageConfig(),
        "rootfs": "/roots/c",
        "sandbox": "/run/linkspan/ns/s",
        "hostname": "box",
        "cgroups_path": "/linkspan-i/c",
        "facts": facts,
    }
    text = build(SpecInput(**{**basics, **given}))
    document = json.loads(text)
    assert isinstance(document, dict)
    return document


def mounts(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["destination"]: mount for mount in document["mounts"]}


def test_an_ordinary_container_is_like_dockers() -> None:
    document = config()
    assert document["process"]["args"] == ["true"]
    assert document["process"]["cwd"] == "/"
    assert document["process"]["user"] == {"uid": 0, "gid": 0, "additionalGids": [0]}
    assert document["root"] == {"path": "/roots/c"}
    assert document["hostname"] == "box"
    granted = document["process"]["capabilities"]
    assert set(granted["bounding"]) == capabilities.DEFAULT
    assert granted["bounding"] == granted["effective"] == granted["permitted"]
    assert "ambient" not in granted
    assert "/proc/kcore" in document["linux"]["maskedPaths"]
    assert "/proc/sys" in document["linux"]["readonlyPaths"]
    assert document["linux"]["cgroupsPath"] == "/linkspan-i/c"
    kinds = {space["type"]: space.get("path") for space in document["linux"]["namespaces"]}
    assert kinds == {
        "mount": None,
        "network": "/run/linkspan/ns/s",
        "pid": None,
        "ipc": None,
        "uts": None,
        "cgroup": None,
    }
    assert document["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}


def test_the_ordinary_mounts_are_there_with_their_options() -> None:
    found = mounts(config(shm_size=1 << 20))
    assert list(found)[:3] == ["/proc", "/dev", "/sys"]
    assert found["/sys"]["options"][-1] == "ro"
    assert found["/sys/fs/cgroup"]["options"][-1] == "ro"
    assert f"size={1 << 20}" in found["/dev/shm"]["options"]
    assert "newinstance" in found["/dev/pts"]["options"]
    assert found["/dev/mqueue"]["type"] == "mqueue"


def test_the_sandboxs_files_are_bound_and_a_mount_asked_for_wins() -> None:
    files = SandboxFiles(hosts="/s/hosts", hostname="/s/hostname", resolv="/s/resolv")
    asked = (ResolvedMount(mount=Mount(kind="bind", target="/etc/hosts"), source="/mine"),)
    found = mounts(config(input_files=files, input_mounts=asked))
    assert found["/etc/hosts"]["source"] == "/mine"
    assert found["/etc/resolv.conf"]["source"] == "/s/resolv"
    assert found["/etc/resolv.conf"]["options"] == ["rbind", "rprivate", "rw"]


def test_the_hosts_network_has_no_network_namespace_and_no_network_sysctls() -> None:
    document = config(input_sandbox=None, network_mode=HOST)
    assert "network" not in {space["type"] for space in document["linux"]["namespaces"]}
    assert "sysctl" not in document["linux"]
    with pytest.raises(InvalidRequest, match=r"net\.ipv4\.ip_forward.*host's network namespace"):
        config(input_sandbox=None, network_mode=HOST, sysctls={"net.ipv4.ip_forward": "1"})


def test_sysctls_of_the_containers_own_namespaces_are_allowed_and_others_refused() -> None:
    document = config(sysctls={"net.core.somaxconn": "99", "kernel.shmmax": "7", "fs.mqueue.msg_max": "3"})
    assert document["linux"]["sysctl"]["net.core.somaxconn"] == "99"
    assert document["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"] == "0"
    with pytest.raises(InvalidRequest, match=r"vm\.swappiness"):
        config(sysctls={"vm.swappiness": "1"})
    with pytest.raises(InvalidRequest, match="IPC"):
        config(sysctls={"kernel.shmmax": "7"}, ipc_mode="host")


def test_a_privileged_container_gets_what_the_daemon_holds_and_no_more() -> None:
    document = config(facts=OLD, security=Security(privileged=True), input_default_seccomp=PROFILE)
    granted = document["process"]["capabilities"]["bounding"]
    assert "CAP_SYS_ADMIN" in granted
    assert "CAP_SYS_RESOURCE" not in granted
    assert "seccomp" not in document["linux"]
    assert "maskedPaths" not in document["linux"]
    assert mounts(document)["/sys"]["options"][-1] == "rw"
    assert document["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


def test_capabilities_are_added_and_dropped_by_dockers_rules() -> None:
    def granted(*added: str, dropped: tuple[str, ...] = ()) -> set[str]:
        return set(capabilities.granted(Security(cap_add=added, cap_drop=dropped), EVERYTHING))

    assert granted("net_admin") == capabilities.DEFAULT | {"CAP_NET_ADMIN"}
    assert granted(dropped=("ALL",)) == set()
    assert granted("CAP_CHOWN", dropped=("all",)) == {"CAP_CHOWN"}
    assert granted("ALL", dropped=("SYS_ADMIN",)) == EVERYTHING - {"CAP_SYS_ADMIN"}
    with pytest.raises(InvalidRequest, match='"FLY"'):
        granted("FLY")
    with pytest.raises(NotSupported, match="CAP_SYS_RESOURCE"):
        capabilities.granted(Security(cap_add=("SYS_RESOURCE",)), OLD.capabilities)


def test_who_is_not_root_has_no_effective_capabilities() -> None:
    process = config(input_identity=Identity(uid=33, gid=33, additional=(33, 4), home="/var/www"))["process"]
    assert process["capabilities"].keys() == {"bounding"}
    assert process["user"] == {"uid": 33, "gid": 33, "additionalGids": [33, 4]}
    assert "HOME=/var/www" in process["env"]


def test_limits_are_translated() -> None:
    limits = config(
        resources=Resources(memory=64 << 20, nano_cpus=1_500_000_000, pids_limit=9, cpu_shares=5, cpuset_cpus="0-1")
    )["linux"]["resources"]
    assert limits["memory"] == {"limit": 64 << 20, "swap": 128 << 20}
    assert limits["cpu"] == {"quota": 150_000, "period": 100_000, "shares": 5, "cpus": "0-1"}
    assert limits["pids"] == {"limit": 9}
    assert config(resources=Resources(memory=64 << 20, memory_swap=-1))["linux"]["resources"]["memory"]["swap"] == -1


@pytest.mark.parametrize(
    "resources",
    [
        Resources(memory=1000),
        Resources(memory_swap=64 << 20),
        Resources(memory=64 << 20, memory_swap=32 << 20),
        Resources(nano_cpus=9 * 10**9),
        Resources(nano_cpus=10**9, cpu_quota=5000),
        Resources(cpu_period=5),
        Resources(blkio_weight=5),
        Resources(ulimits=(Ulimit(name="nofle", soft=1, hard=1),)),
        Resources(ulimits=(Ulimit(name="nofile", soft=2, hard=1),)),
    ],
)
def test_impossible_limits_are_refused_at_create(resources: Resources) -> None:
    with pytest.raises(InvalidRequest):
        check(ContainerSpec(image="x", command=("true",), resources=resources), ImageConfig(), FACTS)


def test_ulimits_override_defaults_and_are_not_raised_without_the_capability() -> None:
    def found(facts: Facts, hard: int, default: int = 50000) -> list[dict[str, Any]]:
        own = (Ulimit(name="nproc", soft=10, hard=hard),)
        result = config(
            facts=facts,
            resources=Resources(ulimits=own),
            input_default_ulimits=(Ulimit(name="nofile", soft=1024, hard=default),),
        )["process"]["rlimits"]
        assert isinstance(result, list)
        return result

    assert found(FACTS, 20) == [
        {"type": "RLIMIT_NOFILE", "hard": 50000, "soft": 1024},
        {"type": "RLIMIT_NPROC", "hard": 20, "soft": 10},
    ]
    assert found(OLD, -1)[0]["hard"] == 20000
    assert found(OLD, -1)[1]["hard"] == 2**64 - 1
    with pytest.raises(NotSupported, match="nofile=30000"):
        config(facts=OLD, resources=Resources(ulimits=(Ulimit(name="nofile", soft=1, hard=30000),)))


def test_an_oom_score_below_the_daemons_needs_the_capability() -> None:
    assert config(oom_score_adj=-500)["process"]["oomScoreAdj"] == -500
    with pytest.raises(NotSupported):
        config(facts=OLD, oom_score_adj=-500)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"pid_mode": "container:web"}, NotSupported),
        ({"ipc_mode": "container:web"}, NotSupported),
        ({"pid_mode": "strange"}, InvalidRequest),
        ({"init": True}, NotSupported),
        ({"working_dir": "relative"}, InvalidRequest),
        ({"command": ()}, InvalidRequest),
        ({"mounts": (Mount(kind="bind", target="relative", source="/x"),)}, InvalidRequest),
        ({"mounts": (Mount(kind="bind", target="/", source="/x"),)}, InvalidRequest),
        ({"mounts": (Mount(kind="bind", target="/a/../..", source="/x"),)}, InvalidRequest),
        ({"mounts": (Mount(kind="bind", target="/a", source="/x", propagation="up"),)}, InvalidRequest),
        ({"security": Security(seccomp="{")}, InvalidRequest),
        ({"oom_score_adj": 2000}, InvalidRequest),
    ],
)
def test_what_can_never_start_is_refused_at_create(changes: dict[str, Any], error: type[LinkspanError]) -> None:
    with pytest.raises(error):
        check(ContainerSpec(image="x", **{"command": ("true",), **changes}), ImageConfig(), FACTS)


def test_host_namespaces_are_left_out() -> None:
    document = config(pid_mode="host", ipc_mode="host", uts_mode="host", cgroupns_mode="host", init=True)
    kinds = {space["type"] for space in document["linux"]["namespaces"]}
    assert kinds == {"mount", "network"}
    assert "hostname" not in document
    assert mounts(document)["/dev/shm"]["type"] == "bind"
    assert document["process"]["args"] == ["true"]


def test_init_is_mounted_and_comes_first() -> None:
    document = config(init=True, input_init_path="/usr/bin/tini-static")
    assert document["process"]["args"] == ["/sbin/docker-init", "--", "true"]
    assert mounts(document)["/sbin/docker-init"]["source"] == "/usr/bin/tini-static"


def test_tmpfs_has_dockers_options_and_the_later_of_two_opposites_stays() -> None:
    def options(**changes: Any) -> list[str]:
        asked = (ResolvedMount(mount=Mount(kind="tmpfs", target="/run", **changes)),)
        found = mounts(config(input_mounts=asked))["/run"]["options"]
        assert isinstance(found, list)
        return found

    assert options() == ["noexec", "nosuid", "nodev"]
    assert options(tmpfs_options=("exec,size=1m", "mode=755")) == ["nosuid", "nodev", "exec", "size=1m", "mode=755"]
    assert options(tmpfs_size=4096, tmpfs_mode=0o1770)[-2:] == ["size=4096", "mode=1770"]


def test_propagation_of_a_bind_opens_the_root_too() -> None:
    shared = (ResolvedMount(mount=Mount(kind="bind", target="/a", propagation="rshared"), source="/x"),)
    assert config(input_mounts=shared)["linux"]["rootfsPropagation"] == "shared"
    assert "rootfsPropagation" not in config()["linux"]


def test_devices_are_made_and_allowed() -> None:
    node = DeviceNode(path="/dev/net/tun", kind="c", major=10, minor=200, mode=0o666, access="rw")
    document = config(input_devices=(node,))
    assert document["linux"]["devices"][0]["path"] == "/dev/net/tun"
    rule = document["linux"]["resources"]["devices"][-1]
    assert rule == {"allow": True, "access": "rw", "type": "c", "major": 10, "minor": 200}


def test_a_terminal_has_its_size_and_a_term() -> None:
    process = config(tty=True, input_console_size=(24, 80))["process"]
    assert process["terminal"] is True
    assert process["consoleSize"] == {"height": 24, "width": 80}
    assert "TERM=xterm" in process["env"]


def test_the_command_follows_dockers_rules() -> None:
    image = ImageConfig(entrypoint=("/entry",), command=("serve",))

    def command(**changes: Any) -> tuple[tuple[str, ...], int]:
        return command_of(ContainerSpec(image="x", **changes), image)

    assert command() == (("/entry", "serve"), 1)
    assert command(command=("other", "-v")) == (("/entry", "other", "-v"), 1)
    assert command(entrypoint=("/mine",)) == (("/mine",), 1)
    assert command(entrypoint=("/mine",), command=("x",)) == (("/mine", "x"), 1)
    assert command(entrypoint=(), command=("x",)) == (("x",), 0)
    assert command(entrypoint=("",), command=("x",)) == (("x",), 0)
    with pytest.raises(InvalidRequest, match="no command specified"):
        command(entrypoint=("",))
    with pytest.raises(InvalidRequest, match="no command specified"):
        command_of(ContainerSpec(image="x"), ImageConfig())


def test_the_environment_is_overridden_by_name() -> None:
    image = ImageConfig(env=("PATH=/image", "A=1", "B=2"))
    spec = ContainerSpec(image="x", env=("B=3", "C=", "A"))
    found = environment_of(spec, image, "box", "/root")
    assert found == ("PATH=/image", "HOSTNAME=box", "B=3", "C=", "HOME=/root")
    assert "HOME=/own" in environment_of(ContainerSpec(image="x", env=("HOME=/own",)), image, "box", "/root")


def test_an_exec_starts_from_the_containers_process() -> None:
    spec = ContainerSpec(image="x", env=("A=1",), working_dir="/srv", security=Security(cap_add=("NET_ADMIN",)))
    given = ExecInput(
        spec=spec,
        image=ImageConfig(),
        hostname="box",
        command=("sh",),
        env=("A=2",),
        tty=True,
        identity=Identity(home="/root"),
        facts=FACTS,
    )
    process = json.loads(build_exec(given))
    assert process["cwd"] == "/srv"
    assert {"A=2", "TERM=xterm", "HOME=/root", "HOSTNAME=box"} <= set(process["env"])
    assert "CAP_NET_ADMIN" in process["capabilities"]["effective"]
    privileged = json.loads(build_exec(msgspec.structs.replace(given, privileged=True)))
    assert "CAP_SYS_ADMIN" in privileged["capabilities"]["effective"]
    with pytest.raises(InvalidRequest):
        build_exec(msgspec.structs.replace(given, command=()))


PROFILE = seccomp.parse(
    json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "defaultErrno": "ENOSYS",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}, "excludes": {}},
                {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                {
                    "names": ["bpf"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 1,
                    "errno": "EPERM",
                    "excludes": {"caps": ["CAP_SYS_ADMIN"]},
                },
                {"names": ["arm_only"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
                {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
                {"names": ["future"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
                {
                    "names": ["personality"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
                },
            ],
        }
    )
)


def test_a_seccomp_profile_is_settled_for_the_containers_capabilities() -> None:
    plain = config(input_default_seccomp=PROFILE)["linux"]["seccomp"]
    assert plain["defaultAction"] == "SCMP_ACT_ERRNO"
    assert plain["defaultErrnoRet"] == 38
    assert plain["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    rules = {tuple(rule["names"]): rule for rule in plain["syscalls"]}
    assert rules.keys() == {("read", "write"), ("bpf",), ("ptrace",), ("personality",)}
    assert rules["bpf",] == {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    assert rules["personality",]["args"] == [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]
    admin = config(input_default_seccomp=PROFILE, security=Security(cap_add=("SYS_ADMIN",)))
    allowed = [rule for rule in admin["linux"]["seccomp"]["syscalls"] if rule["names"] == ["bpf"]]
    assert allowed == [{"names": ["bpf"], "action": "SCMP_ACT_ALLOW"}]


def test_a_containers_own_profile_or_none_replaces_the_default() -> None:
    own = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "chmod", "action": "SCMP_ACT_ERRNO"}]})
    document = config(input_default_seccomp=PROFILE, security=Security(seccomp=own))
    assert document["linux"]["seccomp"]["syscalls"] == [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}]
    free = config(input_default_seccomp=PROFILE, security=Security(seccomp="unconfined"))
    assert "seccomp" not in free["linux"]
