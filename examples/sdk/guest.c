// An allocator and the few functions of a libc that guests use. The bytes come
// from memory.grow alone, so a guest is a few kilobytes.
#include "guest.h"

// Blocks are powers of two; a freed block goes to the list of its size.
typedef struct {
  size_t size_class;
  size_t alignment[3];
} header_t;

enum { SMALLEST_CLASS = 6, CLASSES = 32, PAGE = 65536 };

extern unsigned char __heap_base;
static size_t heap_end;
static void *free_blocks[CLASSES];

void *malloc(size_t size) {
  size_t size_class = SMALLEST_CLASS;
  while (((size_t)1 << size_class) < size + sizeof(header_t)) {
    if (++size_class == CLASSES - 1) return NULL;
  }
  void *reused = free_blocks[size_class];
  if (reused) {
    free_blocks[size_class] = *(void **)reused;
    return reused;
  }
  if (!heap_end) heap_end = ((size_t)&__heap_base + 31) & ~(size_t)31;
  size_t end = heap_end + ((size_t)1 << size_class);
  size_t have = __builtin_wasm_memory_size(0) * PAGE;
  if (end > have && __builtin_wasm_memory_grow(0, (end - have + PAGE - 1) / PAGE) == (size_t)-1) {
    return NULL;
  }
  header_t *header = (header_t *)heap_end;
  heap_end = end;
  header->size_class = size_class;
  return header + 1;
}

void free(void *memory) {
  if (!memory) return;
  size_t size_class = ((header_t *)memory - 1)->size_class;
  *(void **)memory = free_blocks[size_class];
  free_blocks[size_class] = memory;
}

void *calloc(size_t count, size_t size) {
  void *memory = malloc(count * size);
  return memory ? memset(memory, 0, count * size) : NULL;
}

void *realloc(void *old, size_t size) {
  if (!old) return malloc(size);
  size_t room = ((size_t)1 << ((header_t *)old - 1)->size_class) - sizeof(header_t);
  if (size <= room) return old;
  void *memory = malloc(size);
  if (!memory) return NULL;
  memcpy(memory, old, room);
  free(old);
  return memory;
}

_Noreturn void abort(void) { __builtin_trap(); }

void *memcpy(void *to, const void *from, size_t size) { return __builtin_memcpy(to, from, size); }
void *memmove(void *to, const void *from, size_t size) { return __builtin_memmove(to, from, size); }
void *memset(void *to, int byte, size_t size) { return __builtin_memset(to, byte, size); }

int memcmp(const void *a, const void *b, size_t size) {
  const unsigned char *x = a, *y = b;
  for (; size; size--, x++, y++) {
    if (*x != *y) return *x - *y;
  }
  return 0;
}

size_t strlen(const char *text) {
  const char *end = text;
  while (*end) end++;
  return end - text;
}

void text_bytes(text_t *text, const void *bytes, size_t length) {
  if (text->length + length > text->capacity) {
    text->capacity = (text->length + length) * 2 + 64;
    text->data = realloc(text->data, text->capacity);
    if (!text->data) abort();
  }
  memcpy(text->data + text->length, bytes, length);
  text->length += length;
}

void text_string(text_t *text, const char *string) { text_bytes(text, string, strlen(string)); }

void text_number(text_t *text, uint64_t number) {
  char digits[20];
  size_t first = sizeof digits;
  do digits[--first] = '0' + number % 10;
  while (number /= 10);
  text_bytes(text, digits + first, sizeof digits - first);
}

uint64_t parse_number(const void *at, size_t length) {
  const char *digit = at;
  uint64_t number = 0;
  for (; length && *digit >= '0' && *digit <= '9'; length--, digit++) {
    number = number * 10 + (*digit - '0');
  }
  return number;
}
