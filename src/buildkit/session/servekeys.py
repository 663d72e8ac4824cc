"""Serving credentials, secrets and ssh agents to a far daemon."""

from __future__ import annotations

import asyncio
import socket

from buildkit.core.aio import gather_all
from buildkit.core.errors import InvalidInput, Unavailable
from buildkit.oci.tokens import Keyring, TokenRequest
from buildkit.rpc.server import Method, ServerCall
from buildkit.session import headers
from buildkit.session.session import Agents, Secrets

_NO_TOKENS = "client side tokens disabled"
_MOST_SECONDS = 86400


def auth(keyring: Keyring) -> dict[str, Method]:
    """``moby.filesync.v1.Auth``: credentials, tokens fetched with them, and proofs of being the same user."""

    async def credentials(message: bytes, call: ServerCall) -> bytes:
        from buildkit.api.auth_pb2 import CredentialsRequest, CredentialsResponse

        found = await keyring.credentials(CredentialsRequest.FromString(message).Host)
        return CredentialsResponse(Username=found.username, Secret=found.secret).SerializeToString()

    async def fetch_token(message: bytes, call: ServerCall) -> bytes:
        from buildkit.api.auth_pb2 import FetchTokenRequest, FetchTokenResponse

        wanted = FetchTokenRequest.FromString(message)
        request = TokenRequest(wanted.Host, wanted.Realm, wanted.Service, tuple(wanted.Scopes))
        token = await keyring.token(request)
        if token is None:
            raise Unavailable(_NO_TOKENS)
        seconds, issued = int(min(token.seconds, _MOST_SECONDS)), int(token.issued)
        return FetchTokenResponse(Token=token.text, ExpiresIn=seconds, IssuedAt=issued).SerializeToString()

    async def key(host: str, salt: bytes) -> bytes:
        found = await keyring.key(host, salt)
        if found is None:
            raise Unavailable(_NO_TOKENS)
        return found

    async def authority(message: bytes, call: ServerCall) -> bytes:
        from buildkit.api.auth_pb2 import GetTokenAuthorityRequest, GetTokenAuthorityResponse
        from buildkit.signing.ed25519 import public_key

        wanted = GetTokenAuthorityRequest.FromString(message)
        public = public_key(await key(wanted.Host, wanted.Salt))
        return GetTokenAuthorityResponse(PublicKey=public).SerializeToString()

    async def verify(message: bytes, call: ServerCall) -> bytes:
        from buildkit.api.auth_pb2 import VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse
        from buildkit.signing.ed25519 import sign

        wanted = VerifyTokenAuthorityRequest.FromString(message)
        signature = sign(await key(wanted.Host, wanted.Salt), wanted.Payload)
        return VerifyTokenAuthorityResponse(Signed=signature + wanted.Payload).SerializeToString()

    return {
        headers.CREDENTIALS: Method(unary=credentials),
        headers.FETCH_TOKEN: Method(unary=fetch_token),
        headers.GET_AUTHORITY: Method(unary=authority),
        headers.VERIFY_AUTHORITY: Method(unary=verify),
    }


def secrets(lender: Secrets) -> dict[str, Method]:
    """``moby.buildkit.secrets.v1.Secrets``."""

    async def get(message: bytes, call: ServerCall) -> bytes:
        from buildkit.api.secrets_pb2 import GetSecretRequest, GetSecretResponse

        content = await lender.get(GetSecretRequest.FromString(message).ID)
        return GetSecretResponse(data=content).SerializeToString()

    return {headers.GET_SECRET: Method(unary=get)}


def ssh(agents: Agents) -> dict[str, Method]:
    """``moby.sshforward.v1.SSH``."""

    async def check(message: bytes, call: ServerCall) -> bytes:
        from buildkit.api.sshforward_pb2 import CheckAgentRequest

        await agents.check(CheckAgentRequest.FromString(message).ID)
        return b""

    async def forward(call: ServerCall) -> None:
        from buildkit.session.bytestream import join_streams

        id = headers.first(call.metadata, headers.AGENT)
        await agents.check(id)
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        far_reader, far_writer = await asyncio.open_connection(sock=theirs)

        async def serve() -> None:
            try:
                await agents.forward(id, far_reader, far_writer)
            finally:
                far_writer.close()

        try:
            await gather_all((join_streams(call, lambda: None, reader, writer), serve()))
        finally:
            writer.close()

    return {headers.CHECK_AGENT: Method(unary=check), headers.FORWARD_AGENT: Method(streaming=forward)}


def health() -> dict[str, Method]:
    """``grpc.health.v1.Health``: whoever answers is serving."""
    serving = b"\x08\x01"

    async def check(message: bytes, call: ServerCall) -> bytes:
        if message not in (b"", b"\n\x00"):
            raise InvalidInput("health is told for the whole session only")
        return serving

    return {headers.HEALTH_CHECK: Method(unary=check)}
