"""What a gateway serves where people approve: AuthZEN's access requests, and approvers' tools."""

from typing import Annotated, Any, Final, Literal, TypedDict

import msgspec
from msgspec import Meta, Struct

from muniment.http.approvals import PATH
from muniment.records.approval import SignedApproval
from muniment_gateway.core.authzen import REQUESTS_PATH
from muniment_service.openapi import JSON, Operation, reference, says

PROBLEM: Final = "application/problem+json"

Status = Literal["pending", "approved", "denied", "expired", "cancelled", "partial"]


class CallbackMember(Struct, omit_defaults=True):
    """Who is to be told that the task is over: an endpoint that is registered for the client."""

    endpoint: str
    state: Any = None
    events: list[str] = msgspec.field(default_factory=list)


class AccessRequest(Struct, omit_defaults=True):
    """The denied request, with its denial; the context may have more for the approvers to see.

    With `items`, each of these has an action, a resource and a denial, instead of the request.
    """

    subject: dict[str, Any]
    action: Any = None
    resource: Any = None
    denial: Any = None
    items: Any = None
    callback: CallbackMember | msgspec.UnsetType = msgspec.UNSET
    context: dict[str, Any] = msgspec.field(default_factory=dict)


class Task(Struct):
    """What became of an access request so far."""

    id: str
    status: Status
    status_endpoint: str
    expires_at: str
    display: dict[str, str]
    links: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    items: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


class TaskAnswer(Struct):
    """A task, and of an approved one by what to evaluate again."""

    task: Task
    result: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class AccessProblem(Struct):
    """RFC 9457 problem details, as the access request profile has them."""

    type: str
    title: str
    status: int
    detail: str


class Cancellation(Struct):
    """Why; nobody needs it."""

    reason: str = ""
    comment: str = ""


class Waiting(Struct):
    """The calls that wait for whoever asks, the oldest first."""

    gateway: str
    approvals: list[dict[str, Any]]


class Whole(Struct):
    """All of one call: what is signed, and what it is about."""

    request: str
    status: str
    gateway: str
    call: str
    evaluation: dict[str, Any]


class Taken(Struct):
    """What became of the call by a person's word."""

    request: str
    status: str
    leaf: int | None
    approved: int
    required: int


class OfTask(TypedDict):
    """Which task."""

    id: Annotated[str, Meta(min_length=1, pattern="^[!-.0-~]+$"), says("The id of the task.")]


class OfCall(TypedDict):
    """Which call."""

    request: Annotated[str, Meta(min_length=1, pattern="^[!-.0-~]+$"), says("As the list has it.")]


def _problem(words: str) -> dict[str, Any]:
    return {"description": words, "content": {PROBLEM: {"schema": reference("AccessProblem")}}}


_TOKEN: Final = _problem("No bearer token of a client, where one is needed.")
_KEY: Final = _problem("Not signed by an approver's key, for this URL and now.")
_TASK: Final = {"description": "The task.", "content": {JSON: {"schema": reference("TaskAnswer")}}}

CALLS: Final = (
    Operation(
        method="post",
        path=REQUESTS_PATH,
        name="request_access",
        summary="Have people asked about a denied evaluation (AuthZEN's access requests)",
        status=202,
        success="People are asked: the task, whose status is to be looked at.",
        answer={JSON: TaskAnswer},
        others={
            201: {**_TASK, "description": "People have decided already."},
            400: _problem(
                "It is not that of a denial of this client, or its callback is not registered."
            ),
            401: _TOKEN,
            408: _problem("The body came too slowly."),
            409: _problem("Another request had this Idempotency-Key."),
            410: _problem("Too late."),
            413: _problem("Larger than the limit."),
            415: _problem("In a content coding."),
            429: _problem("Too many wait already."),
            503: _problem("Not now: too much is in flight."),
        },
        body={JSON: AccessRequest},
    ),
    Operation(
        path=REQUESTS_PATH + "/{id}",
        name="access_request",
        summary="The status of a task",
        success="The task.",
        answer={JSON: TaskAnswer},
        others={401: _TOKEN, 404: _problem("No such task of this client.")},
        parameters=OfTask,
    ),
    Operation(
        method="post",
        path=REQUESTS_PATH + "/cancel/{id}",
        name="cancel_access_request",
        summary="Take an access request back that waits",
        success="The task, cancelled.",
        answer={JSON: TaskAnswer},
        others={
            401: _TOKEN,
            404: _problem("No such task of this client."),
            408: _problem("The body came too slowly."),
            409: _problem("It does not wait any more."),
            413: _problem("Larger than the limit."),
            415: _problem("In a content coding."),
            503: _problem("Not now: too much is in flight."),
        },
        parameters=OfTask,
        body={JSON: Cancellation},
        takes_empty_body=True,
    ),
    Operation(
        path=PATH,
        name="approvals",
        summary="The calls that wait for an approver, whose key signs the request",
        success="The calls.",
        answer={JSON: Waiting},
        others={401: _KEY},
    ),
    Operation(
        path=PATH + "/{request}",
        name="approval",
        summary="All of one call, for an approver, whose key signs the request",
        success="The call.",
        answer={JSON: Whole},
        others={401: _KEY, 404: _problem("No such call waits for this approver.")},
        parameters=OfCall,
    ),
    Operation(
        method="post",
        path=PATH + "/{request}",
        name="decide",
        summary="Take an approver's signed word on a call",
        success="What became of the call.",
        answer={JSON: Taken},
        others={
            400: _problem("Not an approval."),
            403: _problem("By nobody who may, or not signed by who it says."),
            404: _problem("No such call."),
            408: _problem("The body came too slowly."),
            409: _problem("It does not wait, is another call, or this person has approved it."),
            410: _problem("Too late."),
            413: _problem("Larger than the limit."),
            415: _problem("In a content coding."),
            503: _problem("It cannot be logged now, and so was not taken."),
        },
        parameters=OfCall,
        body={JSON: SignedApproval},
    ),
)
"""The calls, in their order."""

SCHEMAS: Final = (AccessProblem,)
"""What `others` refer to."""
