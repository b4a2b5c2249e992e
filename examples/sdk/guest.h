// What every guest needs and has no libc for: memory, and a growing text.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// A text that grows; starts as {0}.
typedef struct {
  char *data;
  size_t length, capacity;
} text_t;

void text_bytes(text_t *text, const void *bytes, size_t length);
void text_string(text_t *text, const char *string);
void text_number(text_t *text, uint64_t number);

// The number whose digits begin at `at`; 0 if there is none.
uint64_t parse_number(const void *at, size_t length);
