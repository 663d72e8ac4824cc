import sys

from buildkit.core.lean import lean_imports


def test_a_module_put_off_is_imported_by_its_first_use_even_inside_of_the_scope(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with lean_imports(later=["colorsys"]):
        import colorsys

        assert colorsys.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)
    assert sys.modules["colorsys"].__file__


def test_an_absent_module_is_there_again_afterwards(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with lean_imports(absent=["colorsys"]):
        try:
            import colorsys
        except ImportError:
            missing = True
    assert missing
    import colorsys

    assert colorsys.__file__
