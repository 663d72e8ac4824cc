"""Opening a store: which snapshotter, and what a killed process or a power cut left behind.

A kill loses nothing that was written. A power cut loses what the kernel had not written yet, and nothing is
synced on the way; so after a reboot, what was committed in the last `UNSETTLED` seconds of activity is checked
(blobs) or dropped (snapshots, and the records made of them).
"""

from __future__ import annotations

import os
from pathlib import Path

from buildkit.core.db import Database
from buildkit.core.errors import FailedPrecondition, InvalidInput, NotFound, Unsupported
from buildkit.core.identity import new_id
from buildkit.store.parts import Parts
from buildkit.store.places import Places
from buildkit.store.records import RecordKind
from buildkit.store.snapshot import Kind, Snapshotter

UNSETTLED = 120
"""Seconds after which the kernel has written what it was given; it aims at 35."""
_MARK = "state"
_OPEN, _CLOSED = "open", "closed"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def open_snapshotter(root: Path, db: Database, name: str) -> Snapshotter:
    """The snapshotter of that name below ``root``; ``auto`` stays with what is there."""
    if name == "auto":
        there = [one for one in ("overlayfs", "native") if (root / "snapshots" / one).is_dir()]
        name = there[0] if there else _first_working(root)
    place = root / "snapshots" / name
    snapshotter: Snapshotter
    if name == "overlayfs":
        from buildkit.store.overlay import OverlaySnapshotter

        snapshotter = OverlaySnapshotter(place, db)
    elif name == "native":
        from buildkit.store.native import NativeSnapshotter

        snapshotter = NativeSnapshotter(place, db)
    elif name in ("fuse-overlayfs", "stargz"):
        raise Unsupported(f"snapshotter {name} is not supported; use overlayfs or native")
    else:
        raise InvalidInput(f'unknown snapshotter name: "{name}"')
    place.mkdir(parents=True, exist_ok=True)
    return snapshotter


def _first_working(root: Path) -> str:
    from buildkit.store.overlay import works

    return "overlayfs" if works(root) else "native"


def worker_id(root: Path) -> str:
    """The random id of the worker whose state is in ``root``, made on first use and kept in ``workerid``."""
    path = root / "workerid"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        id = new_id()
        rough = root / f"workerid.{id}"
        rough.write_text(id)
        rough.rename(path)
        return id


def recover(parts: Parts, places: Places) -> None:
    """Clean up if the last process was killed or the machine has booted since; mark the store as open."""
    boot = _boot_id()
    before, state = _read_mark(parts.root) or (boot, _CLOSED)
    if before != boot:
        _drop_unsettled(parts)
    if before != boot or state != _CLOSED:
        places.recover()
        parts.snapshotter.recover()
        _drop_incomplete(parts)
        _drop_unnamed(parts)
    _write_mark(parts.root, boot, _OPEN)


def mark_clean(parts: Parts) -> None:
    """Say that nothing is left behind, in the place that `recover` looks at."""
    _write_mark(parts.root, _boot_id(), _CLOSED)


def _boot_id() -> str:
    return _BOOT.read_text().strip() if _BOOT.exists() else "-"


def _read_mark(root: Path) -> tuple[str, str] | None:
    try:
        boot, state = (root / _MARK).read_text().split()
        return boot, state
    except FileNotFoundError:
        return None
    except ValueError:
        return "", _OPEN


def _write_mark(root: Path, boot: str, state: str) -> None:
    # written over in place: ext4 waits for the disk when a file is truncated or replaced
    fd = os.open(root / _MARK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(fd, f"{boot} {state:<6}\n".encode(), 0)
    finally:
        os.close(fd)


def _drop_unsettled(parts: Parts) -> None:
    snapshots = [one for one in parts.snapshotter.walk() if one.kind is Kind.COMMITTED]
    blobs = list(parts.content.walk())
    newest = max([one.created for one in snapshots] + [blob.created for blob in blobs], default=0)
    oldest = newest - UNSETTLED * 10**9
    for blob in blobs:
        if blob.created > oldest and not parts.content.verify(blob.digest):
            parts.content.delete(blob.digest)
    doubtful = [one.name for one in snapshots if one.created > oldest]
    for record in reversed(parts.records.all()):
        if record.snapshot in doubtful and not record.diff_id and record.kind is RecordKind.LAYER:
            parts.records.remove(record.id)
    _drop_orphans(parts)
    _remove(parts, doubtful)


def _drop_incomplete(parts: Parts) -> None:
    """Remove records whose tree can no longer be had, and what is made from them."""
    for record in parts.records.all():
        derived = record.diff_id or record.kind in (RecordKind.MERGE, RecordKind.DIFF)
        if not derived and parts.snapshotter.find(record.snapshot) is None:
            parts.records.remove(record.id)
    _drop_orphans(parts)


def _drop_orphans(parts: Parts) -> None:
    records = {record.id: record for record in parts.records.all()}
    orphans = [""]
    while orphans:
        orphans = [one.id for one in records.values() if any(p and p not in records for p in one.parents)]
        for id in orphans:
            parts.records.remove(id)
            del records[id]


def _drop_unnamed(parts: Parts) -> None:
    named = {record.snapshot for record in parts.records.all()}
    _remove(parts, [one.name for one in parts.snapshotter.walk() if one.name not in named])


def _remove(parts: Parts, names: list[str]) -> None:
    """Remove snapshots, those that others are made from last."""
    left = list(reversed(names))
    while left:
        kept: list[str] = []
        for name in left:
            try:
                parts.snapshotter.remove(name)
            except FailedPrecondition:
                kept.append(name)
            except NotFound:
                continue
        if len(kept) == len(left):
            return
        left = kept
