// Asks another function, by the name of its Service, and passes the answer on.
#include "../sdk/function.h"

uint16_t answer(request_t *request, text_t *body) {
  function_string_t greeter;
  if (!environment("GREETER", &greeter)) {
    text_string(body, "set GREETER to the host name of the greeter\n");
    return 500;
  }
  text_string(body, "The greeter says: ");
  uint16_t status = fetch(greeter, request->path, body);
  if (!status) {
    text_string(body, "nothing, it does not answer\n");
    return 502;
  }
  return status;
}
