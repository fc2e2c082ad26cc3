"""The seccomp profile, read as text: what it must never allow, and that it stays easy to review."""

import json
from pathlib import Path

import pytest

import sandbox_image

PROFILE = json.loads((Path(sandbox_image.__file__).parent / "seccomp.json").read_text(encoding="utf-8"))
NAMES = [name for rule in PROFILE["syscalls"] for name in rule["names"]]
ALLOWED_ALWAYS = {
    name
    for rule in PROFILE["syscalls"]
    for name in rule["names"]
    if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
}
CLONE_NEW_FLAGS = {
    "CLONE_NEWNS": 0x00020000,
    "CLONE_NEWCGROUP": 0x02000000,
    "CLONE_NEWUTS": 0x04000000,
    "CLONE_NEWIPC": 0x08000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
}
NEVER = (
    *("acct", "add_key", "adjtimex", "bpf", "chroot", "clock_adjtime", "clock_settime"),
    *("delete_module", "execveat", "fanotify_init", "fanotify_mark", "finit_module", "fsconfig"),
    *("fsmount", "fsopen", "fspick", "get_mempolicy", "init_module", "io_setup", "io_submit"),
    *("io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp"),
    *("kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mbind", "memfd_secret"),
    *("migrate_pages", "mknod", "mknodat", "modify_ldt", "mount", "mount_setattr", "move_mount"),
    *("move_pages", "name_to_handle_at", "nfsservctl", "open_by_handle_at", "open_tree"),
    *("perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "process_mrelease"),
    *("process_vm_readv", "process_vm_writev", "ptrace", "quotactl", "quotactl_fd", "reboot"),
    *("request_key", "set_mempolicy", "sethostname", "setdomainname", "setns", "settimeofday"),
    *("swapoff", "swapon", "sync", "syncfs", "sysfs", "syslog", "umount", "umount2", "unshare"),
    *("uselib", "userfaultfd", "ustat", "vhangup", "vmsplice"),
)


@pytest.mark.parametrize("name", NEVER)
def test_no_rule_names_a_syscall_that_is_never_allowed(name: str):
    assert name not in NAMES


def test_what_no_rule_names_fails_with_eperm():
    assert (PROFILE["defaultAction"], PROFILE["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)


def test_only_native_architectures_so_that_32_bit_and_x32_calls_kill():
    expected = [
        {"architecture": name, "subArchitectures": []} for name in ("SCMP_ARCH_AARCH64", "SCMP_ARCH_X86_64")
    ]
    assert expected == PROFILE["archMap"]


def test_rules_are_sorted_with_one_name_each():
    assert all(len(rule["names"]) == 1 for rule in PROFILE["syscalls"])
    assert sorted(NAMES) == NAMES


def test_no_rule_stands_twice_and_no_plain_rule_undoes_a_conditional_one():
    written = [json.dumps(rule, sort_keys=True) for rule in PROFILE["syscalls"]]
    assert len(set(written)) == len(written)
    conditional = {rule["names"][0] for rule in PROFILE["syscalls"] if rule.get("args")}
    assert {"clone", "personality", "socket", "socketpair"} == conditional
    assert not conditional & ALLOWED_ALWAYS


def test_every_conditional_rule_says_why():
    assert all(
        "comment" in rule
        for rule in PROFILE["syscalls"]
        if rule.get("args") or rule["action"] != "SCMP_ACT_ALLOW"
    )


@pytest.mark.parametrize("flag", sorted(CLONE_NEW_FLAGS))
def test_clone_is_allowed_only_without_a_new_namespace(flag: str):
    (clone,) = _rules("clone")
    (condition,) = clone["args"]
    assert (condition["index"], condition["op"], condition["valueTwo"]) == (0, "SCMP_CMP_MASKED_EQ", 0)
    assert condition["value"] & CLONE_NEW_FLAGS[flag]
    assert condition["value"] == sum(CLONE_NEW_FLAGS.values())


def test_clone3_is_absent_for_libc():
    (clone3,) = _rules("clone3")
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


def test_sockets_are_unix_or_tcp_and_udp_over_ip():
    families = [
        [(arg["op"], arg["value"], arg["valueTwo"]) for arg in rule["args"]] for rule in _rules("socket")
    ]
    exactly, masked = "SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"
    expected = [[(exactly, 1, 0)]] + [
        [(exactly, family, 0), (masked, 15, kind)] for family in (2, 10) for kind in (1, 2)
    ]
    assert expected == families


def _rules(name: str) -> list[dict]:
    return [rule for rule in PROFILE["syscalls"] if rule["names"] == [name]]
