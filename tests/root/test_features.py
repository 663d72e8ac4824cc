"""Every line of the README's table of Dockerfile features, built for real."""

import subprocess

import pytest
from tests.kit.features import FEATURES, WEB_FILE
from tests.kit.images import layer_tar
from tests.kit.webs import Origin, git_web_server, web_server

pytestmark = [pytest.mark.root, pytest.mark.net]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """What the names with ``@`` stand for."""
    folder = tmp_path_factory.mktemp("places")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    Origin(folder).commit(inside="git")
    with web_server() as web, git_web_server(folder) as git:
        web.put("/f", WEB_FILE)
        web.put("/a.tar", layer_tar({"out": b"packed"}))
        yield {"@web": web.url, "@git": git, "@key": str(folder / "key")}


@pytest.mark.parametrize("feature", FEATURES, ids=lambda one: f"{one.group} {one.name}")
def test_a_feature_of_the_readme_works(feature, project, places):
    def placed(text):
        for name, place in {**places, "@context": str(project.context)}.items():
            text = text.replace(name, place)
        return text

    for name, content in feature.files.items():
        project.put(name, content)
    dockerfile, arguments = placed(feature.dockerfile), [placed(one) for one in feature.arguments]
    if feature.config:
        config = project.image(dockerfile, *arguments).config["config"]
        assert {key: config[key] for key in feature.config} == feature.config
    else:
        assert project.text(dockerfile, *arguments) == feature.out
