"""COPY and ADD: files of a context or a stage, of the web, of git, and written in the Dockerfile itself."""

from __future__ import annotations

from collections.abc import Sequence

from buildkit.core.goquote import quote
from buildkit.core.identity import new_id
from buildkit.core.platform import Platform
from buildkit.core.values import dataclass
from buildkit.frontend.dockerfile import naming, ospath
from buildkit.frontend.dockerfile.checks import check_ignored_source
from buildkit.frontend.dockerfile.conversion import Conversion
from buildkit.frontend.dockerfile.filemode import parse_mode
from buildkit.frontend.dockerfile.instructions import Add, Copy
from buildkit.frontend.dockerfile.location import DockerfileError
from buildkit.frontend.dockerfile.remote import find_git_source, git_state, http_state, is_http, is_remote
from buildkit.frontend.dockerfile.stagebuild import StageBuild
from buildkit.llb import caps
from buildkit.llb.combine import merge
from buildkit.llb.constraints import Options
from buildkit.llb.file import CopyOptions, FileAction, copy, mkfile, parse_owner
from buildkit.llb.metadata import ProgressGroup
from buildkit.llb.paths import join
from buildkit.llb.state import State, scratch


def convert_copy(stage: StageBuild, command: Copy, sources: Sequence[StageBuild], conversion: Conversion) -> None:
    """COPY; raises `DockerfileError`."""
    source = sources[0] if sources else None
    if source is not None and not source.dispatched:
        raise DockerfileError(
            f"cannot copy from stage {quote(command.source_stage)}, "
            f"it needs to be defined before current stage {quote(stage.name)}"
        )
    state = conversion.build_context if source is None else source.state
    _Copying(stage, command, state, conversion, of_context=source is None).convert()
    paths = stage.context_paths if source is None else source.paths
    paths.update(join("/", path) for path in command.sources)


def convert_add(stage: StageBuild, command: Add, conversion: Conversion) -> None:
    """ADD; raises `DockerfileError`."""
    _Copying(stage, command, conversion.build_context, conversion, of_context=True).convert()
    local = (path for path in command.sources if not path.startswith(("http://", "https://")))
    stage.context_paths.update(join("/", path) for path in local)


@dataclass(slots=True)
class _Copying:
    stage: StageBuild
    command: Copy | Add
    source: State
    conversion: Conversion
    of_context: bool

    def convert(self) -> None:
        stage, command = self.stage, self.command
        platform = stage.platform or self.conversion.target_platform
        destination = self._destination(platform)
        shared = self._shared_options()
        self._check_checksum()
        variables = stage.state.settings.env
        text = naming.with_upper_keyword(naming.expanded(self.conversion.lexer, command.text, variables))
        name = stage.step_name(text, platform, variables)
        action = self._action(destination, shared, name, platform)
        if action is None:
            raise DockerfileError("nothing to copy")
        self._apply(action, text, name, platform)
        stage.image.commit(self._history_text(), layer=True, epoch=stage.epoch)

    def _destination(self, platform: Platform) -> str:
        os, path = platform.os, self.command.destination
        try:
            path = ospath.without_drive(path, os, keep_slash=True)
        except DockerfileError as error:
            raise error.prefixed("removing drive letter: ") from None
        if ospath.is_absolute(path, os):
            return ospath.normalized("/", path, os, keep_slash=True)
        path = "./" if path in ("", ".") else path
        return ospath.normalized(self.stage.state.settings.dir, path, os, keep_slash=True)

    def _shared_options(self) -> CopyOptions:
        command = self.command
        options: CopyOptions = {"create_parents": True, "exclude": command.excludes}
        if command.chown:
            options["owner"] = parse_owner(command.chown)
        if command.chmod:
            options["mode"] = parse_mode(command.chmod)
        return options

    def _check_checksum(self) -> None:
        command = self.command
        if not isinstance(command, Add) or not command.checksum:
            return
        if len(command.sources) != 1:
            raise DockerfileError("checksum can't be specified for multiple sources")
        if not is_remote(command.sources[0]):
            raise DockerfileError("checksum requires HTTP(S) or Git sources")

    def _action(self, destination: str, shared: CopyOptions, name: str, platform: Platform) -> FileAction | None:
        command, action = self.command, None
        add = command if isinstance(command, Add) else None
        keep_git_dir = add.keep_git_dir if add else None
        checksum = add.checksum if add else ""
        for path in command.sources:
            if (git := find_git_source(path)) is not None:
                if add is None:
                    raise DockerfileError("source can't be a git ref for COPY")
                if keep_git_dir is not None and git.keep_git_dir not in (None, keep_git_dir):
                    raise DockerfileError("inconsistent keep-git-dir configuration")
                keep_git_dir = keep_git_dir if git.keep_git_dir is None else git.keep_git_dir
                if checksum and git.checksum and checksum != git.checksum:
                    raise DockerfileError(f"checksum mismatch {quote(checksum)} != {quote(git.checksum)}")
                checksum = git.checksum or checksum
                state = git_state(git, keep_git_dir=bool(keep_git_dir), checksum=checksum, name=name)
                action = _then(action, state, "/", destination, shared)
            elif is_http(path):
                if add is None:
                    raise DockerfileError("source can't be a URL for COPY")
                state, filename = http_state(path, checksum, name=name, description={naming.COMMAND: ""})
                remote: CopyOptions = {**shared, "unpack": bool(add.unpack)}
                action = _then(action, state, filename, destination, remote)
            else:
                action = self._local(action, path, destination, shared, platform)
        for file in command.files:
            try:
                filename = ospath.without_drive(file.path, platform.os)
            except DockerfileError as error:
                raise error.prefixed("removing drive letter: ") from None
            inline = scratch().file(
                mkfile(filename, file.content.encode(errors="surrogateescape"), 0o644),
                name=naming.internal("preparing inline document"),
                platform=platform,
            )
            action = _then(action, inline, ospath.to_slash(filename, platform.os), destination, shared)
        return action

    def _local(
        self, action: FileAction | None, path: str, destination: str, shared: CopyOptions, platform: Platform
    ) -> FileAction:
        command, os = self.command, platform.os
        is_add = isinstance(command, Add)
        if self.of_context:
            word = "Add" if is_add else "Copy"
            conversion = self.conversion
            check_ignored_source(path, word, conversion.ignore, command.location, conversion.linter)
        options: CopyOptions = {
            **shared,
            "follow_symlinks": True,
            "contents_only": True,
            "allow_wildcard": True,
            "allow_empty_wildcard": True,
            "unpack": is_add,
        }
        if isinstance(command, Add) and command.unpack is not None:
            options["unpack"] = command.unpack
        try:
            if isinstance(command, Copy) and command.parents:
                parent, pivot, pattern = path.partition("/./")
                path, pattern = (parent, pattern) if pivot else ("/", path)
                pattern = ospath.normalized("/", pattern, os)
                options["include"] = [pattern.removeprefix("/")]
                if not _has_wildcards(path) and not _has_wildcards(pattern):
                    options["required"] = [ospath.normalized("/", join(path, pattern), os)]
            path = ospath.normalized("/", path, os)
        except DockerfileError as error:
            raise error.prefixed("removing drive letter: ") from None
        return _then(action, self.source, path, destination, options)

    def _apply(self, action: FileAction, text: str, name: str, platform: Platform) -> None:
        stage, command, conversion = self.stage, self.command, self.conversion
        options: Options = {"location": conversion.place(command.location), "name": name}
        if stage.ignore_cache:
            options["ignore_cache"] = True
        if not (command.link and not command.chmod and conversion.options.supports(caps.MERGE_OP)):
            stage.state = stage.state.file(action, **options)
            return
        variables = stage.state.settings.env
        group = new_id()
        stage.step -= 1
        shown = stage.step_name(text, platform, variables)
        stage.step -= 1
        linked = stage.step_name("LINK " + text, platform, variables)
        weak: Options = {**options, "platform": platform, "progress_group": ProgressGroup(group, shown, weak=True)}
        strong: Options = {**options, "name": linked, "progress_group": ProgressGroup(group, shown)}
        merged = merge([stage.state, scratch().file(action, **weak)], **strong)
        stage.state = stage.state.with_output(merged.output)

    def _history_text(self) -> str:
        command = self.command
        words = ["ADD" if isinstance(command, Add) else "COPY"]
        if isinstance(command, Copy) and command.parents:
            words.append("--parents")
        if command.chown:
            words.append(f"--chown={command.chown}")
        if command.chmod:
            words.append(f"--chmod={command.chmod}")
        words += command.sources
        words += (f"<<{file.path}" for file in command.files)
        return " ".join([*words, command.destination, "# buildkit"])


def _then(action: FileAction | None, source: State, path: str, destination: str, options: CopyOptions) -> FileAction:
    if action is None:
        return copy(source, path, destination, **options)
    return action.copy(source, path, destination, **options)


def _has_wildcards(path: str) -> bool:
    escaped = False
    for letter in path:
        if escaped:
            escaped = False
        elif letter in "*?[":
            return True
        else:
            escaped = letter == "\\"
    return False
