// A function for tests: each path does one thing.
//   /env          the environment          /trap     traps
//   /loop         spins for ever           /post     echoes the body
//   /mem?N        allocates N MiB          /burn?N   N blocks of SHA-256
//   /status?N     answers status N         /log      writes to the log
//   /sleep?N      waits N milliseconds     /fetch?AUTHORITY/PATH   asks another
//   /count        the requests for it that this instance has had
// and any other echoes its path.
#include "../../examples/sdk/function.h"
#include "burn.h"

static uint64_t query(request_t *request) {
  for (size_t i = 0; i < request->path.len; i++) {
    if (request->path.ptr[i] == '?') return parse_number(request->path.ptr + i + 1, request->path.len - i - 1);
  }
  return 0;
}

static uint16_t allocate(uint64_t mebibytes, text_t *body) {
  for (uint64_t i = 0; i < mebibytes; i++) {
    char *memory = malloc((1 << 20) - 64);
    if (!memory) {
      text_string(body, "no more memory\n");
      return 507;
    }
    memset(memory, 1, (1 << 20) - 64);
  }
  text_string(body, "allocated\n");
  return 200;
}

static uint16_t fetch_other(request_t *request, text_t *body) {
  function_string_t target = {request->path.ptr + strlen("/fetch?"), request->path.len - strlen("/fetch?")};
  size_t slash = 0;
  while (slash < target.len && target.ptr[slash] != '/') slash++;
  function_string_t authority = {target.ptr, slash};
  function_string_t path = {target.ptr + slash, target.len - slash};
  if (!path.len) path = (function_string_t){(uint8_t *)"/", 1};
  uint16_t status = fetch(authority, path, body);
  return status ? status : 502;
}

static uint16_t environment_list(text_t *body) {
  function_list_tuple2_string_string_t variables;
  wasi_cli_environment_get_environment(&variables);
  for (size_t i = 0; i < variables.len; i++) {
    text_bytes(body, variables.ptr[i].f0.ptr, variables.ptr[i].f0.len);
    text_string(body, "=");
    text_bytes(body, variables.ptr[i].f1.ptr, variables.ptr[i].f1.len);
    text_string(body, "\n");
  }
  return 200;
}

static void wait_ms(uint64_t milliseconds) {
  wasi_clocks_monotonic_clock_own_pollable_t pollable = wasi_clocks_monotonic_clock_subscribe_duration(milliseconds * 1000000);
  wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
  wasi_io_poll_pollable_drop_own(pollable);
}

// Kept in memory, so it outlives a request only where the instance does.
static uint64_t count;

uint16_t answer(request_t *request, text_t *body) {
  if (begins(request->path, "/env")) return environment_list(body);
  if (begins(request->path, "/trap")) __builtin_trap();
  if (begins(request->path, "/loop")) {
    for (volatile int spin = 0;; spin++) {
    }
  }
  if (begins(request->path, "/mem")) return allocate(query(request), body);
  if (begins(request->path, "/status")) return query(request);
  if (begins(request->path, "/fetch?")) return fetch_other(request, body);
  if (begins(request->path, "/burn")) {
    text_number(body, burn_sha(query(request)));
  } else if (begins(request->path, "/count")) {
    text_number(body, ++count);
  } else if (begins(request->path, "/post")) {
    read_body(request, body);
    return 200;
  } else if (begins(request->path, "/log")) {
    log_line("a line from the function");
  } else if (begins(request->path, "/sleep")) {
    wait_ms(query(request));
  } else {
    text_bytes(body, request->path.ptr, request->path.len);
  }
  text_string(body, "\n");
  return 200;
}
