"""Stands between LMDB and the kernel: every write and sync that the engine makes can be recorded, or made to fail.

The engine lives in one shared object that reaches the C library through its jump slots (ELF, `.rela.plt`). Putting a
function of ours into a slot is what a preloaded library does, without a compiler. Linux, x86-64 and AArch64.
Load this only in a process of its own: the slots are changed for good.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

import lmdb.cpython

_JUMP_SLOT = frozenset({7, 1026})  # R_X86_64_JUMP_SLOT, R_AARCH64_JUMP_SLOT
_RELA, _SYMBOL = struct.Struct("<QQq"), struct.Struct("<IBBHQQ")
_LIBRARY = Path(lmdb.cpython.__file__)

_libc = ctypes.CDLL(None, use_errno=True)
_keep: list[object] = []  # callbacks must outlive the process's last call into LMDB


class _Buffer(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _sections(image: bytes) -> dict[str, tuple[int, int]]:
    """Name → (file offset, size) of each section of a 64-bit little-endian ELF file."""
    (table,) = struct.unpack_from("<Q", image, 0x28)
    size, count, names_at = struct.unpack_from("<HHH", image, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", image, table + i * size) for i in range(count)]
    names = headers[names_at][4]
    found = {}
    for name, _, _, _, offset, length in headers:
        end = image.index(b"\0", names + name)
        found[image[names + name : end].decode()] = (offset, length)
    return found


def _slots() -> dict[str, int]:
    """Name of each imported function → the address of its jump slot in this process."""
    image = _LIBRARY.read_bytes()
    sections = _sections(image)
    (rela, rela_size), (symbols, _), (names, _) = (sections[s] for s in (".rela.plt", ".dynsym", ".dynstr"))
    with open("/proc/self/maps") as maps:
        base = next(int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith(str(_LIBRARY.resolve())))
    found = {}
    for at in range(rela, rela + rela_size, _RELA.size):
        offset, info, _ = _RELA.unpack_from(image, at)
        if info & 0xFFFFFFFF in _JUMP_SLOT:
            name = names + _SYMBOL.unpack_from(image, symbols + (info >> 32) * _SYMBOL.size)[0]
            found[image[name : image.index(b"\0", name)].decode()] = base + offset
    return found


def _put(
    slots: dict[str, int], names: tuple[str, ...], kind: type[ctypes._CFuncPtr], function: Callable[..., int]
) -> None:
    callback = kind(function)
    _keep.append(callback)
    for name in names:
        if name in slots:
            ctypes.c_void_p.from_address(slots[name]).value = ctypes.cast(callback, ctypes.c_void_p).value


def install(before: Callable[[str, int, int, bytes], int], after: Callable[[str, int, int, bytes], None]) -> None:
    """Calls `before(call, fd, offset, data)` for each write and sync, and `after` with the same once it succeeded.

    `call` is "write" or "sync"; a sync has offset 0 and no data. `before` answers 0 to go on, or an errno to fail with.
    """
    slots = _slots()
    if not {"writev", "fdatasync"} <= slots.keys() or not {"pwrite", "pwrite64"} & slots.keys():
        raise RuntimeError(f"{_LIBRARY.name} does not import the calls that are to be watched")

    def call(name: str, fd: int, offset: int, data: bytes, real: Callable[[], int]) -> int:
        refused = before(name, fd, offset, data)
        if refused:
            ctypes.set_errno(refused)
            return -1
        done = real()
        if done >= 0:
            after(name, fd, offset, data)
        return done

    def pwrite(fd: int, base: int, length: int, offset: int) -> int:
        data = ctypes.string_at(base, length)
        return call("write", fd, offset, data, lambda: os.pwrite(fd, data, offset))

    def writev(fd: int, vector: int, count: int) -> int:
        data = b"".join(ctypes.string_at(b.base, b.length) for b in (_Buffer * count).from_address(vector))
        offset = os.lseek(fd, 0, os.SEEK_CUR)
        return call("write", fd, offset, data, lambda: os.write(fd, data))

    def sync(fd: int) -> int:
        return call("sync", fd, 0, b"", lambda: int(_libc.fdatasync(fd)))

    def kind(*arguments: type) -> type[ctypes._CFuncPtr]:
        return ctypes.CFUNCTYPE(ctypes.c_ssize_t, *arguments, use_errno=True)

    size = ctypes.c_size_t
    _put(slots, ("pwrite", "pwrite64"), kind(ctypes.c_int, ctypes.c_void_p, size, ctypes.c_int64), pwrite)
    _put(slots, ("writev",), kind(ctypes.c_int, ctypes.c_void_p, ctypes.c_int), writev)
    _put(slots, ("fdatasync",), ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, use_errno=True), sync)
