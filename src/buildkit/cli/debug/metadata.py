"""``buildctl debug dump-metadata``: what the database of a state directory holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from buildkit.cli.flags import BadUsage, Command, Flag, Parsed

if TYPE_CHECKING:
    import sqlite3

COMMAND = Command(
    "debug dump-metadata",
    "Show what a state directory has on record, table by table, one JSON object a row. Needs no daemon.",
    (Flag("root", "the state directory", metavar="DIR"),),
)
_LONGEST = 4096


def run(parsed: Parsed) -> None:
    """Read and print."""
    from buildkit.client.places import default_root

    path = os.path.join(parsed.text("root") or default_root(), "buildkit.db")
    if not os.path.exists(path):
        raise BadUsage(f"{path}: no such file or directory")
    import sqlite3
    from urllib.parse import quote

    db = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)
    try:
        sys.stdout.writelines(f"{line}\n" for line in lines(db))
    except sqlite3.DatabaseError as error:
        raise BadUsage(f"{path}: {error}") from None
    finally:
        db.close()


def lines(db: sqlite3.Connection) -> Iterator[str]:
    """``table NAME (N rows)``, then each row as JSON."""
    import json

    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    for table in tables:
        quoted = table.replace('"', '""')
        cursor = db.execute(f'SELECT * FROM "{quoted}"')
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
        yield f"table {table} ({len(rows)} rows)"
        for row in rows:
            shown = {name: _shown(value) for name, value in zip(names, row, strict=True)}
            yield f"  {json.dumps(shown, ensure_ascii=False)}"


def _shown(value: Any) -> Any:
    """Bytes as text where they are text, else in hexadecimal; the end of what is very long is cut off."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            value = f"0x{value[: _LONGEST // 2].hex()}"
    return value if not isinstance(value, str) or len(value) <= _LONGEST else f"{value[:_LONGEST]}…"
