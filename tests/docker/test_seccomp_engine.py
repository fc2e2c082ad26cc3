"""The seccomp profile on a real engine: each call is made inside a container and its outcome read.

Twice: as a sandbox runs, and as root with the capabilities that would allow the call, where nothing but the filter can
be what says no.
"""

import json
import os
import platform
import subprocess
from pathlib import Path

import pytest

import sandbox_image
from sandbox_image.tag import image_tag

pytestmark = pytest.mark.docker

PROFILE = Path(sandbox_image.__file__).parent / "seccomp.json"
PROBE = Path(__file__).with_name("seccomp_probe.py")
POWERS = (
    *("DAC_READ_SEARCH", "IPC_LOCK", "MKNOD", "NET_ADMIN", "NET_RAW", "SYSLOG", "SYS_ADMIN", "SYS_BOOT"),
    *(
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
    ),
)
USERS = {
    "sandboxed": (
        "--user=100001:100001",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--read-only",
    ),
    "powerful": ("--user=0:0", *(f"--cap-add={power}" for power in POWERS)),
}

DENIED = (
    *("acct", "add_key", "adjtimex", "bpf", "chroot", "clock_adjtime", "clock_settime"),
    *("delete_module", "execveat", "fanotify_init", "fanotify_mark", "finit_module", "fsconfig"),
    *("fsmount", "fsopen", "fspick", "get_mempolicy", "init_module", "io_setup", "io_submit"),
    *("io_uring_enter", "io_uring_register", "io_uring_setup", "kcmp", "kexec_file_load", "kexec_load"),
    *("keyctl", "lookup_dcookie", "mbind", "memfd_secret", "migrate_pages", "mknodat", "mount"),
    *("mount_setattr", "move_mount", "move_pages", "name_to_handle_at", "nfsservctl"),
    *("open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd", "pivot_root"),
    *("process_madvise", "process_mrelease", "process_vm_readv", "process_vm_writev", "ptrace"),
    *("quotactl", "quotactl_fd", "reboot", "request_key", "set_mempolicy", "setdomainname"),
    *("sethostname", "setns", "settimeofday", "swapoff", "swapon", "sync", "syncfs", "syslog"),
    *("umount2", "unshare", "userfaultfd", "vhangup", "vmsplice"),
)
DENIED_X86 = ("ioperm", "iopl", "mknod", "modify_ldt", "sysfs", "uselib", "ustat")
NAMESPACES = ("NEWCGROUP", "NEWIPC", "NEWNET", "NEWNS", "NEWPID", "NEWUSER", "NEWUTS")
SOCKETS_DENIED = (
    *("AF_ALG", "AF_BLUETOOTH", "AF_KEY", "AF_NETLINK", "AF_PACKET", "AF_TIPC", "AF_VSOCK", "AF_XDP"),
    *("AF_INET raw", "AF_INET6 raw"),
)
SOCKETS = ("AF_INET", "AF_INET dgram", "AF_UNIX")
ORDINARY = (
    "asyncio",
    "files",
    "memfd_create",
    "multiprocessing",
    "socketpair",
    "ssl",
    "subprocess",
    "threads",
)

EXPECTED = {
    **dict.fromkeys(DENIED, "EPERM"),
    "clone3": "ENOSYS",
    **{f"clone {flag}": "EPERM" for flag in NAMESPACES},
    **{f"socket {family}": "EPERM" for family in SOCKETS_DENIED},
    **{f"socket {family}": "ok" for family in SOCKETS},
    "personality ADDR_NO_RANDOMIZE": "EPERM",
    "personality question": "ok",
    **dict.fromkeys(ORDINARY, "ok"),
}
if platform.machine() == "x86_64":
    EXPECTED |= {**dict.fromkeys(DENIED_X86, "EPERM"), "int 0x80": "SIGSYS", "x32": "SIGSYS"}


@pytest.fixture(scope="module", params=USERS)
def outcomes(request: pytest.FixtureRequest) -> dict[str, str]:
    """One container per user answers every row."""
    image = os.environ.get("XCORE_TEST_IMAGE") or image_tag()
    command = [
        *("docker", "run", "--pull=never", "--rm", "--interactive", "--init", "--network=none"),
        *(f"--security-opt=seccomp={PROFILE}", "--pids-limit=64", "--memory=256m", *USERS[request.param]),
        *("--tmpfs", "/tmp:rw,noexec,nosuid,nodev,size=16m", "--entrypoint", "python3", image, "-"),
    ]
    done = subprocess.run(
        command, input=PROBE.read_text(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{image} (made by `make image`): {done.stderr}"
    return json.loads(done.stdout)


@pytest.mark.parametrize("row", EXPECTED)
def test_inside_a_container_the_filter_decides(row: str, outcomes: dict[str, str]):
    assert EXPECTED[row] == outcomes[row]


def test_the_probe_and_the_expectations_have_the_same_rows(outcomes: dict[str, str]):
    assert set(EXPECTED) == set(outcomes)
