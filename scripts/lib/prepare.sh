# Sourced by scripts/demo, scripts/test and scripts/install: what a fresh machine needs before anything of ours runs.
#
# Everything that is mounted or made for the run alone is undone at the end, the last thing first. Works in a plain
# chroot, where no init runs, "/" is no mount point, and proc, sys, devpts or the cgroups may be missing.

set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
cache=${LINKSPAN_CACHE:-/var/cache/linkspan}
verbose=${VERBOSE:-}

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || die "needs root: run it with sudo"
}

# --- undoing ---------------------------------------------------------------------------------------------------

undo_list=()

# Remembers a command for the end.
undo_later() { undo_list+=("$(printf '%q ' "$@")"); }

undo_all() {
    local status=$? i
    trap '' INT TERM HUP
    set +e
    for ((i = ${#undo_list[@]} - 1; i >= 0; i--)); do
        eval "${undo_list[i]}"
    done
    undo_list=()
    exit "$status"
}
trap undo_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

unmount() {
    umount "$1" 2>/dev/null || umount -l "$1" 2>/dev/null || note "cannot unmount $1"
}

# --- file systems ----------------------------------------------------------------------------------------------

# mount_here WHERE ARGUMENTS...: mounts, and undoes it at the end; the folder as well, if it was made for this.
mount_here() {
    local where=$1
    shift
    if [ ! -d "$where" ]; then
        mkdir -p "$where"
        undo_later rmdir --ignore-fail-on-non-empty "$where"
    fi
    mount "$@" "$where" || return 1
    undo_later unmount "$where"
}

mount_what_is_missing() {
    [ -e /proc/self/stat ] || mount_here /proc -t proc -o nosuid,nodev,noexec proc
    [ -d /sys/kernel ] || mount_here /sys -t sysfs -o nosuid,nodev,noexec sysfs
    # Reading as well: a node on a file system mounted with nodev is there and cannot be opened.
    if ! { [ -c /dev/null ] && [ -c /dev/zero ] && [ -c /dev/urandom ] && [ -c /dev/full ] && [ -c /dev/tty ]; } ||
        ! sh -c ': </dev/null' 2>/dev/null; then
        make_devices
    fi
    local link
    for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
        if [ ! -e "/dev/${link%%:*}" ] && [ ! -L "/dev/${link%%:*}" ]; then
            ln -s "${link#*:}" "/dev/${link%%:*}"
            undo_later rm -f "/dev/${link%%:*}"
        fi
    done
    if [ ! -c /dev/pts/ptmx ]; then
        mount_here /dev/pts -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts
    fi
    if [ ! -e /dev/ptmx ]; then
        ln -s pts/ptmx /dev/ptmx
        undo_later rm -f /dev/ptmx
    fi
    is_mounted /dev/shm || mount_here /dev/shm -t tmpfs -o nosuid,nodev,mode=1777 tmpfs
    mkdir -p /run /tmp
    mount_cgroups
}

is_mounted() {
    awk -v where="$1" '$5 == where { found = 1 } END { exit !found }' /proc/self/mountinfo
}

make_devices() {
    mount_here /dev -t tmpfs -o nosuid,mode=0755 tmpfs
    local node
    for node in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 666 "/dev/${node%%:*}" c 1 "${node#*:}"
    done
    mknod -m 666 /dev/tty c 5 0
}

# The hierarchies that this kernel has, as /proc/self/cgroup names them: "0::/" is cgroup2, the rest version 1.
mount_cgroups() {
    awk '$0 ~ / - cgroup2? / { found = 1 } END { exit !found }' /proc/self/mountinfo && return
    local controllers hybrid=
    grep -q '^[1-9]' /proc/self/cgroup && hybrid=yes
    if [ -z "$hybrid" ]; then
        mount_here /sys/fs/cgroup -t cgroup2 cgroup2 || note "no cgroups here: limits will not hold"
        return
    fi
    mount_here /sys/fs/cgroup -t tmpfs -o mode=0755 tmpfs
    while IFS=: read -r _ controllers _; do
        case $controllers in
        "") mount_here /sys/fs/cgroup/unified -t cgroup2 cgroup2 ;;
        name=*) mount_here "/sys/fs/cgroup/${controllers#name=}" -t cgroup -o "none,$controllers" cgroup ;;
        *) mount_here "/sys/fs/cgroup/$controllers" -t cgroup -o "$controllers" cgroup ;;
        esac || note "cannot mount the cgroup hierarchy ${controllers:-unified}"
    done </proc/self/cgroup
}

# --- Debian packages -------------------------------------------------------------------------------------------

# What the daemon runs, and the library it loads. The word before the colon tells whether it is there: a command, or
# a file. A package is not asked for by name where another one brings its command (containerd.io has a runc).
run_parts="nft:nftables /etc/protocols:netbase crun:crun runc:runc conmon:conmon skopeo:skopeo tini:tini
    /usr/share/containers/seccomp.json:golang-github-containers-common /etc/ssl/certs/ca-certificates.crt:ca-certificates
    python3:python3 zstd:zstd"
# What scripts/demo and scripts/test call besides. "ip" is for people and tests: the daemon never runs it.
test_parts="busybox:busybox-static ip:iproute2 ping:iputils-ping ps:procps curl:curl xz:xz-utils nsenter:util-linux
    dpkg-deb:dpkg"

# missing_packages PART...: the packages whose command or file is not there.
missing_packages() {
    local part
    for part in "$@"; do
        case $part in
        /*) [ -e "${part%%:*}" ] ;;
        *) command -v "${part%%:*}" >/dev/null ;;
        esac || printf '%s\n' "${part#*:}"
    done
    python3 -c 'import ensurepip, venv' 2>/dev/null || printf 'python3-venv\n'
    ldconfig -p 2>/dev/null | grep -q libnftables.so.1 || printf 'libnftables1\n'
}

# No service starts while we install: a registry or a web server would take ports of this machine. Undone as soon as
# the packages are there, since "demo --keep" ends without undoing.
forbidden=
forbid_services() {
    [ -e /usr/sbin/policy-rc.d ] && return
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    undo_later allow_services
    forbidden=yes
}
allow_services() {
    [ -z "$forbidden" ] || rm -f /usr/sbin/policy-rc.d
    forbidden=
}

refreshed=
refresh_package_lists() {
    [ -z "$refreshed" ] || return 0
    say "Reading the package lists"
    quietly apt-get update
    refreshed=yes
}

# Runs a command; shows its output only when it fails, or with VERBOSE=1.
quietly() {
    local log
    if [ -n "$verbose" ]; then
        "$@" >&2
        return
    fi
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        rm -f "$log"
    else
        tail -n 40 "$log" >&2
        rm -f "$log"
        return 1
    fi
}

install_packages() {
    local wanted
    wanted=$(missing_packages "$@" | sort -u)
    [ -n "$wanted" ] || return 0
    command -v apt-get >/dev/null || die "these Debian packages are missing, and there is no apt-get: $wanted"
    export DEBIAN_FRONTEND=noninteractive
    forbid_services
    known "$wanted" || refresh_package_lists
    say "Installing $(echo $wanted)"
    # shellcheck disable=SC2086 # a list of words
    quietly apt-get install -y --no-install-recommends $wanted ||
        { refresh_package_lists && quietly apt-get install -y --no-install-recommends $wanted; } ||
        die "apt-get could not install $(echo $wanted)"
    allow_services
}

# Whether the package lists know all of them.
known() {
    local name
    for name in $1; do
        apt-cache show "$name" >/dev/null 2>&1 || return 1
    done
}

# unpacked PACKAGE...: the folder where the first of these packages that exists lies unpacked, not installed, so that
# none of its services runs. Kept in the cache.
unpacked() {
    local package folder scratch
    for package in "$@"; do
        folder=$cache/parts/$package
        [ ! -e "$folder/.whole" ] || { echo "$folder"; return; }
    done
    scratch=$(mktemp -d)
    for package in "$@"; do
        folder=$cache/parts/$package
        known "$package" || refresh_package_lists
        known "$package" || continue
        say "Fetching $package (unpacked, not installed)"
        (cd "$scratch" && quietly apt-get download "$package") || continue
        rm -rf "$folder"
        mkdir -p "$folder"
        dpkg-deb -x "$scratch"/*.deb "$folder"
        : >"$folder/.whole"
        rm -rf "$scratch"
        echo "$folder"
        return
    done
    rm -rf "$scratch"
    return 1
}

# --- Python ----------------------------------------------------------------------------------------------------

# prepare_python FOLDER REQUIREMENTS: a virtual environment with exactly the pinned files. Fast when it is there.
prepare_python() {
    local folder=$1 requirements=$2 stamp
    stamp=$(python3 -V | cat - "$requirements" | sha256sum | cut -d' ' -f1)
    [ "$(cat "$folder/.linkspan-stamp" 2>/dev/null)" != "$stamp" ] || return 0
    say "Making a Python environment in ${folder#"$project"/}"
    "$folder/bin/python3" -c 'import sys' 2>/dev/null || rm -rf "$folder"
    [ -x "$folder/bin/pip" ] || python3 -m venv "$folder"
    quietly "$folder/bin/pip" install --disable-pip-version-check --no-input --require-hashes -r "$requirements" ||
        die "pip could not install $requirements"
    echo "$stamp" >"$folder/.linkspan-stamp"
}

# The package itself, as the files of this checkout.
install_editable() {
    "$1/bin/python3" -c 'import linkspan, sys; sys.exit(not linkspan.__file__.startswith(sys.argv[1]))' \
        "$project/src/" 2>/dev/null && [ -x "$1/bin/linkspan" ] && return
    quietly "$1/bin/pip" install --disable-pip-version-check --no-input --no-deps --no-build-isolation -e "$project" ||
        die "pip could not install this checkout"
}
