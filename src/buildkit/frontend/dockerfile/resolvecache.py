"""Image lookups, each made once per build whoever asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from buildkit.core.aio import Shared
from buildkit.core.errors import BuildkitError
from buildkit.core.platform import Platform
from buildkit.frontend.frontend import ImageConfig, LayoutStore, NotAnImage, Resolving, SourceMetadata
from buildkit.source.source import Inquiry

if TYPE_CHECKING:
    from buildkit.source.attested import AttestationChain


class _Question(NamedTuple):
    ref: str
    platform: Platform | None
    mode: str
    log_name: str
    store: LayoutStore | None


class CachedResolving:
    """A `Resolving` that remembers images, and failures to find them."""

    def __init__(self, resolving: Resolving) -> None:
        self._resolving = resolving
        self._answers: dict[_Question, Shared[ImageConfig]] = {}

    async def resolve_image(
        self,
        ref: str,
        *,
        platform: Platform | None,
        mode: str = "default",
        log_name: str = "",
        store: LayoutStore | None = None,
    ) -> ImageConfig:
        """See `Resolving.resolve_image`."""
        question = _Question(ref, platform, mode, log_name, store)
        answer = self._answers.get(question)
        if answer is None:
            answer = self._answers[question] = Shared(
                lambda: self._resolving.resolve_image(ref, platform=platform, mode=mode, log_name=log_name, store=store)
            )
        try:
            return await answer.wait()
        except NotAnImage:
            raise
        except BuildkitError as error:
            raise error.prefixed(f"failed to resolve source metadata for {ref}: ") from None

    async def resolve_attestations(
        self, ref: str, *, platform: Platform | None, predicates: Sequence[str] = ()
    ) -> AttestationChain | None:
        """See `Resolving.resolve_attestations`."""
        return await self._resolving.resolve_attestations(ref, platform=platform, predicates=predicates)

    async def resolve_source(
        self, identifier: str, attrs: Mapping[str, str], *, inquiry: Inquiry, log_name: str = ""
    ) -> SourceMetadata:
        """See `Resolving.resolve_source`."""
        return await self._resolving.resolve_source(identifier, attrs, inquiry=inquiry, log_name=log_name)
