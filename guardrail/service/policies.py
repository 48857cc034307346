"""What a policy says of prompts and answers, so that others can read verdicts by it: the playground does."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from guardrail.policy import Policy
from guardrail.policy_file import READY_POLICIES, load_policy
from guardrail.service.callers import Caller
from guardrail.service.errors import ServiceError
from guardrail.service.state import authorised, service_of

router = APIRouter(tags=["policies"])

Authorised = Annotated[Caller, Depends(authorised)]


@router.get("/v1/policies")
async def policies(request: Request, caller: Authorised) -> dict[str, Any]:
    """List the ready policies and the caller's own, which comes first."""
    return {"object": "list", "data": [_values(policy) for policy in _known(request, caller).values()]}


@router.get("/v1/policies/{name}")
async def policy(name: str, request: Request, caller: Authorised) -> dict[str, Any]:
    """Return one of them."""
    known = _known(request, caller)
    if name not in known:
        raise ServiceError("there is no such policy", status=404, code="policy_not_found", param="name")
    return _values(known[name])


def _known(request: Request, caller: Caller) -> dict[str, Policy]:
    """Return policies by name; one of the caller's stands for a ready one of its name."""
    own = service_of(request).guard_for(caller, "streams").policy
    ready = (load_policy(name) for name in READY_POLICIES)
    return {own.name: own} | {policy.name: policy for policy in ready if policy.name != own.name}


def _values(policy: Policy) -> dict[str, Any]:
    """Return what decides; how messages read is nobody's business here."""
    return {
        "name": policy.name,
        "sha256": policy.sha256,
        "enforce": policy.enforce,
        "release": policy.release,
        "prompt": asdict(policy.prompt),
        "response": asdict(policy.response),
    }
