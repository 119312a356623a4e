"""What a person waits for: whole commands against a daemon of its own, beside their peers and floors.

* ``linkspan run --rm busybox true`` with no network, on the default bridge and on a user network; the floor is bare
  ``crun run`` of the same program.
* ``linkspan network ls`` as a whole process, beside ``docker network ls`` against the same daemon.
* resident memory of the idle daemon, and how long it takes to answer after its start.

Commands of one group take turns, so that a noisy moment hits all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from figures import line, median  # noqa: E402

from daemons import LINKSPAN, Daemon  # noqa: E402


def timed(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    before = time.perf_counter()
    action()
    return time.perf_counter() - before


def in_turns(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Samples by name; every action once a round, after one round that does not count."""
    samples: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            seconds = timed(action)
            if number:
                samples[name].append(seconds)
    return samples


def command(daemon: Daemon, *words: str) -> Callable[[], object]:
    """Runs a client in the daemon's namespace without a shell between: nsenter is part of the sample of all."""
    line_of_words = [*daemon.namespace.prefix(), *words]
    environment = daemon.environment

    def run() -> None:
        subprocess.run(
            line_of_words,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            pass_fds=(daemon.namespace.descriptor,),
        )

    return run


def crun_floor(folder: Path) -> Callable[[], object] | None:
    """``crun run`` of busybox true: the floor. crun must not see a hybrid cgroup tree, so it gets a view without."""
    crun = shutil.which("crun")
    if crun is None:
        return None
    root = folder / "bundle" / "rootfs" / "bin"
    root.mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", root / "true")
    bundle = folder / "bundle"
    subprocess.run([crun, "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"args": ["/bin/true"], "terminal": False}
    (bundle / "config.json").write_text(json.dumps(config))
    hide = "umount /sys/fs/cgroup/unified 2>/dev/null; exec crun --cgroup-manager cgroupfs run floor"
    wrapper = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", hide]

    def run() -> None:
        subprocess.run(wrapper, cwd=bundle, check=True, stdin=subprocess.DEVNULL)

    return run


def run_commands(daemon: Daemon, folder: Path, rounds: int) -> None:
    actions: dict[str, Callable[[], object]] = {}
    floor = crun_floor(folder)
    if floor is not None:
        actions["bare crun run (floor)"] = floor
    daemon.linkspan("network", "create", "bench")
    for network in ("none", "bridge", "bench"):
        words = ("run", "--rm", "--network", network, "busybox", "true")
        actions[f"linkspan run --rm --network {network}"] = command(daemon, LINKSPAN, *words)
    if shutil.which("docker"):
        words = ("run", "--rm", "--network", "bench", "busybox", "true")
        actions["docker run --rm --network bench (same daemon)"] = command(daemon, "docker", *words)
    samples = in_turns(actions, rounds)
    base = samples.get("bare crun run (floor)")
    for name, seconds in samples.items():
        print(line(name, seconds, base))
    cost = median(samples["linkspan run --rm --network bridge"]) - median(samples["linkspan run --rm --network none"])
    print(f"the bridge costs {cost * 1e3:.1f} ms more than no network")


def listing_commands(daemon: Daemon, rounds: int) -> None:
    actions = {
        "nothing but entering the namespace": command(daemon, "true"),
        "linkspan network ls": command(daemon, LINKSPAN, "network", "ls"),
    }
    if shutil.which("docker"):
        actions["docker network ls (same daemon)"] = command(daemon, "docker", "network", "ls")
    samples = in_turns(actions, rounds * 2)
    for name, seconds in samples.items():
        print(line(name, seconds))
    if "docker network ls (same daemon)" in samples:
        ours, theirs = samples["linkspan network ls"], samples["docker network ls (same daemon)"]
        print(f"linkspan network ls is {median(ours) / median(theirs):.2f}x docker network ls")


def daemon_itself(daemon: Daemon) -> None:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    resident = next(text for text in status.splitlines() if text.startswith("VmRSS")).split()[1]
    print(f"the idle daemon has {int(resident) / 1024:.1f} MB resident")
    daemon.stop()
    print(f"the daemon answers {timed(daemon.start) * 1e3:.0f} ms after its start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("needs root")
    with tempfile.TemporaryDirectory(prefix="linkspan-bench-") as name:
        folder = Path(name)
        subprocess.run([sys.executable, ROOT / "scripts" / "base-images", "--out", folder], check=True)
        daemon = Daemon(folder / "d")
        daemon.start()
        try:
            daemon.linkspan("load", "--quiet", "--input", str(folder / "busybox.tar"))
            daemon_itself(daemon)
            run_commands(daemon, folder, options.rounds)
            listing_commands(daemon, options.rounds)
        finally:
            left = daemon.take_down()
        if left:
            raise SystemExit("left behind:\n" + "\n".join(left))


if __name__ == "__main__":
    main()
