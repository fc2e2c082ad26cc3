#!/bin/sh
# Makes this machine ready, step by step; every step is quick when there is nothing to do.
#   tools/setup.sh venv              .venv from uv.lock (finds or installs uv)
#   tools/setup.sh uv                prints where uv is (installs it if need be)
#   tools/setup.sh docker            an engine that answers (as root on Debian: installs and starts one)
#   tools/setup.sh docker-stop       ends the engine that `docker` started from this checkout, and no other
#   tools/setup.sh with-docker CMD…  runs CMD with an engine; ends the engine afterwards if it was started for it
#   tools/setup.sh registry          a registry of images, which tests start and end
#   tools/setup.sh postgres          PostgreSQL's server, which tests start and end
#   tools/setup.sh cluster           what the Kubernetes of the tests is made of, besides Go (tests/cluster)
#   tools/setup.sh tools             what `make bench` measures against (nginx, wrk)
# Progress goes to stderr. Fails with the name of what is missing.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
run_dir="$root/.tools/run"
UV_VERSION=0.13.9
policy=/usr/sbin/policy-rc.d

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

# --- packages ---------------------------------------------------------------------------------------------------

# apt_install WHY PACKAGE…: as root on Debian; elsewhere says what is missing.
apt_install() {
    why=$1
    shift
    { is_root && have apt-get; } || fail "missing: $why. Install it (Debian: apt-get install $*), or run this as root on Debian."
    say "installing $*"
    # A package must not start its own service: what runs here is started here, and ended here.
    [ -e "$policy" ] || printf '#!/bin/sh\n# made by tools/setup.sh for one apt-get run\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    failed=''
    { apt-get update -q && apt-get install -q -y --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null || failed=yes
    unpolicy
    [ -z "$failed" ] || tail -n 20 "$log" >&2
    rm -f "$log"
    [ -z "$failed" ] || fail "apt-get cannot install $*"
}

unpolicy() {
    ! grep -qs 'made by tools/setup.sh' "$policy" || rm -f "$policy"
}

# --- Python -----------------------------------------------------------------------------------------------------

# The real interpreter behind a name (not a shim, not a venv's), if it is new enough.
real_python() {
    "$1" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable)); sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Can another user run it? Sandboxes of the process runtime drop to a uid of their own, which cannot read an
# interpreter below a home that is closed to others.
for_everybody() {
    is_root || return 0
    "$1" -I -c 'import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534); os.chdir("/")
os.execv(sys.executable, [sys.executable, "-I", "-c", "import json"])' >/dev/null 2>&1
}

find_python() {
    second_best=''
    for name in ${PYTHON:-} /usr/bin/python3 /usr/local/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
        have "$name" || continue
        found=$(real_python "$name") || continue
        if for_everybody "$found"; then
            printf '%s\n' "$found"
            return
        fi
        second_best=${second_best:-$found}
    done
    [ -n "$second_best" ] || return 1
    say "$second_best cannot be run by other users: the process runtime will refuse to drop its uid"
    printf '%s\n' "$second_best"
}

find_uv() {
    for name in "${UV:-}" "$root/.tools/bin/uv" uv; do
        if [ -n "$name" ] && have "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

install_uv() {
    say "installing uv $UV_VERSION into .tools"
    "$1" -c 'import ensurepip, venv' 2>/dev/null || apt_install 'the venv module of Python' python3-venv
    "$1" -m venv "$root/.tools/uv" >&2
    "$root/.tools/uv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "uv==$UV_VERSION" >&2
    mkdir -p "$root/.tools/bin"
    ln -sf ../uv/bin/uv "$root/.tools/bin/uv"
}

setup_uv() {
    find_uv && return
    python=$(find_python) || fail 'missing: Python 3.11 or newer'
    install_uv "$python"
    find_uv
}

setup_venv() {
    python=$(find_python) || fail 'missing: Python 3.11 or newer'
    uv=$(setup_uv)
    [ -x "$root/.venv/bin/python" ] || say "making .venv with $python"
    UV_PYTHON_DOWNLOADS=never "$uv" --directory "$root" sync --quiet --frozen --python "$python" >&2
}

# --- Docker -----------------------------------------------------------------------------------------------------

answers() { have docker && docker info >/dev/null 2>&1; }

# When a process was started: with its id this names one process for good, an id alone may be used again.
born() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

setup_docker() {
    ! answers || return 0
    [ -z "${DOCKER_HOST:-}" ] || fail "missing: a Docker engine that answers at DOCKER_HOST=$DOCKER_HOST"
    is_root || fail 'missing: a Docker engine that answers (start one, or let this user reach it)'
    { have docker && have dockerd && have iptables; } || apt_install 'Docker' docker.io mmdebstrap iptables
    start_docker
}

start_docker() {
    forget_the_dead
    mkdir -p "$run_dir"
    say 'starting dockerd'
    # A sandbox outlives the engine's restart; the same setting twice is refused by dockerd.
    keep=--live-restore
    ! grep -qs live-restore /etc/docker/daemon.json || keep=''
    # Its own session, and nothing of ours kept open: a caller's pipe would never end.
    # shellcheck disable=SC2086  # $keep is one option or none
    setsid dockerd $keep >"$run_dir/dockerd.log" 2>&1 </dev/null 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    pid=$!
    printf '%s %s\n' "$pid" "$(born "$pid")" >"$run_dir/dockerd.pid"
    for _ in $(seq 1 120); do
        ! answers || return 0
        [ -n "$(born "$pid")" ] || break
        sleep 0.5
    done
    tail -n 5 "$run_dir/dockerd.log" >&2
    stop_docker
    fail 'dockerd does not start'
}

# What a killed dockerd left behind makes the next one wait for a containerd that is not there, or refuse to start
# because its old id is somebody else's now.
forget_the_dead() {
    for name in containerd dockerd; do
        left=/var/run/docker.pid
        [ "$name" = dockerd ] || left=/var/run/docker/containerd/containerd.pid
        [ -e "$left" ] || continue
        [ "$(cat "/proc/$(cat "$left")/comm" 2>/dev/null)" = "$name" ] || rm -f "$left"
    done
}

# alive PID BORN
alive() { [ -n "$1" ] && [ "$(born "$1")" = "$2" ]; }

stop_docker() {
    [ -e "$run_dir/dockerd.pid" ] || return 0
    read -r pid birth <"$run_dir/dockerd.pid"
    rm -f "$run_dir/dockerd.pid"
    alive "$pid" "$birth" || return 0
    say 'stopping the dockerd that was started here'
    # An engine that keeps containers over its own end (live-restore) must be told to end them.
    docker ps -q | xargs -r docker stop -t 3 >/dev/null 2>&1 || true
    children=$(cat "/proc/$pid/task/"*/children 2>/dev/null || true)
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 1 60); do
        alive "$pid" "$birth" || return 0
        sleep 0.5
    done
    say 'dockerd does not end by itself'
    for id in "$pid" $children; do kill -9 "$id" 2>/dev/null || true; done # its containerd is its child
}

with_docker() {
    if answers; then
        "$@"
        return
    fi
    trap 'stop_docker; unpolicy' EXIT
    setup_docker
    "$@"
}

# --- tools of the benchmark -------------------------------------------------------------------------------------

setup_tools() {
    have nginx || apt_install 'nginx' nginx-light
    have wrk || apt_install 'wrk' wrk
}

# --- Kubernetes of the tests ------------------------------------------------------------------------------------

setup_cluster() {
    [ -z "${KUBECONFIG:-}" ] || return 0
    missing=''
    for pair in containerd:containerd runc:runc nft:nftables iptables:iptables ip:iproute2 openssl:openssl; do
        have "${pair%%:*}" || missing="$missing ${pair#*:}"
    done
    [ -e /usr/lib/cni/ptp ] || missing="$missing containernetworking-plugins"
    # shellcheck disable=SC2086  # a list of words
    [ -z "$missing" ] || apt_install 'what a Kubernetes node needs' $missing
}

trap unpolicy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
    venv) setup_venv ;;
    uv) setup_uv ;;
    docker) setup_docker ;;
    docker-stop) stop_docker ;;
    with-docker) with_docker "$@" ;;
    registry) have docker-registry || apt_install 'docker-registry' docker-registry ;;
    postgres) [ -n "$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || have initdb || apt_install "PostgreSQL's server" postgresql ;;
    cluster) setup_cluster ;;
    tools) setup_tools ;;
    help | --help | -h) sed -n '2,13s/^# \{0,1\}//p' "$0" ;;
    *) fail "unknown step: $command" ;;
esac
