"""What one HTTP server takes at most, and the count of the bytes that it holds."""

from typing import Annotated

from msgspec import Meta

from muniment_service.config import Config
from muniment_service.http import Problem, overloaded

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]


class Limits(Config, frozen=True):
    """What one server takes at most; the table `[limits]` of a service, or its part.

    Attributes:
        inflight_bytes: Bytes of request bodies held at one time, over all requests; more are
            answered with 503.
        body_seconds: Time for a body to arrive.
        idle_seconds: Time for a connection to be idle, or in the middle of a request's head.
        send_seconds: Time for a client to take a response.
        connections: Open connections; more are closed at once.
        grace_seconds: Time for requests in flight to finish when the server stops.
    """

    inflight_bytes: Count = 256 << 20
    body_seconds: Seconds = 30.0
    idle_seconds: Seconds = 75.0
    send_seconds: Seconds = 60.0
    connections: Count = 4096
    grace_seconds: Seconds = 10.0


class SmallBodyLimits(Limits, frozen=True):
    """The same for a service that takes smaller bodies than the log."""

    inflight_bytes: Count = 64 << 20


class Budget:
    """How many bytes of request bodies may be held at one time.

    Attributes:
        left: How many more.
    """

    def __init__(self, most: int) -> None:
        """Starts with all of `most` bytes free."""
        self.left = most

    def take(self, count: int) -> None:
        """Takes some bytes; raises `Problem` 503 when there are not so many left."""
        if count > self.left:
            raise overloaded("busy", "too many request bodies are in flight; try again")
        self.left -= count

    def give(self, count: int) -> None:
        """Gives bytes back."""
        self.left += count


def too_large(most: int) -> Problem:
    """The refusal of a body of more than `most` bytes."""
    return Problem(
        413, "too-large", f"the body is larger than {most} bytes", members={"limit": most}
    )
