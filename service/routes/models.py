"""`/v1/models`: the cards of the models that clients may ask for."""

from fastapi import Request, Response

from service.deps import Parts, Reader
from service.errors import NotFound
from service.schemas import ModelJson, ModelPage
from service.web.answers import TaggedJson
from service.web.openapi import failures
from service.web.routing import Router

__all__ = ["router"]

router = Router(prefix="/v1/models", tags=["models"])


@router.get("", response_model=ModelPage, responses=failures())
def list_models(request: Request, service: Parts, _principal: Reader) -> Response:
    """All models, the default one first."""
    cards = [service.resources.model(offered) for offered in service.catalogue]
    return TaggedJson(ModelPage(items=cards), request.headers)


@router.get("/{name}", response_model=ModelJson, responses=failures())
def get_model(name: str, request: Request, service: Parts, _principal: Reader) -> Response:
    """One model's card: what it was trained on, how good it is, what it is not for."""
    offered = service.catalogue.offered.get(name)
    if offered is None:
        raise NotFound("no model has this name")
    return TaggedJson(service.resources.model(offered), request.headers)
