"""Removing whole trees without following a link."""

from __future__ import annotations

import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(name: str, dir_fd: int) -> bool:
    """Remove a file or a tree below a directory descriptor; False if there is none."""
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=dir_fd)
            return True
        fd = os.open(name, _DIRECTORY, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    remove_content(fd)
    os.rmdir(name, dir_fd=dir_fd)
    return True


def remove_content(directory: int) -> None:
    """Empty a directory, whose descriptor is closed. Depth costs no stack and at most 64 open descriptors."""
    # each level keeps its descriptor until too many are open; deeper ones are moved up to the top first
    top = directory
    frames = [(directory, "", _listing(directory))]
    moved = 0
    try:
        while frames:
            fd, name, names = frames[-1]
            if not names:
                frames.pop()
                if frames:
                    os.close(fd)
                    os.rmdir(name, dir_fd=frames[-1][0])
                continue
            child, is_dir = names.pop()
            if not is_dir:
                os.unlink(child, dir_fd=fd)
            elif len(frames) < 64 or not _lift(child, fd, f".buildkit-removing-{moved + 1}", top):
                child_fd = os.open(child, _DIRECTORY, dir_fd=fd)
                frames.append((child_fd, child, _listing(child_fd)))
            else:
                moved += 1
                frames[0][2].append((f".buildkit-removing-{moved}", True))
    finally:
        for fd, _, _ in frames[1:]:
            os.close(fd)
        os.close(top)


def _lift(name: str, fd: int, lifted: str, top: int) -> bool:
    try:
        os.rename(name, lifted, src_dir_fd=fd, dst_dir_fd=top)
    except OSError:
        return False  # a merged directory of an overlay can not be moved
    return True


def _listing(fd: int) -> list[tuple[str, bool]]:
    with os.scandir(fd) as scan:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in scan]
