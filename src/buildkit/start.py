"""Where the commands start: modules come out of one file instead of hundreds.

Finding, opening and reading a module takes longer than running most of them, and a cached build uses some three
hundred. What a command imported is kept in one file in this package's ``__pycache__``: a cache with the same rules,
written by whoever may write there unless Python was told to write no bytecode. Whatever is not in it, or whose source
has another size or time now, is imported as always, and then the file is written anew.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
from _imp import source_hash
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import cache_from_source
from struct import pack
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_Entry = tuple[int, int, str, int, int]
"""Where compiled code is in the file, its length, the source's path, its size, its time in nanoseconds."""
_HEADER = 16
"""Bytes before the code in a ``.pyc``."""


class Bundle:
    """Modules in one file: an index, its length before it in eight bytes, then their code."""

    def __init__(self, path: str) -> None:
        """``path`` need not exist."""
        self.path = path
        self._index: dict[str, _Entry] = {}
        self._stale = False
        self._fd = -1
        self._base = 0
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            length = int.from_bytes(os.pread(self._fd, 8, 0), "little")
            index = marshal.loads(os.pread(self._fd, length, 8))
        except (OSError, ValueError, EOFError, TypeError, OverflowError):
            return
        if isinstance(index, dict):
            self._index = index
            self._base = 8 + length

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        entry = self._index.get(name)
        if entry is None:
            return None
        if not _is_current(entry):
            self._stale = True
            return None
        if not entry[1]:
            return None
        source = entry[2]
        is_package = source.endswith("/__init__.py")
        spec = ModuleSpec(name, _Loader(name, source, self), origin=source, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [source.rpartition("/")[0]]
        return spec

    def code(self, name: str) -> CodeType | None:
        """The code of a module that was found."""
        at, length = self._index[name][:2]
        try:
            code = marshal.loads(os.pread(self._fd, length, self._base + at))
        except (OSError, ValueError, EOFError, TypeError):
            code = None
        self._stale = self._stale or code is None
        return code if isinstance(code, CodeType) else None

    def update(self) -> None:
        """Write the file anew if a module was imported that is not in it as it is; where that is possible."""
        if not sys.dont_write_bytecode and (self._stale or any(name not in self._index for name, _ in _from_source())):
            try:
                self.write()
            except OSError:
                return

    def write(self) -> None:
        """Put what was imported into the file, beside what is current of its content; raises `OSError`."""
        contents = {name: found for name, loader in _from_source() if (found := _compiled(loader)) is not None}
        for name, entry in self._index.items():
            if name not in contents and _is_current(entry):
                contents[name] = os.pread(self._fd, entry[1], self._base + entry[0]), entry[2:]
        index: dict[str, _Entry] = {}
        at = 0
        for name, (code, known) in contents.items():
            index[name] = at, len(code), *known
            at += len(code)
        head = marshal.dumps(index)
        parts = [len(head).to_bytes(8, "little"), head, *(code for code, _ in contents.values())]
        rough = f"{self.path}.{os.getpid()}"
        try:
            with open(rough, "xb") as out:
                out.write(b"".join(parts))
            os.replace(rough, self.path)
        except OSError:
            if os.path.exists(rough):
                os.unlink(rough)
            raise


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, bundle: Bundle) -> None:
        super().__init__(name, path)
        self._bundle = bundle

    def get_code(self, fullname: str) -> CodeType | None:
        return self._bundle.code(fullname) or super().get_code(fullname)


def _is_current(entry: _Entry) -> bool:
    try:
        status = os.stat(entry[2])
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == entry[3:]


def _from_source() -> Iterator[tuple[str, SourceFileLoader]]:
    """Modules of this process that came from files of Python."""
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is not None and spec.name == name and isinstance(spec.loader, SourceFileLoader):
            yield name, spec.loader


def _compiled(loader: SourceFileLoader) -> tuple[bytes, tuple[str, int, int]] | None:
    """Its code as Python left it beside the source, empty if it did not; and how the source looks."""
    code = b""
    try:
        status = os.stat(loader.path)
        with open(cache_from_source(loader.path), "rb") as file:
            content = file.read()
        if content[4:_HEADER] == pack("<LLL", 0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF):
            code = content[_HEADER:]
    except FileNotFoundError:
        pass
    except OSError:
        return None
    return code, (loader.path, status.st_size, status.st_mtime_ns)


def _place() -> str:
    """The file for this Python and these places to import from."""
    key = "\0".join((sys.version, *sys.path)).encode(errors="surrogateescape")
    folder = os.path.dirname(os.path.abspath(__file__))
    return f"{folder}/__pycache__/start-{source_hash(1, key).hex()}.bin"


def buildctl() -> None:
    """The program ``buildctl``.

    Collecting garbage costs a part of a cached build's time that shows: it is made rare before anything is made.
    """
    gc.set_threshold(100_000, 20, 20)
    bundle = Bundle(_place())
    sys.meta_path.insert(0, bundle)
    from buildkit.cli.main import command

    command(at_end=bundle.update)
