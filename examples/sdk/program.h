// A program in C: runs once, with arguments, environment, files and sockets.
#pragma once
#include "bindings/program.h"
#include "guest.h"

// The program; its result is the exit code.
int run(void);

// The value of an environment variable; false if it is not set.
bool environment(const char *name, program_string_t *value);

// Writes a text to stdout.
void print(const text_t *text);

// Waits this many milliseconds.
void pause_ms(uint64_t milliseconds);
