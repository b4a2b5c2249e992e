// Says a greeting that a ConfigMap words and a Secret signs.
#include "../sdk/function.h"

static void append(text_t *body, const char *variable, const char *otherwise) {
  function_string_t value;
  if (environment(variable, &value)) {
    text_bytes(body, value.ptr, value.len);
  } else {
    text_string(body, otherwise);
  }
}

uint16_t answer(request_t *request, text_t *body) {
  append(body, "GREETING", "Hello");
  text_string(body, ", ");
  text_bytes(body, request->path.ptr + 1, request->path.len - 1);
  text_string(body, "! (signed ");
  append(body, "SIGNATURE", "nobody");
  text_string(body, ")\n");
  return 200;
}
