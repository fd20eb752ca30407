# SPDX-License-Identifier: MIT
"""Makes FIT images, as mkimage does of what oe-core writes: kernel, device tree and initramfs with hashes."""

import hashlib
import struct

Node = dict  # name -> bytes (a property) or Node


def text(value: str) -> bytes:
    """A string property."""
    return value.encode() + b"\0"


def number(value: int) -> bytes:
    """A property of one cell."""
    return struct.pack(">I", value)


def flattened(root: Node) -> bytes:
    """A device tree in its flattened form (Devicetree Specification, chapter 5)."""
    strings, structure = bytearray(), bytearray()

    def pad() -> None:
        structure.extend(bytes(-len(structure) % 4))

    def write(name: str, node: Node) -> None:
        structure.extend(number(1) + text(name))
        pad()
        for key, value in node.items():
            if not isinstance(value, dict):
                structure.extend(number(3) + number(len(value)) + number(len(strings)) + value)
                strings.extend(text(key))
                pad()
        for key, value in node.items():
            if isinstance(value, dict):
                write(key, value)
        structure.extend(number(2))

    write("", root)
    structure.extend(number(9))
    head, reserved = 40, bytes(16)
    at = head + len(reserved)
    total = at + len(structure) + len(strings)
    sizes = (at, at + len(structure), head, 17, 16, 0, len(strings), len(structure))
    return struct.pack(">10I", 0xD00DFEED, total, *sizes) + reserved + bytes(structure) + bytes(strings)


def image(kind: str, data: bytes, *, hashed: bool = True, **more: bytes) -> Node:
    """A node of /images."""
    node: Node = {"description": text(kind), "data": data, "type": text(kind), "arch": text("arm64")}
    node |= {"compression": text("none")} | more
    if hashed:
        node["hash-1"] = {"algo": text("sha256"), "value": hashlib.sha256(data).digest()}
    return node


def make(kernel: bytes, tree: bytes, initramfs: bytes | None, *, hashed: bool = True) -> bytes:
    """A FIT image with one configuration; without an initramfs where there is none."""
    linux = {"os": text("linux")}
    address = {"load": number(0x40400000), "entry": number(0x40400000)}
    images: Node = {
        "kernel-1": image("kernel", kernel, hashed=hashed, **linux, **address),
        "fdt-1": image("flat_dt", tree, hashed=hashed),
    }
    configuration: Node = {"description": text("one"), "kernel": text("kernel-1"), "fdt": text("fdt-1")}
    if initramfs is not None:
        images["ramdisk-1"] = image("ramdisk", initramfs, hashed=hashed, **linux)
        configuration["ramdisk"] = text("ramdisk-1")
    root: Node = {"description": text("test"), "timestamp": number(1), "#address-cells": number(1)}
    return flattened(
        root | {"images": images, "configurations": {"default": text("conf-1"), "conf-1": configuration}}
    )
