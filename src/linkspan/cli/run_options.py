"""The options of ``run`` and ``create``: what a container is."""

from __future__ import annotations

from linkspan.cli.grammar import Option

LIMITS = (
    Option("blkio-weight", "int", "Share of disk time, 10 to 1000"),
    Option("cpu-period", "int", "Period of the CPU limit, in microseconds"),
    Option("cpu-quota", "int", "CPU time in each period, in microseconds"),
    Option("cpu-shares", "int", "Share of CPU time beside other containers", short="c"),
    Option("cpus", "decimal", "Number of CPUs (1.5)"),
    Option("cpuset-cpus", "string", "CPUs that may be used (0-3 or 0,1)"),
    Option("cpuset-mems", "string", "Memory nodes that may be used (0-3 or 0,1)"),
    Option("memory", "bytes", "Limit of memory (512m, 2g)", short="m"),
    Option("memory-reservation", "bytes", "Soft limit of memory"),
    Option("memory-swap", "bytes", "Limit of memory and swap together; -1: no limit"),
    Option("pids-limit", "int", "Limit of processes; -1: no limit"),
    Option("restart", "string", "When it starts again", words=("no", "always", "unless-stopped", "on-failure")),
)

NETWORK = (
    Option("add-host", "list", "Line for /etc/hosts (name:address); the address host-gateway is the host"),
    Option("dns", "list", "Name server"),
    Option("dns-option", "list", "Option of the resolver", aliases=("dns-opt",)),
    Option("dns-search", "list", "Search domain"),
    Option("domainname", "string", "NIS domain name"),
    Option("expose", "list", "Port or range that the container serves"),
    Option("hostname", "string", "Host name", short="h"),
    Option("ip", "string", "IPv4 address"),
    Option("ip6", "string", "IPv6 address"),
    Option("link", "list", "Link to another container (name:alias)"),
    Option("link-local-ip", "list", "Link-local address"),
    Option("mac-address", "string", "MAC address"),
    Option(
        "network",
        "list",
        "Network to join: a name, bridge, host, none, container:NAME, or name=NET,ip=…,alias=…,mac-address=…",
        aliases=("net",),
        words=("network",),
    ),
    Option("network-alias", "list", "Another name on the network", aliases=("net-alias",)),
    Option("publish", "list", "Publish a port on the host ([[address:]host-port:]port[/protocol])", short="p"),
    Option(
        "publish-from",
        "list",
        "Networks that may come to published ports, to all or to one ([port[/protocol]=]network[,network...])",
    ),
    Option("publish-all", "flag", "Publish all exposed ports on free host ports", short="P"),
)

FILES = (
    Option("device", "list", "Host device (host-path[:container-path[:rwm]])"),
    Option("device-cgroup-rule", "list", "Rule for devices that appear later"),
    Option("mount", "list", "Mount (type=bind|volume|tmpfs,source=…,target=…,readonly)"),
    Option("read-only", "flag", "The root file system cannot be written"),
    Option("shm-size", "bytes", "Size of /dev/shm"),
    Option("storage-opt", "list", "Option of the storage driver"),
    Option("tmpfs", "list", "File system in memory (path[:options])"),
    Option("volume", "list", "Bind mount or volume (source:target[:options])", short="v", words=("volume",)),
    Option("volume-driver", "string", "Driver of new volumes"),
    Option("volumes-from", "list", "Mounts of another container", words=("container",)),
    Option("workdir", "string", "Working folder inside", short="w"),
)

SECURITY = (
    Option("cap-add", "list", "Capability to add"),
    Option("cap-drop", "list", "Capability to drop"),
    Option("group-add", "list", "Another group for the process"),
    Option("privileged", "flag", "All capabilities and devices"),
    Option("security-opt", "list", "no-new-privileges, seccomp=FILE|unconfined, apparmor=…, systempaths=unconfined"),
    Option("sysctl", "map", "Kernel parameter (key=value)"),
    Option("ulimit", "list", "Resource limit (name=soft[:hard])"),
    Option("user", "string", "User, or user:group", short="u"),
    Option("userns", "string", "User namespace"),
)

PROCESS = (
    Option("annotation", "map", "Annotation for the runtime (key=value)"),
    Option("attach", "list", "Attach stdin, stdout or stderr", short="a", words=("stdin", "stdout", "stderr")),
    Option("cgroup-parent", "string", "Parent cgroup"),
    Option("cgroupns", "string", "Cgroup namespace", words=("private", "host")),
    Option("cidfile", "string", "Write the container's id to this new file", words=("file",)),
    Option("entrypoint", "string", "Replaces the image's entrypoint"),
    Option("env", "list", "Environment variable (NAME=value, or NAME alone to pass it on)", short="e"),
    Option("env-file", "list", "File of environment variables", words=("file",)),
    Option("init", "flag", "Run an init inside that reaps processes and forwards signals"),
    Option("interactive", "flag", "Keep stdin open", short="i"),
    Option("ipc", "string", "IPC namespace", words=("private", "host", "shareable")),
    Option("label", "list", "Label (key=value)", short="l"),
    Option("label-file", "list", "File of labels", words=("file",)),
    Option("log-driver", "string", "Where output is kept", words=("json-file", "none")),
    Option("log-opt", "list", "Option of the log driver (key=value)"),
    Option("name", "string", "Name of the container"),
    Option("oom-kill-disable", "flag", "Do not kill when memory runs out"),
    Option("oom-score-adj", "int", "Preference of the kernel when memory runs out, -1000 to 1000"),
    Option("pid", "string", "PID namespace", words=("host",)),
    Option("platform", "string", "Platform of the image (os/arch)"),
    Option("pull", "string", "When to pull the image", default="missing", words=("always", "missing", "never")),
    Option("quiet", "flag", "No progress of a pull", short="q"),
    Option("rm", "flag", "Remove the container when it ends"),
    Option("runtime", "string", "Container runtime", words=("crun", "runc")),
    Option("stop-signal", "string", "Signal that stops the container"),
    Option("stop-timeout", "int", "Seconds until a stop kills"),
    Option("tty", "flag", "Give the process a terminal", short="t"),
    Option("uts", "string", "UTS namespace", words=("host",)),
)

HEALTH = (
    Option("health-cmd", "string", "Command that checks health"),
    Option("health-interval", "duration", "Time between checks"),
    Option("health-retries", "int", "Failures in a row until unhealthy"),
    Option("health-start-period", "duration", "Time in which failures do not count"),
    Option("health-timeout", "duration", "Time that one check may take"),
    Option("no-healthcheck", "flag", "No checks, whatever the image says"),
)

CREATE_OPTIONS = (*LIMITS, *NETWORK, *FILES, *SECURITY, *PROCESS, *HEALTH)

RUN_OPTIONS = (
    *CREATE_OPTIONS,
    Option("detach", "flag", "Go on in the background and print the container's id", short="d"),
    Option("detach-keys", "string", "Keys that detach the terminal"),
    Option("sig-proxy", "flag", "Pass signals on to the process", default=True),
)
