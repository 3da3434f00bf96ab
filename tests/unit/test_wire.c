#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"
#include "wall.h"
#include <asalee/record.h>
#include <asalee/wire.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

/* 63 and 255 bytes, the longest texts of either kind. */
#define TEXT_15 "0123456789 \xc3\xa9 \x7e"
#define TEXT_60 TEXT_15 TEXT_15 TEXT_15 TEXT_15
#define TEXT_63 TEXT_60 "end"
#define TEXT_255 TEXT_60 TEXT_60 TEXT_60 TEXT_60 TEXT_15
#define TEXT_SLASH_255 "/" TEXT_60 TEXT_60 TEXT_60 TEXT_60 "0123456789 end"

static const struct wire_message messages[] = {
    {.type = WIRE_ORDER,
     .order =
         {"corscience_emi12", "/dev/bus/usb/001/002", ACQ_USB, {10, 1774745999123456, 60, ACQ_SPIROMETRY, ACQ_POST}}},
    {.type = WIRE_ORDER,
     .order = {TEXT_63, TEXT_255, ACQ_SERIAL, {UINT32_MAX, WALL_MAX, -1439, ACQ_MEASUREMENT, ACQ_NO_PHASE}}},
    {.type = WIRE_ORDER, .order = {"x", "/", ACQ_FILE, {0, 0, 1439, ACQ_ECG, ACQ_PRE}}},
    {.type = WIRE_ORDER, .order = {"replay", "", 0, {1, 1, 0, 0, 0}}},
    {.type = WIRE_START},
    {.type = WIRE_CANCEL},
    {.type = WIRE_OPENED},
    {.type = WIRE_IDENTITY, .identity = {"Corscience", "EMI-12", "SN 42", "1.0", "TT 7"}},
    {.type = WIRE_IDENTITY, .identity = {TEXT_63, TEXT_63, TEXT_63, TEXT_63, TEXT_63}},
    {.type = WIRE_IDENTITY},
    {.type = WIRE_PROGRESS, .progress = {0x01020304, 0xf1f2f3f4}},
    {.type = WIRE_PROGRESS},
    {.type = WIRE_PREVIEW,
     .preview = {3, 2, 0xf1020304, 500, {-360, -18}, {0, 1, 15}, {{1, -1}, {INT16_MAX, INT16_MIN}, {0, 258}}}},
    {.type = WIRE_PREVIEW, .preview = {1, 1, 0, 1, {INT32_MIN, 18}, {0}, {{-2}}}},
    {.type = WIRE_CONTACTS, .contacts = {0x3ff, 0x80000201}},
    {.type = WIRE_RECORD, .record = {{1, 0}, {0, 0}}},
    {.type = WIRE_RECORD,
     .record = {{RECORD_JSON_MAX, RECORD_JSON_MAX},
                {RECORD_DATA_MAX, RECORD_DATA_MAX},
                {RECORD_PREVIEWS_MAX, RECORD_PREVIEWS_MAX}}},
    {.type = WIRE_FAIL, .fail = {-EPROTO, WIRE_STEP_ACQUIRE, "frame 3: wrong length"}},
    {.type = WIRE_FAIL, .fail = {-4095, WIRE_STEP_OPEN, ""}},
    {.type = WIRE_FAIL, .fail = {-1, WIRE_STEP_DECODE, TEXT_255}},
    {.type = WIRE_RECORD, .record = {{0x00020304, 1}, {0x01060708, 2}, {0x00090a0b, 3}}},
    {.type = WIRE_RECORD, .record = {{0, 1}, {0, 0}}}, /* all of it stray */
    {.type = WIRE_FINISH},
    {.type = WIRE_PICTURE, .picture = {2, 320, 0x0102, 3, {0xff, 0xd8, 0xd9}}},
    {.type = WIRE_ORDER,
     .order = {"ptp_camera", "/dev/bus/usb/001/002", ACQ_USB, {600, 1, 0, ACQ_FUNDUS, ACQ_NO_PHASE, ACQ_PICTURES_MAX}}},
    {.type = WIRE_COLLECT, .collect = {"/srv/e", true, 2000, 0x0102, 0x00030405, 2, {"*.scp", "*"}}}, /* 25 */
    {.type = WIRE_COLLECT, .collect = {TEXT_SLASH_255, false, WIRE_SETTLE_MAX, 0, ACQ_BLOB_MAX, 1, {TEXT_63}}},
    {.type = WIRE_KEPT},
    {.type = WIRE_FILE, .file = {1, 2, 3, 0x0004050607080910, {0xa0, [31] = 0xaf}, "a/b.scp"}}, /* 28 */
    {.type = WIRE_FILE, .file = {UINT32_MAX, WIRE_PATTERNS_MAX - 1, ACQ_BLOB_MAX, WALL_MAX, {0}, TEXT_255}},
    {.type = WIRE_BATCH, .batch = {1}}, /* 30 */
    {.type = WIRE_BATCH, .batch = {WIRE_BATCH_FILES}},
    {.type = WIRE_PASS, .pass = {0x011c, 0x0101, 2, 3, 4, 5, 6, 7, true}}, /* 32 */
    {.type = WIRE_PASS, .pass = {UINT32_MAX, UINT32_MAX, 0, 0, 0, 0, 0, 0, false}},
    {.type = WIRE_PASS},
};

static struct wire_message full_collect(void) {
  struct wire_message m = {.type = WIRE_COLLECT,
                           .collect = {TEXT_SLASH_255, true, 0, WIRE_POLL_MAX, 1, WIRE_PATTERNS_MAX, {""}}};
  for (unsigned i = 0; i < WIRE_PATTERNS_MAX; i++)
    memcpy(m.collect.pattern[i], TEXT_63, 64);
  return m;
}

static struct wire_message full_preview(void) {
  struct wire_message m = {
      .type = WIRE_PREVIEW,
      .preview = {ACQ_PREVIEW_CHANNELS, ACQ_PREVIEW_SAMPLES, UINT32_MAX, 1000000, {2441, -3}, {0}, {{0}}}};
  for (unsigned c = 0; c < ACQ_PREVIEW_CHANNELS; c++) {
    m.preview.code[c] = (uint8_t)c;
    for (unsigned s = 0; s < ACQ_PREVIEW_SAMPLES; s++)
      m.preview.values[c][s] = (int16_t)(c * 4099 + s * 31 - 20000);
  }
  return m;
}

static bool same(const struct wire_message *a, const struct wire_message *b) {
  if (a->type != b->type)
    return false;
  switch (a->type) {
  case WIRE_ORDER:
    return !strcmp(a->order.driver, b->order.driver) && !strcmp(a->order.node, b->order.node) &&
           a->order.bus == b->order.bus && a->order.order.seconds == b->order.order.seconds &&
           a->order.order.started_us == b->order.order.started_us &&
           a->order.order.offset_minutes == b->order.order.offset_minutes &&
           a->order.order.modality == b->order.order.modality && a->order.order.phase == b->order.order.phase &&
           a->order.order.pictures == b->order.order.pictures;
  case WIRE_START:
  case WIRE_CANCEL:
  case WIRE_FINISH:
  case WIRE_OPENED:
  case WIRE_KEPT:
    return true;
  case WIRE_COLLECT:
    if (strcmp(a->collect.path, b->collect.path) || a->collect.watch != b->collect.watch ||
        a->collect.settle_ms != b->collect.settle_ms || a->collect.poll_s != b->collect.poll_s ||
        a->collect.max_bytes != b->collect.max_bytes || a->collect.n_patterns != b->collect.n_patterns)
      return false;
    for (unsigned i = 0; i < a->collect.n_patterns; i++)
      if (strcmp(a->collect.pattern[i], b->collect.pattern[i]))
        return false;
    return true;
  case WIRE_FILE:
    return a->file.number == b->file.number && a->file.pattern == b->file.pattern && a->file.bytes == b->file.bytes &&
           a->file.modified_us == b->file.modified_us && !memcmp(a->file.sha256, b->file.sha256, 32) &&
           !strcmp(a->file.name, b->file.name);
  case WIRE_BATCH:
    return a->batch.files == b->batch.files;
  case WIRE_PASS:
    return a->pass.matching == b->pass.matching && a->pass.taken == b->pass.taken && a->pass.known == b->pass.known &&
           a->pass.unsettled == b->pass.unsettled && a->pass.empty == b->pass.empty &&
           a->pass.too_large == b->pass.too_large && a->pass.not_files == b->pass.not_files &&
           a->pass.unreadable == b->pass.unreadable && a->pass.too_many == b->pass.too_many;
  case WIRE_PICTURE:
    return a->picture.number == b->picture.number && a->picture.width == b->picture.width &&
           a->picture.height == b->picture.height && a->picture.n == b->picture.n &&
           !memcmp(a->picture.jpeg, b->picture.jpeg, a->picture.n);
  case WIRE_IDENTITY:
    return !strcmp(a->identity.make, b->identity.make) && !strcmp(a->identity.model, b->identity.model) &&
           !strcmp(a->identity.serial, b->identity.serial) && !strcmp(a->identity.firmware, b->identity.firmware) &&
           !strcmp(a->identity.sensor, b->identity.sensor);
  case WIRE_PROGRESS:
    return a->progress.done == b->progress.done && a->progress.total == b->progress.total;
  case WIRE_PREVIEW:
    if (a->preview.channels != b->preview.channels || a->preview.samples != b->preview.samples ||
        a->preview.first != b->preview.first || a->preview.rate_hz != b->preview.rate_hz ||
        a->preview.scale.mantissa != b->preview.scale.mantissa ||
        a->preview.scale.exponent != b->preview.scale.exponent)
      return false;
    for (unsigned c = 0; c < a->preview.channels; c++)
      if (a->preview.code[c] != b->preview.code[c] ||
          memcmp(a->preview.values[c], b->preview.values[c], a->preview.samples * sizeof(int16_t)))
        return false;
    return true;
  case WIRE_CONTACTS:
    return a->contacts.known == b->contacts.known && a->contacts.on == b->contacts.on;
  case WIRE_RECORD:
    return !memcmp(&a->record, &b->record, sizeof a->record);
  case WIRE_FAIL:
    return a->fail.err == b->fail.err && a->fail.step == b->fail.step && !strcmp(a->fail.text, b->fail.text);
  }
  return false;
}

#define MESSAGES (COUNT(messages) + 2)
static struct wire_message message_of(size_t i) {
  return i < COUNT(messages) ? messages[i] : i == COUNT(messages) ? full_preview() : full_collect();
}

/* Reads from a block that ends where the packet ends; *ret is left alone by a refusal. */
static int read_exact(const uint8_t *bytes, size_t n, struct wire_message *ret) {
  uint8_t *exact = malloc(n + !n);
  assert_non_null(exact);
  memcpy(exact, bytes, n);
  static struct wire_message mark, m;
  memset(&mark, 0x5a, sizeof mark);
  memset(&m, 0x5a, sizeof m);
  int r = wire_read(exact, n, &m);
  free(exact);
  if (r == 0) {
    *ret = m;
  } else {
    assert_int_equal(r, -EPROTO);
    assert_memory_equal(&m, &mark, sizeof m);
  }
  return r;
}

TEST(round_trips) {
  static uint8_t bytes[WIRE_MAX], again[WIRE_MAX];
  unsigned seen = 0;
  for (size_t i = 0; i < MESSAGES; i++) {
    struct wire_message m = message_of(i), back;
    int n = wire_write(&m, bytes);
    if (n <= 0)
      fail_msg("message %zu: %d", i, n);
    assert_int_equal(bytes[0], m.type);
    assert_int_equal(read_exact(bytes, (size_t)n, &back), 0);
    assert_true(same(&m, &back));
    assert_int_equal(wire_write(&back, again), n);
    assert_memory_equal(bytes, again, (size_t)n);
    seen |= 1u << m.type;
  }
  assert_int_equal(seen, ((1u << (WIRE_PASS + 1)) - 1) & ~1u); /* every type was there */
}

/* The bytes themselves: little endian, in the order of the fields. */
TEST(layout) {
  static const uint8_t order[] = {1, 1, 'x', 1, '/', 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x9f, 0x05, 1, 2, 0, 0},
                       progress[] = {7, 4, 3, 2, 1, 0xf4, 0xf3, 0xf2, 0xf1},
                       preview[] = {8, 3, 2, 4,    3,    2, 0xf1, 0xf4, 1, 0,    0,  0x98, 0xfe, 0xff, 0xff, 0xee,
                                    0, 1, 0, 0xff, 0xff, 1, 0xff, 0x7f, 0, 0x80, 15, 0,    0,    2,    1},
                       record[] = {11, 4, 3, 2, 0, 8, 7, 6, 1, 0x0b, 0x0a, 9, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0},
                       picture[] = {9, 2, 0, 0, 0, 0x40, 1, 0, 0, 2, 1, 0, 0, 3, 0, 0, 0, 0xff, 0xd8, 0xd9},
                       fail[] = {12, 0xff, 0xff, 0xff, 0xff, 6, 255},
                       collect[] = {13, 6, '/', 's', 'r', 'v', '/', 'e', 1,   0xd0, 7,   0,   0,   2, 1,
                                    0,  0, 5,   4,   3,   0,   2,   5,   '*', '.',  's', 'c', 'p', 1, '*'},
                       file[] = {15,   1, 0, 0, 0, 2, 0, 0, 0, 3, 0,    0, 0,   0x10, 9,   8,   7,   6,   5,  4, 0,
                                 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0,   0,    0,   0,   0,   0,   0,  0, 0,
                                 0,    0, 0, 0, 0, 0, 0, 0, 0, 0, 0xaf, 7, 'a', '/',  'b', '.', 's', 'c', 'p'},
                       pass[] = {17, 0x1c, 1, 0, 0, 1, 1, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0,
                                 4,  0,    0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0, 1};
  uint8_t bytes[WIRE_MAX];
  assert_int_equal(wire_write(&messages[2], bytes), sizeof order);
  assert_memory_equal(bytes, order, sizeof order);
  assert_int_equal(wire_write(&messages[10], bytes), sizeof progress);
  assert_memory_equal(bytes, progress, sizeof progress);
  assert_int_equal(wire_write(&messages[12], bytes), sizeof preview);
  assert_memory_equal(bytes, preview, sizeof preview);
  assert_int_equal(wire_write(&messages[20], bytes), sizeof record);
  assert_memory_equal(bytes, record, sizeof record);
  assert_int_equal(wire_write(&messages[19], bytes), sizeof fail + 255);
  assert_memory_equal(bytes, fail, sizeof fail);
  assert_int_equal(wire_write(&messages[23], bytes), sizeof picture);
  assert_memory_equal(bytes, picture, sizeof picture);
  assert_int_equal(wire_write(&messages[25], bytes), sizeof collect);
  assert_memory_equal(bytes, collect, sizeof collect);
  assert_int_equal(wire_write(&messages[28], bytes), sizeof file);
  assert_memory_equal(bytes, file, sizeof file);
  assert_int_equal(wire_write(&messages[30], bytes), 5);
  assert_memory_equal(bytes, ((const uint8_t[]){16, 1, 0, 0, 0}), 5);
  assert_int_equal(wire_write(&messages[32], bytes), sizeof pass);
  assert_memory_equal(bytes, pass, sizeof pass);
  struct wire_message full = full_preview();
  assert_int_equal(wire_write(&full, bytes), 16 + 16 * (1 + 2 * 64));
}

TEST(every_truncation_and_extension) {
  static uint8_t bytes[WIRE_MAX + 8];
  for (size_t i = 0; i < MESSAGES; i++) {
    struct wire_message m = message_of(i), back;
    int n = wire_write(&m, bytes);
    assert_true(n > 0);
    for (size_t cut = 0; cut < (size_t)n; cut++)
      if (read_exact(bytes, cut, &back) == 0)
        fail_msg("message %zu is accepted without its last %zu bytes", i, (size_t)n - cut);
    for (unsigned c = 0; c < 256; c++) {
      memset(bytes + n, (int)c, 8);
      for (size_t more = 1; more <= 8; more++)
        if (read_exact(bytes, (size_t)n + more, &back) == 0)
          fail_msg("message %zu is accepted with %zu bytes more", i, more);
    }
  }
}

/* Every byte takes every value: refused, or a message within its limits whose bytes are those. */
TEST(every_byte_mutated) {
  static uint8_t bytes[WIRE_MAX], again[WIRE_MAX];
  for (size_t i = 0; i < COUNT(messages); i++) {
    int n = wire_write(&messages[i], bytes);
    for (size_t at = 0; at < (size_t)n; at++) {
      uint8_t was = bytes[at];
      for (unsigned v = 0; v < 256; v++) {
        bytes[at] = (uint8_t)v;
        struct wire_message m;
        if (read_exact(bytes, (size_t)n, &m))
          continue;
        if (wire_write(&m, again) != n || memcmp(bytes, again, (size_t)n))
          fail_msg("message %zu, byte %zu as %02x, is written otherwise", i, at, v);
      }
      bytes[at] = was;
    }
  }
}

static uint64_t seed = UINT64_C(0xda3e39cb94b95bdb);

static uint64_t rnd(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

TEST(random_packets) {
  static uint8_t bytes[WIRE_MAX], again[WIRE_MAX];
  unsigned accepted = 0;
  for (int i = 0; i < 300000; i++) {
    size_t n = rnd() % 40 + 1;
    for (size_t k = 0; k < n; k++)
      bytes[k] = (uint8_t)(rnd() % 3 ? rnd() % 4 : rnd());
    bytes[0] = (uint8_t)(rnd() % (WIRE_PASS + 2));
    struct wire_message m;
    if (read_exact(bytes, n, &m))
      continue;
    accepted++;
    assert_int_equal(wire_write(&m, again), n);
    assert_memory_equal(bytes, again, n);
  }
  assert_true(accepted > 1000);
}

/* What the reader refuses, by field. */
TEST(limits_of_the_reader) {
  static const struct {
    size_t message, at;
    uint8_t n, bytes[8];
    bool fine;
  } rows[] = {
      {4, 0, 1, {0}, false}, /* type */
      {4, 0, 1, {18}, false},
      {4, 0, 1, {255}, false},
      {2, 1, 1, {0}, false},    /* lengths that shift what follows */
      {2, 2, 1, {0x1f}, false}, /* a control in a text */
      {2, 2, 1, {0x00}, false},
      {2, 2, 1, {0x7f}, false},
      {2, 2, 1, {0x80}, false},
      {2, 5, 1, {0}, false}, /* a node without a bus */
      {2, 5, 1, {1}, true},
      {2, 5, 1, {4}, false},
      {2, 10, 8, {0, 0, 0, 0, 0, 0, 0, 0x80}, false}, /* before 1970 */
      {2, 10, 8, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, false},
      {2, 10, 8, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, false},
      {2, 10, 8, {0xff, 0x5f, 0x73, 0xcc, 0x0c, 0x44, 0x84, 0x03}, true}, /* the end of 9999 */
      {2, 10, 8, {0x00, 0x60, 0x73, 0xcc, 0x0c, 0x44, 0x84, 0x03}, false},
      {2, 18, 2, {0xa0, 0x05}, false}, /* 1440 minutes */
      {2, 18, 2, {0x61, 0xfa}, true},  /* -1439 */
      {2, 18, 2, {0x60, 0xfa}, false},
      {2, 20, 1, {0}, true}, /* modality */
      {2, 20, 1, {4}, true},
      {2, 20, 1, {5}, false},
      {2, 21, 1, {3}, true}, /* phase */
      {2, 21, 1, {4}, false},
      {3, 9, 1, {1}, false},  /* a bus without a node */
      {12, 1, 1, {0}, false}, /* channels */
      {12, 1, 1, {17}, false},
      {12, 2, 1, {0}, false}, /* samples */
      {12, 2, 1, {65}, false},
      {12, 7, 4, {0, 0, 0, 0}, false}, /* rate */
      {12, 7, 4, {0x40, 0x42, 0x0f, 0}, true},
      {12, 7, 4, {0x41, 0x42, 0x0f, 0}, false},
      {12, 15, 1, {19}, false}, /* exponent */
      {12, 15, 1, {0xed}, false},
      {12, 15, 1, {18}, true},
      {12, 16, 1, {255}, false},         /* a row that is not there */
      {15, 1, 4, {0, 0, 0, 0}, false},   /* a record has a JSON */
      {15, 1, 4, {0, 0, 0x40, 0}, true}, /* of 4 MiB at most */
      {15, 1, 4, {1, 0, 0x40, 0}, false},
      {15, 5, 4, {0, 0, 0, 2}, true}, /* and 32 MiB of samples */
      {15, 5, 4, {1, 0, 0, 2}, false},
      {15, 9, 4, {0, 0, 0, 4}, true}, /* and 64 MiB of previews */
      {15, 9, 4, {1, 0, 0, 4}, false},
      {15, 13, 4, {0, 0, 0x40, 0}, true}, /* and so has the stray one */
      {15, 13, 4, {1, 0, 0x40, 0}, false},
      {15, 17, 4, {2, 0, 0, 0}, false}, /* which is not there: no samples either */
      {20, 17, 4, {0, 0, 0, 2}, true},
      {20, 17, 4, {1, 0, 0, 2}, false},
      {20, 1, 4, {0, 0, 0, 0}, false}, /* samples of a record that is not there */
      {21, 1, 4, {1, 0, 0, 0}, true},
      {21, 5, 4, {2, 0, 0, 0}, false},
      {21, 9, 4, {2, 0, 0, 0}, false},
      {21, 13, 4, {0, 0, 0, 0}, false},
      {23, 1, 4, {0, 0, 0, 0}, false}, /* pictures count from 1 */
      {23, 5, 4, {0, 0, 0, 0}, false}, /* no width */
      {23, 13, 4, {2, 0, 0, 0}, false},
      {23, 13, 4, {4, 0, 0, 0}, false},
      {24, 50, 2, {33, 0}, false},     /* more pictures than a record holds */
      {18, 1, 4, {0, 0, 0, 0}, false}, /* 0 is no error */
      {18, 1, 4, {1, 0, 0, 0}, false},
      {18, 1, 4, {0x00, 0xf0, 0xff, 0xff}, false}, /* -4096 */
      {18, 1, 4, {0, 0, 0, 0x80}, false},
      {18, 5, 1, {0}, false}, /* step */
      {18, 5, 1, {6}, true},
      {18, 5, 1, {7}, false},
      {25, 2, 1, {'x'}, false}, /* a path is absolute */
      {25, 8, 1, {2}, false},   /* watch */
      {25, 8, 1, {0}, true},
      {25, 9, 4, {0x80, 0xee, 0x36, 0}, true}, /* an hour to settle */
      {25, 9, 4, {0x81, 0xee, 0x36, 0}, false},
      {25, 13, 4, {0, 0, 0, 0}, false},      /* who watches has one */
      {25, 13, 4, {0x80, 0x51, 1, 0}, true}, /* of a day */
      {25, 13, 4, {0x81, 0x51, 1, 0}, false},
      {25, 17, 4, {0, 0, 0, 0}, false}, /* max_bytes */
      {25, 17, 4, {0, 0, 0, 4}, true},
      {25, 17, 4, {1, 0, 0, 4}, false},
      {25, 21, 1, {0}, false}, /* patterns */
      {25, 21, 1, {1}, false},
      {25, 21, 1, {33}, false},
      {25, 29, 1, {'/'}, false},       /* of names */
      {28, 1, 4, {0, 0, 0, 0}, false}, /* number */
      {28, 5, 4, {31, 0, 0, 0}, true}, /* pattern */
      {28, 5, 4, {32, 0, 0, 0}, false},
      {28, 9, 4, {0, 0, 0, 0}, false}, /* bytes */
      {28, 9, 4, {0, 0, 0, 4}, true},
      {28, 9, 4, {1, 0, 0, 4}, false},
      {28, 13, 8, {0, 0, 0, 0, 0, 0, 0, 0x80}, false}, /* before 1970 */
      {28, 13, 8, {0, 0x60, 0x73, 0xcc, 0x0c, 0x44, 0x84, 0x03}, false},
      {28, 54, 1, {'\n'}, false},      /* name */
      {30, 1, 4, {0, 0, 0, 0}, false}, /* files of a batch */
      {30, 1, 4, {0xe8, 3, 0, 0}, true},
      {30, 1, 4, {0xe9, 3, 0, 0}, false},
      {32, 1, 4, {0x1b, 1, 0, 0}, false}, /* the sum */
      {32, 5, 4, {2, 1, 0, 0}, false},
      {32, 29, 4, {8, 0, 0, 0}, false},
      {32, 33, 1, {0}, true}, /* too many */
      {32, 33, 1, {2}, false},
      {33, 9, 4, {1, 0, 0, 0}, false}, /* a sum beyond 32 bits */
  };
  uint8_t bytes[WIRE_MAX];
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct wire_message m;
    int n = wire_write(&messages[rows[i].message], bytes);
    memcpy(bytes + rows[i].at, rows[i].bytes, rows[i].n);
    if ((read_exact(bytes, (size_t)n, &m) == 0) != rows[i].fine)
      fail_msg("row %zu", i);
  }
  for (unsigned v = 0; v < 256; v++) {
    struct wire_message m;
    int n = wire_write(&messages[12], bytes);
    bytes[21] = (uint8_t)v;                               /* the second channel's code */
    const struct nomenclature *row = nomenclature_row(v); /* samples only: no value that an instrument concludes */
    assert_int_equal(read_exact(bytes, (size_t)n, &m), row && row->kind == 'C' ? 0 : -EPROTO);
  }
  static const char long_driver[] = TEXT_63 "!"; /* a text that fills its field without room for a NUL */
  bytes[0] = WIRE_IDENTITY;
  bytes[1] = 64;
  memcpy(bytes + 2, long_driver, 64);
  memset(bytes + 66, 0, 4);
  struct wire_message m;
  assert_int_equal(read_exact(bytes, 70, &m), -EPROTO);
  bytes[1] = 63; /* the same packet with a text that fits */
  memmove(bytes + 65, bytes + 66, 4);
  assert_int_equal(read_exact(bytes, 69, &m), 0);
}

/* The writer refuses the same, so that it is noticed on the side that has the bug. */
TEST(limits_of_the_writer) {
  uint8_t bytes[WIRE_MAX];
  struct wire_message m;
#define REFUSED(index, change)              \
  do {                                      \
    m = messages[index];                    \
    change;                                 \
    memset(bytes, 0x5a, sizeof bytes);      \
    int refused = wire_write(&m, bytes);    \
    if (refused != -EINVAL)                 \
      fail_msg("%s: %d", #change, refused); \
    assert_int_equal(bytes[0], 0x5a);       \
  } while (0)
  REFUSED(4, m.type = 0);
  REFUSED(4, m.type = WIRE_PASS + 1);
  REFUSED(4, m.type = 256 + WIRE_START);
  REFUSED(0, memset(m.order.driver, 'a', sizeof m.order.driver));
  REFUSED(0, memset(m.order.node, 'a', sizeof m.order.node));
  REFUSED(0, m.order.driver[3] = '\n');
  REFUSED(0, m.order.node[3] = (char)0xff);
  REFUSED(0, m.order.node[0] = 0);
  REFUSED(0, m.order.bus = 0);
  REFUSED(0, m.order.bus = ACQ_FILE + 1);
  REFUSED(0, m.order.bus = 256 + ACQ_USB);
  REFUSED(3, m.order.bus = ACQ_USB);
  REFUSED(3, m.order.bus = 256);
  REFUSED(0, m.order.order.started_us = -1);
  REFUSED(0, m.order.order.started_us = WALL_MAX + 1);
  REFUSED(0, m.order.order.offset_minutes = 1440);
  REFUSED(0, m.order.order.offset_minutes = -1440);
  REFUSED(0, m.order.order.modality = ACQ_MEASUREMENT + 1);
  REFUSED(0, m.order.order.modality = 256 + ACQ_ECG);
  REFUSED(0, m.order.order.phase = ACQ_POST + 1);
  REFUSED(0, m.order.order.phase = 256 + ACQ_PRE);
  REFUSED(7, memset(m.identity.sensor, 'a', ACQ_TEXT_MAX));
  REFUSED(7, m.identity.sensor[0] = '\n');
  REFUSED(7, memset(m.identity.make, 'a', ACQ_TEXT_MAX));
  REFUSED(7, memset(m.identity.firmware, 'a', ACQ_TEXT_MAX));
  REFUSED(7, m.identity.serial[0] = 1);
  REFUSED(12, m.preview.channels = 0);
  REFUSED(12, m.preview.channels = ACQ_PREVIEW_CHANNELS + 1);
  REFUSED(12, m.preview.channels = 256 + 1);
  REFUSED(12, m.preview.samples = 0);
  REFUSED(12, m.preview.samples = ACQ_PREVIEW_SAMPLES + 1);
  REFUSED(12, m.preview.samples = 256 + 1);
  REFUSED(12, m.preview.rate_hz = 0);
  REFUSED(12, m.preview.rate_hz = 1000001);
  REFUSED(12, m.preview.scale.exponent = 19);
  REFUSED(12, m.preview.scale.exponent = -19);
  REFUSED(12, m.preview.code[2] = 255);
  REFUSED(15, m.record.json_bytes[WIRE_OWN] = 0);
  REFUSED(15, m.record.data_bytes[WIRE_STRAY] = 2);
  for (int i = 0; i < WIRE_RECORDS; i++) {
    REFUSED(20, m.record.json_bytes[i] = 0);
    REFUSED(20, m.record.json_bytes[i] = RECORD_JSON_MAX + 1);
    REFUSED(20, m.record.data_bytes[i] = RECORD_DATA_MAX + 1);
  }
  REFUSED(17, m.fail.err = 0);
  REFUSED(17, m.fail.err = EPROTO);
  REFUSED(17, m.fail.err = -4096);
  REFUSED(17, m.fail.step = 0);
  REFUSED(17, m.fail.step = WIRE_STEP_DECODE + 1);
  REFUSED(17, m.fail.step = 256 + WIRE_STEP_OPEN);
  REFUSED(17, memset(m.fail.text, 'a', sizeof m.fail.text));
  REFUSED(17, m.fail.text[1] = '\t');
  REFUSED(25, m.collect.path[0] = 0);
  REFUSED(25, memset(m.collect.path, '/', sizeof m.collect.path));
  REFUSED(25, m.collect.poll_s = 0);
  REFUSED(25, m.collect.n_patterns = 0);
  REFUSED(25, m.collect.n_patterns = WIRE_PATTERNS_MAX + 1);
  REFUSED(25, m.collect.n_patterns = 256 + 1);
  REFUSED(25, m.collect.n_patterns = 3); /* the third is "" */
  REFUSED(25, m.collect.max_bytes = ACQ_BLOB_MAX + 1);
  REFUSED(26, m.collect.poll_s = WIRE_POLL_MAX + 1);
  REFUSED(28, m.file.number = 0);
  REFUSED(28, m.file.pattern = WIRE_PATTERNS_MAX);
  REFUSED(28, m.file.bytes = 0);
  REFUSED(28, m.file.modified_us = -1);
  REFUSED(28, m.file.name[0] = 0);
  REFUSED(28, m.file.name[1] = (char)0xff);
  REFUSED(28, memset(m.file.name, 'a', sizeof m.file.name));
  REFUSED(30, m.batch.files = 0);
  REFUSED(30, m.batch.files = WIRE_BATCH_FILES + 1);
  REFUSED(32, m.pass.matching++);
  REFUSED(32, m.pass.unreadable++);
}

static void pair(int fds[2]) {
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
}

TEST(over_a_socket) {
  int fds[2];
  pair(fds);
  for (size_t i = 0; i < MESSAGES; i++) {
    struct wire_message m = message_of(i), back;
    assert_int_equal(wire_send(fds[i % 2], &m), 0);
    assert_int_equal(wire_receive(fds[1 - i % 2], &back), 0);
    assert_true(same(&m, &back));
  }
  for (size_t i = 0; i < 3; i++) /* packets stay apart */
    assert_int_equal(wire_send(fds[0], &messages[i]), 0);
  for (size_t i = 0; i < 3; i++) {
    struct wire_message back;
    assert_int_equal(wire_receive(fds[1], &back), 0);
    assert_true(same(&messages[i], &back));
  }
  struct wire_message bad = messages[17];
  bad.fail.err = 0;
  assert_int_equal(wire_send(fds[0], &bad), -EINVAL); /* and nothing was sent */
  assert_int_equal(wire_send(fds[0], &messages[4]), 0);
  close(fds[0]);
  struct wire_message back = {.type = 77};
  assert_int_equal(wire_receive(fds[1], &back), 0); /* what was sent before the end still comes */
  assert_int_equal(back.type, WIRE_START);
  back.type = 77;
  assert_int_equal(wire_receive(fds[1], &back), -ENODATA);
  assert_int_equal(back.type, 77);
  assert_int_equal(wire_send(fds[1], &messages[5]), -EPIPE);
  assert_int_equal(wire_send(fds[1], &messages[5]), -EPIPE); /* without SIGPIPE, and again */
  close(fds[1]);
  pair(fds); /* a peer that leaves without reading resets the connection */
  assert_int_equal(wire_send(fds[1], &messages[5]), 0);
  close(fds[0]);
  assert_int_equal(wire_receive(fds[1], &back), -ENODATA);
  assert_int_equal(wire_send(fds[1], &messages[5]), -EPIPE);
  close(fds[1]);
}

TEST(socket_that_would_block) {
  int fds[2];
  pair(fds);
  struct wire_message m = full_preview(), back;
  assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
  assert_int_equal(wire_receive(fds[0], &back), -EAGAIN);
  int sent = 0, r;
  while ((r = wire_send(fds[0], &m)) == 0 && sent < 100000)
    sent++;
  assert_int_equal(r, -EAGAIN);
  assert_true(sent > 0);
  for (int i = 0; i < sent; i++)
    assert_int_equal(wire_receive(fds[1], &back), 0);
  assert_int_equal(wire_send(fds[0], &m), 0);
  close(fds[0]);
  close(fds[1]);
}

TEST(hostile_peer) {
  static uint8_t bytes[4 * WIRE_MAX];
  static const size_t sizes[] = {1, WIRE_MAX - 1, WIRE_MAX, WIRE_MAX + 1, WIRE_MAX + 2, 4 * WIRE_MAX};
  int fds[2];
  pair(fds);
  struct wire_message back = {.type = 77};
  for (unsigned type = 0; type < 256; type++)
    for (size_t i = 0; i < COUNT(sizes); i++) {
      if (sizes[i] == 1 && ((type >= WIRE_START && type <= WIRE_OPENED) || type == WIRE_KEPT))
        continue; /* a whole message */
      bytes[0] = (uint8_t)type;
      assert_int_equal(send(fds[0], bytes, sizes[i], MSG_NOSIGNAL), sizes[i]);
      assert_int_equal(wire_receive(fds[1], &back), -EPROTO);
      assert_int_equal(back.type, 77);
    }
  int n = wire_write(&messages[0], bytes); /* a good message, then more in the same packet */
  memset(bytes + n, 0, sizeof bytes - (size_t)n);
  assert_int_equal(send(fds[0], bytes, sizeof bytes, MSG_NOSIGNAL), sizeof bytes);
  assert_int_equal(wire_receive(fds[1], &back), -EPROTO);
  assert_int_equal(send(fds[0], bytes, 0, MSG_NOSIGNAL), 0);
  assert_int_equal(wire_receive(fds[1], &back), -ENODATA); /* an empty packet looks like the end */
  assert_int_equal(back.type, 77);
  close(fds[0]);
  close(fds[1]);
  int alone = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  assert_true(alone >= 0);
  assert_int_equal(wire_send(alone, &messages[4]), -EPIPE);
  close(alone);
  assert_int_equal(wire_receive(-1, &back), -EBADF);
  assert_int_equal(wire_send(-1, &messages[4]), -EBADF);
}

TEST(no_memory) {
  if (!fail_alloc_works())
    skip();
  static uint8_t bytes[WIRE_MAX], want[WIRE_MAX];
  for (size_t i = 0; i < MESSAGES; i++) {
    struct wire_message m = message_of(i);
    int n = wire_write(&m, want);
    for (int on = 0; on < 2; on++)
      for (size_t nth = 1;; nth++) {
        memset(bytes, 0x5a, sizeof bytes);
        long before = fail_alloc_live();
        fail_alloc_set(nth, on);
        int r = wire_write(&m, bytes);
        bool hit = fail_alloc_hit();
        fail_alloc_set(0, false);
        assert_int_equal(fail_alloc_live(), before);
        if (hit) {
          assert_int_equal(r, -ENOMEM);
          assert_int_equal(bytes[0], 0x5a);
          continue;
        }
        assert_int_equal(r, n);
        assert_memory_equal(bytes, want, (size_t)n);
        assert_true(nth > 1);
        break;
      }
  }
  int fds[2];
  pair(fds);
  fail_alloc_set(1, true);
  int r = wire_send(fds[0], &messages[0]);
  fail_alloc_set(0, false);
  assert_int_equal(r, -ENOMEM);
  close(fds[0]);
  close(fds[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trips),
      cmocka_unit_test(layout),
      cmocka_unit_test(every_truncation_and_extension),
      cmocka_unit_test(every_byte_mutated),
      cmocka_unit_test(random_packets),
      cmocka_unit_test(limits_of_the_reader),
      cmocka_unit_test(limits_of_the_writer),
      cmocka_unit_test(over_a_socket),
      cmocka_unit_test(socket_that_would_block),
      cmocka_unit_test(hostile_peer),
      cmocka_unit_test(no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
