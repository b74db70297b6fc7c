"""What one HTTP server takes at most, and the count of the bytes that it holds."""

from dataclasses import dataclass

from muniment.service.http import Problem, overloaded


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes at most.

    Attributes:
        inflight_bytes: Bytes of request bodies held at one time, over all requests.
        body_seconds: Time for a body to arrive.
        idle_seconds: Time for a connection to be idle, or in the middle of a request's head.
        send_seconds: Time for a client to take a response.
        connections: Open connections; more are closed at once.
        grace_seconds: Time for requests in flight to finish when the server stops.
    """

    inflight_bytes: int = 256 << 20
    body_seconds: float = 30.0
    idle_seconds: float = 75.0
    send_seconds: float = 60.0
    connections: int = 4096
    grace_seconds: float = 10.0


class Budget:
    """How many bytes of request bodies may be held at one time."""

    def __init__(self, most: int) -> None:
        """Starts with all of `most` bytes free."""
        self._left = most

    def take(self, count: int) -> None:
        """Takes some bytes.

        Raises:
            Problem: 503, when there are not so many left.
        """
        if count > self._left:
            raise overloaded("busy", "too many request bodies are in flight; try again")
        self._left -= count

    def give(self, count: int) -> None:
        """Gives bytes back."""
        self._left += count


def too_large(most: int) -> Problem:
    """The refusal of a body of more than `most` bytes."""
    return Problem(
        413, "too-large", f"the body is larger than {most} bytes", members={"limit": most}
    )
