#include "known.h"

#include <stdlib.h>
#include <string.h>

void known_finish(struct known *k) {
  free(k->slots);
  *k = (struct known){0};
}

void known_clear(struct known *k) {
  if (k->size)
    memset(k->slots, 0, k->size * sizeof *k->slots);
  k->n = 0;
}

/* The slot where the print is or would be. The prints are hashes: their low bits spread. */
static size_t slot_of(const uint64_t *slots, size_t size, uint64_t print) {
  size_t i = print & (size - 1);
  while (slots[i] && slots[i] != print)
    i = (i + 1) & (size - 1);
  return i;
}

static uint64_t never_0(uint64_t print) {
  return print ? print : 1;
}

bool known_has(const struct known *k, uint64_t print) {
  print = never_0(print);
  return k->size && k->slots[slot_of(k->slots, k->size, print)] == print;
}

/* At most half of the slots are ever taken. */
static bool grow(struct known *k) {
  size_t size = k->size ? 2 * k->size : 1024;
  uint64_t *slots = calloc(size, sizeof *slots);
  if (!slots)
    return false;
  for (size_t i = 0; i < k->size; i++)
    if (k->slots[i])
      slots[slot_of(slots, size, k->slots[i])] = k->slots[i];
  free(k->slots);
  k->slots = slots;
  k->size = size;
  return true;
}

void known_add(struct known *k, uint64_t print) {
  print = never_0(print);
  if (known_has(k, print))
    return;
  if (k->n == KNOWN_MAX)
    known_clear(k);
  if (2 * (k->n + 1) > k->size && !grow(k))
    return;
  k->slots[slot_of(k->slots, k->size, print)] = print;
  k->n++;
}
