// A component of a Spin application for tests: shows what it hears and sees, a line each.
//   its request's path, the headers that begin with spin-, its environment
//   and, after a ? in the path, the file of that name
#include "../../examples/sdk/function.h"

static void add(text_t *body, function_string_t name, const char *between, function_string_t value) {
  text_bytes(body, name.ptr, name.len);
  text_string(body, between);
  text_bytes(body, value.ptr, value.len);
  text_string(body, "\n");
}

static void add_headers(request_t *request, text_t *body) {
  wasi_http_types_own_fields_t headers =
      wasi_http_types_method_incoming_request_headers(wasi_http_types_borrow_incoming_request(request->handle));
  wasi_http_types_list_tuple2_field_name_field_value_t entries;
  wasi_http_types_method_fields_entries(wasi_http_types_borrow_fields(headers), &entries);
  for (size_t i = 0; i < entries.len; i++) {
    function_string_t value = {entries.ptr[i].f1.ptr, entries.ptr[i].f1.len};
    if (begins(entries.ptr[i].f0, "spin-")) add(body, entries.ptr[i].f0, ": ", value);
  }
  wasi_http_types_fields_drop_own(headers);
}

static void add_environment(text_t *body) {
  function_list_tuple2_string_string_t variables;
  wasi_cli_environment_get_environment(&variables);
  for (size_t i = 0; i < variables.len; i++) add(body, variables.ptr[i].f0, "=", variables.ptr[i].f1);
}

static bool read_file(function_string_t path, function_list_u8_t *content) {
  wasi_filesystem_preopens_list_tuple2_own_descriptor_string_t folders;
  wasi_filesystem_preopens_get_directories(&folders);
  for (size_t i = 0; i < folders.len; i++) {
    if (folders.ptr[i].f1.len != 1) continue;  // all but the root
    wasi_filesystem_types_own_descriptor_t file;
    wasi_filesystem_types_error_code_t error;
    function_tuple2_list_u8_bool_t read;
    if (!wasi_filesystem_types_method_descriptor_open_at(
            wasi_filesystem_types_borrow_descriptor(folders.ptr[i].f0), 0, &path, 0,
            WASI_FILESYSTEM_TYPES_DESCRIPTOR_FLAGS_READ, &file, &error)) return false;
    if (!wasi_filesystem_types_method_descriptor_read(
            wasi_filesystem_types_borrow_descriptor(file), 65536, 0, &read, &error)) return false;
    *content = read.f0;
    return true;
  }
  return false;
}

static void add_file(function_string_t path, text_t *body) {
  function_list_u8_t content;
  if (read_file(path, &content)) text_bytes(body, content.ptr, content.len);
  else text_string(body, "no such file");
  text_string(body, "\n");
}

uint16_t answer(request_t *request, text_t *body) {
  text_bytes(body, request->path.ptr, request->path.len);
  text_string(body, "\n");
  add_headers(request, body);
  add_environment(body);
  for (size_t i = 0; i < request->path.len; i++) {
    if (request->path.ptr[i] != '?') continue;
    function_string_t path = {request->path.ptr + i + 1, request->path.len - i - 1};
    add_file(path, body);
    break;
  }
  return 200;
}
