"""The outputs of a build: every exporter at once, then what is left to finish (pushing)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildkit.core.aio import gather_all
from buildkit.core.digest import sha256_text
from buildkit.core.errors import BuildkitError, InvalidInput
from buildkit.core.identity import new_id
from buildkit.core.progress import Reporter, Stream, VertexUpdate, WarningUpdate
from buildkit.core.result import Result
from buildkit.core.values import dataclass, replace
from buildkit.exporter.exporter import Exported, Exporter, Exporting
from buildkit.exporter.exporters import open_exporter
from buildkit.oci.hosts import INSECURE
from buildkit.oci.names import Reference
from buildkit.oci.registry import Access, Registry
from buildkit.session.registry import Sessions
from buildkit.session.session import Session
from buildkit.solve.request import ExportedImage, ExporterRequest, SolveRequest
from buildkit.store.lease import Lease
from buildkit.store.refs import Ref
from buildkit.store.store import Store
from buildkit.store.times import DETERMINISTIC, REAL

_EPOCH_ARGUMENT = "build-arg:SOURCE_DATE_EPOCH"
_EPOCH_ATTRIBUTE = "source-date-epoch"


@dataclass(frozen=True, slots=True)
class Outputs:
    """The exporters of one build, made and checked before anything runs."""

    exporters: tuple[Exporter, ...]
    store: Store
    sessions: Sessions
    registry: Registry

    @classmethod
    def open(cls, request: SolveRequest, store: Store, sessions: Sessions, registry: Registry) -> Outputs:
        """Make what is asked for; raises `InvalidInput` or `Unsupported`."""
        epoch = _epoch_of(request)
        exporters = []
        for wanted in request.exporters:
            attrs = dict(wanted.attrs)
            if epoch is not None:
                attrs.setdefault(_EPOCH_ATTRIBUTE, epoch)
            exporters.append(open_exporter(wanted.type, attrs))
        return cls(tuple(exporters), store, sessions, registry)

    async def chosen(self, result: Result[Ref], request: SolveRequest) -> Outputs:
        """With the exporters that the session chooses for this result, after those of the request."""
        session = await self.sessions.get(request.session)
        if session.chooser is None:
            return self
        refs = [ref.id for ref in result.refs.values() if ref is not None]
        found = await session.chooser.choose(result.metadata, refs)
        wanted = tuple(ExporterRequest(one.type, one.attrs) for one in found)
        more = Outputs.open(replace(request, exporters=wanted), self.store, self.sessions, self.registry)
        return replace(self, exporters=(*self.exporters, *more.exporters))

    async def conclude(self, response: Mapping[str, str], request: SolveRequest) -> None:
        """Tell the session that chose exporters how the build ended."""
        session = await self.sessions.get(request.session)
        if session.chooser is not None:
            await session.chooser.conclude(response)

    async def write(
        self, result: Result[Ref], request: SolveRequest, lease: Lease, progress: Stream
    ) -> tuple[Mapping[str, str], Mapping[int, ExportedImage]]:
        """Export the result everywhere; gives the responses merged, later ones winning, and the images made."""
        warnings: Sequence[str] = ()
        if self.exporters or not result.single:
            from buildkit.solve.verify import verify_platforms

            warnings = verify_platforms(result)
        session = self.sessions.find(request.session)
        work = []
        for number, exporter in enumerate(self.exporters):
            name = exporter.name
            reporter = Reporter(VertexUpdate(sha256_text(f"{name} {new_id()}"), name), [progress])
            exporting = Exporting(
                id=str(number),
                store=self.store,
                lease=lease,
                progress=reporter,
                outputs=None if session is None else session.outputs,
                access=self._access_of(session),
                times=DETERMINISTIC if request.deterministic else REAL,
                created=DETERMINISTIC.seconds * 10**9 if request.deterministic else None,
            )
            work.append(_Output(exporter, exporting, () if number else warnings))
        exported = await gather_all(one.export(result) for one in work)
        await gather_all(one.finish(done) for one, done in zip(work, exported, strict=True))
        response = {key: value for done in exported for key, value in done.response.items()}
        return response, self._images(exported) if request.provenance else {}

    def _images(self, exported: Sequence[Exported]) -> Mapping[int, ExportedImage]:
        content, images = self.store.content, {}
        for number, done in enumerate(exported):
            if done.descriptor is not None:
                documents = (done.descriptor, *done.documents)
                images[number] = ExportedImage(done.descriptor, {d.digest: content.read(d.digest) for d in documents})
        return images

    def _access_of(self, session: Session | None) -> _Accesses:
        return _Accesses(self.registry, session)


@dataclass(frozen=True, slots=True)
class _Accesses:
    registry: Registry
    session: Session | None

    def __call__(self, reference: Reference, insecure: bool) -> Access:
        registry = self.registry
        if insecure:
            registry = Registry({**registry.hosts, reference.domain: INSECURE})
        return registry.access(self.session.auth if self.session is not None else None)


@dataclass(frozen=True, slots=True)
class _Output:
    """One exporter at work, shown as one step from its start to the end of pushing."""

    exporter: Exporter
    exporting: Exporting
    warnings: Sequence[str] = ()

    async def export(self, result: Result[Ref]) -> Exported:
        self.exporting.progress.start()
        for warning in self.warnings:
            self.exporting.progress.warn(WarningUpdate("", 0, warning.encode()))
        try:
            exported = await self.exporter.export(result, self.exporting)
        except BaseException as error:
            self._fail(error)
            raise
        if exported.finish is None:
            self.exporting.progress.complete()
        return exported

    async def finish(self, exported: Exported) -> None:
        if exported.finish is None:
            return
        try:
            await exported.finish()
        except BaseException as error:
            self._fail(error)
            raise
        self.exporting.progress.complete()

    def _fail(self, error: BaseException) -> None:
        shown = str(error) if isinstance(error, BuildkitError | OSError) else "context canceled"
        self.exporting.progress.complete(error=shown or "failed")


def _epoch_of(request: SolveRequest) -> str | None:
    """The epoch among the build arguments, where that is one: a frontend may mean something else by it."""
    text = request.frontend_attrs.get(_EPOCH_ARGUMENT)
    if text is None:
        return None
    from buildkit.exporter.epoch import Epoch

    try:
        Epoch.parse(text, _EPOCH_ARGUMENT)
    except InvalidInput:
        return None
    return text
