"""A function in Python: answers in JSON what it was asked, and what CPython it is."""
import json
import platform

from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.environment import get_environment
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        variables = dict(get_environment())
        answer = {
            "language": platform.python_implementation(),
            "path": request.path_with_query(),
            "greeting": variables.get("GREETING"),
            "sorted": sorted(variables.get("WORDS", "").split()),
        }
        response = OutgoingResponse(Fields.from_list([("content-type", b"application/json")]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            stream.blocking_write_and_flush(json.dumps(answer).encode())
        OutgoingBody.finish(body, None)
