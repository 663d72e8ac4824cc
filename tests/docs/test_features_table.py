from scripts.features import README, written


def test_the_readme_lists_what_the_tests_build():
    text = README.read_text()
    assert written(text) == text
