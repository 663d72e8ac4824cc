"""Every line of the README's table of Dockerfile features, built for real."""

import pytest
from tests.kit.features import FEATURES

pytestmark = pytest.mark.root


@pytest.mark.parametrize("feature", FEATURES, ids=lambda one: f"{one.group} {one.name}")
def test_a_feature_of_the_readme_works(feature, project):
    for name, content in feature.files.items():
        project.put(name, content)
    arguments = [one.format(context=project.context) for one in feature.arguments]
    if feature.config:
        config = project.image(feature.dockerfile, *arguments).config["config"]
        assert {key: config[key] for key in feature.config} == feature.config
    else:
        assert project.text(feature.dockerfile, *arguments) == feature.out
