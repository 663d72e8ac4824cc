"""Progress as messages."""

import pytest

from buildkit.control.progress import MOST_LOG_BYTES, responses
from buildkit.core.progress import LogUpdate, StatusUpdate, VertexUpdate


@pytest.mark.row("A40")
def test_within_a_message_everything_is_in_order():
    batch = [
        LogUpdate("v", 1, b"late", 9),
        VertexUpdate("late", "late", started=5),
        StatusUpdate("v", "late", "", 0, 0, 8, None, None),
        LogUpdate("v", 1, b"early", 2),
        VertexUpdate("early", "early", started=3),
        StatusUpdate("v", "early", "", 0, 0, 1, None, None),
        VertexUpdate("never", "never"),
    ]
    [message] = responses(batch)
    assert [vertex.digest for vertex in message.vertexes] == ["never", "early", "late"]
    assert [status.ID for status in message.statuses] == ["early", "late"]
    assert [log.msg for log in message.logs] == [b"early", b"late"]


@pytest.mark.row("A40")
def test_a_message_has_no_more_than_a_mebibyte_of_logs():
    logs = [LogUpdate("v", 1, bytes(300_000), number) for number in range(10)]
    messages = list(responses([VertexUpdate("v", "v"), *logs]))
    assert [sum(len(log.msg) for log in message.logs) for message in messages] == [900_000, 900_000, 900_000, 300_000]
    assert [len(message.vertexes) for message in messages] == [1, 0, 0, 0]
    assert MOST_LOG_BYTES == 1 << 20
