"""What a far client knows and decides: credentials, secrets, ssh agents, policies, outputs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from buildkit.core.errors import BuildkitError, FailedPrecondition, NotFound, Unavailable, Unsupported
from buildkit.core.values import replace
from buildkit.oci.auth import Credentials
from buildkit.oci.tokens import CLIENT_ID, DEFAULT_SECONDS, Token, TokenRequest
from buildkit.rpc.client import Channel
from buildkit.session import headers
from buildkit.session.secrets import LIMIT

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from buildkit.api.policysession_pb2 import CheckPolicyRequest, CheckPolicyResponse
    from buildkit.session.authority import SharedTokens
    from buildkit.session.session import ChosenExporter

_SECONDS = 60.0
"""How long a client may take to find credentials: it may ask its user."""


class RemoteKeys:
    """A client's keyring: it fetches tokens itself if it can, else it shows its credentials."""

    def __init__(self, channel: Channel, shared: SharedTokens, *, tokens: bool) -> None:
        """``tokens``: the client offers to fetch tokens, and a proof of being the same one."""
        self._channel = channel
        self._shared = shared
        self._tokens = tokens
        self._proofs: dict[tuple[str, bytes], bool] = {}

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
        """A token that this client fetched, or another one of the same user; None when it does not do that."""
        authority = await self._authority(request.host) if self._tokens else b""
        if not authority:
            return None
        place = replace(request, refused="")
        owned = self._proofs.get((request.host, authority))
        if owned is None:
            owned = self._proofs[request.host, authority] = await self._owns(request.host, authority)
        token = self._shared.find(authority, place) if owned else None
        if token is not None and token.text != request.refused:
            return replace(token, shared=True)
        token = await self._fetch(request)
        if owned:
            self._shared.put(authority, place, token)
        return token

    async def key(self, host: str, salt: bytes) -> bytes | None:
        """None: the client keeps it."""
        return None

    async def _fetch(self, request: TokenRequest) -> Token:
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
        return Token(found.Token, found.IssuedAt or time.time(), found.ExpiresIn or DEFAULT_SECONDS)

    async def _authority(self, host: str) -> bytes:
        """The public key of a client that keeps its credentials for ``host`` to itself; else ``b""``."""
        from buildkit.api.auth_pb2 import GetTokenAuthorityRequest, GetTokenAuthorityResponse

        request = GetTokenAuthorityRequest(Host=host, Salt=self._shared.salt).SerializeToString()
        try:
            answer = await self._channel.unary(headers.GET_AUTHORITY, request, seconds=_SECONDS)
        except (Unsupported, Unavailable):
            return b""
        return GetTokenAuthorityResponse.FromString(answer).PublicKey

    async def _owns(self, host: str, authority: bytes) -> bool:
        """Whether the client proves that the key is its own; nobody owns the key of those without credentials."""
        from buildkit.api.auth_pb2 import VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse
        from buildkit.signing.ed25519 import SIGNATURE_SIZE, verify

        if authority == self._shared.anonymous:
            return False
        payload = os.urandom(32)
        request = VerifyTokenAuthorityRequest(Host=host, Salt=self._shared.salt, Payload=payload)
        try:
            answer = await self._channel.unary(headers.VERIFY_AUTHORITY, request.SerializeToString(), seconds=_SECONDS)
        except BuildkitError:
            return False
        signed = VerifyTokenAuthorityResponse.FromString(answer).Signed
        return signed[SIGNATURE_SIZE:] == payload and verify(authority, payload, signed[:SIGNATURE_SIZE])


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


class RemoteChooser:
    """A client that chooses exporters when a result is there."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def choose(self, metadata: Mapping[str, bytes], refs: Sequence[str]) -> Sequence[ChosenExporter]:
        """What the client answers; nothing when it has no opinion."""
        from buildkit.api.exporter_pb2 import FindExportersRequest, FindExportersResponse
        from buildkit.session.session import ChosenExporter

        request = FindExportersRequest(metadata=metadata, refs=refs).SerializeToString()
        try:
            answer = await self._channel.unary(headers.FIND_EXPORTERS, request)
        except (Unsupported, Unavailable):
            return ()
        found = FindExportersResponse.FromString(answer).exporters
        return [ChosenExporter(one.Type, dict(one.Attrs)) for one in found]

    async def conclude(self, response: Mapping[str, str]) -> None:
        """Tell the client; not to listen is its right."""
        from buildkit.api.exporter_pb2 import FinalizeExportRequest

        request = FinalizeExportRequest(exporter_response=response).SerializeToString()
        with suppress(Unsupported, Unavailable):
            await self._channel.unary(headers.FINALIZE_EXPORT, request)


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
