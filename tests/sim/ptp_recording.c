/*
 * The answers of a real camera: a recording of its ioctls by umockdev, of which the transfers are used.
 *
 *   USBDEVFS_REAPURBNDELAY result type endpoint status flags length actual errors HEX
 *
 * A line with a command container out is followed by lines with what came in, once or more often.
 */
#include "ptp_camera.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE "USBDEVFS_REAPURBNDELAY "
#define BULK 3

struct exchange {
  struct ptp_command command;
  struct ptp_out data;
  bool has_data, has_response;
  uint16_t response;
  uint32_t parameters[PTP_PARAMETERS];
  unsigned n;
  size_t missing; /* of data, while it is read */
};

struct ptp_recording {
  struct exchange *exchanges;
  size_t count;
};

static int digit(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                : -1;
}

/* In place: the text becomes the bytes. How many. */
static size_t from_hex(char *text) {
  size_t n = 0;
  for (; digit(text[2 * n]) >= 0 && digit(text[2 * n + 1]) >= 0; n++)
    text[n] = (char)(digit(text[2 * n]) << 4 | digit(text[2 * n + 1]));
  return n;
}

static unsigned parameters_of(const uint8_t *bytes, size_t n, uint32_t out[PTP_PARAMETERS]) {
  unsigned count = 0;
  for (size_t at = PTP_HEADER; at + 4 <= n && count < PTP_PARAMETERS; at += 4)
    out[count++] = ptp_get(bytes + at, 4);
  return count;
}

static bool add_command(struct ptp_recording *r, const uint8_t *bytes, size_t n) {
  struct exchange *more = realloc(r->exchanges, (r->count + 1) * sizeof(*more));
  if (!more)
    return false;
  r->exchanges = more;
  struct exchange *x = &more[r->count++];
  *x = (struct exchange){.command.operation = (uint16_t)ptp_get(bytes + 6, 2)};
  x->command.n = parameters_of(bytes, n, x->command.parameters);
  return true;
}

/* The first of what is there twice. */
static void add_answer(struct exchange *x, const uint8_t *bytes, size_t n) {
  if (x->missing) {
    size_t part = n < x->missing ? n : x->missing;
    ptp_put(&x->data, bytes, part);
    x->missing -= part;
  } else if (n >= PTP_HEADER && ptp_get(bytes + 4, 2) == PTP_DATA && !x->has_data) {
    size_t length = ptp_get(bytes, 4);
    x->has_data = true;
    ptp_put(&x->data, bytes + PTP_HEADER, n - PTP_HEADER);
    x->missing = length > n ? length - n : 0;
  } else if (n >= PTP_HEADER && ptp_get(bytes + 4, 2) == PTP_RESPONSE && !x->has_response) {
    x->has_response = true;
    x->response = (uint16_t)ptp_get(bytes + 6, 2);
    x->n = parameters_of(bytes, n, x->parameters);
  }
}

static bool add_line(struct ptp_recording *r, char *line) {
  long numbers[8];
  while (*line == ' ')
    line++;
  if (strncmp(line, LINE, strlen(LINE)) != 0)
    return true;
  line += strlen(LINE);
  for (unsigned i = 0; i < 8; i++)
    numbers[i] = strtol(line, &line, 10);
  while (*line == ' ')
    line++;
  size_t n = from_hex(line);
  const uint8_t *bytes = (const uint8_t *)line;
  if (numbers[1] != BULK)
    return true;
  if (!(numbers[2] & 0x80))
    return n < PTP_HEADER || ptp_get(bytes + 4, 2) != PTP_COMMAND || add_command(r, bytes, n);
  if (r->count)
    add_answer(&r->exchanges[r->count - 1], bytes, n);
  return true;
}

struct ptp_recording *ptp_recording_open(const char *path, char why[static 256]) {
  struct ptp_recording *r = calloc(1, sizeof(*r));
  FILE *file = fopen(path, "re");
  char *line = NULL;
  size_t room = 0;
  bool good = r && file;
  while (good && getline(&line, &room, file) >= 0)
    good = add_line(r, line);
  if (file)
    fclose(file);
  free(line);
  if (good && r->count > 0)
    return r;
  snprintf(why, 256, "%.200s: no recorded transfers", path);
  ptp_recording_close(r);
  return NULL;
}

void ptp_recording_close(struct ptp_recording *r) {
  if (!r)
    return;
  for (size_t i = 0; i < r->count; i++)
    free(r->exchanges[i].data.bytes);
  free(r->exchanges);
  free(r);
}

/* Parameters that are left out are 0. */
static bool is_same(const struct ptp_command *a, const struct ptp_command *b) {
  return a->operation == b->operation && memcmp(a->parameters, b->parameters, sizeof(a->parameters)) == 0;
}

void ptp_recording_answer(struct ptp_camera *c, const struct ptp_command *k) {
  for (size_t i = 0; i < c->recording->count; i++) {
    const struct exchange *x = &c->recording->exchanges[i];
    if (!x->has_response || x->missing || !is_same(&x->command, k))
      continue;
    if (x->has_data)
      ptp_put(ptp_data(c), x->data.bytes, x->data.n);
    ptp_respond(c, x->response, x->n, x->parameters);
    return;
  }
  ptp_respond(c, PTP_NOT_SUPPORTED, 0, NULL);
}
