"""What all instructions of one conversion share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildkit.core.errors import BuildkitError
from buildkit.core.platform import Platform
from buildkit.core.values import dataclass, field, replace
from buildkit.frontend.dockerfile.checks import check_variables
from buildkit.frontend.dockerfile.instructions import Command, Expander
from buildkit.frontend.dockerfile.linter import Linter
from buildkit.frontend.dockerfile.location import DockerfileError, Location
from buildkit.frontend.dockerfile.options import ConvertOptions
from buildkit.frontend.dockerfile.shell import ExpansionError, Lexer
from buildkit.frontend.dockerfile.stagebuild import StageBuild, Stages
from buildkit.llb import definition
from buildkit.llb.env import Env
from buildkit.llb.mount import Proxy
from buildkit.llb.state import State
from buildkit.llb.vertex import Late

if TYPE_CHECKING:
    from buildkit.fs.patterns import PatternMatcher


@dataclass(frozen=True, slots=True)
class Conversion:
    """Settings of the run. ``linter`` is narrowed for the instruction at hand."""

    options: ConvertOptions
    build_platforms: tuple[Platform, ...]
    target_platform: Platform
    lexer: Lexer
    linter: Linter
    global_args: Env = field(default_factory=Env)
    epoch: int | None = None
    proxy: Proxy | None = None
    ignore: PatternMatcher | None = None
    stages: Stages = field(default_factory=Stages)
    late_context: Late = field(default_factory=Late)

    def __repr__(self) -> str:
        return "<Conversion>"

    @property
    def build_context(self) -> State:
        """The build context, which is known when all paths are."""
        return State(self.late_context.output)

    def for_command(self, command: Command) -> Conversion:
        """The same for one instruction, with the checks that its comments switch."""
        linter = self.linter.for_comments(command.comments) if command.comments else self.linter
        return self if linter is self.linter else replace(self, linter=linter)

    def place(self, location: Location) -> tuple[definition.Location, ...]:
        """Lines as they go into a definition."""
        file = self.options.source_file
        return () if file is None else (definition.Location(file, location),)

    def located(self, error: BuildkitError, location: Location) -> BuildkitError:
        """Say where in the Dockerfile an error came up, and return it."""
        if isinstance(error, DockerfileError):
            return error.at(location)
        file = self.options.source_file
        if file is not None:
            error.detailed(file.detail(location))
        return error

    def expander(self, stage: StageBuild, command: Command, lexer: Lexer | None = None) -> Expander:
        """Replaces variables of the stage, and reports those that do not exist."""
        used = lexer or self.lexer

        def expand(word: str) -> str:
            variables = stage.state.settings.env
            try:
                expansion = used.expand(word, variables)
            except ExpansionError as error:
                check_variables(error.unmatched, stage.declared, variables, command.location, self.linter)
                raise
            if expansion.unmatched:
                check_variables(expansion.unmatched, stage.declared, variables, command.location, self.linter)
            return expansion.text

        return expand
