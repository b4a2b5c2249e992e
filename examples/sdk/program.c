// The plumbing between wasi:cli and run().
#include "program.h"

bool exports_wasi_cli_run_run(void) {
  int code = run();
  if (code) wasi_cli_exit_exit_with_code((uint8_t)code);
  return true;
}

bool environment(const char *name, program_string_t *value) {
  program_list_tuple2_string_string_t variables;
  wasi_cli_environment_get_environment(&variables);
  for (size_t i = 0; i < variables.len; i++) {
    program_string_t key = variables.ptr[i].f0;
    if (key.len == strlen(name) && !memcmp(key.ptr, name, key.len)) {
      *value = variables.ptr[i].f1;
      return true;
    }
  }
  return false;
}

void print(const text_t *text) {
  wasi_cli_stdout_own_output_stream_t stream = wasi_cli_stdout_get_stdout();
  // blocking-write-and-flush takes at most 4096 bytes.
  for (size_t at = 0; at < text->length;) {
    size_t part = text->length - at < 4096 ? text->length - at : 4096;
    program_list_u8_t chunk = {(uint8_t *)text->data + at, part};
    wasi_io_streams_stream_error_t error;
    if (!wasi_io_streams_method_output_stream_blocking_write_and_flush(wasi_io_streams_borrow_output_stream(stream), &chunk, &error)) break;
    at += part;
  }
  wasi_io_streams_output_stream_drop_own(stream);
}

void pause_ms(uint64_t milliseconds) {
  wasi_clocks_monotonic_clock_own_pollable_t pollable = wasi_clocks_monotonic_clock_subscribe_duration(milliseconds * 1000000);
  wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
  wasi_io_poll_pollable_drop_own(pollable);
}
