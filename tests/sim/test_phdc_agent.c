/*
 * The simulated personal health device against a manager of its own, which knows of 20601 what it needs, and against
 * the published examples when they are there. Shares no code with the agent.
 */
#include "phdc_agent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <time.h>

#define SECOND 1000000u
#define OBJECTS 32
#define VALUES 256
#define DAY_US (86400 * (int64_t)1000000)

/* ---- the manager ---- */

struct object {
  unsigned class, handle, code, unit, array, significant;
  double lower, upper;
  unsigned scaled_lower, scaled_upper, period;
  struct {
    unsigned id, length;
  } map[8];
  unsigned n_map;
};

struct value {
  unsigned handle, person, raw; /* raw: the first 16 bits of the value */
  double v[3];
  unsigned n;
  const uint8_t *samples; /* big endian */
  uint8_t stamp[8];
  unsigned n_stamp;
};

struct bench {
  const struct sim_engine *engine;
  void *agent;
  uint64_t now;
  uint8_t apdu[70000]; /* the last one received */
  size_t n;
  struct object objects[OBJECTS];
  unsigned n_objects, config;
  struct value values[VALUES];
  unsigned n_values;
};

struct cur {
  const uint8_t *at, *end;
};

static const uint8_t *take(struct cur *c, size_t n) {
  assert_true((size_t)(c->end - c->at) >= n);
  c->at += n;
  return c->at - n;
}

static unsigned u8(struct cur *c) {
  return *take(c, 1);
}

static unsigned u16(struct cur *c) {
  const uint8_t *p = take(c, 2);
  return (unsigned)(p[0] << 8 | p[1]);
}

static uint32_t u32(struct cur *c) {
  uint32_t high = u16(c);
  return high << 16 | u16(c);
}

static struct cur sub(struct cur *c) {
  unsigned n = u16(c);
  const uint8_t *at = take(c, n);
  return (struct cur){at, at + n};
}

static struct cur list(struct cur *c, unsigned *count) {
  *count = u16(c);
  return sub(c);
}

static double decimal(int mantissa, int exponent) {
  return mantissa * pow(10, exponent);
}

static double sfloat(unsigned v) {
  int mantissa = (int)(v & 0xFFF), exponent = (int)(v >> 12);
  return decimal(mantissa > 0x7FF ? mantissa - 0x1000 : mantissa, exponent > 7 ? exponent - 16 : exponent);
}

static double float32(uint32_t v) {
  int mantissa = (int)(v & 0xFFFFFF), exponent = (int)(v >> 24);
  return decimal(mantissa > 0x7FFFFF ? mantissa - 0x1000000 : mantissa, exponent > 127 ? exponent - 256 : exponent);
}

static void start(struct bench *b, const char *options) {
  char why[256] = "";
  memset(b, 0, sizeof *b);
  b->engine = &sim_phdc;
  b->agent = sim_phdc.create(options, 20000 * DAY_US, why);
  if (!b->agent)
    fail_msg("%s: %s", options, why);
}

static void end(struct bench *b) {
  b->engine->destroy(b->agent);
}

static void feed(struct bench *b, const void *bytes, size_t n) {
  b->engine->receive(b->agent, b->now, bytes, n);
}

/* "e300 002c" with what printf puts in. */
static void feed_hex(struct bench *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void feed_hex(struct bench *b, const char *format, ...) {
  char text[512];
  uint8_t bytes[256];
  size_t n = 0;
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  for (char *at = text; *at;) {
    unsigned v;
    if (*at == ' ') {
      at++;
      continue;
    }
    assert_int_equal(sscanf(at, "%2x", &v), 1);
    bytes[n++] = (uint8_t)v;
    at += 2;
  }
  feed(b, bytes, n);
}

/* The next transfer; false when the agent has nothing to say now. */
static bool hear(struct bench *b) {
  b->n = b->engine->transmit(b->agent, b->now, b->apdu, sizeof b->apdu);
  return b->n > 0;
}

static unsigned word(const struct bench *b, size_t at) {
  assert_true(at + 2 <= b->n);
  return (unsigned)(b->apdu[at] << 8 | b->apdu[at + 1]);
}

static void expect_apdu(struct bench *b, unsigned choice) {
  assert_true(hear(b));
  assert_int_equal(word(b, 0), choice);
  assert_int_equal(b->n, word(b, 2) + 4);
}

/* A presentation APDU of the choice; its body. */
static struct cur expect_prst(struct bench *b, unsigned choice) {
  expect_apdu(b, 0xE700);
  struct cur c = {b->apdu + 4, b->apdu + b->n}, data = sub(&c);
  assert_ptr_equal(c.at, c.end);
  u16(&data);
  assert_int_equal(u16(&data), choice);
  struct cur body = sub(&data);
  assert_ptr_equal(data.at, data.end);
  return body;
}

static void expect_short(struct bench *b, unsigned choice, unsigned reason) {
  expect_apdu(b, choice);
  assert_int_equal(b->n, 6);
  assert_int_equal(word(b, 4), reason);
}

static void expect_silence(struct bench *b) {
  if (hear(b))
    fail_msg("it says %04x %04x %04x %04x", word(b, 0), word(b, 2), word(b, 4), b->n > 6 ? word(b, 6) : 0);
}

static void command(struct bench *b, const char *text, char answer[static 256]) {
  int r = b->engine->command(b->agent, b->now, text, answer);
  if (r < 0)
    fail_msg("%s: %s", text, answer);
}

static void order(struct bench *b, const char *text) {
  char answer[256];
  command(b, text, answer);
}

static void aare(struct bench *b, unsigned result) {
  feed_hex(
      b,
      "e300 002c %04x 5079 0026 80000000 8000 80000000 00000000 80000000 0008 8877665544332211 0000 0000 0000 0000 "
      "0000",
      result);
}

static void read_map(struct cur c, struct object *o) {
  struct cur entries = list(&c, &o->n_map);
  assert_true(o->n_map <= 8);
  for (unsigned i = 0; i < o->n_map; i++) {
    o->map[i].id = u16(&entries);
    o->map[i].length = u16(&entries);
  }
  assert_ptr_equal(entries.at, entries.end);
}

static void read_attribute(struct object *o, unsigned id, struct cur c) {
  switch (id) {
  case 0x092F:
    u16(&c);
    o->code = u16(&c);
    break;
  case 0x0996:
    o->unit = u16(&c);
    break;
  case 0x0A55:
    read_map(c, o);
    break;
  case 0x096D:
    o->array = u16(&c);
    assert_int_equal(u8(&c), 16);
    o->significant = u8(&c);
    break;
  case 0x096F:
    o->lower = float32(u32(&c));
    o->upper = float32(u32(&c));
    o->scaled_lower = u16(&c);
    o->scaled_upper = u16(&c);
    break;
  case 0x098D:
    o->period = u32(&c);
    break;
  }
}

static void read_config(struct bench *b, struct cur c) {
  assert_int_equal(u16(&c), 0);
  u32(&c);
  assert_int_equal(u16(&c), 0x0D1C);
  struct cur info = sub(&c);
  b->config = u16(&info);
  unsigned count, attributes;
  struct cur objects = list(&info, &count);
  b->n_objects = 0;
  for (unsigned i = 0; i < count; i++) {
    struct object *o = &b->objects[b->n_objects++];
    assert_true(b->n_objects <= OBJECTS);
    *o = (struct object){.class = u16(&objects)};
    o->handle = u16(&objects);
    struct cur of = list(&objects, &attributes);
    for (unsigned k = 0; k < attributes; k++) {
      unsigned id = u16(&of);
      read_attribute(o, id, sub(&of));
    }
    assert_ptr_equal(of.at, of.end);
  }
  assert_ptr_equal(objects.at, objects.end);
}

static const struct object *object_of(const struct bench *b, unsigned handle) {
  for (unsigned i = 0; i < b->n_objects; i++)
    if (b->objects[i].handle == handle)
      return &b->objects[i];
  fail_msg("no object %u", handle);
  return NULL;
}

static void read_value(struct value *v, unsigned id, struct cur c) {
  struct cur again = c;
  unsigned n;
  switch (id) {
  case 0x0A4C:
    v->raw = u16(&again);
    v->v[v->n++] = sfloat(u16(&c));
    break;
  case 0x0A56:
    v->v[v->n++] = float32(u32(&c));
    break;
  case 0x0A66:
    v->raw = u16(&c);
    break;
  case 0x0A75:
    c = list(&c, &n);
    while (n--)
      v->v[v->n++] = sfloat(u16(&c));
    break;
  case 0x0A48:
    c = sub(&c);
    v->samples = c.at;
    c.at = c.end;
    break;
  case 0x0990:
  case 0x0991:
    v->n_stamp = (unsigned)(c.end - c.at);
    memcpy(v->stamp, take(&c, v->n_stamp), v->n_stamp);
    break;
  default:
    fail_msg("attribute %04x", id);
  }
}

static struct value *new_value(struct bench *b, unsigned handle, unsigned person) {
  struct value *v = &b->values[b->n_values++];
  assert_true(b->n_values <= VALUES);
  *v = (struct value){.handle = handle, .person = person};
  return v;
}

static void read_fixed(struct bench *b, const struct object *o, unsigned person, struct cur *c) {
  struct value *v = new_value(b, o->handle, person);
  for (unsigned i = 0; i < o->n_map; i++) {
    const uint8_t *at = take(c, o->map[i].length);
    read_value(v, o->map[i].id, (struct cur){at, at + o->map[i].length});
  }
}

static void read_observation(struct bench *b, bool fixed, unsigned person, struct cur *c) {
  const struct object *o = object_of(b, u16(c));
  unsigned n;
  if (fixed) {
    struct cur data = sub(c);
    read_fixed(b, o, person, &data);
    assert_ptr_equal(data.at, data.end);
    return;
  }
  struct value *v = new_value(b, o->handle, person);
  struct cur attributes = list(c, &n);
  while (n--) {
    unsigned id = u16(&attributes);
    read_value(v, id, sub(&attributes));
  }
  assert_ptr_equal(attributes.at, attributes.end);
}

/* A group holds what the scanner's map says: here every object with a typical value, in the configuration's order. */
static void read_group(struct bench *b, unsigned person, struct cur group) {
  for (unsigned i = 0; group.at < group.end; i++) {
    assert_true(i < b->n_objects);
    read_fixed(b, &b->objects[i], person, &group);
  }
}

/* form: 0 var, 1 fixed, 2 grouped, 3 to 5 the same for several persons. */
static void read_info(struct bench *b, unsigned form, struct cur info) {
  unsigned count, n;
  u16(&info);
  u16(&info);
  struct cur all = list(&info, &count);
  for (unsigned i = 0; i < count; i++) {
    unsigned person = form >= 3 ? u16(&all) : 0;
    if (form % 3 == 2) {
      read_group(b, person, sub(&all));
    } else if (form < 3) {
      read_observation(b, form == 1, 0, &all);
    } else {
      struct cur of = list(&all, &n);
      while (n--)
        read_observation(b, form == 4, person, &of);
      assert_ptr_equal(of.at, of.end);
    }
  }
  assert_ptr_equal(all.at, all.end);
}

static unsigned form_of(unsigned event) {
  static const unsigned plain[] = {1, 0, 4, 3};
  if (event >= 0x0D1D && event <= 0x0D20)
    return plain[event - 0x0D1D];
  assert_in_range(event, 0x0D22, 0x0D2D);
  return (event - 0x0D22) % 6;
}

static void read_report(struct bench *b, struct cur c) {
  u16(&c);
  u32(&c);
  unsigned event = u16(&c);
  read_info(b, form_of(event), sub(&c));
}

static void confirm(struct bench *b) {
  unsigned invoke = word(b, 6), handle = word(b, 12), event = word(b, 18);
  feed_hex(b, "e700 0012 0010 %04x 0201 000a %04x 00000000 %04x 0000", invoke, handle, event);
}

static void accept_config(struct bench *b, unsigned result) {
  feed_hex(b, "e700 0016 0014 %04x 0201 000e 0000 ffffffff 0d1c 0004 %04x %04x", word(b, 6), b->config, result);
}

static void operate(struct bench *b) {
  expect_apdu(b, 0xE200);
  aare(b, 3);
  read_config(b, expect_prst(b, 0x0101));
  accept_config(b, 0);
}

static void start_operating(struct bench *b, const char *options) {
  start(b, options);
  operate(b);
}

/* All reports that are to be had now, confirmed. */
static void read_reports(struct bench *b) {
  b->n_values = 0;
  while (b->engine->next_us(b->agent) <= b->now) {
    read_report(b, expect_prst(b, 0x0101));
    confirm(b);
  }
}

static const struct value *value_of(const struct bench *b, unsigned code) {
  for (unsigned i = 0; i < b->n_values; i++)
    if (object_of(b, b->values[i].handle)->code == code)
      return &b->values[i];
  fail_msg("nothing of code %u", code);
  return NULL;
}

#define assert_near(a, b, tolerance)                    \
  do {                                                  \
    double near_a = (a), near_b = (b);                  \
    if (!(fabs(near_a - near_b) <= (tolerance)))        \
      fail_msg("%s is %g, not %g", #a, near_a, near_b); \
  } while (0)

/* ---- the examples ---- */

static size_t read_sample(const char *name, uint8_t *bytes, size_t max) {
  const char *samples = getenv("ASALEED_SAMPLES");
  char path[512];
  snprintf(path, sizeof path, "%s/phd_11073/%s", samples ? samples : "", name);
  FILE *file = fopen(path, "rb");
  if (!file) {
    print_message("no %s: skipped\n", name);
    skip();
  }
  size_t n = fread(bytes, 1, max, file);
  fclose(file);
  return n;
}

/* The bytes of which the example has its own are the agent's: from, length, ... 0, 0. */
static void expect_sample(struct bench *b, const char *name, const size_t *own) {
  uint8_t want[1024];
  char file[128];
  snprintf(file, sizeof file, "antidote_apdu/%s", name);
  size_t n = read_sample(file, want, sizeof want);
  assert_true(hear(b));
  for (; own[1]; own += 2)
    memcpy(want + own[0], b->apdu + own[0], own[1]);
  for (size_t i = 0; i < n && i < b->n; i++)
    if (want[i] != b->apdu[i])
      fail_msg("%s: byte %zu is %02x, not %02x", name, i, b->apdu[i], want[i]);
  assert_int_equal(b->n, n);
}

static const size_t none[] = {0, 0}, invoke[] = {6, 2, 0, 0}, invoke_time[] = {6, 2, 14, 4, 0, 0},
                    invoke_number[] = {6, 2, 24, 2, 0, 0};

static int64_t local_us(int year, int month, int day, int hour, int minute, int second) {
  struct tm tm = {
      .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute, .tm_sec = second};
  return (int64_t)timegm(&tm) * SECOND;
}

/* The whole synthetic conversation, byte for byte, the agent with its own clocks and counters. */
static void test_session(void **state) {
  (void)state;
  struct bench b;
  char text[4096], label[256] = "", why[256];
  size_t n = read_sample("synthetic_peakflow_session.txt", (uint8_t *)text, sizeof text - 1);
  text[n] = 0;
  memset(&b, 0, sizeof b);
  b.engine = &sim_phdc;
  b.now = 77 * SECOND;
  /* event time 1234 is 582.5 ms after it was switched on, and the blow was at 09:30:15 */
  b.agent = sim_phdc.create("system-id=0011223344556677", local_us(2026, 3, 17, 9, 30, 15) - 77 * SECOND - 582500, why);
  assert_non_null(b.agent);
  unsigned compared = 0;
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    if (*line == '#') {
      snprintf(label, sizeof label, "%s", line);
      continue;
    }
    if (strncmp(label, "# A->M", 6) != 0) {
      feed_hex(&b, "%s", line);
      if (strstr(label, "GET MDS"))
        expect_prst(&b, 0x0203);
      continue;
    }
    if (strstr(label, "scan report")) {
      b.now += 582500;
      order(&b, "measure pef=432 fev1=3.63 fev6=3.99 status=0");
    }
    if (strstr(label, "RLRQ"))
      order(&b, "release");
    if (!hear(&b))
      fail_msg("%s: nothing", label);
    char got[2048] = "";
    for (size_t i = 0; i < b.n; i++)
      snprintf(got + 2 * i, sizeof got - 2 * i, "%02x", b.apdu[i]);
    assert_string_equal(got, line);
    compared++;
  }
  assert_int_equal(compared, 4);
  b.now += 100ull * SECOND;
  expect_silence(&b);
  end(&b);
}

static void test_example_associations(void **state) {
  (void)state;
  static const struct {
    const char *options, *name;
  } examples[] = {
      {"profile=scale,system-id=1122334455667788", "H211_ID_05DC"},
      {"profile=scale,system-id=1122334455667788,config=0x4000", "weighing_scale/association_request"},
      {"profile=bodyfat,system-id=8877665544332211", "H211"},
      {"profile=spo2,system-id=1122334455667704", "H211_ID_0190"},
      {"profile=bp,system-id=00220922580803cc", "blood_pressure/aarq"},
  };
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
    struct bench b;
    start(&b, examples[i].options);
    expect_sample(&b, examples[i].name, none);
    end(&b);
  }
}

static void test_example_configurations(void **state) {
  (void)state;
  static const struct {
    const char *options, *name;
    const size_t *own;
  } examples[] = {
      {"profile=scale", "weighing_scale/std_config_05DC", invoke},
      {"profile=scale,config=0x4000", "H221_ID_05DC", invoke},
      {"profile=bodyfat", "H221", invoke_time},
      {"profile=bp", "blood_pressure/roiv_mdc_noti_config", invoke},
  };
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
    struct bench b;
    start(&b, examples[i].options);
    expect_apdu(&b, 0xE200);
    aare(&b, 3);
    expect_sample(&b, examples[i].name, examples[i].own);
    end(&b);
  }
  /* Of the example with scanners, the objects and the episodic one; its periodic scanner is another. */
  struct bench b;
  uint8_t want[512];
  size_t n = read_sample("antidote_apdu/pulse_oximeter/pulse_oximeter_noti_config_with_scanner", want, sizeof want);
  start(&b, "profile=spo2,config=0x4000,scanner=epi");
  expect_apdu(&b, 0xE200);
  aare(&b, 3);
  expect_apdu(&b, 0xE700);
  assert_in_range(n, b.n, sizeof want);
  assert_memory_equal(b.apdu + 28, want + 28, b.n - 28);
  end(&b);
}

static void test_example_mds(void **state) {
  (void)state;
  static const struct {
    const char *options, *name;
    unsigned invoke;
  } examples[] = {
      {"profile=scale,system-id=1122334455667788", "H233_ID_05DC", 0x1234},
      {"profile=bodyfat,system-id=8877665544332211", "H233", 0x3456},
      {"profile=spo2,system-id=1122334455667704", "H233_ID_0190", 0x1237},
      {"profile=bp,system-id=1122334455667707,config=0x02BC", "H233_ID_02BC", 0x0024},
  };
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
    struct bench b;
    char options[256];
    snprintf(options, sizeof options, "%s,serial=DE124567,clock=2007-02-01T12:05:00", examples[i].options);
    start(&b, options);
    expect_apdu(&b, 0xE200);
    aare(&b, 0);
    feed_hex(&b, "e700 000e 000c %04x 0103 0006 0000 0000 0000", examples[i].invoke);
    expect_sample(&b, examples[i].name, none);
    end(&b);
  }
}

static void test_example_reports(void **state) {
  (void)state;
  static const struct {
    const char *options;
    const char *measures[2];
    const char *name;
    const size_t *own;
  } examples[] = {
      {"profile=scale,config=0x4000",
       {"measure weight=76.2 bmi=24.3 at=2007-12-06T12:10:00", "measure weight=76.0 bmi=24.2 at=2007-12-06T20:05:00"},
       "H241_ID_05DC",
       invoke},
      {"profile=bodyfat", {"measure weight=62.4 fat=25.6 at=2007-02-01T12:10:00", NULL}, "H241", invoke},
      {"profile=spo2", {"measure spo2=98 pulse=72 at=2007-12-06T12:10:00", NULL}, "H241_ID_0190", invoke},
      {"profile=bp", {"measure bp=120/80/100 pulse=60.0 at=2007-12-06T12:10:00", NULL}, "H241_ID_02BC", invoke_time},
      {"profile=bp,report=mp-fixed",
       {"measure bp=113/71/85 pulse=71 user=0 person=66 at=2010-07-21T15:35:53", NULL},
       "blood_pressure/roiv_mds_note_scan_report_mp_fixed",
       invoke_number},
  };
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
    struct bench b;
    start(&b, examples[i].options);
    for (unsigned k = 0; k < 2 && examples[i].measures[k]; k++)
      order(&b, examples[i].measures[k]); /* before the association: kept until then */
    expect_apdu(&b, 0xE200);
    aare(&b, 0);
    expect_sample(&b, examples[i].name, examples[i].own);
    end(&b);
  }
}

static void test_example_scanners(void **state) {
  (void)state;
  static const struct {
    const char *scanner, *report, *name;
  } examples[] = {
      {"epi", "var", "unbuf_scan_report_var"},       {"epi", "fixed", "unbuf_scan_report_fixed"},
      {"epi", "mp-var", "unbuf_scan_report_mp_var"}, {"epi", "mp-fixed", "unbuf_scan_report_mp_fixed"},
      {"peri", "var", "buf_scan_report_var"},        {"peri", "fixed", "buf_scan_report_fixed"},
      {"peri", "mp-var", "buf_scan_report_mp_var"},  {"peri", "mp-fixed", "buf_scan_report_mp_fixed"},
  };
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
    struct bench b;
    char options[128], name[128];
    snprintf(options, sizeof options, "profile=spo2,config=0x4000,scanner=%s,report=%s", examples[i].scanner,
             examples[i].report);
    start_operating(&b, options);
    order(&b, "measure spo2=98 pulse=72 at=2007-12-06T12:10:00");
    expect_silence(&b);
    bool epi = strcmp(examples[i].scanner, "epi") == 0;
    feed_hex(&b, "e700 0016 0014 0000 0105 000e %04x 0001 0008 0000 0953 0002 0001", epi ? 0x37 : 0x28);
    snprintf(name, sizeof name, "pulse_oximeter/pulse_oximeter_%s_set_response", epi ? "episodic" : "periodic");
    expect_sample(&b, name, none);
    snprintf(name, sizeof name, "pulse_oximeter/pulse_oximeter_%s", examples[i].name);
    expect_sample(&b, name, invoke);
    end(&b);
  }
  struct bench b;
  start_operating(&b, "profile=spo2,config=0x4000,scanner=epi,report=grouped");
  feed_hex(&b, "e700 0016 0014 0000 0105 000e 0037 0001 0008 0000 0953 0002 0001");
  expect_prst(&b, 0x0205);
  order(&b, "measure spo2=97.5 pulse=80.1 at=2010-08-03T10:51:11");
  expect_sample(&b, "pulse_oximeter/pulse_oximeter_unbuf_scan_report_grouped", invoke_number);
  end(&b);
  start_operating(&b, "profile=spo2,config=0x4000,scanner=epi,report=mp-grouped");
  feed_hex(&b, "e700 0016 0014 0000 0105 000e 0037 0001 0008 0000 0953 0002 0001");
  expect_prst(&b, 0x0205);
  order(&b, "measure spo2=97.5 pulse=80.1 at=2010-08-03T10:51:11");
  static const size_t lengths[] = {2, 2, 6, 2, 0, 0}; /* the example's outer length is wrong */
  expect_sample(&b, "pulse_oximeter/pulse_oximeter_unbuf_scan_report_mp_grouped", lengths);
  end(&b);
}

/* The manager asks for one answer with all numerics. */
static void test_example_data_request(void **state) {
  (void)state;
  struct bench b;
  uint8_t request[64];
  size_t n = read_sample("antidote_apdu/H243", request, sizeof request);
  start(&b, "profile=bodyfat,start=manager");
  order(&b, "measure weight=62.4 fat=25.6 at=2007-02-01T12:10:00");
  expect_apdu(&b, 0xE200);
  aare(&b, 0);
  expect_silence(&b);
  feed(&b, request, n);
  expect_sample(&b, "H244", none);
  end(&b);
}

/* ---- association ---- */

static void test_no_answer(void **state) {
  (void)state;
  struct bench b;
  start(&b, "");
  for (int i = 0; i < 4; i++) {
    expect_apdu(&b, 0xE200);
    expect_silence(&b);
    assert_int_equal(b.engine->next_us(b.agent), b.now + 10 * SECOND);
    b.now += 10 * SECOND;
  }
  expect_short(&b, 0xE600, 2);
  assert_true(b.engine->next_us(b.agent) == UINT64_MAX);
  /* Something to say is a reason to ask again. */
  order(&b, "blow");
  expect_apdu(&b, 0xE200);
  end(&b);
}

/* A host that does not read at all does not run the time-outs down. */
static void test_nobody_reads(void **state) {
  (void)state;
  struct bench b;
  start(&b, "");
  b.now = 1;
  assert_int_equal(b.engine->next_us(b.agent), 0);
  b.engine->line_closed(b.agent, b.now);
  b.now = 3600ull * SECOND;
  b.engine->line_closed(b.agent, b.now);
  expect_apdu(&b, 0xE200);
  expect_silence(&b);
  end(&b);
}

static void test_rejected(void **state) {
  (void)state;
  struct bench b;
  start(&b, "");
  expect_apdu(&b, 0xE200);
  aare(&b, 2);
  expect_silence(&b);
  b.now += SECOND;
  expect_apdu(&b, 0xE200);
  aare(&b, 1);
  b.now += 1000ull * SECOND;
  expect_silence(&b);
  order(&b, "associate");
  operate(&b);
  order(&b, "release");
  expect_short(&b, 0xE400, 0);
  feed_hex(&b, "e500 0002 0000");
  b.now += 1000ull * SECOND;
  expect_silence(&b);
  end(&b);
}

static void test_configuration_refused(void **state) {
  (void)state;
  struct bench b;
  start(&b, "profile=scale");
  expect_apdu(&b, 0xE200);
  aare(&b, 3);
  read_config(&b, expect_prst(&b, 0x0101));
  assert_int_equal(b.config, 1500);
  assert_int_equal(b.n_objects, 1);
  accept_config(&b, 2); /* no such standard: the same objects under an id of its own */
  read_config(&b, expect_prst(&b, 0x0101));
  assert_int_equal(b.config, 0x4000);
  assert_int_equal(b.n_objects, 1);
  accept_config(&b, 1);
  expect_short(&b, 0xE400, 1);
  feed_hex(&b, "e500 0002 0000");
  expect_silence(&b);
  end(&b);
}

static void test_time_outs(void **state) {
  (void)state;
  struct bench b;
  start(&b, "");
  expect_apdu(&b, 0xE200);
  aare(&b, 3);
  expect_prst(&b, 0x0101);
  b.now += 10 * SECOND - 1;
  expect_silence(&b);
  b.now++;
  expect_short(&b, 0xE600, 3);
  b.now += SECOND;
  operate(&b);
  order(&b, "measure pef=432");
  expect_prst(&b, 0x0101);
  b.now += 3 * SECOND;
  expect_short(&b, 0xE600, 2);
  b.now += SECOND;
  operate(&b);
  read_reports(&b); /* what was not confirmed comes again */
  assert_near(value_of(&b, 21512)->v[0], 432, 0);
  order(&b, "release");
  expect_short(&b, 0xE400, 0);
  b.now += 3 * SECOND;
  expect_short(&b, 0xE600, 2);
  end(&b);
}

static void test_manager_ends(void **state) {
  (void)state;
  struct bench b;
  start_operating(&b, "");
  feed_hex(&b, "e400 0002 0000");
  expect_short(&b, 0xE500, 0);
  b.now += 100ull * SECOND;
  expect_silence(&b);
  order(&b, "associate");
  operate(&b);
  feed_hex(&b, "e600 0002 0000");
  expect_silence(&b);
  b.now += SECOND;
  operate(&b);
  /* A release is out of place now. */
  feed_hex(&b, "e600 0002 0000 e400 0002 0000");
  expect_short(&b, 0xE600, 0);
  end(&b);
}

/* A manager that was replaced: the agent believes itself associated, the new one does not. */
static void test_stale_association(void **state) {
  (void)state;
  struct bench b;
  start_operating(&b, "");
  b.engine->line_closed(b.agent, b.now);
  order(&b, "measure pef=400");
  expect_prst(&b, 0x0101);
  feed_hex(&b, "e600 0002 0000");
  b.now += SECOND;
  operate(&b);
  read_reports(&b);
  assert_near(value_of(&b, 21512)->v[0], 400, 0);
  end(&b);
}

/* ---- data ---- */

static double number_in(const char *answer, const char *key) {
  char pattern[32];
  snprintf(pattern, sizeof pattern, " %s=", key);
  char text[260];
  snprintf(text, sizeof text, " %s", answer);
  const char *at = strstr(text, pattern);
  assert_non_null(at);
  return strtod(at + strlen(pattern), NULL);
}

static void test_forms(void **state) {
  (void)state;
  static const char *const options[] = {
      "profile=spo2,report=fixed",
      "profile=spo2,report=var",
      "profile=spo2,report=mp-fixed",
      "profile=spo2,report=mp-var",
      "profile=spo2,scanner=epi,report=grouped",
      "profile=spo2,scanner=epi,report=mp-grouped",
      "profile=spo2,scanner=epi,report=var",
  };
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    struct bench b;
    start_operating(&b, options[i]);
    if (strstr(options[i], "scanner")) {
      feed_hex(&b, "e700 0016 0014 0000 0105 000e 0037 0001 0008 0000 0953 0002 0001");
      expect_prst(&b, 0x0205);
    }
    order(&b, "measure spo2=96 pulse=61 person=3");
    order(&b, "measure spo2=97 pulse=62 person=3");
    order(&b, "measure spo2=98 pulse=63 person=4");
    read_reports(&b);
    assert_int_equal(b.n_values, 6);
    for (unsigned k = 0; k < 6; k++) {
      assert_near(b.values[k].v[0], k % 2 ? 61 + k / 2 : 96 + k / 2, 0);
      assert_int_equal(b.values[k].n_stamp, 8);
      if (strstr(options[i], "mp"))
        assert_int_equal(b.values[k].person, k < 4 ? 3 : 4);
    }
    end(&b);
  }
}

static void test_unconfirmed(void **state) {
  (void)state;
  struct bench b;
  start_operating(&b, "confirm=no");
  order(&b, "measure pef=1");
  order(&b, "measure pef=2");
  b.n_values = 0;
  read_report(&b, expect_prst(&b, 0x0100));
  read_report(&b, expect_prst(&b, 0x0100));
  assert_int_equal(b.n_values, 2);
  b.now += 100ull * SECOND;
  expect_silence(&b);
  end(&b);
}

static void test_units(void **state) {
  (void)state;
  static const struct {
    const char *options;
    unsigned volume, flow;
    double volume_factor, flow_factor;
  } units[] = {
      {"flow=L/min", 1600, 3072, 1, 60},
      {"volume=mL,flow=L/s", 1618, 3040, 1000, 1},
      {"volume=cL,flow=cL/s", 1617, 3057, 100, 100},
      {"volume=mL,flow=L/min,number=float", 1618, 3072, 1000, 60},
  };
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    struct bench b;
    start_operating(&b, units[i].options);
    order(&b, "measure");
    read_reports(&b);
    const struct value *pef = value_of(&b, 21512), *fev1 = value_of(&b, 21514);
    assert_int_equal(object_of(&b, pef->handle)->unit, units[i].flow);
    assert_int_equal(object_of(&b, fev1->handle)->unit, units[i].volume);
    assert_near(pef->v[0] / units[i].flow_factor, 7.2, 0.011);
    assert_near(fev1->v[0] / units[i].volume_factor, 3.63, 0.0001);
    end(&b);
  }
  struct bench b;
  start_operating(&b, "profile=spirometer,ratio=fraction");
  order(&b, "measure");
  read_reports(&b);
  assert_int_equal(object_of(&b, value_of(&b, 57876)->handle)->unit, 512);
  assert_near(value_of(&b, 57876)->v[0], 0.803, 1e-9);
  end(&b);
}

static double sample(const struct bench *b, const struct value *v, unsigned i) {
  const struct object *o = object_of(b, v->handle);
  double raw = v->samples[2 * i] << 8 | v->samples[2 * i + 1];
  double low = o->scaled_lower, high = o->scaled_upper;
  if (o->significant == 0xFF) {
    raw = (int16_t)(uint16_t)raw;
    low = (int16_t)o->scaled_lower;
    high = (int16_t)o->scaled_upper;
  }
  return o->lower + (raw - low) / (high - low) * (o->upper - o->lower);
}

static uint32_t stamp_of(const struct value *v) {
  assert_int_equal(v->n_stamp, 4);
  return (uint32_t)v->stamp[0] << 24 | (uint32_t)v->stamp[1] << 16 | (uint32_t)v->stamp[2] << 8 | v->stamp[3];
}

struct wave {
  double samples[8000];
  unsigned n;
};

static void join(const struct bench *b, unsigned code, struct wave *w) {
  uint32_t next = 0;
  w->n = 0;
  for (unsigned i = 0; i < b->n_values; i++) {
    const struct object *o = object_of(b, b->values[i].handle);
    if (o->code != code)
      continue;
    if (w->n)
      assert_int_equal(stamp_of(&b->values[i]), next);
    next = stamp_of(&b->values[i]) + o->array * o->period;
    for (unsigned k = 0; k < o->array; k++)
      w->samples[w->n++] = sample(b, &b->values[i], k);
  }
}

static double highest(const struct wave *w) {
  double v = w->samples[0];
  for (unsigned i = 1; i < w->n; i++)
    v = fmax(v, w->samples[i]);
  return v;
}

/* The waveforms are the blow that the numbers are of. */
static void test_spirometer(void **state) {
  (void)state;
  static const char *const faults[] = {"none", "signed"};
  for (size_t i = 0; i < 2; i++) {
    struct bench b;
    char answer[256];
    static uint8_t kept[200000];
    static struct wave flow, volume;
    size_t n_kept = 0;
    start(&b, "profile=spirometer,seed=5");
    assert_int_equal(b.engine->fault(b.agent, faults[i]), 0);
    b.now = 60 * SECOND;
    operate(&b);
    command(&b, "blow obstructive", answer);
    b.n_values = 0;
    while (b.engine->next_us(b.agent) == 0) { /* the samples are pointed to: each report is kept */
      expect_prst(&b, 0x0101);
      memcpy(kept + n_kept, b.apdu, b.n);
      read_report(&b, (struct cur){kept + n_kept + 12, kept + n_kept + b.n});
      n_kept += b.n;
      confirm(&b);
    }
    assert_near(value_of(&b, 57856)->v[0], number_in(answer, "fvc"), 1e-9);
    assert_near(value_of(&b, 21514)->v[0], number_in(answer, "fev1"), 1e-9);
    assert_near(value_of(&b, 21512)->v[0], number_in(answer, "pef"), 1e-9);
    assert_near(value_of(&b, 57876)->v[0], number_in(answer, "ratio"), 1e-9);
    assert_true(number_in(answer, "ratio") < 70);
    join(&b, 20692, &flow);
    join(&b, 21636, &volume);
    assert_true(flow.n >= 600 && flow.n == volume.n);
    assert_near(highest(&volume), number_in(answer, "fvc"), 0.02);
    assert_near(highest(&flow), number_in(answer, "pef"), 0.3);
    double sum = 0, low = 0;
    for (unsigned k = 0; k < flow.n; k++) {
      sum += flow.samples[k] / 100;
      low = fmax(low, sum);
    }
    assert_near(low, highest(&volume), 0.05);
    end(&b);
  }
}

static void test_peak_flow(void **state) {
  (void)state;
  struct bench b;
  char answer[256];
  start_operating(&b, "best=510");
  assert_int_equal(b.config, 0x4001);
  static const struct {
    const char *blow;
    unsigned status;
  } blows[] = {{"blow", 0}, {"blow normal cough", 0x1000}, {"blow early-stop", 0x2000}, {"blow slow-start", 0x4000}};
  for (size_t i = 0; i < sizeof blows / sizeof *blows; i++) {
    command(&b, blows[i].blow, answer);
    read_reports(&b);
    assert_int_equal(value_of(&b, 30720)->raw, blows[i].status);
    assert_near(value_of(&b, 21512)->v[0], number_in(answer, "pef"), 1e-9);
    assert_near(value_of(&b, 21513)->v[0], 510, 1e-9);
  }
  assert_int_equal(b.engine->command(b.agent, b.now, "blow sideways", answer), -EINVAL);
  end(&b);
}

static void test_auto(void **state) {
  (void)state;
  struct bench b;
  start_operating(&b, "auto=2500");
  expect_silence(&b);
  assert_int_equal(b.engine->next_us(b.agent), 2500000);
  b.now = 2500000;
  read_reports(&b);
  assert_true(value_of(&b, 21512)->v[0] > 300);
  end(&b);
}

static void test_ecg(void **state) {
  (void)state;
  struct bench b;
  static uint8_t kept[200000];
  static struct wave one, two;
  size_t n_kept = 0;
  start_operating(&b, "profile=ecg");
  order(&b, "measure 4");
  b.n_values = 0;
  while (b.engine->next_us(b.agent) != UINT64_MAX) {
    if (b.engine->next_us(b.agent) > b.now)
      b.now = b.engine->next_us(b.agent);
    if (!hear(&b))
      continue;
    memcpy(kept + n_kept, b.apdu, b.n);
    read_report(&b, (struct cur){kept + n_kept + 12, kept + n_kept + b.n});
    n_kept += b.n;
    confirm(&b);
  }
  assert_int_equal(b.now, 4 * SECOND);
  join(&b, 257, &one);
  join(&b, 258, &two);
  assert_int_equal(one.n, 2000);
  assert_int_equal(two.n, 2000);
  assert_near(highest(&two), 1.08, 0.05);
  assert_near(highest(&one), 0.65, 0.05);
  unsigned beats = 0;
  for (unsigned i = 1; i < two.n; i++)
    beats += two.samples[i] > 0.6 && two.samples[i - 1] <= 0.6;
  assert_in_range(beats, 4, 5);
  assert_near(value_of(&b, 16770)->v[0], 72, 0);
  end(&b);
}

/* Readings of the hours before come first, with their own times. */
static void test_stored(void **state) {
  (void)state;
  struct bench b;
  start_operating(&b, "stored=3,clock=2013-05-28T10:44:00");
  order(&b, "measure");
  read_reports(&b);
  assert_int_equal(b.n_values, 4 * 4);
  for (unsigned i = 0; i < 16; i++) {
    assert_memory_equal(b.values[i].stamp, "\x20\x13\x05\x28", 4);
    assert_int_equal(b.values[i].stamp[4], 0x07 + (i / 4 == 3 ? 9 : i / 4)); /* BCD: 07, 08, 09, 10 */
    assert_int_equal(b.values[i].stamp[5], 0x44);
  }
  end(&b);
}

static void test_clock(void **state) {
  (void)state;
  struct bench b;
  start_operating(&b, "clock=2013-05-28T10:44:00");
  feed_hex(&b, "e700 001a 0018 0007 0107 0012 0000 0c17 000c 2026 0314 0926 5358 0000 0000");
  struct cur c = expect_prst(&b, 0x0207);
  assert_int_equal(u16(&c), 0);
  assert_int_equal(u16(&c), 0x0C17);
  assert_int_equal(u16(&c), 0);
  b.now += 2 * SECOND;
  feed_hex(&b, "e700 0010 000e 0008 0103 0008 0000 0001 0002 0987");
  c = expect_prst(&b, 0x0203);
  take(&c, 2);
  unsigned n;
  struct cur attributes = list(&c, &n);
  assert_int_equal(n, 1);
  assert_memory_equal(take(&attributes, 12), "\x09\x87\x00\x08\x20\x26\x03\x14\x09\x26\x55\x58", 12);
  /* Power does not stop it. */
  b.now += SECOND;
  b.engine->power_on(b.agent, b.now);
  order(&b, "measure pef=1");
  operate(&b);
  read_reports(&b);
  assert_memory_equal(b.values[0].stamp, "\x20\x26\x03\x14\x09\x26\x56\x58", 8);
  end(&b);
}

static void test_requests(void **state) {
  (void)state;
  struct bench b;
  start_operating(&b, "start=manager");
  order(&b, "measure");
  expect_silence(&b);
  /* From now on, everything. */
  feed_hex(&b, "e700 001e 001c 0009 0107 0016 0000 0c1b 0010 0155 8820 00000000 0000 0000 0000 0000");
  struct cur c = expect_prst(&b, 0x0207);
  take(&c, 2 + 2 + 2 + 4);
  assert_int_equal(u16(&c), 0);
  expect_prst(&b, 0x0101);
  assert_int_equal(word(&b, 22), 0x0155);
  confirm(&b);
  order(&b, "measure");
  expect_prst(&b, 0x0101);
  confirm(&b);
  /* Stop. */
  feed_hex(&b, "e700 001e 001c 000a 0107 0016 0000 0c1b 0010 0155 0820 00000000 0000 0000 0000 0000");
  expect_prst(&b, 0x0207);
  order(&b, "measure");
  expect_silence(&b);
  /* For two seconds: 16000 eighths of a millisecond. */
  feed_hex(&b, "e700 001e 001c 000b 0107 0016 0000 0c1b 0010 0156 8840 00003e80 0000 0000 0000 0000");
  expect_prst(&b, 0x0207);
  expect_prst(&b, 0x0101);
  confirm(&b);
  b.now += 2 * SECOND;
  order(&b, "measure");
  expect_silence(&b);
  /* A class and a handle that it has not. */
  feed_hex(&b, "e700 001e 001c 000c 0107 0016 0000 0c1b 0010 0156 8480 00000000 0000 0009 0000 0000");
  c = expect_prst(&b, 0x0207);
  take(&c, 2 + 2 + 2 + 4);
  assert_int_equal(u16(&c), 12);
  feed_hex(&b, "e700 0020 001e 000c 0107 0018 0000 0c1b 0012 0156 8280 00000000 0000 0000 0001 0002 0077");
  c = expect_prst(&b, 0x0207);
  take(&c, 2 + 2 + 2 + 4);
  assert_int_equal(u16(&c), 13);
  /* One answer with one handle: what is left stays. */
  feed_hex(&b, "e700 0020 001e 000c 0107 0018 0000 0c1b 0012 0156 8280 00000000 0000 0000 0001 0002 0002");
  c = expect_prst(&b, 0x0207);
  take(&c, 2 + 2 + 2 + 4 + 2);
  b.n_values = 0;
  unsigned event = u16(&c);
  read_info(&b, form_of(event), sub(&c));
  assert_int_equal(b.n_values, 1);
  assert_int_equal(b.values[0].handle, 2);
  end(&b);
}

static void test_refusals(void **state) {
  (void)state;
  struct bench b;
  start_operating(&b, "");
  static const struct {
    const char *request;
    unsigned choice, reason;
  } refusals[] = {
      {"e700 000e 000c 0001 0103 0006 0055 0000 0000", 0x0300, 1},
      {"e700 0016 0014 0001 0105 000e 0037 0001 0006 0000 0953 0002 0001", 0x0300, 1},
      {"e700 000e 000c 0001 0107 0006 0000 0c0d 0000", 0x0300, 9},
      {"e700 0008 0006 0001 0999 0000", 0x0400, 101},
      {"e700 000a 0008 0001 0103 0002 0000", 0x0400, 2},
  };
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    feed_hex(&b, "%s", refusals[i].request);
    struct cur c = expect_prst(&b, refusals[i].choice);
    assert_int_equal(u16(&c), refusals[i].reason);
  }
  /* A refused report is not offered again. */
  order(&b, "measure pef=1");
  expect_prst(&b, 0x0101);
  feed_hex(&b, "e700 000c 000a %04x 0300 0004 0018 0000", word(&b, 6));
  expect_silence(&b);
  /* A confirmation of something else is not heard. */
  order(&b, "measure pef=1");
  expect_prst(&b, 0x0101);
  b.apdu[6] ^= 0x55;
  confirm(&b);
  b.now += 3 * SECOND;
  expect_short(&b, 0xE600, 2);
  /* More than it has room for. */
  feed_hex(&b, "e700 ffff");
  expect_short(&b, 0xE600, 1);
  feed_hex(&b, "1234 0000");
  expect_short(&b, 0xE600, 0);
  end(&b);
}

/* ---- memory ---- */

static void test_store(void **state) {
  (void)state;
  struct bench b;
  unsigned n, count;
  start(&b, "profile=pmstore,stored=25,clock=2026-03-17T09:30:00");
  order(&b, "measure pef=455 fev1=3.50 fev6=3.90 status=0");
  operate(&b);
  expect_silence(&b);
  assert_int_equal(b.n_objects, 5);
  const struct object *store = &b.objects[4];
  assert_int_equal(store->class, 61);

  feed_hex(&b, "e700 000e 000c 0001 0103 0006 %04x 0000 0000", store->handle);
  struct cur c = expect_prst(&b, 0x0203);
  assert_int_equal(u16(&c), store->handle);
  struct cur attributes = list(&c, &n);
  while (n--) {
    unsigned id = u16(&attributes);
    struct cur value = sub(&attributes);
    if (id == 0x0951)
      assert_int_equal(u16(&value), 2);
    if (id == 0x0944)
      assert_int_equal(u32(&value), 26);
  }

  feed_hex(&b, "e700 0014 0012 0001 0107 000c %04x 0c0d 0006 0001 0002 0000", store->handle);
  c = expect_prst(&b, 0x0207);
  take(&c, 4);
  struct cur info = sub(&c), segments = list(&info, &n);
  assert_int_equal(n, 2);
  unsigned instances[2], entry = 0, usage[2] = {0};
  for (unsigned i = 0; i < 2; i++) {
    instances[i] = u16(&segments);
    struct cur of = list(&segments, &count);
    while (count--) {
      unsigned id = u16(&of), elements;
      struct cur value = sub(&of);
      if (id == 0x097B)
        usage[i] = u32(&value);
      if (id != 0x0A4E)
        continue;
      assert_int_equal(u16(&value), 0x8000);
      struct cur map = list(&value, &elements);
      assert_int_equal(elements, 4);
      entry = 8;
      while (elements--) {
        struct object o;
        take(&map, 8);
        read_map(map, &o);
        take(&map, 4 + 4 * o.n_map);
        entry += o.map[0].length;
      }
    }
  }
  assert_int_equal(entry, 16);
  assert_int_equal(usage[0], 25);
  assert_int_equal(usage[1], 1);

  /* The older one, in two events. */
  feed_hex(&b, "e700 0010 000e 0001 0107 0008 %04x 0c1c 0002 %04x", store->handle, instances[0]);
  c = expect_prst(&b, 0x0207);
  take(&c, 4);
  info = sub(&c);
  assert_int_equal(u16(&info), instances[0]);
  assert_int_equal(u16(&info), 0);
  unsigned seen = 0;
  for (unsigned status = 0; !(status & 0x4000);) {
    c = expect_prst(&b, 0x0101);
    assert_int_equal(u16(&c), store->handle);
    take(&c, 4);
    assert_int_equal(u16(&c), 0x0D21);
    info = sub(&c);
    assert_int_equal(u16(&info), instances[0]);
    assert_int_equal(u32(&info), seen);
    count = u32(&info);
    status = u16(&info);
    assert_int_equal(!!(status & 0x8000), seen == 0);
    struct cur entries = sub(&info);
    assert_int_equal(entries.end - entries.at, count * entry);
    if (seen == 0)
      assert_memory_equal(entries.at, "\x20\x26\x03\x16\x08\x30", 6);
    seen += count;
    feed_hex(&b, "e700 001e 001c %04x 0201 0016 %04x 00000000 0d21 000c %04x %08x %08x %04x", word(&b, 6),
             store->handle, instances[0], seen - count, count, status | 0x0080);
  }
  assert_int_equal(seen, 25);
  expect_silence(&b);

  /* Cleared, and gone. */
  feed_hex(&b, "e700 0018 0016 0001 0107 0010 %04x 0c0c 000a 0002 0006 0001 0002 %04x", store->handle, instances[0]);
  expect_prst(&b, 0x0207);
  feed_hex(&b, "e700 0010 000e 0001 0107 0008 %04x 0c1c 0002 %04x", store->handle, instances[0]);
  c = expect_prst(&b, 0x0207);
  take(&c, 8);
  assert_int_equal(u16(&c), 1);
  /* The manager has enough after the first event. */
  feed_hex(&b, "e700 0010 000e 0001 0107 0008 %04x 0c1c 0002 %04x", store->handle, instances[1]);
  expect_prst(&b, 0x0207);
  c = expect_prst(&b, 0x0101);
  take(&c, 8 + 2 + 2 + 8 + 2);
  struct cur entries = sub(&c);
  assert_memory_equal(entries.at, "\x20\x26\x03\x17\x09\x30", 6);
  assert_near(sfloat((unsigned)(entries.at[8] << 8 | entries.at[9])), 455, 0);
  feed_hex(&b, "e700 001e 001c %04x 0201 0016 %04x 00000000 0d21 000c %04x 00000000 00000001 0008", word(&b, 6),
           store->handle, instances[1]);
  expect_silence(&b);
  end(&b);
}

/* ---- faults ---- */

static void set_fault(struct bench *b, const char *text) {
  assert_int_equal(b->engine->fault(b->agent, text), 0);
}

static void test_special_values(void **state) {
  (void)state;
  static const struct {
    const char *fault;
    unsigned raw;
  } specials[] = {{"nan", 0x07FF}, {"nres", 0x0800}, {"plus-inf", 0x07FE}, {"minus-inf", 0x0802}, {"reserved", 0x0801}};
  for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
    struct bench b;
    char one[32];
    start_operating(&b, "");
    set_fault(&b, specials[i].fault);
    order(&b, "measure");
    read_reports(&b);
    assert_int_equal(value_of(&b, 21512)->raw, specials[i].raw);
    assert_int_equal(value_of(&b, 21514)->raw, specials[i].raw);
    set_fault(&b, "none");
    snprintf(one, sizeof one, "%s:2", specials[i].fault);
    set_fault(&b, one);
    order(&b, "measure");
    read_reports(&b);
    assert_near(value_of(&b, 21512)->v[0], 432, 0);
    assert_int_equal(value_of(&b, 21514)->raw, specials[i].raw);
    end(&b);
  }
}

static void test_lying_configurations(void **state) {
  (void)state;
  struct bench b;
  start(&b, "");
  set_fault(&b, "objects");
  expect_apdu(&b, 0xE200);
  aare(&b, 3);
  expect_apdu(&b, 0xE700);
  assert_in_range(b.n, 65000, 65539);
  assert_int_equal(word(&b, 24), 10004); /* the count */
  end(&b);

  start(&b, "");
  set_fault(&b, "objects:100");
  expect_apdu(&b, 0xE200);
  aare(&b, 3);
  expect_apdu(&b, 0xE700);
  assert_int_equal(word(&b, 24), 104);
  end(&b);

  start(&b, "");
  set_fault(&b, "count-config");
  expect_apdu(&b, 0xE200);
  aare(&b, 3);
  expect_apdu(&b, 0xE700);
  assert_int_equal(word(&b, 24), 0x7FFF);
  end(&b);

  start(&b, "");
  set_fault(&b, "map-twice");
  operate(&b);
  assert_int_equal(b.objects[0].n_map, 3);
  assert_int_equal(b.objects[0].map[0].id, b.objects[0].map[1].id);
  end(&b);

  start(&b, "");
  set_fault(&b, "map-long");
  set_fault(&b, "class");
  operate(&b);
  assert_int_equal(b.objects[0].map[0].length, 6);
  assert_int_equal(b.objects[0].class, 99);
  end(&b);

  start(&b, "");
  assert_int_equal(b.engine->fault(b.agent, "split:all"), -EINVAL);
  assert_int_equal(b.engine->fault(b.agent, "silence:never"), -EINVAL);
  assert_int_equal(b.engine->fault(b.agent, "sleep"), -EINVAL);
  end(&b);
}

static void test_lying_reports(void **state) {
  (void)state;
  struct bench b;
  start_operating(&b, "");
  set_fault(&b, "count-report");
  order(&b, "measure");
  expect_prst(&b, 0x0101);
  assert_int_equal(word(&b, 26), 0x7FFF);
  confirm(&b);
  set_fault(&b, "none");
  set_fault(&b, "length");
  order(&b, "measure");
  expect_prst(&b, 0x0101);
  assert_int_equal(word(&b, 32), 0x7F0A);
  confirm(&b);
  set_fault(&b, "none");
  set_fault(&b, "event-type");
  order(&b, "measure");
  expect_prst(&b, 0x0101);
  assert_int_equal(word(&b, 18), 0x0DFF);
  confirm(&b);
  set_fault(&b, "none");
  set_fault(&b, "twins");
  order(&b, "measure pef=400");
  read_reports(&b);
  assert_int_equal(b.n_values, 2);
  assert_memory_equal(b.values[0].stamp, b.values[1].stamp, 8);
  assert_near(b.values[1].v[0] - b.values[0].v[0], 1, 1e-9);
  set_fault(&b, "none");
  set_fault(&b, "huge");
  order(&b, "measure");
  assert_true(hear(&b));
  assert_int_equal(word(&b, 2), 0xFFFF);
  assert_true(b.n < 100);
  end(&b);
}

static size_t gather(struct bench *b, uint8_t *bytes, size_t *ret_largest) {
  size_t n = 0;
  *ret_largest = 0;
  while (hear(b)) {
    memcpy(bytes + n, b->apdu, b->n);
    n += b->n;
    *ret_largest = b->n > *ret_largest ? b->n : *ret_largest;
  }
  return n;
}

static void test_split_and_merged(void **state) {
  (void)state;
  static uint8_t whole[8192], other[8192];
  struct bench b;
  size_t largest, n, m;
  start_operating(&b, "confirm=no,seed=2");
  for (int i = 0; i < 3; i++)
    order(&b, "measure");
  n = gather(&b, whole, &largest);
  end(&b);
  static const char *const faults[] = {"split:1", "split:7", "split:63"};
  for (size_t i = 0; i < 3; i++) {
    start_operating(&b, "confirm=no,seed=2");
    set_fault(&b, faults[i]);
    for (int k = 0; k < 3; k++)
      order(&b, "measure");
    m = gather(&b, other, &largest);
    assert_int_equal(m, n);
    assert_memory_equal(other, whole, n);
    assert_int_equal(largest, atoi(faults[i] + 6));
    end(&b);
  }
  start_operating(&b, "confirm=no,seed=2");
  set_fault(&b, "merge");
  for (int k = 0; k < 3; k++)
    order(&b, "measure");
  m = gather(&b, other, &largest);
  assert_int_equal(largest, m);
  assert_int_equal(m, 3 * ((size_t)(other[2] << 8 | other[3]) + 4)); /* three reports of one reading each */
  end(&b);
}

/* A request of which half was read when it became void waits for no answer. */
static void test_void_request(void **state) {
  (void)state;
  struct bench b;
  start(&b, "");
  set_fault(&b, "split:20");
  assert_true(hear(&b));
  feed_hex(&b, "e600 0002 0000");
  set_fault(&b, "none");
  assert_true(hear(&b));
  assert_int_equal(b.n, 34);
  assert_int_equal(b.engine->next_us(b.agent), b.now + SECOND);
  b.now += SECOND;
  operate(&b);
  b.now += 100ull * SECOND;
  expect_silence(&b);
  end(&b);
}

static void test_silences_and_aborts(void **state) {
  (void)state;
  struct bench b;
  for (int aborts = 0; aborts < 2; aborts++) {
    const char *kind = aborts ? "abort" : "silence";
    char fault[32];
    for (int phase = 0; phase < 5; phase++) {
      static const char *const phases[] = {"associate", "config", "answer", "data", "release"};
      start(&b, "");
      snprintf(fault, sizeof fault, "%s:%s", kind, phases[phase]);
      set_fault(&b, fault);
      if (phase >= 1)
        expect_apdu(&b, 0xE200);
      if (phase == 1)
        aare(&b, 3);
      else if (phase > 1)
        aare(&b, 0);
      if (phase == 2)
        feed_hex(&b, "e700 000e 000c 3456 0103 0006 0000 0000 0000");
      if (phase == 3)
        order(&b, "measure");
      if (phase == 4)
        feed_hex(&b, "e400 0002 0000");
      if (aborts)
        expect_short(&b, 0xE600, 0);
      b.now += SECOND / 2;
      expect_silence(&b);
      b.now += SECOND;
      /* After an abort it starts anew, and may well end the same way. */
      if (aborts && phase > 0)
        expect_apdu(&b, 0xE200);
      else if (!aborts)
        expect_silence(&b);
      end(&b);
    }
  }
}

static void test_wrong_conversations(void **state) {
  (void)state;
  struct bench b;
  start_operating(&b, "");
  set_fault(&b, "invoke");
  feed_hex(&b, "e700 000e 000c 3456 0103 0006 0000 0000 0000");
  expect_prst(&b, 0x0203);
  assert_int_equal(word(&b, 6), 0x3457);
  end(&b);

  start(&b, "");
  set_fault(&b, "reassociate:500");
  for (int i = 0; i < 3; i++) {
    operate(&b);
    expect_silence(&b);
    b.now += SECOND / 2;
    expect_short(&b, 0xE600, 0);
  }
  end(&b);
}

static void test_statistics(void **state) {
  (void)state;
  struct bench b;
  char text[256], why[256];
  start_operating(&b, "");
  b.engine->stats(b.agent, text, sizeof text);
  assert_non_null(strstr(text, "state=operating"));
  assert_non_null(strstr(text, "associations=1"));
  end(&b);
  static const char *const bad[] = {"profile=lung",    "profile",      "report=grouped", "volume=gallon",
                                    "clock=yesterday", "system-id=12", "what=ever"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_null(sim_phdc.create(bad[i], 0, why));
}

/* Whatever it is sent, it says whole APDUs and stays alive. */
static void test_noise(void **state) {
  (void)state;
  static const char *const profiles[] = {"profile=pmstore,stored=9", "profile=spirometer",
                                         "profile=spo2,scanner=epi,report=var", "profile=bodyfat,start=manager"};
  uint64_t random = 1;
  for (unsigned round = 0; round < 400; round++) {
    struct bench b;
    start(&b, profiles[round % 4]);
    expect_apdu(&b, 0xE200);
    aare(&b, 0);
    if (round % 8 < 4)
      order(&b, "measure");
    for (unsigned i = 0; i < 30; i++) {
      uint8_t bytes[64];
      random = random * 6364136223846793005u + 1442695040888963407u;
      size_t n = 6 + (random >> 58) % 58;
      for (size_t k = 0; k < n; k++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        bytes[k] = (uint8_t)(random >> 33) & (random >> 60 ? 0x0F : 0xFF);
      }
      static const uint8_t choices[] = {0x01, 0x03, 0x05, 0x07, 0x07, 0x07};
      memcpy(bytes, (uint8_t[]){0xE7, 0, 0, (uint8_t)(n - 4), 0, (uint8_t)(n - 6)}, 6);
      if (n >= 12) {
        bytes[8] = i % 9 ? 1 : 2;
        bytes[9] = choices[random >> 40 & 3];
        bytes[10] = 0;
        bytes[11] = (uint8_t)(n - 12);
      }
      if (n >= 18) {
        bytes[12] = 0;
        bytes[13] = i % 3 ? 0x20 : 0;
        bytes[14] = 0x0C;
        bytes[15] = (const uint8_t[]){0x0C, 0x0D, 0x17, 0x1B, 0x1C}[random >> 20 & 3];
        bytes[16] = 0;
        bytes[17] = (uint8_t)(n - 18);
      }
      feed(&b, bytes, n);
      while (hear(&b)) {
        assert_int_equal(b.n, word(&b, 2) + 4);
        if (word(&b, 0) == 0xE200)
          aare(&b, 0);
      }
      b.now += 100000;
    }
    end(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_session),
      cmocka_unit_test(test_example_associations),
      cmocka_unit_test(test_example_configurations),
      cmocka_unit_test(test_example_mds),
      cmocka_unit_test(test_example_reports),
      cmocka_unit_test(test_example_scanners),
      cmocka_unit_test(test_example_data_request),
      cmocka_unit_test(test_no_answer),
      cmocka_unit_test(test_nobody_reads),
      cmocka_unit_test(test_rejected),
      cmocka_unit_test(test_configuration_refused),
      cmocka_unit_test(test_time_outs),
      cmocka_unit_test(test_manager_ends),
      cmocka_unit_test(test_stale_association),
      cmocka_unit_test(test_forms),
      cmocka_unit_test(test_unconfirmed),
      cmocka_unit_test(test_units),
      cmocka_unit_test(test_spirometer),
      cmocka_unit_test(test_peak_flow),
      cmocka_unit_test(test_auto),
      cmocka_unit_test(test_ecg),
      cmocka_unit_test(test_stored),
      cmocka_unit_test(test_clock),
      cmocka_unit_test(test_requests),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_store),
      cmocka_unit_test(test_special_values),
      cmocka_unit_test(test_lying_configurations),
      cmocka_unit_test(test_lying_reports),
      cmocka_unit_test(test_split_and_merged),
      cmocka_unit_test(test_void_request),
      cmocka_unit_test(test_silences_and_aborts),
      cmocka_unit_test(test_wrong_conversations),
      cmocka_unit_test(test_statistics),
      cmocka_unit_test(test_noise),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
