"""The gRPC server below Envoy's questions: each one is answered, whatever becomes of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from muniment_gateway.envoy.messages import METHOD
from muniment_gateway.envoy.service import serving_envoy
from muniment_service.config import Address

grpc: Any = pytest.importorskip("grpc", reason="the extra `envoy` is not installed")
aio: Any = pytest.importorskip("grpc.aio", reason="the extra `envoy` is not installed")

LOOPBACK = Address("127.0.0.1:0")


async def test_a_question_is_handed_over_with_the_token_that_came_with_it() -> None:
    async def decide(data: bytes, authorization: str) -> bytes:
        return data + authorization.encode()

    async with (
        serving_envoy(decide, LOOPBACK, None, 10) as port,
        aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        check = channel.unary_unary(METHOD)
        assert await check(b"?", metadata=(("authorization", "A"),)) == b"?A"
        assert await check(b"?") == b"?"
        twice = (("authorization", "A"), ("authorization", "B"))
        assert await check(b"?", metadata=twice) == b"?"
        with pytest.raises(aio.AioRpcError) as refused:
            await channel.unary_unary(f"{METHOD}er")(b"")
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_question_that_does_not_come_is_an_empty_one_and_keeps_no_place() -> None:
    asked = []

    async def decide(data: bytes, _: str) -> bytes:
        asked.append(data)
        return b"no"

    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with (
        serving_envoy(decide, LOOPBACK, None, 2, message_seconds=0.05) as port,
        aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        slow = [channel.stream_unary(METHOD)(never()) for _ in range(2)]
        assert [await one for one in slow] == [b"no", b"no"]
        assert await channel.unary_unary(METHOD)(b"?") == b"no"
    assert asked == [b"", b"", b"?"]


async def test_what_the_asker_no_longer_waits_for_is_finished() -> None:
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def decide(data: bytes, _: str) -> bytes:
        begun.set()
        await go_on.wait()
        done.set()
        return data

    async with serving_envoy(decide, LOOPBACK, None, 2) as port:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(METHOD)(b"?")
            await begun.wait()
            call.cancel()
        go_on.set()
        await done.wait()
