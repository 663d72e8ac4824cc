from buildkit.executor.later import LaterExecutor


def test_what_a_killed_build_left_is_gone_when_the_engine_opens(tmp_path):
    for place in (tmp_path / "abc", tmp_path / "runtime" / "abc"):
        place.mkdir(parents=True)
        (place / "config.json").write_text("TOKEN=secret")
    (tmp_path / "hosts").write_text("kept")
    LaterExecutor(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["hosts", "runtime"]
