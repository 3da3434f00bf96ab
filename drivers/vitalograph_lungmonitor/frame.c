#include "frame.h"

#include <asalee/driver.h>
#include <string.h>

#define STX 0x02
#define ETX 0x03
#define CENTURY 2000
#define MODEL_A 56
#define MODEL_B 68

/* ---- frames ------------------------------------------------------------------------------------------------- */

void vlm_reader_init(struct vlm_reader *r) {
  *r = (struct vlm_reader){.state = VLM_BETWEEN, .damage = ""};
}

static void begin(struct vlm_reader *r, const char *wrong) {
  r->state = VLM_INSIDE;
  r->bcc = STX;
  r->n = 0;
  r->printable = true;
  r->wrong = wrong;
}

static void append(struct vlm_reader *r, uint8_t byte) {
  const char *wrong = NULL;
  r->bcc ^= byte;
  if (byte < 0x20 || byte > 0x7e) {
    r->printable = false;
    wrong = "a byte that no payload has";
  } else if (r->n == VLM_PAYLOAD_MAX) {
    wrong = "a frame without an end";
  } else {
    r->payload[r->n++] = (char)byte;
  }
  if (!r->wrong)
    r->wrong = wrong;
}

void vlm_resume(struct vlm_reader *r) {
  begin(r, NULL);
  for (const char *p = VLM_HEAD; *p; p++)
    append(r, (uint8_t)*p);
}

bool vlm_is_head(const struct vlm_reader *r) {
  return r->state == VLM_INSIDE && !r->wrong && r->n == strlen(VLM_HEAD) && !memcmp(r->payload, VLM_HEAD, r->n);
}

static enum vlm_status damaged(struct vlm_reader *r, const char *damage, bool framed) {
  r->state = VLM_BETWEEN;
  r->damage = damage;
  r->framed = framed;
  return VLM_DAMAGED;
}

static enum vlm_status between(struct vlm_reader *r, uint8_t byte) {
  switch (byte) {
  case VLM_ACK_BYTE:
    return VLM_ACK;
  case VLM_NAK_BYTE:
    return VLM_NAK;
  case STX:
    begin(r, NULL);
    return VLM_MORE;
  default:
    begin(r, "bytes between frames");
    append(r, byte);
    return VLM_MORE;
  }
}

static enum vlm_status inside(struct vlm_reader *r, uint8_t byte) {
  if (byte == STX) {
    enum vlm_status status = damaged(r, r->wrong ? r->wrong : "a frame without an end", false);
    begin(r, NULL);
    return status;
  }
  if (byte == ETX) {
    r->bcc ^= byte;
    r->state = VLM_CHECK;
  } else {
    append(r, byte);
  }
  return VLM_MORE;
}

enum vlm_status vlm_take(struct vlm_reader *r, uint8_t byte) {
  if (r->state == VLM_BETWEEN)
    return between(r, byte);
  if (r->state == VLM_INSIDE)
    return inside(r, byte);
  if (!r->wrong && byte != r->bcc)
    r->wrong = "wrong BCC";
  if (r->wrong)
    return damaged(r, r->wrong, r->printable);
  r->state = VLM_BETWEEN;
  r->payload[r->n] = 0;
  return VLM_FRAME;
}

bool vlm_settle(struct vlm_reader *r) {
  if (r->state == VLM_BETWEEN)
    return false;
  damaged(r, r->wrong ? r->wrong : "a frame without an end", !r->wrong);
  return true;
}

size_t vlm_encode(const char *payload, uint8_t wire[static VLM_WIRE_MAX]) {
  size_t n = strlen(payload);
  uint8_t bcc = 0;
  wire[0] = STX;
  memcpy(wire + 1, payload, n);
  wire[n + 1] = ETX;
  for (size_t i = 0; i < n + 2; i++)
    bcc ^= wire[i];
  wire[n + 2] = bcc;
  return n + 3;
}

/* ---- payloads ----------------------------------------------------------------------------------------------- */

/* A number of so many digits; anything else refuses the cursor. */
static uint16_t number(struct acq_cur *c, size_t digits) {
  const uint8_t *p = acq_bytes(c, digits);
  unsigned value = 0;
  for (size_t i = 0; p && i < digits; i++) {
    if (p[i] < '0' || p[i] > '9')
      acq_refuse(c, -EPROTO);
    value = value * 10 + (p[i] - '0') % 10u;
  }
  return (uint16_t)value;
}

/* YYMMDDhhmmss; false for a date or time that is none. */
static bool read_clock(struct acq_cur *c, int64_t *ret_us) {
  struct acq_clock clock = {0};
  clock.year = CENTURY + number(c, 2);
  clock.month = number(c, 2);
  clock.day = number(c, 2);
  clock.hour = number(c, 2);
  clock.minute = number(c, 2);
  clock.second = number(c, 2);
  return acq_clock_to_us(&clock, ret_us) == 0;
}

bool vlm_is_blow(const char *payload) {
  return !strncmp(payload, VLM_HEAD, strlen(VLM_HEAD));
}

/* Copies n printable characters. */
static void text(struct acq_cur *c, size_t n, char *ret) {
  const uint8_t *p = acq_bytes(c, n);
  if (p)
    memcpy(ret, p, n);
}

int vlm_blow_read(const char *payload, struct vlm_blow *ret, const char **ret_reason) {
  size_t n = strlen(payload);
  struct acq_cur c = acq_cur(payload, n);
  struct vlm_blow b = {.model_b = n == MODEL_B};
  *ret_reason = "a blow of another length than the two known";
  if (!vlm_is_blow(payload) || (n != MODEL_A && n != MODEL_B))
    return -EPROTO;
  acq_bytes(&c, strlen(VLM_HEAD));
  text(&c, sizeof b.id - 1, b.id);
  b.pef = b.model_b ? number(&c, 3) : 0;
  b.fev075 = b.model_b ? number(&c, 3) : 0;
  b.fev1 = number(&c, 3);
  b.fev6 = number(&c, 3);
  b.ratio = number(&c, 3);
  b.fef25_75 = number(&c, 3);
  b.fev1_best = number(&c, 3);
  b.pef_best = b.model_b ? number(&c, 3) : 0;
  b.fev1_percent = number(&c, 3);
  b.pef_percent = b.model_b ? number(&c, 3) : 0;
  b.green = number(&c, 3);
  b.yellow = number(&c, 3);
  b.orange = number(&c, 3);
  bool dated = read_clock(&c, &b.clock_us);
  b.rejected = number(&c, 1) != 0;
  struct acq_cur version = c;
  number(&c, sizeof b.software - 1);
  text(&version, sizeof b.software - 1, b.software);
  *ret_reason = "a character in a number that is no digit";
  if (acq_end(&c) < 0)
    return c.err;
  *ret_reason = "a date or time that is none";
  if (!dated)
    return -ERANGE;
  *ret = b;
  return 0;
}

int vlm_time_read(const char *payload, int64_t *ret_us) {
  size_t n = strlen(payload), letters = strspn(payload, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
  struct acq_cur c = acq_cur(payload + letters, n - letters);
  int64_t us;
  if (letters != 0 && letters != 4)
    return -EPROTO;
  bool dated = read_clock(&c, &us);
  if (acq_end(&c) < 0)
    return -EPROTO;
  if (!dated)
    return -ERANGE;
  *ret_us = us;
  return 0;
}
