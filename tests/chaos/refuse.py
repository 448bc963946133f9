#!/usr/bin/env python3
"""Runs a command for which a system call fails.

    refuse.py epoll-add|epoll-modify FIRST COMMAND...
        one operation of epoll_ctl fails with ENOMEM on every descriptor from a number on
    refuse.py pidfd COMMAND...
        the system has no descriptors of processes, as before Linux 5.3

The kernel does that itself: a seccomp filter sees the arguments of the call. Linux on x86-64 or aarch64.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

CALLS = {"x86_64": (0xC000003E, 233), "aarch64": (0xC00000B7, 21)}
PIDFD_OPEN = 434
OPERATIONS = {"epoll-add": 1, "epoll-modify": 3}
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 22, 38, 2
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000


def without_pidfds():
    architecture, _ = CALLS[platform.machine()]
    return [
        (LOAD, 0, 0, 4), (EQUAL, 0, 3, architecture),
        (LOAD, 0, 0, 0), (EQUAL, 0, 1, PIDFD_OPEN),
        (RETURN, 0, 0, REFUSE | errno.ENOSYS), (RETURN, 0, 0, ALLOW),
    ]


def without_epoll(operation, first):
    """Offsets are those of `struct seccomp_data`: call 0, architecture 4, then arguments of 8 bytes from 16 on."""
    architecture, call = CALLS[platform.machine()]
    return [
        (LOAD, 0, 0, 4), (EQUAL, 0, 7, architecture),
        (LOAD, 0, 0, 0), (EQUAL, 0, 5, call),
        (LOAD, 0, 0, 24), (EQUAL, 0, 3, OPERATIONS[operation]),
        (LOAD, 0, 0, 32), (AT_LEAST, 0, 1, first),
        (RETURN, 0, 0, REFUSE | errno.ENOMEM), (RETURN, 0, 0, ALLOW),
    ]


def main():
    if sys.argv[1] == "pidfd":
        steps, command = without_pidfds(), sys.argv[2:]
    else:
        steps, command = without_epoll(sys.argv[1], int(sys.argv[2])), sys.argv[3:]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    code = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    none = ctypes.c_ulong(0)
    refused = libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), none, none, none)
    refused = refused or libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(FILTER), header, none, none)
    if refused:
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
