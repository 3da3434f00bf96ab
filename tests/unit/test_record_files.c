/* Records of files: what a driver may say of them, and what is made of a file that nobody ordered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "record_bed.h"
#include <cmocka.h>
#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

static const struct acq_driver camera = {.abi = ACQ_DRIVER_ABI,
                                         .name = "unit",
                                         .version = "7",
                                         .label = "Essai",
                                         .modalities = ACQ_MODALITY(ACQ_FUNDUS),
                                         .integrity = ACQ_NONE,
                                         .decode = bed_script};

/* ---- captures of files -------------------------------------------------------------------------------------- */

/* One blob a character, of that character alone; a capital one is whole, a small one waste. */
static struct acq_capture make(const char *bus, const char *order, const char *blobs) {
  char text[4096], sha[HASH_TEXT];
  int n = snprintf(text, sizeof text,
                   "asaleed-capture 1\ndriver unit 7\nbus %s\norder %s\nstart " BED_START "\n! 0 identity\n"
                   "! 0 make %s\n! 1 acquire\n",
                   bus, order, strcmp(bus, "file") ? "Marque" : "");
  for (const char *b = blobs; *b; b++) {
    hash_sha256_text(b, 1, sha);
    n += snprintf(text + n, sizeof text - (size_t)n, "@ 2 1 0\n%c 2 1 %s\n", *b < 'a' ? '#' : '~', sha);
  }
  n += snprintf(text + n, sizeof text - (size_t)n, "! 3 release\nend ok\n");
  struct acq_capture c;
  unsigned line = 0;
  if (capture_parse_with(text, (size_t)n, blobs, strlen(blobs), &c, &line) < 0)
    fail_msg("line %u of\n%s", line, text);
  return c;
}
#define MADE(name, bus, order, blobs) _capture_cleanup_ struct acq_capture name = make(bus, order, blobs)

/* The event that ends the i-th blob. */
static size_t event_of(const struct acq_capture *c, size_t i) {
  struct acq_event e;
  for (size_t k = 0; acq_capture_event(c, k, &e); k++)
    if ((e.kind == ACQ_BLOB_WHOLE || e.kind == ACQ_BLOB_WASTE) && i-- == 0)
      return k;
  fail_msg("no such blob");
  return 0;
}

/* The record of the own part, which must be alone. */
static json_t *decoded(const struct acq_driver *driver, const struct acq_capture *c,
                       void (*script)(struct acq_record *)) {
  RESULT(r);
  assert_int_equal(bed_decode(driver, c, script, &r, NULL), 0);
  return bed_accepted(&r);
}

static int refused(const struct acq_driver *driver, const struct acq_capture *c, void (*script)(struct acq_record *),
                   const char *reason) {
  RESULTS(r);
  return bed_decode_both(driver, c, script, &r, reason);
}

static int noted(const json_t *record, const char *code) {
  size_t i;
  json_t *item;
  json_array_foreach(bed_part(record, "quality"), i, item) {
    if (!strcmp(json_text(item, "code"), code))
      return (int)json_integer_value(json_object_get(item, "count"));
  }
  return 0;
}

static void add_lead(struct acq_record *r, const char *code, const int16_t *values, size_t n) {
  acq_rec_samples(r, acq_rec_channel(r, code, D(500, 0), D(5, 0), false), values, n);
}

static void one_lead(struct acq_record *r) {
  add_lead(r, "lead_ii", (int16_t[]){1, 2, 3}, 3);
}

/* ---- the instrument ----------------------------------------------------------------------------------------- */

static struct acq_identity said;

static void says_instrument(struct acq_record *r) {
  one_lead(r);
  acq_rec_instrument(r, &said);
}

static void says_instrument_twice(struct acq_record *r) {
  says_instrument(r);
  acq_rec_instrument(r, &said);
}

static struct acq_capture bare(const char *bytes) {
  struct acq_capture c;
  assert_int_equal(capture_from_file(bytes, strlen(bytes), &c), 0);
  return c;
}

TEST(instrument) {
  MADE(file, "file", "600 ecg", "A");
  MADE(usb, "usb", "10 ecg", "");
  _capture_cleanup_ struct acq_capture raw = bare("A");
  said = (struct acq_identity){"Märque", "M 3", "0012", "1.2", "S"};
  const struct acq_capture *const files[] = {&file, &raw};
  for (size_t i = 0; i < COUNT(files); i++) {
    json_t *record = decoded(&bed_ecg, files[i], says_instrument);
    assert_string_equal(json_text(bed_part(record, "device"), "make"), "Märque");
    assert_string_equal(json_text(bed_part(record, "device"), "model"), "M 3");
    assert_string_equal(json_text(bed_part(record, "device"), "serial"), "0012");
    assert_string_equal(json_text(bed_part(record, "device"), "firmware"), "1.2");
    assert_string_equal(json_text(bed_part(record, "device"), "sensor"), "S");
    json_decref(record);
  }
  json_t *unsaid = decoded(&bed_ecg, &file, one_lead);
  assert_string_equal(json_text(bed_part(unsaid, "device"), "make"), "");
  json_decref(unsaid);
  json_t *asked = decoded(&bed_ecg, &usb, one_lead); /* identify() */
  assert_string_equal(json_text(bed_part(asked, "device"), "make"), "Marque");
  json_decref(asked);
  assert_int_equal(refused(&bed_ecg, &usb, says_instrument, "an instrument"), -EINVAL); /* it could be asked */
  assert_int_equal(refused(&bed_ecg, &file, says_instrument_twice, "an instrument"), -EINVAL);
}

TEST(instruments_that_cannot_be) {
  MADE(file, "file", "600 ecg", "A");
  for (size_t field = 0; field < 5; field++)
    for (int kind = 0; kind < 4; kind++) {
      said = (struct acq_identity){"a", "b", "c", "d", "e"};
      char *const fields[] = {said.make, said.model, said.serial, said.firmware, said.sensor};
      if (kind == 0)
        memset(fields[field], 'x', ACQ_TEXT_MAX); /* without an end */
      else
        memcpy(fields[field], kind == 1 ? "a\n" : kind == 2 ? "\xe9" : "\x7f", kind == 1 ? 3 : 2);
      assert_int_equal(refused(&bed_ecg, &file, says_instrument, "an instrument"), -EINVAL);
    }
}

/* ---- the subject -------------------------------------------------------------------------------------------- */

static struct acq_subject who;

static void says_subject(struct acq_record *r) {
  acq_rec_subject(r, &who); /* at any time */
  one_lead(r);
}

static void says_subject_twice(struct acq_record *r) {
  says_subject(r);
  acq_rec_subject(r, &who);
}

TEST(subject) {
  MADE(file, "file", "600 ecg", "A");
  static const struct {
    struct acq_subject is;
    const char *sex;
  } v[] = {{{"DUPOND", "Éloïse", "123", "1950-02-28", 'F'}, "F"},
           {{.family = "DUPOND", .sex = 'M'}, "M"},
           {{.id = "7"}, ""},
           {{.birth_date = "2000-02-29"}, ""},
           {{.sex = 0}, ""}}; /* a file that has the fields, and nothing in them */
  for (size_t i = 0; i < COUNT(v); i++) {
    who = v[i].is;
    json_t *record = decoded(&bed_ecg, &file, says_subject);
    const json_t *s = bed_part(record, "subject");
    assert_string_equal(json_text(s, "family"), who.family);
    assert_string_equal(json_text(s, "given"), who.given);
    assert_string_equal(json_text(s, "id"), who.id);
    assert_string_equal(json_text(s, "birth_date"), who.birth_date);
    assert_string_equal(json_text(s, "sex"), v[i].sex);
    assert_int_equal(json_object_size(s), 5);
    assert_int_equal(noted(record, "subject_unknown"), 0);
    json_decref(record);
  }
  memset(&who, 0, sizeof who);
  memset(who.family, 'x', sizeof who.family - 1); /* as long as may be */
  json_t *record = decoded(&bed_ecg, &file, says_subject);
  assert_int_equal(strlen(json_text(bed_part(record, "subject"), "family")), ACQ_NAME_MAX - 1);
  json_decref(record);
  assert_int_equal(refused(&bed_ecg, &file, says_subject_twice, "a subject"), -EINVAL);
}

TEST(subjects_that_cannot_be) {
  MADE(file, "file", "600 ecg", "A");
  static const struct acq_subject v[] = {{.family = "a\tb"},
                                         {.given = "\xff"},
                                         {.id = "\x1b[m"},
                                         {.birth_date = "1950-02-30"},
                                         {.birth_date = "1950-2-3"},
                                         {.birth_date = "19500203"},
                                         {.birth_date = "0000-00-00"},
                                         {.birth_date = "1950-02-0"},
                                         {.sex = 'f'},
                                         {.sex = 'X'},
                                         {.sex = '0'}};
  for (size_t i = 0; i < COUNT(v); i++) {
    who = v[i];
    assert_int_equal(refused(&bed_ecg, &file, says_subject, "a subject"), -EINVAL);
  }
  for (int field = 0; field < 4; field++) { /* without an end */
    memset(&who, 0, sizeof who);
    memset(field == 0   ? who.family
           : field == 1 ? who.given
           : field == 2 ? who.id
                        : who.birth_date,
           '1', field < 3 ? ACQ_NAME_MAX : sizeof who.birth_date);
    assert_int_equal(refused(&bed_ecg, &file, says_subject, "a subject"), -EINVAL);
  }
}

/* Only of files, and not of a developer's bare bytes. */
TEST(subject_unknown) {
  MADE(file, "file", "600 ecg", "A");
  MADE(usb, "usb", "0 ecg", "");
  _capture_cleanup_ struct acq_capture raw = bare("A");
  static const struct { int said, unsaid; } expected[] = {{0, 1}, {0, 0}, {0, 0}};
  const struct acq_capture *const captures[] = {&file, &usb, &raw};
  memset(&who, 0, sizeof who);
  for (size_t i = 0; i < COUNT(captures); i++) {
    json_t *without = decoded(&bed_ecg, captures[i], one_lead), *with = decoded(&bed_ecg, captures[i], says_subject);
    assert_int_equal(noted(without, "subject_unknown"), expected[i].unsaid);
    assert_int_equal(noted(with, "subject_unknown"), expected[i].said);
    assert_true(json_is_null(bed_part(without, "subject")));
    assert_false(json_is_null(bed_part(with, "subject")));
    json_decref(without);
    json_decref(with);
  }
}

/* ---- laterality --------------------------------------------------------------------------------------------- */

static const struct acq_capture *pictured;
/* Pictures by their blob, each with an eye (' ': none is said); "old" ones are of another day. */
static const char *eyes;
static size_t shown[8];
static bool old[8];

static void shows(struct acq_record *r) {
  static const struct acq_trial then = {.timed = true, .clock_us = 1000000, .compared = true};
  for (size_t i = 0; eyes[i]; i++) {
    acq_rec_trial(r, old[i] ? &then : &(struct acq_trial){0});
    acq_rec_picture(r, event_of(pictured, shown[i]), "");
    if (eyes[i] != ' ')
      acq_rec_laterality(r, eyes[i]);
  }
}

static void before_any(struct acq_record *r) {
  acq_rec_laterality(r, 'L');
  shows(r);
}

/* The eyes in the record, a character a picture. */
static void assert_eyes(const struct record_result *result, const char *expected) {
  char text[64] = "";
  size_t i;
  json_t *record = bed_accepted(result), *picture;
  json_array_foreach(bed_part(record, "acquired.pictures"), i, picture) {
    const char *eye = json_text(picture, "laterality");
    text[i] = eye ? *eye : ' ';
  }
  assert_string_equal(text, expected);
  json_decref(record);
}

TEST(laterality) {
  MADE(file, "file", "600 fundus", "ABCA");
  pictured = &file;
  static const struct {
    const char *said, *is;
    size_t shown[4];
  } v[] = {{"LRL", "LRL", {0, 1, 2}}, {"L R", "L R", {0, 1, 2}}, {"   ", "   ", {0, 1, 2}},
           {"LRL", "LR", {0, 1, 3}}, /* the first again: it stays what it is, and so does the second */
           {" RL", "LR", {0, 1, 3}}, /* now it is said */
           {"LRR", " R", {0, 1, 3}}, /* both eyes at once: neither */
           {"LR ", "LR", {0, 1, 3}}};
  for (size_t i = 0; i < COUNT(v); i++) {
    RESULTS(r);
    eyes = v[i].said;
    memcpy(shown, v[i].shown, sizeof v[i].shown);
    memset(old, 0, sizeof old);
    assert_int_equal(bed_decode_both(&camera, &file, shows, &r, NULL), 0);
    assert_eyes(&r.of[WIRE_OWN], v[i].is);
  }
}

TEST(laterality_of_stray_pictures) {
  MADE(file, "file", "600 fundus", "ABCA");
  pictured = &file;
  RESULTS(r);
  eyes = "LRRL";
  memcpy(shown, (size_t[]){0, 1, 2, 3}, 4 * sizeof *shown);
  memcpy(old, (bool[]){false, true, false, true}, 4 * sizeof *old);
  assert_int_equal(bed_decode_both(&camera, &file, shows, &r, NULL), 0);
  assert_eyes(&r.of[WIRE_OWN], "LR");
  assert_eyes(&r.of[WIRE_STRAY], "RL");
}

TEST(lateralities_that_cannot_be) {
  MADE(file, "file", "600 fundus", "A");
  pictured = &file;
  shown[0] = 0;
  old[0] = false;
  eyes = " ";
  assert_int_equal(refused(&camera, &file, before_any, "a laterality"), -EINVAL);
  for (const char *bad = "lrB0X"; *bad; bad++) {
    eyes = (char[]){*bad, 0};
    assert_int_equal(refused(&camera, &file, shows, "a laterality"), -EINVAL);
  }
}

/* ---- limb leads --------------------------------------------------------------------------------------------- */

static struct {
  const char *codes[4]; /* measured; NULL ends them */
  int16_t values[4][8];
  size_t n[4];
  struct dec rate[4], scale[4];
  bool derived[4]; /* not measured after all */
} limbs;

static void has_limbs(struct acq_record *r) {
  for (size_t i = 0; i < 4 && limbs.codes[i]; i++) {
    const unsigned c = acq_rec_channel(r, limbs.codes[i], limbs.rate[i], limbs.scale[i], limbs.derived[i]);
    for (size_t k = 0; k < limbs.n[i]; k++)
      if (limbs.values[i][k] == ACQ_GAP)
        acq_rec_gap(r, c, 1);
      else
        acq_rec_samples(r, c, &limbs.values[i][k], 1);
  }
  acq_rec_limb_leads(r);
}

/* The leads that are there, of n samples each at 500 Hz, 5 uV a step. */
static void set_limb(size_t i, const char *code, const int16_t *values, size_t n) {
  limbs.codes[i] = code;
  memcpy(limbs.values[i], values, n * sizeof *values);
  limbs.n[i] = n;
  limbs.rate[i] = D(500, 0);
  limbs.scale[i] = D(5, 0);
}

/* Channel k of the record is this one, derived or not, with these values and that scale. */
static void assert_lead(const struct record_result *result, size_t k, const char *code, bool derived, const char *scale,
                        const int16_t *values, size_t n) {
  json_t *record = bed_accepted(result);
  const json_t *c = json_array_get(bed_part(record, "acquired.channels"), k);
  assert_string_equal(json_text(c, "code"), code);
  assert_int_equal(json_is_true(json_object_get(c, "derived")), derived);
  assert_string_equal(json_text(c, "scale"), scale);
  assert_string_equal(json_text(c, "rate"), "500");
  assert_int_equal(json_integer_value(json_object_get(c, "samples")), n);
  const int16_t *at = result->data + json_integer_value(json_object_get(c, "first"));
  for (size_t i = 0; i < n; i++)
    assert_int_equal(at[i], values[i]);
  json_decref(record);
}

static size_t leads_of(const struct record_result *result) {
  json_t *record = bed_accepted(result);
  const size_t n = json_array_size(bed_part(record, "acquired.channels"));
  json_decref(record);
  return n;
}

#define VALUES(...) (const int16_t[]){__VA_ARGS__}, sizeof((const int16_t[]){__VA_ARGS__}) / sizeof(int16_t)

TEST(limb_leads_of_one_and_two) {
  MADE(file, "file", "600 ecg", "A");
  RESULT(r);
  memset(&limbs, 0, sizeof limbs);
  set_limb(0, "lead_i", VALUES(1, -2, ACQ_GAP, 7, 0));
  set_limb(1, "lead_ii", VALUES(5, 3, 4, ACQ_GAP, 0));
  set_limb(2, "lead_v1", VALUES(9, 9, 9, 9, 9));
  assert_int_equal(bed_decode(&bed_ecg, &file, has_limbs, &r, NULL), 0);
  assert_int_equal(leads_of(&r), 7);
  assert_lead(&r, 0, "lead_i", false, "5", VALUES(1, -2, ACQ_GAP, 7, 0));
  assert_lead(&r, 3, "lead_iii", true, "5", VALUES(4, 5, ACQ_GAP, ACQ_GAP, 0));     /* II - I */
  assert_lead(&r, 4, "lead_avr", true, "2.5", VALUES(-6, -1, ACQ_GAP, ACQ_GAP, 0)); /* -(I + II) / 2 */
  assert_lead(&r, 5, "lead_avl", true, "2.5", VALUES(-3, -7, ACQ_GAP, ACQ_GAP, 0)); /* I - II / 2 */
  assert_lead(&r, 6, "lead_avf", true, "2.5", VALUES(9, 8, ACQ_GAP, ACQ_GAP, 0));   /* II - I / 2 */
}

TEST(limb_leads_of_two_and_three) {
  MADE(file, "file", "600 ecg", "A");
  RESULT(r);
  memset(&limbs, 0, sizeof limbs);
  set_limb(0, "lead_iii", VALUES(4, 5, ACQ_GAP, -1));
  set_limb(1, "lead_ii", VALUES(5, 3, 1, 1));
  assert_int_equal(bed_decode(&bed_ecg, &file, has_limbs, &r, NULL), 0);
  assert_int_equal(leads_of(&r), 6);
  assert_lead(&r, 2, "lead_i", true, "5", VALUES(1, -2, ACQ_GAP, 2));
  assert_lead(&r, 3, "lead_avr", true, "2.5", VALUES(-6, -1, ACQ_GAP, -3));
  assert_lead(&r, 4, "lead_avl", true, "2.5", VALUES(-3, -7, ACQ_GAP, 3));
  assert_lead(&r, 5, "lead_avf", true, "2.5", VALUES(9, 8, ACQ_GAP, 0));
}

/* What was measured stays what it is; of all three, I and II count. */
TEST(limb_leads_that_are_there) {
  MADE(file, "file", "600 ecg", "A");
  RESULT(r);
  memset(&limbs, 0, sizeof limbs);
  set_limb(0, "lead_i", VALUES(1, 2));
  set_limb(1, "lead_ii", VALUES(5, 3));
  set_limb(2, "lead_iii", VALUES(100, 100)); /* it does not fit, and nobody changes it */
  set_limb(3, "lead_avl", VALUES(50, 50));
  assert_int_equal(bed_decode(&bed_ecg, &file, has_limbs, &r, NULL), 0);
  assert_int_equal(leads_of(&r), 6);
  assert_lead(&r, 2, "lead_iii", false, "5", VALUES(100, 100));
  assert_lead(&r, 3, "lead_avl", false, "5", VALUES(50, 50));
  assert_lead(&r, 4, "lead_avr", true, "2.5", VALUES(-6, -5));
  assert_lead(&r, 5, "lead_avf", true, "2.5", VALUES(9, 4));
}

/* One that the instrument computed itself is there, too: it is not computed once more. */
TEST(limb_leads_that_the_instrument_derived) {
  MADE(file, "file", "600 ecg", "A");
  RESULT(r);
  memset(&limbs, 0, sizeof limbs);
  set_limb(0, "lead_i", VALUES(1, 2));
  set_limb(1, "lead_ii", VALUES(5, 3));
  set_limb(2, "lead_iii", VALUES(4, 1));
  set_limb(3, "lead_avf", VALUES(4, 2));
  limbs.derived[2] = limbs.derived[3] = true;
  assert_int_equal(bed_decode(&bed_ecg, &file, has_limbs, &r, NULL), 0);
  assert_int_equal(leads_of(&r), 6);
  assert_lead(&r, 2, "lead_iii", true, "5", VALUES(4, 1));
  assert_lead(&r, 3, "lead_avf", true, "5", VALUES(4, 2));
  assert_lead(&r, 4, "lead_avr", true, "2.5", VALUES(-6, -5));
  assert_lead(&r, 5, "lead_avl", true, "2.5", VALUES(-3, 1));
}

/* A lead of a file that stands still at the end of what 16 bits say was cut off there. */
static void rails(struct acq_record *r) {
  static const struct {
    const char *code;
    int16_t value;
    unsigned n;
  } leads[] = {{"lead_v1", INT16_MAX, 15}, {"lead_v2", INT16_MAX, 16}, {"lead_v3", -INT16_MAX, 17}, {"lead_v4", 9, 99}};
  acq_rec_trial(r, &(struct acq_trial){.timed = true, .clock_us = BED_START_US + WALL_SECOND});
  for (size_t i = 0; i < COUNT(leads); i++) {
    const unsigned c = acq_rec_channel(r, leads[i].code, D(500, 0), D(5, 0), false);
    for (unsigned k = 0; k < leads[i].n; k++)
      acq_rec_samples(r, c, &leads[i].value, 1);
  }
}

TEST(saturated_leads) {
  MADE(file, "file", "600 ecg", "A");
  MADE(cable, "serial", "600 ecg", "A");
  RESULT(r);
  assert_int_equal(bed_decode(&bed_ecg, &file, rails, &r, NULL), 0);
  const json_t *item;
  json_t *record = bed_accepted(&r);
  char text[128] = "";
  size_t i;
  json_array_foreach(bed_part(record, "quality"), i, item) {
    if (!strcmp(json_text(item, "code"), "lead_saturated"))
      snprintf(text + strlen(text), sizeof text - strlen(text), "%s %d %d; ", json_text(item, "subject"),
               (int)json_integer_value(json_object_get(item, "count")),
               (int)json_integer_value(json_object_get(item, "trial")));
  }
  assert_string_equal(text, "lead_v2 16 1; lead_v3 17 1; ");
  json_decref(record);
  RESULT(live); /* the driver of an instrument knows its converter */
  assert_int_equal(bed_decode(&bed_ecg, &cable, rails, &live, NULL), 0);
  record = bed_accepted(&live);
  assert_null(strstr(live.json, "lead_saturated"));
  json_decref(record);
}

TEST(limb_leads_that_do_not_follow) {
  MADE(file, "file", "600 ecg", "A");
  for (int kind = 0; kind < 8; kind++) {
    RESULT(r);
    memset(&limbs, 0, sizeof limbs);
    set_limb(0, "lead_ii", VALUES(1, 2));
    set_limb(1, kind == 0 ? "lead_v1" : kind == 7 ? "lead_iii" : "lead_i", VALUES(5, 3));
    limbs.codes[1] = kind == 1 ? NULL : limbs.codes[1];
    limbs.n[1] -= kind == 2;
    limbs.rate[1] = kind == 3 ? D(250, 0) : limbs.rate[1];
    limbs.scale[1] = kind == 4 ? D(6, 0) : limbs.scale[1];
    limbs.derived[1] = kind == 5; /* from a derived lead nothing is derived */
    limbs.derived[0] = kind == 6;
    limbs.rate[1] = kind == 7 ? D(501, 0) : limbs.rate[1];
    assert_int_equal(bed_decode(&bed_ecg, &file, has_limbs, &r, NULL), 0);
    assert_int_equal(leads_of(&r), kind == 1 ? 1 : 2);
  }
  RESULT(same); /* written in another way, and the same */
  set_limb(1, "lead_i", VALUES(5, 3));
  limbs.rate[1] = D(5000, -1);
  limbs.scale[1] = D(500, -2);
  assert_int_equal(bed_decode(&bed_ecg, &file, has_limbs, &same, NULL), 0);
  assert_int_equal(leads_of(&same), 6);
}

/* A lead of which one value does not fit is left out; the others are there. */
TEST(limb_leads_that_do_not_fit) {
  MADE(file, "file", "600 ecg", "A");
  static const struct {
    int16_t i, ii;
    const char *codes; /* of those derived */
  } v[] = {{32767, 32767, "lead_iii lead_avl lead_avf "},
           {16383, 16384, "lead_iii lead_avr lead_avl lead_avf "},   /* -(I + II) = -32767 */
           {16384, 16384, "lead_iii lead_avl lead_avf "},            /* -32768 is the value of a gap */
           {-16384, -16383, "lead_iii lead_avr lead_avl lead_avf "}, /* 32767 */
           {-16384, -16384, "lead_iii lead_avl lead_avf "},
           {-20000, 20000, "lead_avr "},
           {20000, -20000, "lead_avr "},
           {16384, 0, "lead_iii lead_avr lead_avf "},
           {0, 16384, "lead_iii lead_avr lead_avl "}};
  for (size_t k = 0; k < COUNT(v); k++) {
    RESULT(r);
    memset(&limbs, 0, sizeof limbs);
    set_limb(0, "lead_i", VALUES(1, v[k].i, ACQ_GAP, 30000));
    set_limb(1, "lead_ii", VALUES(1, v[k].ii, -30000, ACQ_GAP)); /* beside a gap nothing must fit */
    limbs.scale[0] = limbs.scale[1] = D(1, 0);
    assert_int_equal(bed_decode(&bed_ecg, &file, has_limbs, &r, NULL), 0);
    json_t *record = bed_accepted(&r), *c;
    char text[128] = "";
    size_t i;
    json_array_foreach(bed_part(record, "acquired.channels"), i, c) {
      if (json_is_true(json_object_get(c, "derived")))
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s ", json_text(c, "code"));
    }
    assert_string_equal(text, v[k].codes);
    json_decref(record);
  }
}

/* Half a step is exact, or its leads are left out; the record never fails for it. */
TEST(limb_leads_in_half_steps) {
  MADE(file, "file", "600 ecg", "A");
  static const struct {
    struct dec scale;
    const char *half;
  } v[] = {{D(1, 0), "0.5"},
           {D(5, 0), "2.5"},
           {D(9524, -3), "4.7620"},
           {D(3, 2), "150"},
           {D(263, -2), "1.315"},
           {D(122070312, -8), "0.610351560"},
           {D(199999999, -8), "0.999999995"},
           {D(244140625, -8), "1.220703125"},
           {D(488281250, -8), "2.44140625"},
           {D(500000000, -7), "25.0000000"},
           {D(999999999, -8), NULL}, /* ten digits that do not fit */
           {D(488281251, -8), NULL},
           {D(1, -18), NULL}};
  for (size_t k = 0; k < COUNT(v); k++) {
    RESULT(r);
    memset(&limbs, 0, sizeof limbs);
    set_limb(0, "lead_i", VALUES(1, 2));
    set_limb(1, "lead_ii", VALUES(4, 3));
    limbs.scale[0] = limbs.scale[1] = v[k].scale;
    assert_int_equal(bed_decode(&bed_ecg, &file, has_limbs, &r, NULL), 0);
    assert_int_equal(leads_of(&r), v[k].half ? 6 : 3);
    if (v[k].half)
      assert_lead(&r, 5, "lead_avf", true, v[k].half, VALUES(7, 4));
    json_t *record = bed_accepted(&r);
    assert_string_equal(json_text(json_array_get(bed_part(record, "acquired.channels"), 2), "code"), "lead_iii");
    json_decref(record);
  }
}

static void limbs_in_trials(struct acq_record *r) {
  memset(&limbs, 0, sizeof limbs);
  set_limb(0, "lead_i", VALUES(1, 2));
  add_lead(r, "lead_ii", (int16_t[]){100, 100}, 2); /* of the session, not of a trial */
  acq_rec_trial(r, &(struct acq_trial){0});
  has_limbs(r);
  set_limb(1, "lead_ii", VALUES(4, 3));
  acq_rec_trial(r, &(struct acq_trial){0});
  has_limbs(r);
  limbs.values[0][0] = 3;
  acq_rec_trial(r, &(struct acq_trial){0});
  has_limbs(r);
}

/* Each trial's leads are its own. */
TEST(limb_leads_of_trials) {
  MADE(file, "file", "600 ecg", "A");
  RESULT(r);
  assert_int_equal(bed_decode(&bed_ecg, &file, limbs_in_trials, &r, NULL), 0);
  json_t *record = bed_accepted(&r);
  static const int trials[] = {0, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3};
  assert_int_equal(leads_of(&r), COUNT(trials));
  for (size_t i = 0; i < COUNT(trials); i++)
    assert_int_equal(
        json_integer_value(json_object_get(json_array_get(bed_part(record, "acquired.channels"), i), "trial")),
        trials[i]);
  json_decref(record);
  assert_lead(&r, 4, "lead_iii", true, "5", VALUES(3, 1));
  assert_lead(&r, 10, "lead_iii", true, "5", VALUES(1, 1));
}

/* ---- files that nobody ordered ------------------------------------------------------------------------------ */

static const struct acq_trial just_now = {.timed = true, .clock_us = BED_START_US, .compared = true},
                              untimed = {.timed = false};

static void in_trials(struct acq_record *r) {
  acq_rec_trial(r, &just_now);
  one_lead(r);
  acq_rec_quality(r, "lead_flat", "lead_ii", 1);
  acq_rec_statement(r, "1", "Rythme sinusal");
  acq_rec_trial(r, &untimed);
  one_lead(r);
}

static void in_both(struct acq_record *r) {
  one_lead(r);
  acq_rec_quality(r, "file_unchecked", "", 1);
  in_trials(r);
}

TEST(unordered) {
  static const struct {
    void (*script)(struct acq_record *);
    size_t channels, trials, quality, statements;
  } v[] = {{one_lead, 1, 0, 1, 0}, {in_trials, 2, 2, 2, 1}, {in_both, 3, 2, 3, 1}};
  MADE(file, "file", "600", "A");
  for (size_t i = 0; i < COUNT(v); i++) {
    RESULTS(r);
    assert_int_equal(bed_decode_both(&bed_ecg, &file, v[i].script, &r, NULL), 0);
    assert_null(r.of[WIRE_OWN].json);
    json_t *record = bed_accepted(&r.of[WIRE_STRAY]);
    assert_true(json_is_true(bed_part(record, "stray")));
    assert_int_equal(json_array_size(bed_part(record, "acquired.channels")), v[i].channels);
    assert_int_equal(json_array_size(bed_part(record, "acquired.trials")), v[i].trials);
    assert_int_equal(json_array_size(bed_part(record, "quality")), v[i].quality);
    assert_int_equal(json_array_size(bed_part(record, "statements")), v[i].statements);
    assert_int_equal(noted(record, "subject_unknown"), 1);
    assert_int_equal(noted(record, "readings_stray"), 0);          /* there is no session that it came beside */
    assert_int_equal(noted(record, "reading_time_unverified"), 0); /* nor an order to be compared with */
    assert_int_equal(r.of[WIRE_STRAY].data_values, 3 * v[i].channels);
    json_decref(record);
  }
}

static void beyond(struct acq_record *r) {
  in_trials(r);
  acq_rec_samples(r, acq_rec_channel(r, "lead_v1", D(500, 0), D(400, 0), false), (int16_t[]){1001}, 1);
}

static void beyond_for_a_measure(struct acq_record *r) {
  in_trials(r);
  acq_rec_measure(r, "heart_rate", D(401, 0), NULL);
}

/* What cannot be is left out of somebody else's record, for the sake of the patient's; here nothing would say so. */
TEST(unordered_and_impossible) {
  MADE(file, "file", "600", "A");
  assert_int_equal(refused(&bed_ecg, &file, beyond, "a sample is outside"), -ERANGE);
  assert_int_equal(refused(&bed_ecg, &file, beyond_for_a_measure, "heart_rate is outside"), -ERANGE);
}

/* What has no reading is none, whatever else is said of it. */
static void nothing(struct acq_record *r) {
  acq_rec_trial(r, &untimed);
  acq_rec_quality(r, "file_unchecked", "", 1);
  acq_rec_statement(r, "1", "x");
}

TEST(unordered_without_a_reading) {
  MADE(file, "file", "600", "A");
  assert_int_equal(refused(&bed_ecg, &file, nothing, "no reading"), -ENODATA);
}

/* A driver of several modalities must say which, as nobody ordered one. */
TEST(unordered_without_a_modality) {
  MADE(file, "file", "600", "A");
  struct acq_driver several = bed_ecg;
  several.modalities |= ACQ_MODALITY(ACQ_SPIROMETRY);
  assert_int_equal(refused(&several, &file, one_lead, "does not say what the reading is"), -EINVAL);
}

static void pictures_and_trials(struct acq_record *r) {
  acq_rec_picture(r, event_of(pictured, 0), "");
  acq_rec_laterality(r, 'L');
  acq_rec_trial(r, &untimed);
  acq_rec_picture(r, event_of(pictured, 1), "");
  acq_rec_laterality(r, 'R');
}

TEST(unordered_pictures) {
  MADE(file, "file", "600", "AB");
  pictured = &file;
  RESULTS(r);
  assert_int_equal(bed_decode_both(&camera, &file, pictures_and_trials, &r, NULL), 0);
  assert_null(r.of[WIRE_OWN].json);
  json_t *record = bed_accepted(&r.of[WIRE_STRAY]);
  assert_int_equal(json_array_size(bed_part(record, "acquired.pictures")), 2);
  assert_int_equal(noted(record, "readings_stray"), 0);
  json_decref(record);
}

/* Without a modality in its order a capture of another bus is not a file, and as it was. */
TEST(only_files_come_unordered) {
  MADE(usb, "usb", "1", "");
  RESULTS(r);
  assert_int_equal(bed_decode_both(&bed_ecg, &usb, in_trials, &r, NULL), 0);
  assert_non_null(r.of[WIRE_OWN].json);
  assert_null(r.of[WIRE_STRAY].json);
}

/* An order's seconds are how long it waits for a file. */
TEST(files_are_never_too_short) {
  MADE(file, "file", "600 ecg", "A");
  MADE(usb, "usb", "600 ecg", "");
  json_t *of_file = decoded(&bed_ecg, &file, one_lead), *of_usb = decoded(&bed_ecg, &usb, one_lead);
  assert_int_equal(noted(of_file, "shorter_than_ordered"), 0);
  assert_int_equal(noted(of_usb, "shorter_than_ordered"), 1);
  json_decref(of_file);
  json_decref(of_usb);
}

/* ---- the file ----------------------------------------------------------------------------------------------- */

TEST(whole_file) {
  static const struct {
    const char *blobs;
    int which; /* -1: none */
  } v[] = {{"A", 0}, {"aA", 1}, {"aBa", 1}, {"BA", 0}, {"a", -1}, {"", -1}};
  for (size_t i = 0; i < COUNT(v); i++) {
    MADE(file, "file", "600 ecg", v[i].blobs);
    static const uint8_t mark;
    struct acq_cur c = acq_cur(&mark, 0);
    size_t event = 12345;
    assert_int_equal(acq_capture_file(&file, &c, &event), v[i].which < 0 ? -ENODATA : 0);
    if (v[i].which < 0) {
      assert_ptr_equal(c.at, &mark); /* untouched */
      assert_int_equal(event, 12345);
      continue;
    }
    assert_int_equal(acq_left(&c), 1);
    assert_int_equal(acq_u8(&c), v[i].blobs[v[i].which]);
    assert_int_equal(event, event_of(&file, (size_t)v[i].which));
    assert_int_equal(acq_capture_file(&file, &c, NULL), 0);
    assert_int_equal(acq_u8(&c), v[i].blobs[v[i].which]);
  }
}

TEST(bare_file) {
  static const char bytes[] = "some\0bytes";
  struct acq_capture c;
  struct acq_cur cur;
  struct acq_event e;
  size_t event = 12345;
  char sha[HASH_TEXT];
  assert_int_equal(capture_from_file(bytes, sizeof bytes, &c), 0);
  assert_true(c.raw);
  assert_int_equal(c.end, CAPTURE_OK);
  assert_int_equal(acq_capture_file(&c, &cur, &event), 0);
  assert_int_equal(acq_left(&cur), sizeof bytes);
  assert_ptr_equal(cur.at, bytes); /* not copied */
  assert_true(acq_capture_event(&c, event, &e));
  assert_int_equal(e.kind, ACQ_BLOB_WHOLE);
  assert_int_equal(e.n, sizeof bytes);
  assert_ptr_equal(e.bytes, bytes);
  assert_false(acq_capture_event(&c, 1, &e));
  hash_sha256_text(bytes, sizeof bytes, sha);
  assert_string_equal(c.blobs[0].sha256, sha);
  struct acq_cur received = acq_capture_received(&c);
  assert_int_equal(acq_left(&received), 0);
  capture_finish(&c);

  assert_int_equal(capture_from_file(bytes, 0, &c), 0); /* empty */
  assert_int_equal(acq_capture_file(&c, &cur, NULL), -ENODATA);
  assert_false(acq_capture_event(&c, 0, &e));
  capture_finish(&c);

  const struct acq_capture before = {.n_events = 7};
  c = before;
  assert_int_equal(capture_from_file(bytes, (size_t)ACQ_BLOB_MAX + 1, &c), -EFBIG);
  assert_memory_equal(&c, &before, sizeof c);
}

static int set_up(void **state) {
  (void)state;
  return hash_open();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(instrument),
      cmocka_unit_test(instruments_that_cannot_be),
      cmocka_unit_test(subject),
      cmocka_unit_test(subjects_that_cannot_be),
      cmocka_unit_test(subject_unknown),
      cmocka_unit_test(laterality),
      cmocka_unit_test(laterality_of_stray_pictures),
      cmocka_unit_test(lateralities_that_cannot_be),
      cmocka_unit_test(limb_leads_of_one_and_two),
      cmocka_unit_test(limb_leads_of_two_and_three),
      cmocka_unit_test(saturated_leads),
      cmocka_unit_test(limb_leads_that_are_there),
      cmocka_unit_test(limb_leads_that_the_instrument_derived),
      cmocka_unit_test(limb_leads_that_do_not_follow),
      cmocka_unit_test(limb_leads_that_do_not_fit),
      cmocka_unit_test(limb_leads_in_half_steps),
      cmocka_unit_test(limb_leads_of_trials),
      cmocka_unit_test(unordered),
      cmocka_unit_test(unordered_and_impossible),
      cmocka_unit_test(unordered_without_a_reading),
      cmocka_unit_test(unordered_without_a_modality),
      cmocka_unit_test(unordered_pictures),
      cmocka_unit_test(only_files_come_unordered),
      cmocka_unit_test(files_are_never_too_short),
      cmocka_unit_test(whole_file),
      cmocka_unit_test(bare_file),
  };
  cmocka_set_message_output(CM_OUTPUT_TAP);
  return cmocka_run_group_tests(tests, set_up, NULL);
}
