"""Which sources a build may use: the policies that came with it, then its client, asked for each source."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from buildkit.core.errors import FailedPrecondition, InvalidInput, PermissionDenied
from buildkit.core.values import dataclass
from buildkit.frontend.frontend import Resolving
from buildkit.session.session import Verifier
from buildkit.source.policy import Policy, apply_policies, normal_identifier

if TYPE_CHECKING:
    from buildkit.api import ops as wire
    from buildkit.api.ops_pb2 import Platform
    from buildkit.api.policysession_pb2 import CheckPolicyRequest

MOST_ROUNDS = 10
"""Questions that a client may ask about one source, changes included."""


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """The judge of one build. ``resolving`` looks at sources for a client that asks, and judges nothing itself."""

    policies: Sequence[Policy]
    resolving: Resolving
    find_verifier: Callable[[], Awaitable[Verifier]] | None = None
    """The client that decides; it may attach itself while the build runs."""

    async def __call__(self, op: wire.Op) -> bool:
        """Judge a source op, and change it if someone says so; whether it was changed (`buildkit.ops.load.Policy`)."""
        from buildkit.api.ops_pb2 import Platform

        source, platform = op.source, None
        if op.HasField("platform"):
            platform = Platform.FromString(op.platform.SerializeToString())
        normal = normal_identifier(source.identifier)
        identifier, attrs = await self.judge(normal, dict(source.attrs), platform)
        changed = identifier != normal or dict(attrs) != dict(source.attrs)
        if changed:
            source.identifier = identifier
            source.attrs.clear()
            source.attrs.update(attrs)
        return changed

    async def judge(
        self, identifier: str, attrs: Mapping[str, str], platform: Platform | None = None
    ) -> tuple[str, Mapping[str, str]]:
        """What to build instead of a source; raises `PermissionDenied` when it is denied."""
        identifier, attrs = apply_policies(self.policies, normal_identifier(identifier), attrs)
        if self.find_verifier is None:
            return identifier, attrs
        verifier = await self.find_verifier()
        from buildkit.api.policysession_pb2 import CheckPolicyRequest
        from buildkit.api.sourcepolicy_pb2 import ALLOW, CONVERT, PolicyAction
        from buildkit.frontend.gateway.sources import describe_source

        request = _question(identifier, attrs, platform)
        for _ in range(MOST_ROUNDS):
            answer = await verifier.check(request)
            kind = answer.WhichOneof("result")
            if kind == "request":
                wanted = answer.request
                if wanted.Source.identifier != identifier:
                    told = f'"{wanted.Source.identifier}" != "{identifier}"'
                    raise InvalidInput(f"policy requested different source identifier: {told}")
                if dict(wanted.Source.attrs) != dict(attrs):
                    raise InvalidInput("policy requested different source attrs")
                described = await describe_source(self.resolving, wanted)
                request = CheckPolicyRequest(Platform=platform, Source=described)
                continue
            if kind != "decision":
                raise InvalidInput("no decision in policy response")
            decision = answer.decision
            if decision.action == ALLOW:
                return identifier, attrs
            if decision.action != CONVERT:
                name = PolicyAction.Name(decision.action) if decision.action in PolicyAction.values() else "unknown"
                said = "".join(f"\n{one.message}" for one in decision.denyMessages)
                raise PermissionDenied(f'source "{identifier}" not allowed by policy: action {name}{said}')
            if not decision.HasField("update"):
                raise InvalidInput("convert action requires updated source")
            identifier, attrs = apply_policies(
                self.policies, normal_identifier(decision.update.identifier), dict(decision.update.attrs)
            )
            request = _question(identifier, attrs, platform)
        raise FailedPrecondition("too many policy requests")


def _question(identifier: str, attrs: Mapping[str, str], platform: Platform | None) -> CheckPolicyRequest:
    from buildkit.api.gateway_pb2 import ResolveSourceMetaResponse
    from buildkit.api.ops_pb2 import SourceOp
    from buildkit.api.policysession_pb2 import CheckPolicyRequest

    source = ResolveSourceMetaResponse(Source=SourceOp(identifier=identifier, attrs=dict(attrs)))
    return CheckPolicyRequest(Platform=platform, Source=source)
