// The smallest function: says hello.
#include "../sdk/function.h"

uint16_t answer(request_t *request, text_t *body) {
  text_string(body, "Hello from Podium! You asked for ");
  text_bytes(body, request->path.ptr, request->path.len);
  text_string(body, ".\n");
  return 200;
}
