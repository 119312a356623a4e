"""Keys of Docker's daemon.json that Linkspan has no setting for.

A file that serves dockerd shall serve us too where it asks for what we do anyway; what it asks for besides is refused,
never forgotten. Source: docs of dockerd, "Daemon configuration file" (Docker 28).
"""

from __future__ import annotations

from collections.abc import Mapping

from linkspan.errors import NotSupported

_NOTHING: tuple[object, ...] = ("", [], {}, None)

KEYS: Mapping[str, tuple[object, ...]] = {
    # what we do: the values that ask for it
    "log-driver": ("json-file",),
    "log-format": ("text",),
    "raw-logs": (False,),
    "iptables": (True,),
    "ip6tables": (True,),
    "ip-forward": (True,),
    "ip-forward-no-drop": (True,),
    "firewall-backend": ("nftables",),
    "exec-opts": (["native.cgroupdriver=cgroupfs"],),
    "default-ipc-mode": ("private",),
    "default-shm-size": ("64M", "64m", "64MiB", "67108864", 67108864),
    "oom-score-adjust": (0,),
    "max-concurrent-downloads": (3,),
    "max-concurrent-uploads": (5,),
    "max-download-attempts": (5,),
    "features": ({"buildkit": False}, {"containerd-snapshotter": False}),
    **dict.fromkeys(("experimental", "selinux-enabled", "tls", "tlsverify"), (False,)),
    # what we do not have: only its absence can be asked for
    **dict.fromkeys(
        (
            *("allow-nondistributable-artifacts", "api-cors-header", "authorization-plugins", "bridge", "builder"),
            *("cgroup-parent", "containerd", "containerd-namespace", "containerd-plugin-namespace"),
            *("cpu-rt-period", "cpu-rt-runtime", "default-cgroupns-mode", "default-gateway-v6", "init-path"),
            *("metrics-addr", "node-generic-resources", "proxies", "registry-mirrors", "runtimes"),
            *("storage-opts", "swarm-default-advertise-addr", "tlscacert", "tlscert", "tlskey"),
            *("userland-proxy-path", "userns-remap", "no-proxy", "http-proxy", "https-proxy"),
        ),
        (),
    ),
}
"""Each key with the values that change nothing here; empty values never do."""


def check(file: Mapping[str, object]) -> None:
    """NotSupported names every key whose value asks for something that Linkspan does not do."""
    asked = [
        f"{key}={_shown(file[key])}" for key, fitting in KEYS.items() if key in file and not _fits(file[key], fitting)
    ]
    if asked:
        raise NotSupported(f"{', '.join(asked)} in the configuration file is not supported here", remedy="leave it out")


def _fits(value: object, fitting: tuple[object, ...]) -> bool:
    """0 and 1 are no booleans, as in JSON."""
    return any(value == each and type(value) is type(each) for each in (*_NOTHING, *fitting))


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
