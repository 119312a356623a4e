"""Every command's path, the module that holds it, and its one-line summary; nothing else is read to find a command.

The options that may stand before the command are here too.
"""

from __future__ import annotations

from linkspan.cli.grammar import Command, Option

GLOBAL_OPTIONS = (
    Option("host", "string", "Socket of the daemon to talk to (unix://PATH)", short="H", words=("file",)),
    Option("debug", "flag", "Show the requests to the daemon on stderr", short="D"),
    Option("config", "string", "Folder of registry logins", words=("file",)),
    Option("version", "flag", "Print the version and quit", short="v"),
    Option("log-level", "string", "Accepted for Docker's sake", short="l", hidden=True),
    Option("context", "string", "Accepted for Docker's sake", short="c", hidden=True),
)

COMMANDS: dict[str, tuple[str, str]] = {
    "container attach": ("container_attach", "Connect this terminal to a running container"),
    "container cp": ("container_copy", "Copy files between a container and this machine"),
    "container create": ("container_run", "Create a container without starting it"),
    "container diff": ("container_show", "Show what changed in a container's file system"),
    "container exec": ("container_exec", "Run a command in a running container"),
    "container export": ("container_copy", "Write a container's file system as a tar archive"),
    "container inspect": ("inspect", "Show everything about one or more containers"),
    "container kill": ("container_state", "Send a signal to one or more containers"),
    "container logs": ("container_logs", "Show what a container wrote"),
    "container ls": ("container_list", "List containers"),
    "container pause": ("container_state", "Freeze all processes of one or more containers"),
    "container port": ("container_show", "Show a container's published ports"),
    "container prune": ("container_state", "Remove all stopped containers"),
    "container rename": ("container_state", "Give a container another name"),
    "container restart": ("container_state", "Stop and start one or more containers"),
    "container rm": ("container_state", "Remove one or more containers"),
    "container run": ("container_run", "Create and start a container"),
    "container start": ("container_start", "Start one or more stopped containers"),
    "container stats": ("container_stats", "Show what containers use of CPU, memory, network and disks"),
    "container stop": ("container_state", "Stop one or more containers"),
    "container top": ("container_show", "Show the processes of a container"),
    "container unpause": ("container_state", "Let frozen containers go on"),
    "container update": ("container_update", "Change limits and restart policy of one or more containers"),
    "container wait": ("container_state", "Wait until containers stop, and print their exit codes"),
    "image history": ("image_list", "Show how an image was built"),
    "image import": ("image_archive", "Make an image from a file system's tar archive"),
    "image inspect": ("inspect", "Show everything about one or more images"),
    "image load": ("image_archive", "Load images from an archive"),
    "image ls": ("image_list", "List images"),
    "image prune": ("image_change", "Remove unused images"),
    "image pull": ("image_transfer", "Fetch an image from a registry"),
    "image push": ("image_transfer", "Send an image to a registry"),
    "image rm": ("image_change", "Remove one or more images"),
    "image save": ("image_archive", "Write one or more images as an archive"),
    "image tag": ("image_change", "Give an image another name"),
    "network connect": ("network_attach", "Connect a container to a network"),
    "network create": ("network", "Create a network"),
    "network disconnect": ("network_attach", "Disconnect a container from a network"),
    "network inspect": ("inspect", "Show everything about one or more networks"),
    "network ls": ("network", "List networks"),
    "network prune": ("network", "Remove all networks that no container uses"),
    "network rm": ("network", "Remove one or more networks"),
    "network show": ("network_show", "Show a network: subnets, options, members, names"),
    "volume create": ("volume", "Create a volume"),
    "volume inspect": ("inspect", "Show everything about one or more volumes"),
    "volume ls": ("volume", "List volumes"),
    "volume prune": ("volume", "Remove volumes that no container uses"),
    "volume rm": ("volume", "Remove one or more volumes"),
    "system df": ("system_usage", "Show what images, containers and volumes take on disk"),
    "system events": ("system_events", "Show what happens, as it happens"),
    "system info": ("system", "Show what this daemon and this machine are"),
    "system prune": ("system_usage", "Remove everything unused"),
    "plan network create": ("plan", "Show what creating a network would do"),
    "plan network rm": ("plan", "Show what removing networks would do"),
    "plan network connect": ("plan", "Show what connecting a container would do"),
    "plan network disconnect": ("plan", "Show what disconnecting a container would do"),
    "plan create": ("plan", "Show what starting a container made so would do to the network"),
    "plan run": ("plan", "Show what running a container would do to the network"),
    "plan start": ("plan", "Show what starting containers would do to the network"),
    "plan stop": ("plan", "Show what stopping containers would do to the network"),
    "exposure": ("exposure", "Show who can reach which ports of containers, and from where"),
    "names": ("names", "Show what containers asked the resolver, and how long answers took"),
    "drift": ("healing", "Show what is not as it should be in the kernel; exit status 1 when something is not"),
    "repair": ("healing", "Lead everything back to what it should be"),
    "gc": ("healing", "Remove what carries Linkspan's mark and belongs to nothing any more"),
    "doctor": ("doctor", "Check what the kernel, its settings and the host's firewall allow"),
    "inspect": ("inspect", "Show everything about containers, images, networks or volumes"),
    "login": ("registry", "Log in to a registry"),
    "logout": ("registry", "Forget the login of a registry"),
    "version": ("system", "Show the versions of client and daemon"),
    "daemon": ("daemon", "Run the daemon in the foreground"),
    "completion": ("completion", "Print a completion script for bash, zsh or fish"),
    "help": ("help", "Show help for a command"),
    "__complete": ("completion", ""),
}

GROUPS: dict[str, str] = {
    "container": "Manage containers",
    "image": "Manage images",
    "network": "Manage networks",
    "volume": "Manage volumes",
    "system": "Manage the daemon and its disk space",
    "plan": "Show the steps of a command as ip and nft commands, without doing anything",
    "plan network": "Show what changing networks would do",
}

ALIASES: dict[str, str] = {
    **{
        verb: f"container {verb}"
        for verb in [
            "attach",
            "cp",
            "create",
            "diff",
            "exec",
            "export",
            "kill",
            "logs",
            "pause",
            "port",
            "rename",
            "restart",
            "rm",
            "run",
            "start",
            "stats",
            "stop",
            "top",
            "unpause",
            "update",
            "wait",
        ]
    },
    **{verb: f"image {verb}" for verb in ["history", "import", "load", "pull", "push", "save", "tag"]},
    "ps": "container ls",
    "container ps": "container ls",
    "container list": "container ls",
    "container remove": "container rm",
    "images": "image ls",
    "image list": "image ls",
    "image remove": "image rm",
    "rmi": "image rm",
    "network list": "network ls",
    "network remove": "network rm",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "info": "system info",
    "events": "system events",
    **{f"plan container {verb}": f"plan {verb}" for verb in ["create", "run", "start", "stop"]},
    "plan network remove": "plan network rm",
}

MAIN = ("run", "exec", "ps", "logs", "start", "stop", "rm", "inspect", "pull", "images")
"""What people need first: the head of ``linkspan --help``."""


def resolve(words: list[str]) -> tuple[str, str, list[str]]:
    """(canonical path, path as typed, words after it). The path is empty or a group's when no command is named."""
    typed = ""
    for count, word in enumerate(words):
        longer = f"{typed} {word}".lstrip()
        if longer in COMMANDS or longer in ALIASES:
            return ALIASES.get(longer, longer), longer, words[count + 1 :]
        if longer not in GROUPS and longer != "plan container":
            return typed, typed, words[count:]
        typed = longer
    return typed, typed, []


def load(path: str) -> Command:
    """The command at a canonical path; imports its module."""
    module = __import__(f"linkspan.cli.commands.{COMMANDS[path][0]}", fromlist=["COMMANDS"])
    command: Command = module.COMMANDS[path]
    return command


def children(group: str) -> dict[str, str]:
    """Names and summaries of what stands directly below a group (the root is the empty text), aliases left out."""
    prefix = f"{group} " if group else ""
    found = {
        path.removeprefix(prefix): text
        for path, text in (*GROUPS.items(), *((path, text) for path, (_, text) in COMMANDS.items()))
        if path.startswith(prefix) and " " not in path.removeprefix(prefix) and not path.startswith("__")
    }
    return dict(sorted(found.items()))


def top_level(group: bool = False) -> dict[str, str]:
    """The root's names: short forms of nested commands included, groups only when asked."""
    names = {name: COMMANDS[path][1] for name, path in ALIASES.items() if " " not in name}
    names |= {name: text for name, text in children("").items() if (name in GROUPS) is group or name not in GROUPS}
    return dict(sorted(names.items()))
