// A program: writes a line to its log every second, or every TICK_MS milliseconds.
#include "../sdk/program.h"

int run(void) {
  program_string_t value;
  uint64_t pause = environment("TICK_MS", &value) ? parse_number(value.ptr, value.len) : 1000;
  for (uint64_t tick = 1;; tick++) {
    text_t line = {0};
    text_string(&line, "tick ");
    text_number(&line, tick);
    text_string(&line, "\n");
    print(&line);
    free(line.data);
    pause_ms(pause);
  }
}
