"""The body of ``POST /containers/create``, from the options of run and create: Docker's fields, Docker's rules.

What is not asked for is left out or has Docker's zero, so that the daemon's defaults hold.
"""

from __future__ import annotations

from linkspan.cli.documents import Json
from linkspan.cli.environment import environment, labels, read_lines
from linkspan.cli.failure import UsageError
from linkspan.cli.grammar import Parsed
from linkspan.cli.jsontext import decode, encode
from linkspan.cli.mount_option import mount, tmpfs, volumes
from linkspan.cli.network_option import attachments
from linkspan.cli.port_option import bindings_document, exposed, published
from linkspan.cli.publish_from import with_sources
from linkspan.cli.values import is_address

Document = dict[str, Json]


def create_body(parsed: Parsed, image: str, command: list[str], *, attach: bool) -> Document:
    """``attach``: the client stays with the container (run without ``-d``). Raises UsageError (exit status 125)."""
    try:
        return _body(parsed, image, command, attach)
    except ValueError as reason:
        raise UsageError(f"linkspan: {reason}", 125) from reason


def _body(parsed: Parsed, image: str, command: list[str], attach: bool) -> Document:
    networks = attachments(parsed)
    ports = published(parsed.texts("publish"))
    binds, anonymous = volumes(parsed.texts("volume"))
    streams = attached_streams(parsed, attach)
    body: Document = {
        "Hostname": parsed.text("hostname"),
        "Domainname": parsed.text("domainname"),
        "User": parsed.text("user"),
        "AttachStdin": "stdin" in streams,
        "AttachStdout": "stdout" in streams,
        "AttachStderr": "stderr" in streams,
        "Tty": parsed.flag("tty"),
        "OpenStdin": parsed.flag("interactive"),
        "StdinOnce": "stdin" in streams and parsed.flag("interactive"),
        "Env": list[Json](environment(parsed.texts("env-file"), parsed.texts("env"))),
        "Cmd": list[Json](command) or None,
        "Image": image,
        "Volumes": {path: {} for path in anonymous},
        "WorkingDir": parsed.text("workdir"),
        "Entrypoint": _entrypoint(parsed),
        "Labels": with_sources(labels(parsed.texts("label-file"), parsed.texts("label")), parsed.texts("publish-from")),
        "ExposedPorts": {port: {} for port in (*ports, *exposed(parsed.texts("expose")))},
    }
    if parsed.text("stop-signal"):
        body["StopSignal"] = parsed.text("stop-signal")
    if parsed.given("stop-timeout"):
        body["StopTimeout"] = parsed.number("stop-timeout")
    health = _health(parsed)
    if health:
        body["Healthcheck"] = health
    host = _host(parsed, binds)
    host["NetworkMode"] = networks[0].target
    host["PortBindings"] = bindings_document(ports)
    body["HostConfig"] = host
    body["NetworkingConfig"] = {"EndpointsConfig": {each.target: each.endpoint() for each in networks}}
    return body


def attached_streams(parsed: Parsed, attach: bool) -> set[str]:
    """Which streams the client asks for: those of ``-a``, else stdout and stderr, and stdin with ``-i``."""
    chosen = {name.lower() for name in parsed.texts("attach")}
    if chosen - {"stdin", "stdout", "stderr"}:
        raise ValueError("invalid argument for --attach: valid streams are STDIN, STDOUT and STDERR")
    if chosen:
        return chosen
    if not attach:
        return set()
    return {"stdout", "stderr", "stdin"} if parsed.flag("interactive") else {"stdout", "stderr"}


def _entrypoint(parsed: Parsed) -> Json:
    if not parsed.given("entrypoint"):
        return None
    return [parsed.text("entrypoint")]


def _host(parsed: Parsed, binds: list[str]) -> Document:
    host: Document = {
        "Binds": list[Json](binds),
        "AutoRemove": parsed.flag("rm"),
        "RestartPolicy": restart_policy(parsed.text("restart")),
        "Privileged": parsed.flag("privileged"),
        "PublishAllPorts": parsed.flag("publish-all"),
        "ReadonlyRootfs": parsed.flag("read-only"),
        "Tmpfs": tmpfs(parsed.texts("tmpfs")),
        "ShmSize": parsed.number("shm-size"),
        "OomScoreAdj": parsed.number("oom-score-adj"),
        "Sysctls": dict[str, Json](parsed.pairs("sysctl")),
        "ExtraHosts": list[Json]([extra_host(text) for text in parsed.texts("add-host")]),
        "Dns": list[Json](parsed.texts("dns")),
        "DnsOptions": list[Json](parsed.texts("dns-option")),
        "DnsSearch": list[Json](parsed.texts("dns-search")),
        "Links": list[Json](parsed.texts("link")),
        "CapAdd": list[Json](capabilities(parsed.texts("cap-add"))),
        "CapDrop": list[Json](capabilities(parsed.texts("cap-drop"))),
        "GroupAdd": list[Json](parsed.texts("group-add")),
        "IpcMode": parsed.text("ipc"),
        "PidMode": parsed.text("pid"),
        "UTSMode": parsed.text("uts"),
        "UsernsMode": parsed.text("userns"),
        "CgroupnsMode": parsed.text("cgroupns"),
        "CgroupParent": parsed.text("cgroup-parent"),
        "Runtime": parsed.text("runtime"),
        "VolumeDriver": parsed.text("volume-driver"),
        "VolumesFrom": list[Json](parsed.texts("volumes-from")),
        "ContainerIDFile": parsed.text("cidfile"),
        "LogConfig": {"Type": parsed.text("log-driver"), "Config": dict[str, Json](parsed.pairs("log-opt"))},
        "Mounts": list[Json]([mount(text) for text in parsed.texts("mount")]),
        "Devices": list[Json]([device(text) for text in parsed.texts("device")]),
        "DeviceCgroupRules": list[Json](parsed.texts("device-cgroup-rule")),
        "StorageOpt": dict[str, Json](parsed.pairs("storage-opt")),
        "Annotations": dict[str, Json](parsed.pairs("annotation")),
        **limits(parsed),
        **security(parsed.texts("security-opt")),
    }
    if parsed.flag("rm") and parsed.given("restart") and parsed.text("restart") not in ("", "no"):
        raise ValueError("conflicting options: cannot specify both --restart and --rm")
    host["Ulimits"] = list[Json]([ulimit(text) for text in parsed.texts("ulimit")])
    for name, key in (("init", "Init"), ("oom-kill-disable", "OomKillDisable")):
        if parsed.given(name):
            host[key] = parsed.flag(name)
    return host


def capabilities(texts: list[str]) -> list[str]:
    """Names as the kernel has them (capabilities(7)): ``net_admin`` is ``CAP_NET_ADMIN``; ``ALL`` stays."""
    names = [text.strip().upper() for text in texts]
    return [name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in names]


def limits(parsed: Parsed) -> Document:
    """Limits that both run and update know."""
    found: Document = {
        "Memory": parsed.number("memory"),
        "MemorySwap": parsed.number("memory-swap"),
        "MemoryReservation": parsed.number("memory-reservation"),
        "NanoCpus": parsed.number("cpus"),
        "CpuShares": parsed.number("cpu-shares"),
        "CpuPeriod": parsed.number("cpu-period"),
        "CpuQuota": parsed.number("cpu-quota"),
        "CpusetCpus": parsed.text("cpuset-cpus"),
        "CpusetMems": parsed.text("cpuset-mems"),
        "BlkioWeight": parsed.number("blkio-weight"),
    }
    if parsed.given("pids-limit"):
        found["PidsLimit"] = parsed.number("pids-limit")
    return found


def restart_policy(text: str) -> Document:
    """``on-failure:3`` and the rest; the daemon judges the name."""
    name, colon, count = text.partition(":")
    if colon and not count.isdigit():
        raise ValueError(f"invalid restart policy format: maximum retry count must be an integer: {text}")
    return {"Name": name or "no", "MaximumRetryCount": int(count or 0)}


def extra_host(text: str) -> str:
    """``name:address`` or ``name=address``, the address perhaps in brackets, as ``name:address``."""
    separator = "=" if "=" in text else ":"
    name, found, address = text.partition(separator)
    address = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if not found or not name:
        raise ValueError(f'invalid argument "{text}" for "--add-host" flag: bad format for add-host: "{text}"')
    if address != "host-gateway" and not is_address(address):
        raise ValueError(
            f'invalid argument "{text}" for "--add-host" flag: invalid IP address in add-host: "{address}"'
        )
    return f"{name}:{address}"


def ulimit(text: str) -> Document:
    """``nofile=1024:2048``; one number is both limits."""
    name, equals, value = text.partition("=")
    soft, colon, hard = value.partition(":")
    numbers = [part.removeprefix("-") for part in (soft, hard if colon else soft)]
    if not equals or not all(part.isascii() and part.isdigit() for part in numbers):
        raise ValueError(f'invalid argument "{text}" for "--ulimit" flag: invalid ulimit argument: {text}')
    low, high = int(soft), int(hard if colon else soft)
    if high != -1 and (low > high or low == -1):
        raise ValueError(
            f'invalid argument "{text}" for "--ulimit" flag: ulimit soft limit must be less than or equal to hard'
            f" limit: {soft} > {high}"
        )
    return {"Name": name, "Soft": low, "Hard": high}


def device(text: str) -> Document:
    """``/dev/a[:/dev/b][:rwm]``."""
    parts = text.split(":")
    access = "rwm"
    if len(parts) > 1 and parts[-1] and set(parts[-1]) <= set("rwm"):
        access = parts.pop()
    if not 1 <= len(parts) <= 2 or not all(part.startswith("/") for part in parts):
        raise ValueError(f'invalid argument "{text}" for "--device" flag: bad device, write /dev/a[:/dev/b[:rwm]]')
    return {"PathOnHost": parts[0], "PathInContainer": parts[-1], "CgroupPermissions": access}


def security(texts: list[str]) -> Document:
    """``--security-opt``: seccomp profiles are read here, since the daemon may not see our files."""
    options: list[Json] = []
    found: Document = {}
    for text in texts:
        name, separator, value = text.partition("=" if "=" in text else ":")
        if not separator and name != "no-new-privileges":
            raise ValueError(f'Invalid --security-opt: "{text}"')
        if name == "systempaths" and value == "unconfined":
            found = {"MaskedPaths": [], "ReadonlyPaths": []}
            continue
        if name == "seccomp" and value not in ("unconfined", "builtin"):
            try:
                text = "seccomp=" + encode(decode("\n".join(read_lines(value))))
            except ValueError:
                raise ValueError(f"seccomp profile {value} is not a JSON document") from None
        options.append(text)
    return {"SecurityOpt": options, **found}


def _health(parsed: Parsed) -> Document:
    named = ("health-cmd", "health-interval", "health-retries", "health-start-period", "health-timeout")
    if parsed.flag("no-healthcheck"):
        if any(parsed.given(name) for name in named):
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not any(parsed.given(name) for name in named):
        return {}
    command = parsed.text("health-cmd")
    return {
        "Test": ["CMD-SHELL", command] if command else [],
        "Interval": int(parsed.seconds("health-interval") * 1e9),
        "Timeout": int(parsed.seconds("health-timeout") * 1e9),
        "StartPeriod": int(parsed.seconds("health-start-period") * 1e9),
        "Retries": parsed.number("health-retries"),
    }
