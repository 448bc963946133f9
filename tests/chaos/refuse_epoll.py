#!/usr/bin/env python3
"""Runs a command for which one operation of epoll_ctl fails with ENOMEM on every descriptor from a number on.

    refuse_epoll.py add|modify FIRST COMMAND...

The kernel does that itself: a seccomp filter sees the arguments of the call. Linux on x86-64 or aarch64.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

CALLS = {"x86_64": (0xC000003E, 233), "aarch64": (0xC00000B7, 21)}
OPERATIONS = {"add": 1, "modify": 3}
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 22, 38, 2
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.ENOMEM


def program(operation, first):
    """Offsets are those of `struct seccomp_data`: call 0, architecture 4, then arguments of 8 bytes from 16 on."""
    architecture, call = CALLS[platform.machine()]
    steps = [
        (LOAD, 0, 0, 4), (EQUAL, 0, 7, architecture),
        (LOAD, 0, 0, 0), (EQUAL, 0, 5, call),
        (LOAD, 0, 0, 24), (EQUAL, 0, 3, OPERATIONS[operation]),
        (LOAD, 0, 0, 32), (AT_LEAST, 0, 1, first),
        (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps), len(steps)


def main():
    code, count = program(sys.argv[1], int(sys.argv[2]))
    code = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", count, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    none = ctypes.c_ulong(0)
    refused = libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), none, none, none)
    refused = refused or libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(FILTER), header, none, none)
    if refused:
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[3], sys.argv[3:])


if __name__ == "__main__":
    main()
