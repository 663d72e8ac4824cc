"""What a far client knows: credentials, secrets, ssh agents."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from buildkit.core.errors import FailedPrecondition, NotFound, Unavailable, Unsupported
from buildkit.oci.auth import Credentials
from buildkit.oci.tokens import CLIENT_ID, DEFAULT_SECONDS, USED_SHARE, Token, TokenRequest
from buildkit.rpc.client import Channel
from buildkit.session import headers
from buildkit.session.secrets import LIMIT

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from buildkit.api.policysession_pb2 import CheckPolicyRequest, CheckPolicyResponse

_SECONDS = 60.0
"""How long a client may take to find credentials: it may ask its user."""


class RemoteKeys:
    """A client's keyring: it fetches tokens itself if it can, else it shows its credentials."""

    def __init__(self, channel: Channel, *, tokens: bool) -> None:
        """``tokens``: the client offers to fetch tokens, and a proof of being the same one."""
        self._channel = channel
        self._tokens = tokens
        self._salt = b""

    async def credentials(self, host: str) -> Credentials:
        """What the client shows ``host``."""
        from buildkit.api.auth_pb2 import CredentialsRequest, CredentialsResponse

        request = CredentialsRequest(Host=host).SerializeToString()
        try:
            answer = await self._channel.unary(headers.CREDENTIALS, request, seconds=_SECONDS)
        except Unsupported:
            return Credentials()
        found = CredentialsResponse.FromString(answer)
        return Credentials(found.Username, found.Secret)

    async def token(self, request: TokenRequest) -> Token | None:
        """A token that the client fetched; None when it does not do that."""
        if not self._tokens or not await self._has_authority(request.host):
            return None
        from buildkit.api.auth_pb2 import FetchTokenRequest, FetchTokenResponse

        wanted = FetchTokenRequest(
            ClientID=CLIENT_ID,
            Host=request.host,
            Realm=request.realm,
            Service=request.service,
            Scopes=request.scopes,
        )
        answer = await self._channel.unary(headers.FETCH_TOKEN, wanted.SerializeToString(), seconds=_SECONDS)
        found = FetchTokenResponse.FromString(answer)
        issued = found.IssuedAt or time.time()
        return Token(found.Token, issued + (found.ExpiresIn or DEFAULT_SECONDS) * USED_SHARE)

    async def _has_authority(self, host: str) -> bool:
        """Whether the client keeps its credentials for ``host`` to itself."""
        import secrets

        from buildkit.api.auth_pb2 import GetTokenAuthorityRequest, GetTokenAuthorityResponse

        self._salt = self._salt or secrets.token_bytes(32)
        request = GetTokenAuthorityRequest(Host=host, Salt=self._salt).SerializeToString()
        try:
            answer = await self._channel.unary(headers.GET_AUTHORITY, request, seconds=_SECONDS)
        except (Unsupported, Unavailable):
            return False
        return bool(GetTokenAuthorityResponse.FromString(answer).PublicKey)


class RemoteSecrets:
    """A client's secrets."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def get(self, id: str) -> bytes:
        """The secret; raises `NotFound`, or `FailedPrecondition` for one that is too big."""
        from buildkit.api.secrets_pb2 import GetSecretRequest, GetSecretResponse

        try:
            answer = await self._channel.unary(headers.GET_SECRET, GetSecretRequest(ID=id).SerializeToString())
        except Unsupported as error:
            raise NotFound("not found") from error
        content = GetSecretResponse.FromString(answer).data
        if len(content) > LIMIT:
            raise FailedPrecondition(f"invalid secret size {len(content)}")
        return content


class RemoteVerifier:
    """A client's policy for sources."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def check(self, request: CheckPolicyRequest) -> CheckPolicyResponse:
        """What the client decides, or asks; raises what it says."""
        from buildkit.api.policysession_pb2 import CheckPolicyResponse

        answer = await self._channel.unary(headers.CHECK_POLICY, request.SerializeToString())
        return CheckPolicyResponse.FromString(answer)


class RemoteAgents:
    """A client's ssh agents."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def check(self, id: str) -> None:
        """Raises what the client says: `BuildkitError` with ``unset ssh forward key …``."""
        from buildkit.api.sshforward_pb2 import CheckAgentRequest

        await self._channel.unary(headers.CHECK_AGENT, CheckAgentRequest(ID=id).SerializeToString())

    async def forward(self, id: str, reader: StreamReader, writer: StreamWriter) -> None:
        """Connect somebody to the agent until both have ended; raises what the client says."""
        from buildkit.session.bytestream import join_streams

        call = self._channel.call(headers.FORWARD_AGENT, {headers.AGENT: [id or "default"]})
        try:
            await join_streams(call, call.end, reader, writer)
        except BaseException:
            call.cancel()
            raise
