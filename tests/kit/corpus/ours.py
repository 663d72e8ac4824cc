"""What we make of one case, in the form of ``expected/<id>.json``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from tests.kit.corpus import forms
from tests.kit.corpus.fakes import AMD64, ARM64, FakeBuild, FakeImages
from tests.kit.corpus.files import Case
from tests.kit.corpus.forms import Form

from buildkit.core.errors import BuildkitError
from buildkit.core.platform import Platform
from buildkit.core.result import Result
from buildkit.frontend.dockerfile.build import DockerfileFrontend
from buildkit.frontend.dockerfile.convert import Converted, convert
from buildkit.frontend.dockerfile.linter import Finding
from buildkit.frontend.dockerfile.options import ConvertOptions
from buildkit.frontend.dockerfile.shell import ExpansionError, Lexer
from buildkit.llb.definition import Definition, SourceFile

_COMMAND_LINE = {"cmdline": "docker/dockerfile:1"}
_QUESTIONS = ("frontend.outline", "frontend.targets", "frontend.lint")


def make(case: Case, meta: Mapping[str, Any]) -> Form:
    """Everything about a case."""
    return asyncio.run(_make(case, meta))


async def _make(case: Case, meta: Mapping[str, Any]) -> Form:
    content = case.content
    passes: dict[str, Form] = {
        "amd64": await _direct(content, meta, FakeImages(meta)),
        "arm64": await _direct(content, meta, FakeImages(meta), platform=ARM64),
        "fe-amd64": await _whole(content, meta, _COMMAND_LINE),
        "fe-arm64": await _whole(content, meta, _COMMAND_LINE | {"platform": "linux/arm64"}),
        "fe-opts": await _whole(content, meta, *_many_options(case, meta)),
    }
    if "onbuild" in case.expected["passes"]:
        images = FakeImages(meta, "onbuild_config", plain_for="corpus/onbuild-dep")
        passes["onbuild"] = await _direct(content, meta, images)
    targets = [
        {"target": name} | await _target(content, meta, name)
        for name in (entry["target"] for entry in case.expected["targets"] or ())
    ]
    form = forms.read_text(content) | {
        "passes": passes,
        "targets": targets or None,
        "subrequests": {question: await _ask(content, meta, question) for question in _QUESTIONS},
    }
    return dict(forms.shown(form))


async def _convert(
    content: bytes, meta: Mapping[str, Any], images: FakeImages, findings: list[Finding], **options: Any
) -> Converted:
    settings = ConvertOptions(
        build_platforms=(AMD64,),
        known_caps=frozenset(meta["llb_caps"]),
        source_file=SourceFile("Dockerfile", "Dockerfile", content),
        report=findings.append,
        **options,
    )
    return await convert(content, settings, images)


async def _direct(
    content: bytes, meta: Mapping[str, Any], images: FakeImages, platform: Platform | None = None
) -> Form:
    findings: list[Finding] = []
    form: Form = {}
    try:
        converted = await _convert(content, meta, images, findings, target_platform=platform)
        form = _converted(converted, meta)
    except BuildkitError as error:
        form = {"error": forms.failure(error)}
    return form | {
        "resolved": images.resolved,
        "warnings": forms.in_runs([forms.finding(found) for found in findings]),
    }


def _converted(converted: Converted, meta: Mapping[str, Any]) -> Form:
    try:
        form: Form = {"llb": forms.definition(converted.definition(str(meta["local_unique_id"])))}
    except BuildkitError as error:
        return {"marshal_error": str(error)}
    form["image_config"] = converted.image.to_json()
    if converted.base_image is not None:
        form["base_image_config"] = converted.base_image.to_json()
    if converted.epoch is not None:
        form["epoch"] = converted.epoch
    return form


async def _target(content: bytes, meta: Mapping[str, Any], name: str) -> Form:
    try:
        form = _converted(await _convert(content, meta, FakeImages(meta), [], target=name), meta)
    except BuildkitError as error:
        return {"error": forms.failure(error)}
    return {key: form[key] for key in ("llb", "image_config", "marshal_error") if key in form}


def _many_options(case: Case, meta: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    return dict(meta["fe_opts"]) | _COMMAND_LINE, dict(case.expected["passes"]["fe-opts"]["extra_opts"])


async def _solve(
    content: bytes, meta: Mapping[str, Any], options: Mapping[str, str], *, many: bool = False
) -> tuple[FakeBuild, FakeImages, Result[object] | BuildkitError]:
    images = FakeImages(meta, "rich_config" if many else "plain_config")
    files = {"Dockerfile": content}
    if many:
        files[".dockerignore"] = str(meta["fe_opts_dockerignore"]).encode()
    build = FakeBuild(meta, images, files)
    try:
        return build, images, await DockerfileFrontend().solve(build.bridge(), options, {})
    except BuildkitError as error:
        return build, images, error


async def _whole(
    content: bytes, meta: Mapping[str, Any], options: Mapping[str, str], extra: Mapping[str, str] | None = None
) -> Form:
    build, images, outcome = await _solve(content, meta, {**options, **(extra or {})}, many=extra is not None)
    form: Form = {
        "aux": build.loads,
        "resolved": images.resolved,
        "warnings": forms.in_runs([forms.warning(found) for found in build.warnings]),
    }
    if extra is not None:
        form["extra_opts"] = dict(extra)
    if isinstance(outcome, BuildkitError):
        return form | {"error": forms.failure(outcome, sources=True)}
    form["metadata"] = {key: value.decode() for key, value in outcome.metadata.items()}
    form["refs"] = {key: forms.definition(_definition(ref)) for key, ref in outcome.refs.items()}
    return form


def _definition(ref: object) -> Definition:
    assert isinstance(ref, Definition)
    return ref


async def _ask(content: bytes, meta: Mapping[str, Any], question: str) -> Form:
    build, _, outcome = await _solve(content, meta, _COMMAND_LINE | {"requestid": question})
    form: Form = {}
    if build.warnings:
        form["warnings"] = forms.in_runs([forms.warning(found) for found in build.warnings])
    if isinstance(outcome, BuildkitError):
        return form | {"error": forms.failure(outcome)}
    metadata = {key: value.decode() for key, value in outcome.metadata.items() if key != "result.txt"}
    document = json.loads(metadata["result.json"])
    document.pop("sources", None)
    return form | {"metadata": metadata | {"result.json": document}}


def read_word(env: list[str], case: Mapping[str, Any]) -> Form:
    """One word of ``shell.json``, both ways."""
    mode = case["mode"]
    lexer = Lexer(
        case["escape"],
        keep_quotes="RawQuotes" in mode,
        keep_escapes="RawEscapes" in mode,
        keep_unset="SkipUnsetEnv" in mode,
        plain_quotes="SkipProcessQuotes" in mode,
    )
    variables = dict(pair.split("=", 1) for pair in env)
    try:
        whole, parts = lexer.expand(case["word"], variables), lexer.read(case["word"], variables)
    except ExpansionError as error:
        return {"error": str(error), "words_error": str(error)}
    return {
        "result": whole.text,
        "words": list(parts.words),
        "matched": sorted(whole.matched),
        "unmatched": sorted(whole.unmatched),
    }
