"""A session: the record of what one client lends. Each part is None when it is not offered.

The parts are protocols of one or two methods, so that a client in this process and one at the other end of a
wire lend alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeAlias

from buildkit.core.digest import Digest
from buildkit.core.identity import new_id
from buildkit.core.values import dataclass

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from buildkit.api.policysession_pb2 import CheckPolicyRequest, CheckPolicyResponse
    from buildkit.fs.metadata import MetadataReceiver
    from buildkit.fs.receive import Receiver
    from buildkit.fs.send import SentTree
    from buildkit.oci.spec import Descriptor
    from buildkit.oci.tokens import Keyring

Seen: TypeAlias = Callable[[int], None]
"""Told now and then how many bytes have moved so far; on the event loop."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """Which part of a lent directory is wanted; patterns are those of `buildkit.fs.tree.walk`."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()


Fetch: TypeAlias = Callable[[Patterns, "Receiver | MetadataReceiver", Seen], Awaitable[None]]
"""Has a lent directory sent to a receiver; raises `NotFound` when the lender has no such directory."""


@dataclass(frozen=True, slots=True)
class LocalTree:
    """A lent directory: read at ``path`` when the lender is in this process, else had from it with ``fetch``.

    Whoever reads it sees every file owned by 0:0, as BuildKit's clients send them.
    """

    name: str
    path: Path | None = None
    fetch: Fetch | None = None


class Locals(Protocol):
    """Lends directories by name."""

    def tree(self, name: str) -> LocalTree:
        """The directory; raises `NotFound` with ``no access allowed to dir "…"``."""


class Secrets(Protocol):
    """Lends secrets by id."""

    async def get(self, id: str) -> bytes:
        """The secret, at most `buildkit.session.secrets.LIMIT` bytes; raises `NotFound`."""


class Agents(Protocol):
    """Lends ssh agents by id; see `buildkit.session.ssh`."""

    async def check(self, id: str) -> None:
        """Raises `NotFound` (``unset ssh forward key …``) when there is no such agent; "" is ``default``."""

    async def forward(self, id: str, reader: StreamReader, writer: StreamWriter) -> None:
        """Connect a client to the agent until one of them ends it; the caller closes ``writer``."""


class Uploads(Protocol):
    """Lends streams by id, each once: what ``http://buildkit-session/<id>`` means."""

    async def open(self, id: str) -> BinaryIO:
        """The stream, to be read from a thread; raises `NotFound`."""


class Stores(Protocol):
    """Lends image content by store name (``--oci-layout name=path``)."""

    async def size(self, store: str, digest: Digest) -> int:
        """Bytes of a blob; raises `NotFound`."""

    async def open(self, store: str, digest: Digest) -> BinaryIO:
        """A blob's bytes, unchecked; raises `NotFound`."""


class Outputs(Protocol):
    """Takes results, by exporter id (``0``, ``1``, … in the order of the request)."""

    def open_file(self, exporter: str, metadata: Mapping[str, str]) -> AbstractAsyncContextManager[BinaryIO]:
        """A file to write; it appears when the scope ends well, and not otherwise.

        Raises `NotFound` when that exporter has no file, `AlreadyExists` when the client wants no new one.
        """

    def directory(self, exporter: str) -> Path | None:
        """The directory to write trees into; None when the lender is elsewhere: `send`. Raises `NotFound`."""

    async def send(self, exporter: str, trees: Sequence[SentTree], seen: Seen, *, whole: bool = False) -> None:
        """Have trees put into the exporter's directory, wherever it is; raises `NotFound`.

        ``whole``: these trees are all that the directory is to hold (``mode=delete``).
        """

    async def store(self, exporter: str, blobs: Sequence[Descriptor], source: Callable[[Digest], BinaryIO]) -> None:
        """Have an image's blobs put where the lender keeps images (``tar=false``); it names the image itself.

        For lenders that are elsewhere. ``source`` opens a blob. Raises `FailedPrecondition` when none are taken.
        """

    def image_directory(self) -> Path | None:
        """The OCI layout of this machine that takes the image of ``tar=false``; raises `InvalidInput` for several."""

    def deletes(self, exporter: str) -> bool:
        """Whether its owner wants everything else in the exporter's directory removed (``mode=delete``)."""


class Verifier(Protocol):
    """Decides which sources a build may use, and what to take in their place (row A171)."""

    async def check(self, request: CheckPolicyRequest) -> CheckPolicyResponse:
        """A decision, or what it wants to know of the source first."""


class Chooser(Protocol):
    """Chooses where a result goes when it sees what came of the build (row A170)."""

    async def choose(self, metadata: Mapping[str, bytes], refs: Sequence[str]) -> Sequence[ChosenExporter]:
        """Further exporters, for a result with this metadata and so many refs; none if it does not care."""

    async def conclude(self, response: Mapping[str, str]) -> None:
        """Everything is exported; ``response`` is that of the whole build."""


@dataclass(frozen=True, slots=True)
class ChosenExporter:
    """One output that a client wants."""

    type: str
    attrs: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Session:
    """One client. ``shared_key`` is the same for clients that lend the same directories."""

    id: str
    shared_key: str = ""
    locals: Locals | None = None
    auth: Keyring | None = None
    secrets: Secrets | None = None
    ssh: Agents | None = None
    stores: Stores | None = None
    outputs: Outputs | None = None
    uploads: Uploads | None = None
    verifier: Verifier | None = None
    chooser: Chooser | None = None

    @classmethod
    def new(
        cls,
        *,
        shared_key: str = "",
        locals: Locals | None = None,
        auth: Keyring | None = None,
        secrets: Secrets | None = None,
        ssh: Agents | None = None,
        stores: Stores | None = None,
        outputs: Outputs | None = None,
        uploads: Uploads | None = None,
        verifier: Verifier | None = None,
        chooser: Chooser | None = None,
    ) -> Session:
        """A session with a random id."""
        return cls(
            id=new_id(),
            shared_key=shared_key,
            locals=locals,
            auth=auth,
            secrets=secrets,
            ssh=ssh,
            stores=stores,
            outputs=outputs,
            uploads=uploads,
            verifier=verifier,
            chooser=chooser,
        )
