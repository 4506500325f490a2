"""Tokens for `<img>` and the like, which send no header: each reads one result or slide."""

from datetime import UTC, datetime

from fastapi import Response
from pydantic import BaseModel, Field

from service.deps import Parts, Reader, Service
from service.web.answers import NO_STORE
from service.web.openapi import failures
from service.web.routing import Router

__all__ = ["router"]

router = Router(prefix="/v1", tags=["viewing"])


class TokenJson(BaseModel):
    token: str = Field(description="Goes into the query as `tk`")
    expires_at: datetime


@router.post("/results/{result_id}/token", responses=failures(410))
def create_result_token(
    result_id: str, service: Parts, reader: Reader, response: Response
) -> TokenJson:
    """Reads this result, and nothing else, for a while."""
    stored = service.shelf.get(reader.tenant, result_id)
    response.headers["Cache-Control"] = NO_STORE
    return _token(service, reader.tenant, stored.id)


@router.post("/slides/{slide_id}/token", responses=failures())
def create_slide_token(
    slide_id: str, service: Parts, reader: Reader, response: Response
) -> TokenJson:
    """Reads this slide, and nothing else, for a while."""
    stored = service.library.get(reader.tenant, slide_id)
    response.headers["Cache-Control"] = NO_STORE
    return _token(service, reader.tenant, stored.id)


def _token(service: Service, tenant: str, thing_id: str) -> TokenJson:
    token, expires = service.tokens.create(tenant, thing_id)
    return TokenJson(token=token, expires_at=datetime.fromtimestamp(expires, UTC))
