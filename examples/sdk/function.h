// A function in C: answers one HTTP request with a text.
#pragma once
#include "bindings/function.h"
#include "guest.h"

// A request as the guest sees it.
typedef struct {
  function_string_t path;  // with the query
  exports_wasi_http_incoming_handler_own_incoming_request_t handle;
} request_t;

// What the function writes: answers the status and appends the body.
uint16_t answer(request_t *request, text_t *body);

// The value of an environment variable; false if it is not set.
bool environment(const char *name, function_string_t *value);

// Whether `text` begins with `prefix`.
bool begins(function_string_t text, const char *prefix);

// Appends the request's body.
void read_body(request_t *request, text_t *body);

// Sends a GET and appends the answer's body; answers the status, 0 for no answer.
uint16_t fetch(function_string_t authority, function_string_t path, text_t *body);

// Writes a line to the container's log.
void log_line(const char *text);
