"""``du`` and ``prune``: what they ask and what they print."""

from __future__ import annotations

import json

import pytest
from tests.kit.fake_client import FakeClient

from buildkit.cli.main import main
from buildkit.cli.prune import parse_duration
from buildkit.cli.template import parse_template
from buildkit.client.options import PruneOptions, UsageRecord
from buildkit.core.errors import BuildkitError

CREATED = 1_795_219_085_542_128_462
RECORDS = (
    UsageRecord("d43jlrayutae45g8rvn2j5hyy", 4096, CREATED, CREATED, 1, ("p",), "a step", "regular", mutable=True),
    UsageRecord("v3gwqbkr1m7vlnx5m8e9beiwu", 8290, CREATED, in_use=True, shared=True),
)


@pytest.fixture
def client(monkeypatch):
    return FakeClient(records=RECORDS).install(monkeypatch)


@pytest.mark.row("T60")
def test_du_prints_the_table_that_buildctl_prints(client, capsys):
    assert main(["du"]) == 0
    assert capsys.readouterr().out == (
        "ID\t\t\t\t\t\t\t\t\tRECLAIMABLE\tSIZE\tLAST ACCESSED\n"
        f"{'d43jlrayutae45g8rvn2j5hyy*':<71}\ttrue       \t4.10kB\t\n"
        f"{'v3gwqbkr1m7vlnx5m8e9beiwu':<71}\tfalse      \t8.29kB*\t\n"
        "Shared:\t\t8.29kB\nPrivate:\t4.10kB\nReclaimable:\t4.10kB\nTotal:\t\t12.39kB\n"
    )


@pytest.mark.row("T60")
def test_a_filtered_du_has_no_totals(client, capsys):
    assert main(["du", "-f", "type==regular"]) == 0
    assert "Total" not in capsys.readouterr().out and client.asked == [("type==regular",)]


@pytest.mark.row("T61")
def test_verbose_du_tells_everything(client, capsys):
    assert main(["du", "-v"]) == 0
    assert capsys.readouterr().out.split("\n\n")[0] == (
        "ID:\t\td43jlrayutae45g8rvn2j5hyy\nParents:\tp\n"
        "Created at:\t2026-11-20 23:58:05.542128462 +0000 UTC\nMutable:\ttrue\nReclaimable:\ttrue\nShared:\t\tfalse\n"
        "Size:\t\t4.10kB\nDescription:\ta step\nUsage count:\t1\n"
        "Last used:\t2026-11-20 23:58:05.542128462 +0000 UTC\nType:\t\tregular"
    )


@pytest.mark.row("T62")
def test_records_are_json_on_demand(client, capsys):
    assert main(["du", "--format", "{{json .}}"]) == 0
    assert list(json.loads(capsys.readouterr().out)[1].items()) == [
        ("id", "v3gwqbkr1m7vlnx5m8e9beiwu"),
        ("mutable", False),
        ("inUse", True),
        ("size", 8290),
        ("createdAt", "2026-11-20T23:58:05.542128462Z"),
        ("lastUsedAt", None),
        ("usageCount", 0),
        ("parents", None),
        ("description", ""),
        ("recordType", ""),
        ("shared", True),
    ]


@pytest.mark.row("T63")
def test_prune_says_what_to_keep_and_prints_what_went(client, capsys):
    flags = ["--keep-duration", "1h30m", "--keep-storage", "1.5", "--keep-storage-min", "1", "--free-storage", "2"]
    assert main(["prune", *flags, "--all", "-f", "x"]) == 0
    assert client.asked == [PruneOptions(("x",), True, 5400 * 10**9, 1_000_000, 1_500_000, 2_000_000)]
    out = capsys.readouterr().out
    assert out.startswith("ID\t") and out.count("\n") == 4 and out.endswith("Total:\t12.39kB\n")


@pytest.mark.row("T63")
def test_prune_formats_each_record_alone(client, capsys):
    assert main(["prune", "--format", "{{.ID}} {{.Size}}"]) == 0
    assert capsys.readouterr().out == "d43jlrayutae45g8rvn2j5hyy 4096\nv3gwqbkr1m7vlnx5m8e9beiwu 8290\n"


@pytest.mark.parametrize("arguments", [["--keep-duration", "x"], ["--keep-storage", "-1"], ["--free-storage", "nan"]])
def test_nonsense_limits_are_bad_usage(client, arguments):
    assert main(["prune", *arguments]) == 2 and not client.asked


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("1h", 3600 * 10**9), ("1.5s", 15 * 10**8), ("2m3ms", 120_003_000_000)]
)
def test_durations_are_gos(text, value):
    assert parse_duration(text) == value


@pytest.mark.row("T62")
@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("json", '[{"id":"a","inUse":true,"parents":null}]'),
        ("{{range .}}{{.ID}},{{end}}", "a,"),
        ("{{range . -}}\n {{ .InUse }} {{.Parents}} {{- end}}", "true <nil>"),
        ("{{len .}} {{println `x`}}", "1 x\n"),
        ('{{range .}}{{if .Parents}}y{{else}}{{"n"}}{{end}}{{end}}', "n"),
        ("{{.}}", "[map[id:a inUse:true parents:<nil>]]"),
    ],
)
def test_templates_do_what_go_would(template, text):
    assert parse_template(template)([{"id": "a", "inUse": True, "parents": None}]) == text


@pytest.mark.parametrize("template", ["{{range .}}", "{{end}}", "{{printf .}}", "{{.", "{{else}}"])
def test_other_templates_are_refused(template):
    with pytest.raises(BuildkitError):
        parse_template(template)
