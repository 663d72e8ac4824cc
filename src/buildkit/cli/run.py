"""Run one build from the command line: follow it, then write what the user wants to have of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from buildkit.cli.display.modes import follow, open_display
from buildkit.cli.flags import Parsed
from buildkit.cli.target import BUILDING, open_client
from buildkit.client.options import Client, SolveOptions, SolveResponse
from buildkit.core.errors import BuildkitError
from buildkit.core.gobool import TRUE
from buildkit.core.identity import new_id
from buildkit.core.loop import run as run_loop
from buildkit.core.progress import Update, VertexUpdate
from buildkit.core.values import replace

if TYPE_CHECKING:
    from buildkit.cli.display.modes import Display
    from buildkit.core.explanation import Explanation

_PREFIX = "failed to solve: "
_PREFIXES = (_PREFIX, "listing workers for Build: ")
_SUBREQUEST_CAPS = "moby.buildkit.frontend.subrequests"
_DIGEST_KEY = "containerimage.digest"
_TERMINATED = 128 + signal.SIGTERM


async def run_build(parsed: Parsed, options: SolveOptions) -> None:
    """Build; raises the error that made it fail."""
    options = replace(options, ref=new_id())
    asks = "requestid" in options.frontend_attrs
    if asks:
        attrs = {"frontend.caps": _SUBREQUEST_CAPS, **options.frontend_attrs}
        options = replace(options, frontend_attrs=attrs)
    mode = "quiet" if parsed.on("quiet") else parsed.text("progress")
    display = open_display(mode, sys.stderr.buffer)
    watchers: list[Callable[[Sequence[Update]], None]] = []
    metrics = CacheMetrics()
    with ExitStack() as files:
        if path := parsed.text("trace"):
            watchers.append(_tracer(files.enter_context(_open_private(path, os.O_APPEND))))
        report = _metrics_file(parsed.text("debug-json-cache-metrics"), files)
        if report is not None:
            watchers.append(metrics.take)
        explanations: list[Explanation] = []
        explain = parsed.text("explain") or ("json" if parsed.text("explain-file") else "")
        if explain:
            options = replace(options, explained=explanations.extend)
        try:
            response = await _solve(parsed, options, display, watchers)
        finally:
            if explain:
                _explain(parsed, explain, explanations)
            if path := parsed.text("ref-file"):
                write_whole(path, options.ref.encode())
        if not asks:
            _write_results(parsed, response.exporter)
        print_metadata(response.metadata if asks else {}, sys.stdout)
        if parsed.on("check") and response.metadata.get("result.statuscode", b"0") != b"0":
            raise SystemExit(1)
        if report is not None:
            metrics.report(report)


def _explain(parsed: Parsed, form: str, explanations: Sequence[Explanation]) -> None:
    from buildkit.cli.explain import explanation_json, explanation_text

    text = explanation_json(explanations) if form == "json" else explanation_text(explanations)
    if path := parsed.text("explain-file"):
        write_whole(path, text.encode(errors="backslashreplace"))
    else:
        sys.stderr.write(text.encode(errors="backslashreplace").decode())
        sys.stderr.flush()


async def _solve(
    parsed: Parsed,
    options: SolveOptions,
    display: Display,
    watchers: Sequence[Callable[[Sequence[Update]], None]],
) -> SolveResponse:
    def watch(batch: Sequence[Update]) -> None:
        for watcher in watchers:
            watcher(batch)

    try:
        async with open_client(parsed, BUILDING) as client:
            return await _follow_to_end(client, options, display, watch)
    except BuildkitError as error:
        raise error if error.message.startswith(_PREFIXES) else error.prefixed(_PREFIX) from error.__cause__


async def _follow_to_end(
    client: Client, options: SolveOptions, display: Display, watch: Callable[[Sequence[Update]], None]
) -> SolveResponse:
    """The build's response; the display sees how each step ended, also of a build that fails or is interrupted."""
    following: asyncio.Future[None] | None = None
    try:
        async with client.build(options) as build:
            following = asyncio.ensure_future(follow(display, build.progress(), watch=watch))
            result = asyncio.ensure_future(build.result())
            try:
                await asyncio.wait({following, result}, return_when=asyncio.FIRST_EXCEPTION)
                if following.done():
                    following.result()
                return await result
            finally:
                result.cancel()
    finally:
        if following is not None:
            await following


def _write_results(parsed: Parsed, exporter: Mapping[str, str]) -> None:
    if path := parsed.text("metadata-file"):
        write_whole(path, metadata_file(exporter))
    digest = exporter.get(_DIGEST_KEY, "")
    if path := parsed.text("iidfile"):
        write_whole(path, digest.encode())
    if parsed.on("quiet") and digest:
        sys.stdout.write(digest + "\n")


def metadata_file(exporter: Mapping[str, str]) -> bytes:
    """The exporters' response as JSON: values that are objects in base64 are written as objects."""
    import json

    out: dict[str, Any] = {key: _decoded(value) for key, value in sorted(exporter.items())}
    return json.dumps(out, indent=2, ensure_ascii=False).encode(errors="surrogateescape")


def _decoded(value: str) -> Any:
    import base64
    import binascii
    import json

    try:
        decoded = json.loads(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return value
    return decoded if isinstance(decoded, dict) and decoded else value


def print_metadata(metadata: Mapping[str, bytes], out: TextIO) -> None:
    """The answer of a subrequest: its text, or everything that it calls a result."""
    if "result.txt" in metadata:
        out.write(metadata["result.txt"].decode(errors="replace"))
        return
    for key in sorted(metadata):
        if key.startswith("result."):
            out.write(f"{key}\n{metadata[key].decode(errors='replace')}\n")


def write_whole(path: str, content: bytes) -> None:
    """Write a file that appears complete or not at all; a device or pipe is written to as it is."""
    if path.startswith("/dev/") or (os.path.exists(path) and not os.path.isfile(path)):
        with open(path, "wb") as out:
            out.write(content)
        return
    path = os.path.realpath(path)
    part = f"{path}.{new_id()}.part"
    try:
        with open(part, "xb") as out:
            out.write(content)
        os.replace(part, path)
    except BaseException as error:
        if os.path.exists(part):
            os.unlink(part)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, path) from None
        raise


def _open_private(path: str, flags: int) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | flags, 0o600), "wb")


def _tracer(out: BinaryIO) -> Callable[[Sequence[Update]], None]:
    from buildkit.cli.display.rawjson import RawJSONDisplay

    return RawJSONDisplay(out).take


def _metrics_file(name: str, files: ExitStack) -> TextIO | None:
    if name in ("stdout", "stderr"):
        return sys.stdout if name == "stdout" else sys.stderr
    if not name:
        return None
    import io

    return files.enter_context(io.TextIOWrapper(_open_private(name, os.O_TRUNC), encoding="utf-8"))


class CacheMetrics:
    """Counts of cache hits and misses, for benchmarks."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._vertices: dict[str, tuple[str, bool, bool]] = {}

    def take(self, batch: Sequence[Update]) -> None:
        """Count a batch of updates in."""
        for update in batch:
            if isinstance(update, VertexUpdate):
                name, cached, completed = self._vertices.get(update.digest, (update.name, False, False))
                done = completed or update.completed is not None
                self._vertices[update.digest] = (name, cached or update.cached, done)

    def report(self, out: TextIO) -> None:
        """A line for each miss, then the counts as JSON."""
        import json
        import re

        internal = ("[internal]", "[auth]", "importing cache", "exporting ")
        mine = [v for v in self._vertices.values() if not v[0].startswith(internal)]
        bases = [v for v in mine if re.match(r"\[.*\] FROM", v[0])]
        misses = [v for v in mine if not v[1] and v not in bases]
        for name, _, _ in misses:
            out.write(f"cache miss: {name}\n")
        counts = {
            "total": len(self._vertices),
            "completed": sum(done for _, _, done in self._vertices.values()),
            "user_total": len(mine),
            "user_cached": sum(cached for _, cached, _ in mine),
            "user_completed": sum(done for _, _, done in mine),
            "user_cacheable": len(mine) - len(bases),
            "from": len(bases),
            "miss": len(misses),
            "client_duration_ms": int((time.monotonic() - self._start) * 1000),
        }
        out.write(json.dumps(counts, separators=(",", ":")) + "\n")
        out.flush()


def run(parsed: Parsed, options: SolveOptions) -> None:
    """`run_build` in an event loop of its own; SIGTERM ends it as cleanly as Ctrl-C does, with status 143."""
    run_loop(_until_terminated(run_build(parsed, options)))
    if note := _lost_result(parsed, options):
        sys.stderr.write(f"note: {note}\n")


async def _until_terminated(work: Coroutine[None, None, None]) -> None:
    task, terminated = asyncio.ensure_future(work), False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    loop = asyncio.get_running_loop()
    before = signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(terminate))
    try:
        await task
    except asyncio.CancelledError:
        if not terminated:
            raise
        sys.stderr.write("error: terminated\n")
        raise SystemExit(_TERMINATED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _lost_result(parsed: Parsed, options: SolveOptions) -> str:
    """What to tell somebody who built a PATH and asked for no lasting result."""
    if not parsed.words or parsed.on("quiet") or parsed.text("progress") in ("quiet", "rawjson"):
        return ""
    if "requestid" in options.frontend_attrs:
        return ""
    if not options.outputs:
        return "the result stays in the build cache; -o, or -t with --push, takes it out"
    if all(one.type == "image" and not _is_on(one.attrs.get("push", "false")) for one in options.outputs):
        return "the image is named but not kept anywhere; --push, or -o type=oci,dest=FILE, takes it out"
    return ""


def _is_on(text: str) -> bool:
    """Whether an attribute is on."""
    return text in ("", *TRUE)
