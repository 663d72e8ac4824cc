"""Choosing a display and feeding it."""

from __future__ import annotations

import asyncio
import io
import os
import pty

import pytest

from buildkit.cli.display.modes import follow, open_display
from buildkit.core.errors import InvalidInput
from buildkit.core.progress import Stream, VertexUpdate


@pytest.mark.row("T90")
@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("", "PlainDisplay"),
        ("auto", "PlainDisplay"),
        ("plain", "PlainDisplay"),
        ("rawjson", "RawJSONDisplay"),
        ("quiet", "QuietDisplay"),
    ],
)
def test_a_mode_names_a_display(mode, kind):
    assert type(open_display(mode, io.BytesIO())).__name__ == kind


@pytest.mark.row("T90")
def test_auto_is_live_on_a_terminal():
    main, side = pty.openpty()
    with os.fdopen(side, "wb", buffering=0) as out, os.fdopen(main, "rb"):
        assert type(open_display("auto", out)).__name__ == "TTYDisplay"


@pytest.mark.row("T36", "T90")
@pytest.mark.parametrize(("mode", "text"), [("x", "invalid progress mode x"), ("tty", "failed to get console")])
def test_a_mode_that_can_not_be_had_is_refused(mode, text):
    with pytest.raises(InvalidInput, match=text):
        open_display(mode, io.BytesIO())


@pytest.mark.row("T90")
async def test_updates_are_shown_until_they_end():
    out, stream, seen = io.BytesIO(), Stream(), []
    stream.write(VertexUpdate("d", "a", (), 0, 0))
    stream.close()
    await follow(open_display("plain", out), stream.read(), watch=seen.extend)
    assert out.getvalue() == b"#1 a\n#1 DONE 0.0s\n" and len(seen) == 1


@pytest.mark.row("T94")
async def test_a_display_is_refreshed_while_nothing_comes(monkeypatch):
    monkeypatch.setenv("TTY_DISPLAY_RATE", "1")
    stream, refreshed = Stream(), asyncio.Event()
    display = open_display("quiet", io.BytesIO())
    monkeypatch.setattr(display, "refresh", refreshed.set, raising=False)
    following = asyncio.ensure_future(follow(display, stream.read()))
    await refreshed.wait()
    stream.close()
    await following
