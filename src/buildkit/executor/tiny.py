"""Programs of a few instructions, written as ELF files: they tell what a kernel or a runtime can run."""

from __future__ import annotations

import struct

_MACHINES: dict[str, tuple[int, int, bool, int]] = {
    # architecture: ELF machine, bits, little endian, flags
    "386": (3, 32, True, 0),
    "amd64": (62, 64, True, 0),
    "arm": (40, 32, True, 0x05000200),
    "arm64": (183, 64, True, 0),
    "loong64": (258, 64, True, 0x43),
    "mips64": (8, 64, False, 0x80000007),
    "mips64le": (8, 64, True, 0x80000007),
    "ppc64": (21, 64, False, 2),
    "ppc64le": (21, 64, True, 2),
    "riscv64": (243, 64, True, 0),
    "s390x": (22, 64, False, 0),
}

_EXIT_ZERO = {
    "386": "31db b801000000 cd80",
    "amd64": "31ff b83c000000 0f05",
    "arm": "0000a0e3 0170a0e3 000000ef",
    "arm64": "000080d2 a80b80d2 010000d4",
    "loong64": "0400c002 0b74c102 00002b00",
    "mips64": "24040000 240213c2 0000000c",
    "mips64le": "00000424 c2130224 0c000000",
    "ppc64": "38600000 38000001 44000002",
    "ppc64le": "00006038 01000038 02000044",
    "riscv64": "13050000 9308d005 73000000",
    "s390x": "a7290000 0a01",
}

_EXIT_WITH_ERROR_OF_UNSHARE = {
    "amd64": "31ff b810010000 0f05 f7d8 83c028 89c7 b83c000000 0f05",
    "arm64": "000080d2 280c80d2 010000d4 e00300cb 00a00091 a80b80d2 010000d4",
}

ARCHITECTURES = tuple(_MACHINES)
"""Every architecture that programs can be made for, by its name in OCI platforms."""

FILTERED = frozenset(_EXIT_WITH_ERROR_OF_UNSHARE)
"""Those for which `ask_filter` exists."""

_LOAD_ADDRESS = 0x10000


def exit_zero(architecture: str) -> bytes:
    """A static Linux program that ends with status 0; KeyError for an architecture not in `ARCHITECTURES`."""
    return _elf(architecture, bytes.fromhex(_EXIT_ZERO[architecture]))


def ask_filter(architecture: str) -> bytes:
    """A program that calls ``unshare(0)`` and ends with 40 plus its errno: 41 (EPERM) under the default filter."""
    return _elf(architecture, bytes.fromhex(_EXIT_WITH_ERROR_OF_UNSHARE[architecture]))


def _elf(architecture: str, code: bytes) -> bytes:
    machine, bits, little, flags = _MACHINES[architecture]
    order = "<" if little else ">"
    header_size, segment_size = (64, 56) if bits == 64 else (52, 32)
    start = header_size + segment_size
    entry = _LOAD_ADDRESS + start
    identification = b"\x7fELF" + bytes([bits // 32, 1 if little else 2, 1]) + bytes(9)
    size = start + len(code)
    if bits == 64:
        header = struct.pack(order + "HHIQQQIHHHHHH", 2, machine, 1, entry, 64, 0, flags, 64, 56, 1, 64, 0, 0)
        segment = struct.pack(order + "IIQQQQQQ", 1, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 0x10000)
    else:
        header = struct.pack(order + "HHIIIIIHHHHHH", 2, machine, 1, entry, 52, 0, flags, 52, 32, 1, 40, 0, 0)
        segment = struct.pack(order + "IIIIIIII", 1, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 5, 0x10000)
    return identification + header + segment + code
