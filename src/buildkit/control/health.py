"""``grpc.health.v1.Health``: as long as the daemon answers at all, it serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from buildkit.api import health_pb2 as pb
from buildkit.control.calls import listing, unary
from buildkit.core.errors import NotFound
from buildkit.core.values import dataclass
from buildkit.rpc.server import Method

SERVICE = "grpc.health.v1.Health"
_SERVING = pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVING)


@dataclass(frozen=True, slots=True)
class Health:
    """The state of ``services``; the empty name is the daemon itself."""

    services: Sequence[str]

    def methods(self) -> dict[str, Method]:
        """The methods by path."""
        return {
            f"/{SERVICE}/Check": unary(pb.HealthCheckRequest, self.check),
            f"/{SERVICE}/List": unary(pb.HealthListRequest, self.list),
            f"/{SERVICE}/Watch": listing(pb.HealthCheckRequest, self.watch),
        }

    async def check(self, request: pb.HealthCheckRequest) -> pb.HealthCheckResponse:
        """Raises `NotFound` for a service that is not there."""
        if request.service and request.service not in self.services:
            raise NotFound("unknown service")
        return _SERVING

    async def list(self, request: pb.HealthListRequest) -> pb.HealthListResponse:
        """Every service."""
        return pb.HealthListResponse(statuses=dict.fromkeys(("", *self.services), _SERVING))

    async def watch(self, request: pb.HealthCheckRequest) -> AsyncIterator[pb.HealthCheckResponse]:
        """The state now, and every change: there is none until the connection ends."""
        known = not request.service or request.service in self.services
        yield _SERVING if known else pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVICE_UNKNOWN)
        await asyncio.get_running_loop().create_future()
