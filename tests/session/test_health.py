"""Clients are asked whether they still answer."""

import asyncio

import pytest

from buildkit.core.errors import Unavailable
from buildkit.session import health
from buildkit.session.health import Rhythm, watch

CUSTOM = "x-buildkit-session-health-custom-timeout"


@pytest.mark.row("A134")
@pytest.mark.parametrize(
    ("text", "rhythm"),
    [
        ("", Rhythm(5, 15, 2)),
        ("soon", Rhythm(5, 15, 2)),
        ("0", Rhythm(5, 15, 2)),
        ("-5", Rhythm(5, 15, 2)),
        ("1", Rhythm(1, 1, 1)),
        ("2500", Rhythm(2.5, 2.5, 1)),
    ],
)
def test_a_client_may_set_the_rhythm(text, rhythm):
    assert Rhythm.of({CUSTOM: [text]} if text else {}) == rhythm


class Client:
    """Answers as it is told: after so many seconds, or not at all (None)."""

    def __init__(self, now, *answers):
        self.now, self.answers, self.patience = now, list(answers), []

    async def unary(self, path, content, *, seconds):
        assert path == "/grpc.health.v1.Health/Check"
        self.patience.append(seconds)
        answer = self.answers.pop(0)
        if answer is None:
            raise Unavailable("gone")
        self.now[0] += answer


@pytest.mark.row("A134")
async def test_a_client_is_gone_after_two_failures_in_a_row(monkeypatch):
    now: list[float] = [0]
    pauses: list[float] = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(health.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(asyncio, "sleep", sleep)
    client = Client(now, 1, None, 20, None, None)
    error = await watch(client)
    assert str(error) == "session healthcheck failed fatally: gone"
    assert pauses == [5] * 5 and client.patience == [15, 15, 15, 30, 15]
    client = Client(now, None)
    await watch(client, Rhythm(1, 1, 1))
    assert client.patience == [1]
