"""The OpenAPI 3.1 document of a gateway: AuthZEN 1.0, and what every service has.

OPA's Data API and the paths of its uploads are OPA's to describe. What is served only where people
approve is in `openapipeople`.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from muniment import __version__
from muniment_gateway.core.authzen import (
    EVALUATION_PATH,
    EVALUATIONS_PATH,
    METADATA_PATH,
    MOST_EVALUATIONS,
    SEARCH_PATH,
    Kind,
    Semantic,
)
from muniment_gateway.core.search import MOST_RESULTS
from muniment_gateway.http import openapipeople
from muniment_service import openapi
from muniment_service.openapi import JSON, OPERATIONS, Operation, paths_and_schemas


class Entity(Struct, omit_defaults=True):
    """A subject or resource."""

    type: str
    id: str
    properties: dict[str, Any] = msgspec.field(default_factory=dict)


class Action(Struct, omit_defaults=True):
    """An action."""

    name: str
    properties: dict[str, Any] = msgspec.field(default_factory=dict)


class EvaluationRequest(Struct, omit_defaults=True):
    """Whether a subject may do something; the context's `muniment` is for the gateway."""

    subject: Entity
    action: Action
    resource: Entity
    context: dict[str, Any] = msgspec.field(default_factory=dict)


class EvaluationOptions(Struct, omit_defaults=True):
    """How several evaluations are made."""

    evaluations_semantic: Semantic = "execute_all"


class EvaluationsRequest(Struct, omit_defaults=True):
    """Several evaluations, with defaults beside them; what is wrong with one is its own answer.

    A default that every evaluation replaces may be anything. Without evaluations, the request is
    one evaluation, and its members are needed.
    """

    subject: Any = None
    action: Any = None
    resource: Any = None
    context: Any = None
    evaluations: Annotated[list[Any], Meta(max_length=MOST_EVALUATIONS)] = msgspec.field(
        default_factory=list
    )
    options: EvaluationOptions = msgspec.field(default_factory=EvaluationOptions)


class EvaluationResponse(Struct):
    """The decision; the context's `muniment` is the gateway's: see docs/gateway.md."""

    decision: bool
    context: dict[str, Any]


class EvaluationsAnswer(Struct, omit_defaults=True):
    """The decisions, in the order of the evaluations; or that of a single one."""

    evaluations: list[EvaluationResponse] = msgspec.field(default_factory=list)
    decision: bool | msgspec.UnsetType = msgspec.UNSET
    context: dict[str, Any] = msgspec.field(default_factory=dict)


class Page(Struct, omit_defaults=True):
    """Which results: the token of an answer before, and how many at the most."""

    token: str = ""
    limit: Annotated[int, Meta(ge=0)] = 0
    properties: dict[str, Any] = msgspec.field(default_factory=dict)


class Sought(Struct, omit_defaults=True):
    """What is searched for; an `id` is ignored."""

    type: str
    properties: dict[str, Any] = msgspec.field(default_factory=dict)


class SubjectSearch(Struct, omit_defaults=True):
    """Who may do this."""

    subject: Sought
    action: Action
    resource: Entity
    context: dict[str, Any] = msgspec.field(default_factory=dict)
    page: Page = msgspec.field(default_factory=Page)


class ResourceSearch(Struct, omit_defaults=True):
    """To what a subject may do this."""

    subject: Entity
    action: Action
    resource: Sought
    context: dict[str, Any] = msgspec.field(default_factory=dict)
    page: Page = msgspec.field(default_factory=Page)


class ActionSearch(Struct, omit_defaults=True):
    """What a subject may do to this; an `action` is ignored."""

    subject: Entity
    resource: Entity
    context: dict[str, Any] = msgspec.field(default_factory=dict)
    page: Page = msgspec.field(default_factory=Page)


class Found(Struct, omit_defaults=True):
    """A page of what the PDP would allow, which is no permission."""

    results: Annotated[list[dict[str, Any]], Meta(max_length=MOST_RESULTS)]
    context: dict[str, Any]
    page: dict[str, Any] = msgspec.field(default_factory=dict)


class PdpMetadata(Struct):
    """Where the gateway is; and what else the engine behind it tells of itself."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str
    search_subject_endpoint: str | msgspec.UnsetType = msgspec.UNSET
    search_resource_endpoint: str | msgspec.UnsetType = msgspec.UNSET
    search_action_endpoint: str | msgspec.UnsetType = msgspec.UNSET


def _says(what: str) -> dict[str, Any]:
    return {"description": what, "content": {JSON: {"schema": {"type": "string"}}}}


_REFUSALS: Final = {
    400: _says("Malformed: what is wrong."),
    401: _says("No bearer token of a client, where one is needed."),
    408: _says("The body came too slowly."),
    413: _says("Larger than the limit."),
    503: _says("Not now: too much is in flight."),
}

_SEARCHED: Final[dict[Kind, type[Struct]]] = {
    "subject": SubjectSearch,
    "resource": ResourceSearch,
    "action": ActionSearch,
}

_CALLS: Final = (
    Operation(
        method="post",
        path=EVALUATION_PATH,
        name="evaluation",
        summary="Decide one request (AuthZEN 1.0)",
        success="The decision: an allow or a denial.",
        answer={JSON: EvaluationResponse},
        others=_REFUSALS,
        body={JSON: EvaluationRequest},
    ),
    Operation(
        method="post",
        path=EVALUATIONS_PATH,
        name="evaluations",
        summary="Decide several requests (AuthZEN 1.0); one, when there are no evaluations",
        success="The decisions.",
        answer={JSON: EvaluationsAnswer},
        others=_REFUSALS,
        body={JSON: EvaluationsRequest},
    ),
    *(
        Operation(
            method="post",
            path=SEARCH_PATH + kind,
            name=f"search_{kind}",
            summary=f"Search {kind}s by the policy decision point behind the gateway (AuthZEN 1.0)",
            success="What it would allow now. It permits nothing, and is not logged.",
            answer={JSON: Found},
            others={
                **_REFUSALS,
                404: _says("There is no policy decision point that could be searched for this."),
                502: _says("It has not answered in time, or not with an answer to a search."),
            },
            body={JSON: body},
        )
        for kind, body in _SEARCHED.items()
    ),
    Operation(
        path=METADATA_PATH,
        name="metadata",
        summary="The metadata of this policy decision point (AuthZEN 1.0)",
        success="The metadata.",
        answer={JSON: PdpMetadata},
    ),
    *OPERATIONS,
)

_PROBLEMS: Final = {503: "Not now."}
PATHS, _SCHEMAS = paths_and_schemas(_CALLS, _PROBLEMS)


def document(name: str, *, asks_people: bool = False) -> dict[str, Any]:
    """Makes the document of the gateway of a name; where it asks people, with what is for that."""
    paths, schemas = PATHS, _SCHEMAS
    if asks_people:
        paths, schemas = paths_and_schemas(
            (*_CALLS, *openapipeople.CALLS), _PROBLEMS, *openapipeople.SCHEMAS
        )
    return openapi.document(
        f"Muniment gateway {name}",
        __version__,
        "Decides through policy engines, logs the decision, and answers when a quorum of witnesses "
        "has cosigned it.",
        paths,
        schemas,
    )
