"""Runs inside the container: tries every row and prints {row: what happened} as JSON.

Stands on the standard library alone. "ok", the name of an errno, or the name of the signal that ended it. Every
argument of a denied syscall is -1: should a filter ever let one through, it fails on a bad pointer, descriptor or
flag and changes nothing, even with every capability.
"""

import asyncio
import ctypes
import errno
import json
import mmap
import multiprocessing
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
# name: number on x86_64, number on aarch64 (None: has no such call)
NUMBERS = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "execveat": (322, 281),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "get_mempolicy": (239, 236),
    "init_module": (175, 105),
    "io_setup": (206, 0),
    "io_submit": (209, 2),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sync": (162, 81),
    "syncfs": (306, 267),
    "sysfs": (139, None),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "ustat": (136, None),
    "vhangup": (153, 58),
    "vmsplice": (278, 75),
}
CLONE, PERSONALITY, GETPID = (56, 135, 39) if X86 else (220, 92, 172)
NAMESPACES = {
    "NEWNS": 0x00020000,
    "NEWCGROUP": 0x02000000,
    "NEWUTS": 0x04000000,
    "NEWIPC": 0x08000000,
    "NEWUSER": 0x10000000,
    "NEWPID": 0x20000000,
    "NEWNET": 0x40000000,
}
SOCKETS = {
    "AF_UNIX": (1, 1), "AF_INET": (2, 1), "AF_INET dgram": (2, 2), "AF_INET raw": (2, 3), "AF_INET6 raw": (10, 3),
    "AF_KEY": (15, 3), "AF_NETLINK": (16, 3), "AF_PACKET": (17, 3), "AF_TIPC": (30, 1), "AF_BLUETOOTH": (31, 3),
    "AF_ALG": (38, 5), "AF_VSOCK": (40, 1), "AF_XDP": (44, 3),
}  # fmt: skip


def syscall(number, *arguments):
    """Call, and leave nothing behind if it works."""
    padded = [ctypes.c_long(value) for value in (*arguments, *[-1] * (6 - len(arguments)))]
    result = LIBC.syscall(ctypes.c_long(number), *padded)
    if result == -1:
        raise OSError(ctypes.get_errno(), "")
    return result


def clone(flag):
    if syscall(CLONE, flag | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)


def native_32_bit():
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()


def threads():
    worker = threading.Thread(target=threading.get_ident)
    worker.start()
    worker.join()


def forks():
    child = multiprocessing.get_context("fork").Process(target=os.getpid)
    child.start()
    child.join()
    assert child.exitcode == 0


async def dials_itself():
    server = await asyncio.start_unix_server(lambda _, writer: writer.close(), "/tmp/probe.sock")
    async with server:
        reader, writer = await asyncio.open_unix_connection("/tmp/probe.sock")
        assert await reader.read() == b""
        writer.close()
    child = await asyncio.create_subprocess_exec("true")
    assert await child.wait() == 0


def writes_files():
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())


ORDINARY = {
    "threads": threads,
    "subprocess": lambda: subprocess.run(["true"], check=True),
    "multiprocessing": forks,
    "asyncio": lambda: asyncio.run(dials_itself()),
    "ssl": lambda: __import__("ssl").create_default_context(),
    "files": writes_files,
    "memfd_create": lambda: os.close(os.memfd_create("probe")),
    "socketpair": lambda: [end.close() for end in socket.socketpair()],
    "personality question": lambda: syscall(PERSONALITY, 0xFFFFFFFF),
}


def outcome(attempt):
    """Each in a child of its own: one that is killed says so."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            attempt()
            word = "ok"
        except OSError as error:
            word = errno.errorcode.get(error.errno, str(error.errno))
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the answer
            word = repr(error)
        os.write(write, word.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        word = answer.read()
    status = os.waitpid(child, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else word


def rows():
    for name, numbers in NUMBERS.items():
        number = numbers[0 if X86 else 1]
        if number is not None:
            yield name, lambda number=number: syscall(number)
    for name, flag in NAMESPACES.items():
        yield f"clone {name}", lambda flag=flag: clone(flag)
    for name, pair in SOCKETS.items():
        yield f"socket {name}", lambda pair=pair: socket.socket(*pair).close()
    yield "personality ADDR_NO_RANDOMIZE", lambda: syscall(PERSONALITY, 0x0040000)
    if X86:
        yield "int 0x80", native_32_bit
        yield "x32", lambda: syscall(0x40000000 | GETPID)
    yield from ORDINARY.items()


json.dump({name: outcome(attempt) for name, attempt in rows()}, sys.stdout)
