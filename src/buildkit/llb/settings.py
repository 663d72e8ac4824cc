"""Settings: what the next command of a state runs with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

from buildkit.core.jsonfields import Fields, parse_fields
from buildkit.core.platform import Platform, normalize
from buildkit.llb.env import EMPTY, Env
from buildkit.llb.paths import join
from buildkit.llb.vertex import Output

Network = Literal["sandbox", "host", "none"]
Security = Literal["sandbox", "insecure"]
_CONFIG = "not an image config"


class Settings(NamedTuple):
    """What a command runs with. ``dir`` is absolute."""

    dir: str = "/"
    env: Env = EMPTY
    args: tuple[str, ...] = ()
    user: str = ""
    hostname: str = ""
    network: Network = "sandbox"
    security: Security = "sandbox"
    platform: Platform | None = None
    extra_hosts: tuple[tuple[str, str], ...] = ()
    """Names and addresses for ``/etc/hosts``."""
    ulimits: tuple[tuple[str, int, int], ...] = ()
    """Name as in ``nofile``, soft and hard limit."""
    cgroup_parent: str = ""
    valid_exit_codes: tuple[int, ...] | None = None

    def in_dir(self, path: str) -> Settings:
        """Change the directory; a relative path is below the present one."""
        return self._replace(dir=path if path.startswith("/") else join(self.dir or "/", path))

    def with_image_config(self, config: bytes | str | Mapping[str, object]) -> Settings:
        """Take environment, directory and platform from an image config (OCI JSON); raises `InvalidInput`."""
        whole = Fields(config, _CONFIG) if isinstance(config, Mapping) else parse_fields(config, _CONFIG)
        process = whole.within("config")
        env = self.env
        for pair in process.texts("Env"):
            key, _, value = pair.partition("=")
            env = env.set(key, value) if key else env
        settings = self._replace(env=env).in_dir(process.text("WorkingDir"))
        os, architecture = whole.text("os"), whole.text("architecture")
        if os and architecture:
            features = tuple(whole.texts("os.features"))
            platform = Platform(os, architecture, whole.text("variant"), whole.text("os.version"), features)
            settings = settings._replace(platform=normalize(platform))
        return settings


class Filesystem(Protocol):
    """What mounts and copies read: a state, to those who do not make any."""

    @property
    def output(self) -> Output | None:
        """None is empty."""
        ...

    @property
    def settings(self) -> Settings:
        """Paths are relative to its directory."""
        ...
