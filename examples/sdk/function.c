// The plumbing between wasi:http and answer().
#include "function.h"

static void write_all(wasi_io_streams_borrow_output_stream_t stream, const void *bytes, size_t length) {
  // blocking-write-and-flush takes at most 4096 bytes.
  for (size_t at = 0; at < length;) {
    size_t part = length - at < 4096 ? length - at : 4096;
    function_list_u8_t chunk = {(uint8_t *)bytes + at, part};
    wasi_io_streams_stream_error_t error;
    if (!wasi_io_streams_method_output_stream_blocking_write_and_flush(stream, &chunk, &error)) return;
    at += part;
  }
}

static void read_all(wasi_http_types_own_incoming_body_t body, text_t *into) {
  wasi_http_types_own_input_stream_t stream;
  if (!wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(body), &stream)) abort();
  for (;;) {
    function_list_u8_t chunk;
    wasi_io_streams_stream_error_t error;
    if (!wasi_io_streams_method_input_stream_blocking_read(wasi_io_streams_borrow_input_stream(stream), 65536, &chunk, &error)) break;
    text_bytes(into, chunk.ptr, chunk.len);
    function_list_u8_free(&chunk);
  }
  wasi_io_streams_input_stream_drop_own(stream);
  wasi_http_types_incoming_body_drop_own(body);
}

void exports_wasi_http_incoming_handler_handle(
    exports_wasi_http_incoming_handler_own_incoming_request_t handle,
    exports_wasi_http_incoming_handler_own_response_outparam_t out) {
  request_t request = {.handle = handle};
  wasi_http_types_borrow_incoming_request_t borrowed = wasi_http_types_borrow_incoming_request(handle);
  if (!wasi_http_types_method_incoming_request_path_with_query(borrowed, &request.path)) {
    request.path = (function_string_t){(uint8_t *)"/", 1};
  }
  text_t text = {0};
  uint16_t status = answer(&request, &text);

  wasi_http_types_own_outgoing_response_t response =
      wasi_http_types_constructor_outgoing_response(wasi_http_types_constructor_fields());
  wasi_http_types_borrow_outgoing_response_t borrowed_response = wasi_http_types_borrow_outgoing_response(response);
  if (!wasi_http_types_method_outgoing_response_set_status_code(borrowed_response, status)) abort();
  wasi_http_types_own_outgoing_body_t body;
  if (!wasi_http_types_method_outgoing_response_body(borrowed_response, &body)) abort();
  wasi_http_types_own_output_stream_t stream;
  if (!wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(body), &stream)) abort();
  wasi_http_types_result_own_outgoing_response_error_code_t result = {.is_err = false};
  result.val.ok = response;
  wasi_http_types_static_response_outparam_set(out, &result);
  write_all(wasi_io_streams_borrow_output_stream(stream), text.data, text.length);
  wasi_io_streams_output_stream_drop_own(stream);
  wasi_http_types_error_code_t error;
  wasi_http_types_static_outgoing_body_finish(body, NULL, &error);
}

bool environment(const char *name, function_string_t *value) {
  function_list_tuple2_string_string_t variables;
  wasi_cli_environment_get_environment(&variables);
  for (size_t i = 0; i < variables.len; i++) {
    function_string_t key = variables.ptr[i].f0;
    if (key.len == strlen(name) && !memcmp(key.ptr, name, key.len)) {
      *value = variables.ptr[i].f1;
      return true;
    }
  }
  return false;
}

bool begins(function_string_t text, const char *prefix) {
  size_t length = strlen(prefix);
  return text.len >= length && !memcmp(text.ptr, prefix, length);
}

void read_body(request_t *request, text_t *body) {
  wasi_http_types_own_incoming_body_t incoming;
  if (!wasi_http_types_method_incoming_request_consume(wasi_http_types_borrow_incoming_request(request->handle), &incoming)) abort();
  read_all(incoming, body);
}

uint16_t fetch(function_string_t authority, function_string_t path, text_t *body) {
  wasi_http_types_own_outgoing_request_t request =
      wasi_http_types_constructor_outgoing_request(wasi_http_types_constructor_fields());
  wasi_http_types_borrow_outgoing_request_t borrowed = wasi_http_types_borrow_outgoing_request(request);
  wasi_http_types_scheme_t scheme = {.tag = WASI_HTTP_TYPES_SCHEME_HTTP};
  if (!wasi_http_types_method_outgoing_request_set_scheme(borrowed, &scheme)) return 0;
  if (!wasi_http_types_method_outgoing_request_set_authority(borrowed, &authority)) return 0;
  if (!wasi_http_types_method_outgoing_request_set_path_with_query(borrowed, &path)) return 0;
  wasi_http_outgoing_handler_own_future_incoming_response_t future;
  wasi_http_outgoing_handler_error_code_t error;
  if (!wasi_http_outgoing_handler_handle(request, NULL, &future, &error)) return 0;
  wasi_http_types_borrow_future_incoming_response_t waiting = wasi_http_types_borrow_future_incoming_response(future);
  wasi_io_poll_own_pollable_t pollable = wasi_http_types_method_future_incoming_response_subscribe(waiting);
  wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
  wasi_io_poll_pollable_drop_own(pollable);
  wasi_http_types_result_result_own_incoming_response_error_code_void_t result;
  if (!wasi_http_types_method_future_incoming_response_get(waiting, &result) || result.is_err || result.val.ok.is_err) return 0;
  wasi_http_types_borrow_incoming_response_t response = wasi_http_types_borrow_incoming_response(result.val.ok.val.ok);
  uint16_t status = wasi_http_types_method_incoming_response_status(response);
  wasi_http_types_own_incoming_body_t incoming;
  if (!wasi_http_types_method_incoming_response_consume(response, &incoming)) abort();
  read_all(incoming, body);
  return status;
}

void log_line(const char *text) {
  wasi_cli_stdout_own_output_stream_t stream = wasi_cli_stdout_get_stdout();
  text_t line = {0};
  text_string(&line, text);
  text_string(&line, "\n");
  write_all(wasi_io_streams_borrow_output_stream(stream), line.data, line.length);
  wasi_io_streams_output_stream_drop_own(stream);
}
