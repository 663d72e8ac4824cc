"""Image configs as BuildKit reads and writes them: known fields only, in its order, to the byte."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from buildkit.core.errors import InvalidInput
from buildkit.core.gojson import go_json
from buildkit.core.jsonfields import Fields, parse_fields
from buildkit.core.platform import DEFAULT_PATH, Platform
from buildkit.core.values import dataclass, field, replace
from buildkit.frontend.dockerfile.instructions import Healthcheck

NO_PLATFORM = Platform("", "")
_COMMENT = "buildkit.dockerfile.v0"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)\Z")


@dataclass(frozen=True, slots=True)
class History:
    """One line of an image's history. ``created`` is RFC 3339 text or empty."""

    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False
    created: str = ""
    author: str = ""


@dataclass(slots=True)
class ProcessConfig:
    """The ``config`` object: how a container of the image starts."""

    user: str = ""
    exposed_ports: set[str] = field(default_factory=set)
    env: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)
    volumes: set[str] = field(default_factory=set)
    working_dir: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Healthcheck | None = None
    onbuild: list[str] = field(default_factory=list)
    shell: list[str] = field(default_factory=list)

    def copy(self) -> ProcessConfig:
        """An independent copy."""
        return replace(
            self,
            exposed_ports=set(self.exposed_ports),
            env=list(self.env),
            entrypoint=list(self.entrypoint),
            cmd=list(self.cmd),
            volumes=set(self.volumes),
            labels=dict(self.labels),
            onbuild=list(self.onbuild),
            shell=list(self.shell),
        )

    def set_env(self, key: str, value: str) -> None:
        """Replace a variable in place, or add it at the end."""
        pair = f"{key}={value}"
        for index, known in enumerate(self.env):
            if known.partition("=")[0] == key:
                self.env[index] = pair
                return
        self.env.append(pair)


@dataclass(slots=True)
class ImageConfig:
    """A whole config; changed by the instructions of a stage."""

    platform: Platform = NO_PLATFORM
    created: str = ""
    author: str = ""
    config: ProcessConfig = field(default_factory=ProcessConfig)
    rootfs_type: str = ""
    diff_ids: list[str] | None = None
    history: list[History] = field(default_factory=list)

    def copy(self) -> ImageConfig:
        """An independent copy."""
        return replace(self, config=self.config.copy(), history=list(self.history))

    def commit(self, created_by: str, *, layer: bool, epoch: int | None) -> None:
        """Add a line of history; ``epoch`` in seconds."""
        created = "" if epoch is None else format_time(epoch)
        self.history.append(History(created_by, _COMMENT, not layer, created))

    def to_json(self) -> str:
        """As BuildKit writes it."""
        return go_json(self._document())

    def _document(self) -> dict[str, Any]:
        platform = self.platform
        out: dict[str, Any] = _present({"created": self.created, "author": self.author})
        out |= {"architecture": platform.architecture, "os": platform.os}
        out |= _present(
            {
                "os.version": platform.os_version,
                "os.features": list(platform.os_features),
                "variant": platform.variant,
            }
        )
        out["rootfs"] = {"type": self.rootfs_type, "diff_ids": self.diff_ids}
        if self.history:
            out["history"] = [_history_document(entry) for entry in self.history]
        out["config"] = _config_document(self.config)
        return out


def _history_document(entry: History) -> dict[str, Any]:
    return _present(
        {
            "created": entry.created,
            "created_by": entry.created_by,
            "author": entry.author,
            "comment": entry.comment,
            "empty_layer": entry.empty_layer,
        }
    )


def _config_document(config: ProcessConfig) -> dict[str, Any]:
    check = config.healthcheck
    out = _present(
        {
            "User": config.user,
            "ExposedPorts": {port: {} for port in sorted(config.exposed_ports, key=_bytes)},
            "Env": config.env,
            "Entrypoint": config.entrypoint,
            "Cmd": config.cmd,
            "Volumes": {path: {} for path in sorted(config.volumes, key=_bytes)},
            "WorkingDir": config.working_dir,
            "Labels": {key: config.labels[key] for key in sorted(config.labels, key=_bytes)},
            "StopSignal": config.stop_signal,
            "ArgsEscaped": config.args_escaped,
        }
    )
    if check is not None:
        out["Healthcheck"] = _present(
            {
                "Test": list(check.test),
                "Interval": check.interval,
                "Timeout": check.timeout,
                "StartPeriod": check.start_period,
                "StartInterval": check.start_interval,
                "Retries": check.retries,
            }
        )
    return out | _present({"OnBuild": config.onbuild, "Shell": config.shell})


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value}


def format_time(epoch: int) -> str:
    """Seconds since 1970 as RFC 3339 in UTC; raises `InvalidInput` outside of the years 1 to 9999."""
    try:
        return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(f"time {epoch} is outside of the years 1 to 9999") from None


def empty_image(platform: Platform) -> ImageConfig:
    """The config of ``FROM scratch``."""
    config = ProcessConfig(working_dir="/")
    if platform.os != "windows":
        config.env = ["PATH=" + DEFAULT_PATH]
    return ImageConfig(platform, config=config, rootfs_type="layers")


def parse_image(content: bytes | str) -> ImageConfig:
    """Read a config of any origin; raises `InvalidInput`."""
    fields = parse_fields(content, "failed to parse image config")
    rootfs = fields.within("rootfs")
    return ImageConfig(
        Platform(
            fields.text("os"),
            fields.text("architecture"),
            fields.text("variant"),
            fields.text("os.version"),
            tuple(fields.texts("os.features")),
        ),
        _time(fields("created")),
        fields.text("author"),
        _process(fields.within("config")),
        rootfs.text("type"),
        None if rootfs("diff_ids") is None else rootfs.texts("diff_ids"),
        [_history(entry) for entry in fields.each("history")],
    )


def _history(fields: Fields) -> History:
    return History(
        fields.text("created_by"),
        fields.text("comment"),
        fields.flag("empty_layer"),
        _time(fields("created")),
        fields.text("author"),
    )


def _process(fields: Fields) -> ProcessConfig:
    return ProcessConfig(
        fields.text("User"),
        fields.names("ExposedPorts"),
        fields.texts("Env"),
        fields.texts("Entrypoint"),
        fields.texts("Cmd"),
        fields.names("Volumes"),
        fields.text("WorkingDir"),
        fields.pairs("Labels"),
        fields.text("StopSignal"),
        fields.flag("ArgsEscaped"),
        None if fields("Healthcheck") is None else _healthcheck(fields.within("Healthcheck")),
        fields.texts("OnBuild"),
        fields.texts("Shell"),
    )


def _healthcheck(fields: Fields) -> Healthcheck:
    return Healthcheck(
        tuple(fields.texts("Test")),
        fields.number("Interval"),
        fields.number("Timeout"),
        fields.number("StartPeriod"),
        fields.number("StartInterval"),
        fields.number("Retries"),
    )


def _time(text: object) -> str:
    if not text:
        return ""
    match = _TIME.match(str(text))
    if match is None:
        raise InvalidInput(f"failed to parse image config: {text!r} is no time")
    fraction = (match[2] or "")[:9].rstrip("0")
    zone = "Z" if match[3] in ("+00:00", "-00:00") else match[3]
    return match[1] + ("." + fraction if fraction else "") + zone
