"""The build checks: names, descriptions and texts that users know and switch off by."""

from __future__ import annotations

from buildkit.core.goquote import quote
from buildkit.core.values import dataclass

_DOCUMENTATION = "https://docs.docker.com/go/dockerfile/rule/"


@dataclass(frozen=True, slots=True)
class Rule:
    """One check. Experimental ones run only when asked for."""

    name: str
    description: str
    page: str = ""
    experimental: bool = False

    @property
    def url(self) -> str:
        """The page that explains it; empty if there is none."""
        return f"{_DOCUMENTATION}{self.page}/" if self.page else ""


STAGE_NAME_CASING = Rule("StageNameCasing", "Stage names should be lowercase", "stage-name-casing")
FROM_AS_CASING = Rule("FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword", "from-as-casing")
NO_EMPTY_CONTINUATION = Rule(
    "NoEmptyContinuation", "Empty continuation lines will become errors in a future release", "no-empty-continuation"
)
CONSISTENT_INSTRUCTION_CASING = Rule(
    "ConsistentInstructionCasing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
    "consistent-instruction-casing",
)
DUPLICATE_STAGE_NAME = Rule("DuplicateStageName", "Stage names should be unique", "duplicate-stage-name")
RESERVED_STAGE_NAME = Rule(
    "ReservedStageName", "Reserved words should not be used as stage names", "reserved-stage-name"
)
JSON_ARGS_RECOMMENDED = Rule(
    "JSONArgsRecommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    "json-args-recommended",
)
MAINTAINER_DEPRECATED = Rule(
    "MaintainerDeprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    "maintainer-deprecated",
)
UNDEFINED_ARG_IN_FROM = Rule("UndefinedArgInFrom", "FROM command must use declared ARGs", "undefined-arg-in-from")
WORKDIR_RELATIVE_PATH = Rule(
    "WorkdirRelativePath",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results "
    "if the base image changes",
    "workdir-relative-path",
)
UNDEFINED_VAR = Rule("UndefinedVar", "Variables should be defined before their use", "undefined-var")
MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule(
    "MultipleInstructionsDisallowed",
    "Multiple instructions of the same type should not be used in the same stage",
    "multiple-instructions-disallowed",
)
LEGACY_KEY_VALUE_FORMAT = Rule(
    "LegacyKeyValueFormat",
    "Legacy key/value format with whitespace separator should not be used",
    "legacy-key-value-format",
)
INVALID_BASE_IMAGE_PLATFORM = Rule(
    "InvalidBaseImagePlatform", "Base image platform does not match expected target platform"
)
REDUNDANT_TARGET_PLATFORM = Rule(
    "RedundantTargetPlatform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    "redundant-target-platform",
)
SECRETS_USED_IN_ARG_OR_ENV = Rule(
    "SecretsUsedInArgOrEnv",
    "Sensitive data should not be used in the ARG or ENV commands",
    "secrets-used-in-arg-or-env",
)
INVALID_DEFAULT_ARG_IN_FROM = Rule(
    "InvalidDefaultArgInFrom",
    "Default value for global ARG results in an empty or invalid base image name",
    "invalid-default-arg-in-from",
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule(
    "FromPlatformFlagConstDisallowed",
    "FROM --platform flag should not use a constant value",
    "from-platform-flag-const-disallowed",
)
COPY_IGNORED_FILE = Rule(
    "CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore", "copy-ignored-file"
)
INVALID_DEFINITION_DESCRIPTION = Rule(
    "InvalidDefinitionDescription",
    "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. "
    "If this is not intended to be a description comment, add an empty line or comment between the instruction "
    "and the comment.",
    "invalid-definition-description",
    experimental=True,
)
EXPOSE_PROTO_CASING = Rule(
    "ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase", "expose-proto-casing"
)
EXPOSE_INVALID_FORMAT = Rule(
    "ExposeInvalidFormat",
    "IP address and host-port mapping should not be used in EXPOSE instruction. "
    "This will become an error in a future release",
    "expose-invalid-format",
)


def stage_name_casing(stage: str) -> str:
    """Text of `STAGE_NAME_CASING`."""
    return f"Stage name '{stage}' should be lowercase"


def from_as_casing(from_word: str, as_word: str) -> str:
    """Text of `FROM_AS_CASING`."""
    return f"'{as_word}' and '{from_word}' keywords' casing do not match"


def no_empty_continuation() -> str:
    """Text of `NO_EMPTY_CONTINUATION`."""
    return "Empty continuation line"


def consistent_instruction_casing(keyword: str, casing: str) -> str:
    """Text of `CONSISTENT_INSTRUCTION_CASING`; ``casing`` is ``uppercase`` or ``lowercase``."""
    return f"Command '{keyword}' should match the case of the command majority ({casing})"


def duplicate_stage_name(stage: str) -> str:
    """Text of `DUPLICATE_STAGE_NAME`."""
    return f"Duplicate stage name {quote(stage)}, stage names should be unique"


def reserved_stage_name(stage: str) -> str:
    """Text of `RESERVED_STAGE_NAME`."""
    return f"Stage name should not use the same name as reserved stage {quote(stage)}"


def json_args_recommended(keyword: str) -> str:
    """Text of `JSON_ARGS_RECOMMENDED`."""
    return f"JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"


def maintainer_deprecated() -> str:
    """Text of `MAINTAINER_DEPRECATED`."""
    return "Maintainer instruction is deprecated in favor of using label"


def undefined_arg_in_from(name: str, near: str) -> str:
    """Text of `UNDEFINED_ARG_IN_FROM`; ``near`` is a known name or empty."""
    return f"FROM argument '{name}' is not declared" + (f" (did you mean {near}?)" if near else "")


def workdir_relative_path(path: str) -> str:
    """Text of `WORKDIR_RELATIVE_PATH`."""
    return f"Relative workdir {quote(path)} can have unexpected results if the base image changes"


def undefined_var(name: str, near: str) -> str:
    """Text of `UNDEFINED_VAR`; ``near`` is a known name or empty."""
    return f"Usage of undefined variable '${name}'" + (f" (did you mean ${near}?)" if near else "")


def multiple_instructions_disallowed(keyword: str) -> str:
    """Text of `MULTIPLE_INSTRUCTIONS_DISALLOWED`."""
    return (
        f"Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
    )


def legacy_key_value_format(keyword: str) -> str:
    """Text of `LEGACY_KEY_VALUE_FORMAT`."""
    return f'"{keyword} key=value" should be used instead of legacy "{keyword} key value" format'


def invalid_base_image_platform(image: str, expected: str, actual: str) -> str:
    """Text of `INVALID_BASE_IMAGE_PLATFORM`."""
    return f"Base image {image} was pulled with platform {quote(actual)}, expected {quote(expected)} for current build"


def redundant_target_platform(variable: str) -> str:
    """Text of `REDUNDANT_TARGET_PLATFORM`."""
    return f"Setting platform to predefined {variable} in FROM is redundant as this is the default behavior"


def secrets_used_in_arg_or_env(keyword: str, name: str) -> str:
    """Text of `SECRETS_USED_IN_ARG_OR_ENV`."""
    return f"Do not use ARG or ENV instructions for sensitive data ({keyword} {quote(name)})"


def invalid_default_arg_in_from(base: str) -> str:
    """Text of `INVALID_DEFAULT_ARG_IN_FROM`."""
    return f"Default value for ARG {base} results in empty or invalid base image name"


def from_platform_flag_const_disallowed(platform: str) -> str:
    """Text of `FROM_PLATFORM_FLAG_CONST_DISALLOWED`."""
    return f"FROM --platform flag should not use constant value {quote(platform)}"


def copy_ignored_file(action: str, path: str) -> str:
    """Text of `COPY_IGNORED_FILE`; ``action`` is ``Copy`` or ``Add``."""
    return f"Attempting to {action} file {quote(path)} that is excluded by .dockerignore"


def invalid_definition_description(keyword: str, name: str) -> str:
    """Text of `INVALID_DEFINITION_DESCRIPTION`."""
    return f"Comment for {keyword} should follow the format: `# {name} <description>`"


def expose_proto_casing(port: str) -> str:
    """Text of `EXPOSE_PROTO_CASING`."""
    return f"Defined protocol '{port}' in EXPOSE instruction should be lowercase"


def expose_invalid_format(port: str) -> str:
    """Text of `EXPOSE_INVALID_FORMAT`."""
    return f"EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
