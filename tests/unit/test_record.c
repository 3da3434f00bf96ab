#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"
#include "hash.h"
#include "nomenclature.h"
#include "record_bed.h"
#include <cmocka.h>
#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

/* ---- drivers and captures ----------------------------------------------------------------------------------- */

static int forgets_the_error(const struct acq_capture *capture, struct acq_record *r) {
  bed_script(capture, r);
  return 0;
}

static int fails(const struct acq_capture *capture, struct acq_record *r) {
  bed_script(capture, r);
  return -EBADMSG;
}

static int decode(void (*with)(struct acq_record *), struct record_result *ret, const char *reason_has) {
  CAPTURE(c, "0", "end ok\n");
  return bed_decode(&bed_ecg, &c, with, ret, reason_has);
}

/* ---- one of everything -------------------------------------------------------------------------------------- */

static void rich(struct acq_record *r) {
  unsigned i = acq_rec_channel(r, "lead_i", D(5, 0), D(250, -2), false);
  unsigned ii = acq_rec_channel(r, "lead_ii", D(50, -1), D(1, 0), true);
  acq_rec_samples(r, i, (int16_t[]){10, -20, 30}, 3);
  acq_rec_samples(r, ii, (int16_t[]){1, 2, 3}, 3); /* in turns */
  acq_rec_gap(r, i, 1);
  acq_rec_gap(r, i, 0);
  acq_rec_gap(r, i, 2); /* one gap with the one before */
  acq_rec_samples(r, i, NULL, 0);
  acq_rec_samples(r, i, (int16_t[]){5}, 1);
  acq_rec_gap(r, i, 1);
  acq_rec_samples(r, ii, (int16_t[]){4, -5}, 2);
  acq_rec_measure(r, "fev1", D(360, -2), NULL);
  acq_rec_measure(r, "pef", D(40, -2), NULL);
  acq_rec_measure(r, "fvc", D(950, -2), NULL);
  acq_rec_quality(r, "electrode_off", "R", 1);
  acq_rec_quality(r, "lead_flat", "lead_i", 1);
  acq_rec_quality(r, "electrode_off", "R", 2);
  acq_rec_quality(r, "electrode_off", "C6", 1);
  acq_rec_quality(r, "frame_damaged", "", 4);
  acq_rec_quality(r, "samples_missing", "0,5 s", 0);
  acq_rec_statement(r, "1", "Rythme sinusal\n\té \"?\"");
  static const struct acq_trial blow = {ACQ_POST, true, BED_START_US - 3 * WALL_SECOND, 5 * WALL_SECOND, true},
                                old = {ACQ_NO_PHASE, true, INT64_C(1369737858000000), 0, false}, untimed = {0};
  acq_rec_trial(r, &blow);
  acq_rec_measure(r, "pef", D(420, 0), "L/min");
  unsigned flow = acq_rec_channel(r, "flow", D(0, 0), D(5, -4), false);
  unsigned step = acq_rec_channel(r, "time_step", D(0, 0), D(1, -3), false);
  acq_rec_samples(r, flow, (int16_t[]){0, 5}, 2);
  acq_rec_samples(r, step, (int16_t[]){0, 10}, 2);
  acq_rec_quality(r, "blow_short", "", 1);
  acq_rec_quality(r, "frame_damaged", "", 1); /* not the one of the session */
  acq_rec_measure(r, "fev1_predicted", D(310, -2), NULL);
  acq_rec_trial(r, &old);
  acq_rec_measure(r, "body_weight", D(1540, -1), "[lb_av]");
  acq_rec_samples(r, acq_rec_channel(r, "volume", D(100, 0), D(1, -3), false), (int16_t[]){7}, 1);
  acq_rec_quality(r, "blow_cough", "", 1);
  acq_rec_statement(r, "2", "autre");
  acq_rec_trial(r, &untimed);
  acq_rec_measure(r, "fev1", D(3100, 0), "mL");
  acq_rec_trial(r, NULL);
  acq_rec_measure(r, "fet", D(61, -1), NULL);
}

static const int16_t rich_data[] = {10, -20, 30, ACQ_GAP, ACQ_GAP, ACQ_GAP, 5, ACQ_GAP, 1, 2, 3, 4, -5, 0, 5, 0, 10};
static const char rich_json[] =
    "{\"acquired\":{\"channels\":["
    "{\"code\":\"lead_i\",\"derived\":false,\"first\":0,\"gaps\":[[3,3],[7,1]],\"label\":\"I\",\"mdc\":131073,"
    "\"rate\":\"5\",\"samples\":8,\"scale\":\"2.50\",\"trial\":0,\"unit\":\"uV\"},"
    "{\"code\":\"lead_ii\",\"derived\":true,\"first\":8,\"gaps\":[],\"label\":\"II\",\"mdc\":131074,"
    "\"rate\":\"5.0\",\"samples\":5,\"scale\":\"1\",\"trial\":0,\"unit\":\"uV\"},"
    "{\"code\":\"flow\",\"derived\":false,\"first\":13,\"gaps\":[],\"label\":\"Débit\",\"mdc\":151764,"
    "\"rate\":\"0\",\"samples\":2,\"scale\":\"0.0005\",\"trial\":1,\"unit\":\"L/s\"},"
    "{\"code\":\"time_step\",\"derived\":false,\"first\":15,\"gaps\":[],\"label\":\"Temps\",\"mdc\":0,"
    "\"rate\":\"0\",\"samples\":2,\"scale\":\"0.001\",\"trial\":1,\"unit\":\"s\"}],"
    "\"data\":{\"encoding\":\"int16-le\",\"gap\":-32768,"
    "\"sha256\":\"ce41cfab30ea47cd8d05eeeb1bd3fea1f0c4524a221c5b9fdb7886962d7d4f83\",\"values\":17},"
    "\"measures\":["
    "{\"code\":\"fev1\",\"flags\":[],\"label\":\"VEMS\",\"loinc\":\"20150-9\",\"mdc\":152586,\"trial\":0,\"unit\":"
    "\"L\","
    "\"value\":\"3.60\"},"
    "{\"code\":\"pef\",\"flags\":[\"unusually_low\"],\"label\":\"DEP\",\"loinc\":\"19935-6\",\"mdc\":152584,\"trial\":"
    "0,"
    "\"unit\":\"L/s\",\"value\":\"0.40\"},"
    "{\"code\":\"fvc\",\"flags\":[\"unusually_high\"],\"label\":\"CVF\",\"loinc\":\"19870-5\",\"mdc\":188928,\"trial\":"
    "0,"
    "\"unit\":\"L\",\"value\":\"9.50\"},"
    "{\"code\":\"pef\",\"flags\":[],\"label\":\"DEP\",\"loinc\":\"19935-6\",\"mdc\":152584,\"trial\":1,\"unit\":\"L/"
    "min\",\"value\":\"420\"},"
    "{\"code\":\"fev1\",\"flags\":[],\"label\":\"VEMS\",\"loinc\":\"20150-9\",\"mdc\":152586,\"trial\":3,\"unit\":"
    "\"L\",\"value\":\"3.100\"},"
    "{\"code\":\"fet\",\"flags\":[],\"label\":\"Temps "
    "expiratoire\",\"loinc\":\"65819-5\",\"mdc\":189016,\"trial\":0,\"unit\":\"s\","
    "\"value\":\"6.1\"}],"
    "\"pictures\":[],\"trials\":[{\"device_time\":\"2026-03-29T01:59:56.123\",\"number\":1,\"phase\":\"post\","
    "\"time\":\"2026-03-29T02:00:01.123456+01:00\"},{\"device_time\":null,\"number\":3,\"phase\":null,\"time\":null}]},"
    "\"complete\":true,\"derived\":[],"
    "\"device\":{\"firmware\":\"1.0\",\"make\":\"Marque\",\"model\":\"Modèle\",\"sensor\":\"T 7\",\"serial\":\"SN "
    "42\"},"
    "\"driver\":{\"name\":\"unit\",\"version\":\"7\"},\"end\":\"ok\",\"integrity\":\"crc16\",\"modality\":\"ecg\","
    "\"quality\":["
    "{\"code\":\"electrode_off\",\"count\":3,\"severity\":\"check\",\"subject\":\"R\",\"text\":"
    "\"L'électrode rouge (R, bras droit) ne touche pas la peau : la recoller, puis recommencer.\",\"trial\":0},"
    "{\"code\":\"lead_flat\",\"count\":1,\"severity\":\"check\",\"subject\":\"lead_i\",\"text\":"
    "\"La dérivation I est plate : vérifier son électrode.\",\"trial\":0},"
    "{\"code\":\"electrode_off\",\"count\":1,\"severity\":\"check\",\"subject\":\"C6\",\"text\":"
    "\"L'électrode blanche et violette (C6, V6) ne touche pas la peau : la recoller, puis recommencer.\",\"trial\":0},"
    "{\"code\":\"frame_damaged\",\"count\":4,\"severity\":\"check\",\"subject\":\"\",\"text\":"
    "\"Des données sont arrivées abîmées : vérifier le câble, puis recommencer.\",\"trial\":0},"
    "{\"code\":\"samples_missing\",\"count\":0,\"severity\":\"check\",\"subject\":\"0,5 s\",\"text\":"
    "\"Il manque une partie du signal (0,5 s) : vérifier le câble, puis recommencer.\",\"trial\":0},"
    "{\"code\":\"blow_short\",\"count\":1,\"severity\":\"check\",\"subject\":\"\",\"text\":"
    "\"L'appareil signale un souffle trop court : souffler plus longtemps.\",\"trial\":1},"
    "{\"code\":\"frame_damaged\",\"count\":1,\"severity\":\"check\",\"subject\":\"\",\"text\":"
    "\"Des données sont arrivées abîmées : vérifier le câble, puis recommencer.\",\"trial\":1},"
    "{\"code\":\"readings_stray\",\"count\":1,\"severity\":\"check\",\"subject\":\"\",\"text\":"
    "\"L'appareil a aussi envoyé une mesure faite à un autre moment : elle est mise de côté, sans patient.\","
    "\"trial\":0}],"
    "\"schema\":\"asaleed-record-4\",\"sources\":[],\"started\":\"2026-03-29T01:59:59.123456+01:00\","
    "\"statements\":[{\"code\":\"1\",\"text\":\"Rythme sinusal\\n\\té \\\"?\\\"\",\"trial\":0},"
    "{\"code\":\"fev1_predicted\",\"text\":\"VEMS théorique : 3,10 L\",\"trial\":1}],\"stray\":false,\"subject\":null}";

TEST(one_of_everything) {
  CAPTURE(c, "1", "end ok\n");
  RESULTS(r);
  RESULTS(again);
  assert_int_equal(bed_decode_both(&bed_ecg, &c, rich, &r, NULL), 0);
  const struct record_result *own = &r.of[WIRE_OWN], *stray = &r.of[WIRE_STRAY];
  assert_string_equal(own->json, rich_json);
  assert_int_equal(own->data_values, COUNT(rich_data));
  assert_memory_equal(own->data, rich_data, sizeof rich_data);
  assert_int_equal(bed_decode_both(&bed_ecg, &c, rich, &again, NULL), 0);
  assert_string_equal(again.of[WIRE_OWN].json, own->json);
  assert_string_equal(again.of[WIRE_STRAY].json, stray->json);
  _json_cleanup_ json_t *j = bed_accepted(own), *plain = json_loads(rich_json, 0, NULL), *other = bed_accepted(stray);
  assert_true(json_equal(j, plain));
  assert_false(record_is_clean(j));
  assert_true(json_is_true(bed_part(other, "stray")));
}

/* ---- building ----------------------------------------------------------------------------------------------- */

static const char *code;
static struct dec value, rate, scale;
static size_t count;
static const char *words;

static void measure(struct acq_record *r) {
  acq_rec_measure(r, code, value, NULL);
}

static bool flagged(const struct record_result *r, const char *flag) {
  _json_cleanup_ json_t *j = bed_accepted(r);
  const json_t *flags =
      json_object_get(json_array_get(json_object_get(json_object_get(j, "acquired"), "measures"), 0), "flags");
  assert_int_equal(record_is_clean(j), json_array_size(flags) == 0);
  return flag ? json_array_size(flags) == 1 && !strcmp(json_string_value(json_array_get(flags, 0)), flag)
              : json_array_size(flags) == 0;
}

/* A little below, at, and a little above a limit. */
static struct dec near(struct dec limit, int by) {
  for (int i = 0; i < 4; i++) {
    limit.mantissa *= 10;
    limit.exponent--;
  }
  limit.mantissa += by;
  return limit;
}

static void try_limit(const struct nomenclature *row, struct dec limit, int by) {
  RESULT(r);
  value = near(limit, by);
  bool impossible = dec_cmp(value, row->hard_low) < 0 || dec_cmp(value, row->hard_high) > 0;
  assert_int_equal(decode(measure, &r, impossible ? row->code : NULL), impossible ? -ERANGE : 0);
  if (impossible)
    return;
  const char *flag = dec_cmp(value, row->soft_low) < 0    ? "unusually_low"
                     : dec_cmp(value, row->soft_high) > 0 ? "unusually_high"
                                                          : NULL;
  assert_true(flagged(&r, flag));
}

TEST(measures_and_their_ranges) {
  unsigned tried = 0;
  for (unsigned i = 0; nomenclature_row(i); i++) {
    const struct nomenclature *row = nomenclature_row(i);
    const struct dec limits[] = {row->hard_low, row->soft_low, row->soft_high, row->hard_high};
    if (row->kind != 'M')
      continue;
    tried++;
    code = row->code;
    for (size_t k = 0; k < COUNT(limits); k++)
      for (int by = -1; by <= 1; by++)
        try_limit(row, limits[k], by);
  }
  assert_true(tried >= 40);
  RESULT(r);
  code = "fev1";
  value = D(1, -30); /* in range, and yet no text of it exists */
  assert_int_equal(decode(measure, &r, "fev1"), -ERANGE);
  value = D(INT32_MIN, 0);
  assert_int_equal(decode(measure, &r, "fev1"), -ERANGE);
  value = D(INT32_MAX, 18);
  assert_int_equal(decode(measure, &r, "fev1"), -ERANGE);
  value = D(INT32_MAX, -9); /* 2.147483647 */
  assert_int_equal(decode(measure, &r, NULL), 0);
  assert_true(flagged(&r, NULL));
  assert_non_null(strstr(r.json, "\"value\":\"2.147483647\""));
}

static void channel(struct acq_record *r) {
  unsigned at = acq_rec_channel(r, code, rate, scale, false);
  acq_rec_samples(r, at, (int16_t[]){0, 0}, 2);
}

TEST(unknown_codes) {
  static const char *const not_measures[] = {"", "fev", "FEV1", "lead_i", "heart_rates", "fev1 "},
                           *const not_channels[] = {"", "lead", "I", "fev1", "lead_v7", "lead_i "};
  RESULT(r);
  value = D(1, 0);
  rate = scale = D(1, 0);
  for (size_t i = 0; i < COUNT(not_measures); i++) {
    code = not_measures[i];
    assert_int_equal(decode(measure, &r, "measure"), -EINVAL);
  }
  for (size_t i = 0; i < COUNT(not_channels); i++) {
    code = not_channels[i];
    assert_int_equal(decode(channel, &r, "channel"), -EINVAL);
  }
}

TEST(rates_and_scales) {
  static const struct {
    struct dec d;
    bool fine;
  } rows[] = {
      {{1, 0}, true},          {{500, 0}, true},       {{4888, -3}, true}, {{1, -18}, true},
      {{5, 2}, true},          {{INT32_MAX, 0}, true}, {{0, 0}, false},    {{-1, 0}, false},
      {{INT32_MIN, 0}, false}, {{3, 9}, false}, /* texts that do not read back */
      {{INT32_MAX, 1}, false}, {{1, 18}, false},       {{1, -19}, false},  {{1, 127}, false},
  };
  code = "lead_v6";
  for (size_t i = 0; i < COUNT(rows); i++)
    for (int which = 0; which < 2; which++) {
      RESULT(r);
      rate = which ? rows[i].d : D(500, 0);
      scale = which ? D(1, 0) : rows[i].d;
      assert_int_equal(decode(channel, &r, NULL), rows[i].fine ? 0 : -EPROTO);
      if (rows[i].fine)
        json_decref(bed_accepted(&r));
    }
}

static int16_t sample;

static void one_sample(struct acq_record *r) {
  acq_rec_samples(r, acq_rec_channel(r, "lead_i", D(1, 0), scale, false), &sample, 1);
}

TEST(samples_in_range) {
  static const struct {
    struct dec scale;
    int16_t sample;
    int err;
  } rows[] = {
      {{400, 0}, 1000, 0},          {{400, 0}, 1001, -ERANGE},  {{400, 0}, -1000, 0},
      {{400, 0}, -1001, -ERANGE},   {{4, 2}, 1000, 0},          {{4, 2}, 1001, -ERANGE},
      {{12, 0}, 32767, 0},          {{13, 0}, 32767, -ERANGE},  {{13, 0}, -32767, -ERANGE},
      {{5, 0}, 32767, 0}, /* a converter of 5 uV a step whose electrode fell off */
      {{1, 0}, -32767, 0},          {{1, 0}, ACQ_GAP, -ERANGE}, /* not a sample: it would read as one that is missing */
      {{1, -18}, ACQ_GAP, -ERANGE}, {{INT32_MAX, 0}, 0, 0},     {{INT32_MAX, 0}, 1, -ERANGE},
      {{INT32_MAX, -9}, 2, 0},     /* the product needs 33 bits */
      {{244200244, -8}, 32767, 0}, /* a step of nine digits */
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    RESULT(r);
    scale = rows[i].scale;
    sample = rows[i].sample;
    int got = decode(one_sample, &r, "sample");
    if (got != rows[i].err)
      fail_msg("row %zu: %d", i, got);
    if (!got)
      json_decref(bed_accepted(&r));
  }
}

static void channels(struct acq_record *r) {
  for (size_t i = 0; i < count; i++)
    assert_true(acq_rec_channel(r, "lead_i", D(1, 0), D(1, 0), false) == i || acq_rec_done(r));
  acq_rec_samples(r, 0, (int16_t[]){1}, 1);
}

static void gaps(struct acq_record *r) {
  unsigned at = acq_rec_channel(r, "lead_i", D(1, 0), D(1, 0), false);
  for (size_t i = 0; i < count; i++) {
    acq_rec_gap(r, at, 1 + i % 3);
    acq_rec_samples(r, at, (int16_t[]){1}, 1);
  }
}

static void measures(struct acq_record *r) {
  for (size_t i = 0; i < count; i++)
    acq_rec_measure(r, "fev1", D((int32_t)i, -3), NULL);
}

static void qualities(struct acq_record *r) {
  acq_rec_measure(r, "fev1", D(1, 0), NULL);
  for (size_t i = 0; i < count; i++) {
    char subject[24];
    snprintf(subject, sizeof subject, "%zu", i);
    acq_rec_quality(r, "lead_flat", subject, 1);
    acq_rec_quality(r, "lead_flat", subject, 1);
  }
}

static void statements(struct acq_record *r) {
  acq_rec_measure(r, "fev1", D(1, 0), NULL);
  for (size_t i = 0; i < count; i++)
    acq_rec_statement(r, code, words);
}

TEST(counts_are_bounded) {
  static const struct {
    void (*script)(struct acq_record *r);
    size_t most;
  } rows[] = {
      {channels, RECORD_CHANNELS_MAX}, {gaps, RECORD_GAPS_MAX}, {measures, 4096}, {qualities, 252}, {statements, 2048}};
  code = "c";
  words = "w";
  for (size_t i = 0; i < COUNT(rows); i++)
    for (size_t over = 0; over < 3; over++) {
      RESULT(r);
      count = rows[i].most + over;
      assert_int_equal(decode(rows[i].script, &r, NULL), over ? -EPROTO : 0);
      if (!over)
        json_decref(bed_accepted(&r));
    }
}

static void full_of_quality(struct acq_record *r) {
  acq_rec_gap(r, acq_rec_channel(r, "lead_i", D(1, 0), D(1, 0), false), 1);
  qualities(r);
  acq_rec_trial(r, &(struct acq_trial){0});
  acq_rec_measure(r, "fev1", D(1, 0), NULL);
  acq_rec_trial(r, &(struct acq_trial){.timed = true});
  acq_rec_measure(r, "fev1", D(1, 0), NULL);
}

/* However much a driver says, what the capture says of itself has room. */
TEST(room_for_our_own_quality) {
  CAPTURE(c, "2", "end cancel\n");
  RESULTS(r);
  count = 252;
  assert_int_equal(bed_decode_both(&bed_ecg, &c, full_of_quality, &r, NULL), 0);
  _json_cleanup_ json_t *own = bed_accepted(&r.of[WIRE_OWN]), *stray = bed_accepted(&r.of[WIRE_STRAY]);
  assert_int_equal(json_array_size(bed_part(own, "quality")), 255);
  assert_int_equal(json_array_size(bed_part(stray, "quality")), 0); /* what is of the session is this patient's */
}

static void huge_gap(struct acq_record *r) {
  acq_rec_gap(r, acq_rec_channel(r, "lead_i", D(1, 0), D(1, 0), false), count);
}

static void two_long_channels(struct acq_record *r) {
  acq_rec_gap(r, acq_rec_channel(r, "lead_i", D(1, 0), D(1, 0), false), RECORD_DATA_MAX / 4);
  acq_rec_gap(r, acq_rec_channel(r, "lead_ii", D(1, 0), D(1, 0), false), count);
}

static void a_gap_too_far(struct acq_record *r) {
  unsigned at = acq_rec_channel(r, "lead_i", D(1, 0), D(1, 0), false);
  acq_rec_gap(r, at, RECORD_DATA_MAX / 2);
  acq_rec_gap(r, at, 1);
}

static void a_sample_too_far(struct acq_record *r) {
  unsigned at = acq_rec_channel(r, "lead_i", D(1, 0), D(1, 0), false);
  acq_rec_gap(r, at, RECORD_DATA_MAX / 2);
  acq_rec_samples(r, at, (int16_t[]){1}, 1);
}

TEST(sizes_are_bounded) {
  static const size_t huge[] = {RECORD_DATA_MAX / 2 + 1, RECORD_DATA_MAX, (size_t)1 << 32, SIZE_MAX / 2,
                                SIZE_MAX / 2 + 1,        SIZE_MAX};
  RESULT(none);
  for (size_t i = 0; i < COUNT(huge); i++) {
    count = huge[i];
    assert_int_equal(decode(huge_gap, &none, "more samples"), -EFBIG);
  }
  assert_int_equal(decode(a_gap_too_far, &none, "more samples"), -EFBIG);
  assert_int_equal(decode(a_sample_too_far, &none, "more samples"), -EFBIG);
  RESULT(full);
  count = RECORD_DATA_MAX / 4; /* two halves fill the record to its last byte */
  assert_int_equal(decode(two_long_channels, &full, NULL), 0);
  json_decref(bed_accepted(&full));
  count++;
  assert_int_equal(decode(two_long_channels, &none, "more than a record"), -EFBIG);
  static char text[16385];
  memset(text, 'a', sizeof text - 1);
  words = text;
  code = "c";
  count = 256; /* 4 MiB of statements, and the rest of a record */
  assert_int_equal(decode(statements, &none, "more than a record"), -EFBIG);
  RESULT(most);
  count = 255;
  assert_int_equal(decode(statements, &most, NULL), 0);
  json_decref(bed_accepted(&most));
}

TEST(statements_are_clean) {
  static char long_text[16386], code_63[64], code_64[65];
  memset(long_text, 'a', sizeof long_text - 1);
  memset(code_63, 'c', 63);
  memset(code_64, 'c', 64);
  const struct {
    const char *code, *text;
    int err;
  } rows[] = {
      {"", "", 0},
      {"c", "ligne\nligne\té", 0},
      {code_63, long_text + 1, 0},
      {code_64, "", -EINVAL},
      {"c", long_text, -EPROTO},
      {"c\n", "", -EINVAL},
      {"\xff", "", -EINVAL},
      {"c", "\xff", -EINVAL},
      {"c", "\xe9", -EINVAL},
      {"c", "\xed\xa0\x80", -EINVAL},
      {"c", "a\x01", -EINVAL},
      {"c", "a\r\n", -EINVAL},
      {"c", "\x1b[31m", -EINVAL},
      {"c", "\x7f", -EINVAL},
      {"c", "\xc2\x9b", -EINVAL},
  };
  count = 1;
  for (size_t i = 0; i < COUNT(rows); i++) {
    RESULT(r);
    code = rows[i].code;
    words = rows[i].text;
    int got = decode(statements, &r, "statement");
    if (got != rows[i].err)
      fail_msg("row %zu: %d", i, got);
    if (!got)
      json_decref(bed_accepted(&r));
  }
}

static uint32_t times;

static void quality(struct acq_record *r) {
  acq_rec_measure(r, "fev1", D(1, 0), NULL);
  acq_rec_quality(r, code, words, times);
  if (times == INT32_MAX)
    acq_rec_quality(r, code, words, times); /* the count stays what a reader takes */
}

TEST(quality_items) {
  static char subject_63[64], subject_64[65];
  memset(subject_63, '1', 63);
  memset(subject_64, '1', 64);
  const struct {
    const char *code, *subject;
    uint32_t count;
    int err;
    const char *text;
  } rows[] = {
      {"electrode_off", "N", 1, 0, "L'électrode noire (N, jambe droite) ne touche pas la peau"},
      {"lead_saturated", "lead_avr", 0, 0, "La dérivation aVR sature"},
      {"lead_flat", "", 1, 0, "La dérivation  est plate"},
      {"samples_missing", "0,020 s à partir de 1,4 s", 1, 0, "une partie du signal (0,020 s à partir de 1,4 s)"},
      {"samples_missing", "0,6 s en 2 fois", 1, 0, "(0,6 s en 2 fois)"},
      {"value_missing", "fev1", 1, 0, "toutes les valeurs (VEMS)."},
      {"value_missing", "flow", 1, 0, "toutes les valeurs (Débit)."},
      /* the nurse reads it: no words but these */
      {"value_missing", "fev1_predicted", 1, -EINVAL, NULL},
      {"value_missing", "pef_personal_best", 1, -EINVAL, NULL},
      {"value_missing", "VEMS", 1, -EINVAL, NULL},
      {"samples_missing", "STEMI", 1, -EINVAL, NULL},
      {"samples_missing", "1,4 s FA", 1, -EINVAL, NULL},
      {"samples_missing", ",5 s", 1, -EINVAL, NULL},
      {"samples_missing", "0,6  s", 1, -EINVAL, NULL},
      {"lead_flat", "%s%n", 1, -EINVAL, NULL},
      {"lead_flat", "\"\\", 1, -EINVAL, NULL},
      {"lead_flat", subject_63, INT32_MAX, 0, "\"count\":2147483647"},
      {"incomplete", "R", 1, 0, "L'enregistrement a été interrompu : il est incomplet."},
      {"lead_flat", subject_64, 1, -EINVAL, NULL},
      {"lead_flat", "a\nb", 1, -EINVAL, NULL},
      {"lead_flat", "\xff", 1, -EINVAL, NULL},
      {"lead_flat", "", (uint32_t)INT32_MAX + 1, -EINVAL, NULL},
      {"lead_flat", "", UINT32_MAX, -EINVAL, NULL},
      {"", "", 1, -EINVAL, NULL},
      {"flat", "", 1, -EINVAL, NULL},
      {"fev1", "", 1, -EINVAL, NULL},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    RESULT(r);
    code = rows[i].code;
    words = rows[i].subject;
    times = rows[i].count;
    assert_int_equal(decode(quality, &r, rows[i].err ? "quality" : NULL), rows[i].err);
    if (rows[i].err)
      continue;
    json_decref(bed_accepted(&r));
    if (!strstr(r.json, rows[i].text))
      fail_msg("%s", r.json);
  }
}

static void no_such_channel(struct acq_record *r) {
  acq_rec_measure(r, "fev1", D(1, 0), NULL);
  acq_rec_samples(r, 0, (int16_t[]){1}, 1);
}

static void no_such_channel_for_a_gap(struct acq_record *r) {
  acq_rec_channel(r, "lead_i", D(1, 0), D(1, 0), false);
  acq_rec_gap(r, 1, 1);
}

static void first_error_stays(struct acq_record *r) {
  acq_rec_measure(r, "fev1", D(1, 0), NULL);
  assert_int_equal(acq_rec_done(r), 0);
  assert_int_equal(acq_rec_fail(r, -EPROTO, "frame %d of %s", 3, "seven"), -EPROTO);
  assert_int_equal(acq_rec_fail(r, -EIO, "later"), -EPROTO);
  acq_rec_measure(r, "none", D(1, 0), NULL); /* nothing happens any more */
  assert_int_equal(acq_rec_channel(r, "lead_i", D(1, 0), D(1, 0), false), 0);
  acq_rec_samples(r, 0, (int16_t[]){1}, 1);
  acq_rec_gap(r, 0, SIZE_MAX);
  acq_rec_quality(r, "none", "", 1);
  acq_rec_statement(r, "", "\xff");
  assert_int_equal(acq_rec_done(r), -EPROTO);
}

static void nothing(struct acq_record *r) {
  assert_int_equal(acq_rec_done(r), 0);
}

static void no_reading(struct acq_record *r) {
  acq_rec_statement(r, "c", "text");
  acq_rec_quality(r, "frame_damaged", "", 1);
}

TEST(errors_of_a_driver) {
  RESULT(r);
  assert_int_equal(decode(no_such_channel, &r, "no such channel"), -EINVAL);
  assert_int_equal(decode(no_such_channel_for_a_gap, &r, "no such channel"), -EINVAL);
  assert_int_equal(decode(first_error_stays, &r, "frame 3 of seven"), -EPROTO);
  assert_int_equal(decode(nothing, &r, "no reading"), -ENODATA);
  assert_int_equal(decode(no_reading, &r, "no reading"), -ENODATA);
  CAPTURE(c, "0", "end ok\n");
  struct acq_driver d = bed_ecg;
  d.decode = forgets_the_error; /* returns 0 all the same */
  assert_int_equal(bed_decode(&d, &c, first_error_stays, &r, "frame 3 of seven"), -EPROTO);
  d.decode = fails; /* with a record that looks whole */
  assert_int_equal(bed_decode(&d, &c, rich, &r, "driver refuses"), -EBADMSG);
  assert_int_equal(bed_decode(&d, &c, first_error_stays, &r, "frame 3 of seven"), -EPROTO);
}

static void empty_channel(struct acq_record *r) {
  acq_rec_channel(r, "lead_i", D(1, 0), D(1, 0), false);
}

TEST(a_channel_without_samples) {
  RESULT(r);
  assert_int_equal(decode(empty_channel, &r, NULL), 0);
  assert_null(r.data);
  assert_int_equal(r.data_values, 0);
  json_decref(bed_accepted(&r));
  RESULT(m);
  code = "fev1";
  value = D(1, 0);
  assert_int_equal(decode(measure, &m, NULL), 0);
  assert_null(m.data);
  json_decref(bed_accepted(&m));
}

/* ---- what the capture says ---------------------------------------------------------------------------------- */

static const json_t *quality_item(const json_t *record, const char *of) {
  size_t i;
  json_t *item;
  const json_t *found = NULL;
  json_array_foreach(json_object_get(record, "quality"), i, item) {
    if (!strcmp(json_text(item, "code"), of)) {
      assert_null(found); /* once */
      found = item;
    }
  }
  return found;
}

static void plain_measure(struct acq_record *r) {
  acq_rec_measure(r, "fev1", D(360, -2), NULL);
}

static void says_incomplete_itself(struct acq_record *r) {
  plain_measure(r);
  acq_rec_quality(r, "incomplete", "", 2);
}

TEST(incomplete_captures) {
  static const struct {
    const char *text, *end;
  } rows[] = {{"end error\n", "error"}, {"end cancel\n", "cancel"}, {"end crash\n", "crash"}, {"", "none"},
              {"end ok", "none"},       {"end ok\n", "ok"}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    bool whole = !strcmp(rows[i].end, "ok");
    CAPTURE(c, "0", rows[i].text);
    RESULT(r);
    assert_int_equal(bed_decode(&bed_spirometer, &c, plain_measure, &r, NULL), 0);
    _json_cleanup_ json_t *j = bed_accepted(&r);
    const json_t *item = quality_item(j, "incomplete");
    assert_string_equal(json_text(j, "end"), rows[i].end);
    assert_int_equal(json_is_true(json_object_get(j, "complete")), whole);
    assert_int_equal(item == NULL, whole);
    if (item)
      assert_string_equal(json_text(item, "severity"), "unusable");
    assert_int_equal(record_is_clean(j), whole);
    assert_string_equal(json_text(j, "started"), "2026-03-29T01:59:59.123456+01:00");
    assert_string_equal(json_text(j, "modality"), "spirometry");
    assert_string_equal(json_text(j, "integrity"), "none");
  }
  CAPTURE(c, "0", "end crash\n");
  RESULT(r);
  assert_int_equal(bed_decode(&bed_spirometer, &c, says_incomplete_itself, &r, NULL), 0);
  _json_cleanup_ json_t *j = bed_accepted(&r);
  assert_int_equal(json_integer_value(json_object_get(quality_item(j, "incomplete"), "count")), 3);
}

TEST(bare_bytes) {
  _capture_cleanup_ struct acq_capture c = {0};
  assert_int_equal(capture_from_raw("abc", 3, &c), 0);
  RESULT(r);
  assert_int_equal(bed_decode(&bed_ecg, &c, rich, &r, NULL), 0);
  _json_cleanup_ json_t *j = bed_accepted(&r);
  assert_true(json_is_null(json_object_get(j, "started")));
  assert_string_equal(json_text(j, "end"), "none");
  assert_true(json_is_true(json_object_get(j, "complete")));
  assert_string_equal(json_text(json_object_get(j, "device"), "make"), "");
  assert_null(quality_item(j, "incomplete"));
  assert_null(quality_item(j, "shorter_than_ordered"));
}

static size_t lengths[2];

static void two_leads(struct acq_record *r) {
  for (unsigned i = 0; i < 2; i++) {
    unsigned at = acq_rec_channel(r, i ? "lead_ii" : "lead_i", rate, D(1, 0), false);
    for (size_t k = 0; k < lengths[i]; k++)
      acq_rec_samples(r, at, (int16_t[]){1}, 1);
  }
}

TEST(short_ecg) {
  static const struct {
    struct dec rate;
    unsigned seconds;
    size_t lengths[2];
    bool is_short;
  } rows[] = {
      {{5, 0}, 2, {10, 10}, false},      {{5, 0}, 2, {9, 10}, true},
      {{5, 0}, 2, {10, 9}, true},        {{5, 0}, 2, {9, 9}, true}, /* said once */
      {{5, 0}, 2, {11, 11}, false},      {{5, 0}, 2, {0, 10}, true},
      {{5, 0}, 0, {0, 1}, false},        {{499, -1}, 10, {499, 499}, false},
      {{499, -1}, 10, {498, 499}, true}, {{501, -1}, 1, {50, 50}, true}, /* 50.1 samples were ordered */
      {{501, -1}, 1, {51, 51}, false},   {{1, 1}, 2, {20, 20}, false},
      {{1, 1}, 2, {20, 19}, true},       {{INT32_MAX, 0}, 86400, {1, 1}, true}, /* more than a count holds */
  };
  for (size_t i = 0; i < COUNT(rows); i++)
    for (int is_ecg = 0; is_ecg < 2; is_ecg++) {
      char order[16];
      snprintf(order, sizeof order, "%u", rows[i].seconds);
      CAPTURE(c, order, "end ok\n");
      RESULT(r);
      rate = rows[i].rate;
      lengths[0] = rows[i].lengths[0];
      lengths[1] = rows[i].lengths[1];
      assert_int_equal(bed_decode(is_ecg ? &bed_ecg : &bed_spirometer, &c, two_leads, &r, NULL), 0);
      _json_cleanup_ json_t *j = bed_accepted(&r);
      const json_t *item = quality_item(j, "shorter_than_ordered");
      if ((item != NULL) != (is_ecg && rows[i].is_short))
        fail_msg("row %zu", i);
      if (item)
        assert_int_equal(json_integer_value(json_object_get(item, "count")), 1);
      assert_int_equal(json_array_size(json_object_get(j, "quality")), item != NULL);
      assert_int_equal(record_is_clean(j), item == NULL);
      assert_true(json_is_true(json_object_get(j, "complete"))); /* short is not interrupted */
    }
}

static void gap_counts_as_length(struct acq_record *r) {
  unsigned at = acq_rec_channel(r, "lead_i", D(5, 0), D(1, 0), false);
  acq_rec_samples(r, at, (int16_t[]){1}, 1);
  acq_rec_gap(r, at, 9);
}

static void info_only(struct acq_record *r) {
  plain_measure(r);
  acq_rec_quality(r, "electrode_contact_unknown", "", 1);
}

static void check_too(struct acq_record *r) {
  info_only(r);
  acq_rec_quality(r, "lead_flat", "lead_i", 1);
}

static void one_flag(struct acq_record *r) {
  plain_measure(r);
  acq_rec_measure(r, "pef", D(1, -1), NULL);
}

TEST(clean_records) {
  static const struct {
    void (*script)(struct acq_record *r);
    bool clean;
  } rows[] = {
      {plain_measure, true}, {info_only, true}, {check_too, false}, {one_flag, false}, {gap_counts_as_length, true}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    CAPTURE(c, "2", "end ok\n");
    RESULT(r);
    assert_int_equal(bed_decode(&bed_ecg, &c, rows[i].script, &r, NULL), 0);
    _json_cleanup_ json_t *j = bed_accepted(&r);
    assert_int_equal(record_is_clean(j), rows[i].clean);
  }
  assert_false(record_is_clean(NULL));
}

/* ---- reading back: one record, altered in every way ---------------------------------------------------------- */

static char *dump(const json_t *j, size_t *ret_n) {
  char *text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
  assert_non_null(text);
  *ret_n = strlen(text);
  return text;
}

static bool takes_with(const json_t *j, const void *data, size_t bytes) {
  size_t n;
  json_t *back = NULL;
  char *text = dump(j, &n);
  bool taken = bed_read(text, n, data, bytes, &back) == 0;
  if (taken)
    assert_true(json_equal(back, j));
  json_decref(back);
  free(text);
  return taken;
}

static bool takes(const json_t *j) {
  return takes_with(j, rich_data, sizeof rich_data);
}

static json_t *rich_record(void) {
  json_t *j = json_loads(rich_json, 0, NULL);
  assert_non_null(j);
  assert_true(takes(j));
  return j;
}

/* Texts that say what nobody but the instrument or the driver knows; all others follow from the rest. */
static bool is_free(const char *path) {
  return !strncmp(path, ".device.", 8) || !strncmp(path, ".driver.", 8) || !strcmp(path, ".statements[].code") ||
         !strcmp(path, ".statements[].text");
}

static bool is_number_text(const char *path) {
  return strstr(path, ".rate") || strstr(path, ".scale") || strstr(path, ".value");
}

static unsigned tried;

static void must_refuse(const json_t *root, const char *path, const char *what) {
  tried++;
  if (takes(root))
    fail_msg("%s: %s is accepted", path, what);
}

struct place {
  json_t *root, *object, *array;
  const char *key;
  size_t index;
};

/* Takes the reference. */
static void put(const struct place *p, json_t *v) {
  assert_non_null(v);
  assert_int_equal(p->object ? json_object_set_new(p->object, p->key, v) : json_array_set_new(p->array, p->index, v),
                   0);
}

static bool ends(const char *path, const char *end) {
  size_t n = strlen(path), m = strlen(end);
  return n >= m && !strcmp(path + n - m, end);
}

/* Subjects that no sentence names. */
static const char *const nameless[] = {".quality[3].subject", ".quality[5].subject", ".quality[6].subject",
                                       ".quality[7].subject"};

static void alter_text(const struct place *p, const char *path, const char *was) {
  char text[512];
  static char longest[16386];
  bool loose = is_free(path), names = false;
  for (size_t i = 0; i < COUNT(nameless); i++)
    names = names || !strcmp(path, nameless[i]);
  const struct {
    const char *what, *text;
    bool fine;
  } rows[] = {
      {"one more letter", (snprintf(text, sizeof text, "%sx", was), text), loose},
      {"another first letter", *was ? (snprintf(text + 200, 200, "#%s", was + 1), text + 200) : "#", loose},
      {"nothing", "", loose || names || !*was},
      {"a control", "\x01", false},
      {"a delete", "a\x7f", false},
      {"a C1 control", "\xc2\x9b", false},
      {"blank", " ", loose},
      {"a line feed", "a\nb", !strcmp(path, ".statements[].text")},
      {"64 bytes", "0123456789012345678901234567890123456789012345678901234567890123",
       !strcmp(path, ".statements[].text")},
      {"16385 bytes", (memset(longest, 'a', 16385), longest), false},
      {"16384 bytes", longest + 1, !strcmp(path, ".statements[].text")},
      {"ok", "ok", loose || !strcmp(path, ".end")},
      {"info", "info", loose},
      {"null", "null", loose},
      {"another lead", "lead_v1", loose || names},
      {"another measure", "fev6", loose || names},
      {"what is predicted", "fev1_predicted", loose},
      {"another item", "lead_saturated", loose},
      {"another label", "V1", loose},
      {"another severity", "unusable", loose},
      {"another sentence", "L'enregistrement est plus court que demandé.", loose},
      {"another time", "2026-03-29T00:59:59.123456Z", loose},
      {"another time in its form", "2026-03-29T02:00:01.123457+01:00",
       loose || ends(path, ".time") || ends(path, ".started")},
      {"a time that cannot be", "2026-02-29T02:00:01.123456+01:00", loose},
      {"a clock", "2013-05-28T10:44:18.000", loose || ends(path, ".device_time")},
      {"a clock before 1970", "1969-12-31T23:59:59.999", loose},
      {"a clock's date that is none", "2013-02-29T10:44:18.000", loose},
      {"a clock's time that is none", "2013-05-28T24:44:18.000", loose},
      {"a clock without milliseconds", "2013-05-28T10:44:18", loose},
      {"a clock with microseconds", "2013-05-28T10:44:18.000000", loose},
      {"a clock with a small t", "2013-05-28t10:44:18.000", loose},
      {"a clock with an offset", "2013-05-28T10:44:18.000Z", loose},
      {"a clock's length", "2013-05-28T10:44:18.0+0", loose},
      {"another phase", "pre", loose || ends(path, ".phase")},
      {"a time without a fraction", "2026-03-29T01:59:59+01:00", loose},
      {"a schema", "asaleed-record-1", loose},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    put(p, json_string(rows[i].text));
    tried++;
    if (takes(p->root) != rows[i].fine)
      fail_msg("%s: %s", path, rows[i].what);
  }
  static const char *const not_canonical[] = {
      "03.60",       "+3.60", " 3.60", "3.60 ",   "3,60", "3.", ".5", "1e0", "0x1", "-0", "-1", "3.6000000000000000000",
      "99999999999", "one",   "--1",   "\xd9\xa3"};
  for (size_t i = 0; i < COUNT(not_canonical) && !loose && !names; i++) {
    put(p, json_string(not_canonical[i]));
    must_refuse(p->root, path, not_canonical[i]);
  }
  if (is_number_text(path)) {
    put(p, json_string("3.7")); /* what is a number cannot be known to be wrong */
    tried++;
    bool usual = !strcmp(was, "3.60") || !strcmp(was, "3.100") || !strcmp(was, "6.1"); /* what the flags say of both */
    assert_int_equal(takes(p->root), !strstr(path, ".value") || usual);
  }
}

/* Of the trials that the record lists; but a channel without a rate stays where its instants are. */
static bool is_trial(const char *path, json_int_t number) {
  return ends(path, ".trial") && !ends(path, "channels[2].trial") && !ends(path, "channels[3].trial") &&
         (number == 0 || number == 1 || number == 3);
}

static void alter_integer(const struct place *p, const char *path, json_int_t was) {
  const json_int_t rows[] = {was + 1, was - 1, -was, was + 65536, was + (INT64_C(1) << 32), INT64_MAX, INT64_MIN, 0, 1,
                             2,       3,       999,  1000};
  for (size_t i = 0; i < COUNT(rows); i++) {
    if (rows[i] == was)
      continue;
    bool fine = is_trial(path, rows[i]) || (ends(path, ".count") && rows[i] >= 0 && rows[i] <= INT32_MAX);
    put(p, json_integer(rows[i]));
    tried++;
    if (takes(p->root) != fine)
      fail_msg("%s: %lld instead of %lld", path, (long long)rows[i], (long long)was);
  }
}

static void alter(const struct place *p, const char *path, json_t *was) {
  json_t *const others[] = {json_null(),
                            json_true(),
                            json_false(),
                            json_integer(0),
                            json_integer(1),
                            json_string("x"),
                            json_array(),
                            json_object(),
                            json_pack("[i]", 1),
                            json_pack("[[i,i]]", 0, 1),
                            json_pack("{s:s}", "code", "x"),
                            json_pack("[s]", "unusually_low")};
  for (size_t i = 0; i < COUNT(others); i++) {
    bool booleans = json_is_boolean(others[i]) && json_is_boolean(was);
    if (booleans && json_typeof(others[i]) != json_typeof(was)) { /* only these are anybody's word */
      put(p, json_incref(others[i]));
      tried++;
      assert_int_equal(takes(p->root), ends(path, ".derived") || !strcmp(path, ".stray"));
    }
    bool unsaid = json_is_null(others[i]) && (ends(path, ".phase") || ends(path, ".time"));
    if (json_typeof(others[i]) != json_typeof(was) && !booleans && !unsaid) {
      put(p, json_incref(others[i]));
      must_refuse(p->root, path, "another type");
    }
    json_decref(others[i]);
  }
  if (json_is_string(was))
    alter_text(p, path, json_string_value(was));
  if (json_is_integer(was))
    alter_integer(p, path, json_integer_value(was));
  put(p, json_incref(was));
}

static void walk(json_t *root, json_t *node, const char *path);

static void walk_object(json_t *root, json_t *node, const char *path) {
  json_t *member, *copy = json_copy(node);
  const char *key;
  must_refuse((json_object_set_new(node, "zz", json_null()), root), path, "one more member");
  json_object_set_new(node, "zz", json_string("x"));
  must_refuse(root, path, "one more text");
  json_object_del(node, "zz");
  json_object_set_new(node, "", json_integer(1));
  must_refuse(root, path, "a member without a name");
  json_object_del(node, "");
  json_object_foreach(copy, key, member) {
    char below[256];
    snprintf(below, sizeof below, "%s.%s", path, key);
    json_object_del(node, key);
    must_refuse(root, below, "its absence");
    json_object_set(node, "zz", member);
    must_refuse(root, below, "under another name");
    json_object_del(node, "zz");
    json_object_set(node, key, member);
    alter(&(struct place){.root = root, .object = node, .key = key}, below, member);
    walk(root, member, below);
  }
  json_decref(copy);
}

static void walk_array(json_t *root, json_t *node, const char *path) {
  size_t n = json_array_size(node);
  const char *name = strrchr(path, '.');
  bool fixed = strcmp(name, ".measures") && strcmp(name, ".quality") && strcmp(name, ".statements");
  json_t *const more[] = {json_null(),
                          json_true(),
                          json_integer(0),
                          json_integer(1),
                          json_string("x"),
                          json_string(""),
                          json_array(),
                          json_object(),
                          json_string("unusually_low"),
                          json_string("unusually_high"),
                          json_pack("[i,i]", 0, 1),
                          json_pack("[i,i]", 8, 0),
                          json_pack("[i,i]", 8, 1),
                          json_pack("[i,i]", -1, 1)};
  for (size_t i = 0; i < COUNT(more); i++) {
    json_array_append_new(node, more[i]);
    must_refuse(root, path, "one more item");
    json_array_remove(node, n);
  }
  for (size_t i = 0; i < n; i++) {
    char below[256];
    json_t *item = json_incref(json_array_get(node, i));
    bool numbered = !strcmp(name, ".quality") || !strcmp(name, ".channels");
    snprintf(below, sizeof below, numbered ? "%s[%zu]" : "%s[]", path, i);
    json_array_append(node, item);
    if (fixed)
      must_refuse(root, below, "an item twice");
    json_array_remove(node, n);
    json_array_remove(node, i);
    if (fixed)
      must_refuse(root, below, "an item less");
    else
      assert_true(takes(root));
    json_array_insert(node, i, item);
    if (fixed && i + 1 < n && !json_equal(item, json_array_get(node, i + 1))) {
      json_array_remove(node, i);
      json_array_insert(node, i + 1, item);
      must_refuse(root, below, "another order");
      json_array_remove(node, i + 1);
      json_array_insert(node, i, item);
    }
    alter(&(struct place){.root = root, .array = node, .index = i}, below, item);
    walk(root, item, below);
    json_decref(item);
  }
}

static void walk(json_t *root, json_t *node, const char *path) {
  if (json_is_object(node))
    walk_object(root, node, path);
  else if (json_is_array(node))
    walk_array(root, node, path);
}

TEST(every_member_altered) {
  _json_cleanup_ json_t *j = rich_record();
  tried = 0;
  walk(j, j, "");
  assert_true(tried > 5000);
  assert_true(takes(j)); /* everything was put back */
  size_t n;
  char *text = dump(j, &n);
  assert_string_equal(text, rich_json);
  free(text);
}

/* The text itself, byte by byte: what is accepted is canonical, so that its hash is the reading's. */
TEST(every_byte_altered) {
  static const char bytes[] = {' ', '0', 'a', '"', '\\', '[', '}', ',', 0, (char)0xff};
  size_t n = sizeof rich_json - 1;
  static char text[sizeof rich_json + 1];
  unsigned taken = 0;
  for (size_t at = 0; at <= n; at++)
    for (size_t k = 0; k < 2 * COUNT(bytes) + 2; k++) {
      size_t len = n;
      if (k < 2 * COUNT(bytes) && (at + k) % 3) /* a third of them here, the others beside it */
        continue;
      memcpy(text, rich_json, n);
      if (k == 2 * COUNT(bytes)) {
        len = at; /* cut */
      } else if (at < n && k == 2 * COUNT(bytes) + 1) {
        memmove(text + at, text + at + 1, --len - at);
      } else if (k < COUNT(bytes)) {
        memmove(text + at + 1, text + at, len++ - at);
        text[at] = bytes[k];
      } else if (at < n) {
        text[at] = bytes[k % COUNT(bytes)];
      }
      json_t *back = NULL;
      if (bed_read(text, len, rich_data, sizeof rich_data, &back))
        continue;
      size_t again_n;
      char *again = json_canonical(back, &again_n);
      if (again_n != len || memcmp(again, text, len))
        fail_msg("byte %zu: %.*s", at, (int)len, text);
      free(again);
      json_decref(back);
      taken++;
    }
  assert_true(taken > 50 && taken < 3000); /* the free texts, some digits, and what was not altered */
}

TEST(not_canonical) {
  static const struct {
    const char *from, *to;
  } rows[] = {
      {"\"complete\":true", "\"complete\": true"},
      {"\"ok\"", "\"\\u006f\\u006b\""},
      {"é", "\\u00e9"},
      {"\"count\":3", "\"count\":3 "},
      {"\"count\":0", "\"count\":-0"},
      {"L/s", "L\\/s"},
      {"\"derived\":[]", "\"derived\":[\n]"},
      {"{\"acquired\"", " {\"acquired\""},
      {"\"end\":\"ok\",\"integrity\":\"crc16\"", "\"integrity\":\"crc16\",\"end\":\"ok\""},
      {"\"complete\":true", "\"complete\":true,\"complete\":true"},
      {"\"gap\":-32768", "\"gap\":-32768.0"},
      {"\"count\":3", "\"count\":3e0"},
      {"\"count\":3", "\"count\":03"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    char text[sizeof rich_json + 64];
    const char *at = strstr(rich_json, rows[i].from);
    assert_non_null(at);
    int n = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - rich_json), rich_json, rows[i].to,
                     at + strlen(rows[i].from));
    json_t *back = NULL;
    if (bed_read(text, (size_t)n, rich_data, sizeof rich_data, &back) == 0)
      fail_msg("%s", rows[i].to);
  }
  static char after[sizeof rich_json + 1];
  memcpy(after, rich_json, sizeof rich_json);
  static const char more[] = {'\n', ' ', 0, 'x', '}'};
  for (size_t i = 0; i < COUNT(more); i++) {
    json_t *back = NULL;
    after[sizeof rich_json - 1] = more[i];
    assert_int_equal(bed_read(after, sizeof rich_json, rich_data, sizeof rich_data, &back), -EPROTO);
  }
}

/* ---- samples ------------------------------------------------------------------------------------------------- */

/* Makes the record name these samples. */
static void seal(json_t *j, const int16_t *data, size_t values) {
  char sha[HASH_TEXT];
  json_t *about = json_object_get(json_object_get(j, "acquired"), "data");
  hash_sha256_text(data, values * sizeof *data, sha);
  json_object_set_new(about, "sha256", json_string(sha));
  json_object_set_new(about, "values", json_integer((json_int_t)values));
}

TEST(altered_samples) {
  _json_cleanup_ json_t *j = rich_record();
  int16_t data[COUNT(rich_data) + 2];
  uint8_t *bytes = (uint8_t *)data;
  memset(data, 0, sizeof data);
  memcpy(data, rich_data, sizeof rich_data);
  for (size_t bit = 0; bit < 8 * sizeof rich_data; bit++) {
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_false(takes_with(j, data, sizeof rich_data));
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  for (size_t n = 0; n <= sizeof data; n++)
    assert_int_equal(takes_with(j, data, n), n == sizeof rich_data);
  assert_false(takes_with(j, NULL, 0));
  memmove(bytes + 1, bytes, sizeof rich_data); /* at an odd address */
  assert_false(takes_with(j, bytes + 1, sizeof rich_data));
  memcpy(data, rich_data, sizeof rich_data);
  for (size_t i = 0; i < COUNT(rich_data); i++) { /* with the hash of what they became */
    static const int16_t values[] = {ACQ_GAP, 0, 1, 32767, -32767};
    for (size_t k = 0; k < COUNT(values); k++) {
      data[i] = values[k];
      seal(j, data, COUNT(rich_data));
      bool was_gap = rich_data[i] == ACQ_GAP, is_gap = values[k] == ACQ_GAP, back = i >= 15 && values[k] < 0;
      if (takes_with(j, data, sizeof rich_data) != (was_gap == is_gap && !back)) /* no step leads back in time */
        fail_msg("sample %zu as %d", i, values[k]);
    }
    data[i] = rich_data[i];
  }
  for (size_t n = 0; n < COUNT(data); n++) { /* as many as there are, and the channels say otherwise */
    seal(j, data, n);
    assert_int_equal(takes_with(j, data, n * sizeof *data), n == COUNT(rich_data));
  }
}

TEST(samples_out_of_range) {
  _json_cleanup_ json_t *j = rich_record();
  json_t *lead = json_array_get(json_object_get(json_object_get(j, "acquired"), "channels"), 0);
  static const struct {
    const char *scale;
    int16_t sample;
    bool fine;
  } rows[] = {{"400", 1000, true},      {"400", 1001, false}, {"400", -1000, true},    {"400", -1001, false},
              {"13", 32767, false},     {"12", 32767, true},  {"12.207", 32767, true}, {"12.208", 32767, false},
              {"2147483647", 2, false}, {"-1", 1, false},     {"0", 1, false},         {"0.00", 1, false}};
  int16_t data[COUNT(rich_data)];
  for (size_t i = 0; i < COUNT(rows); i++)
    for (size_t at = 0; at < 3; at++) {
      memcpy(data, rich_data, sizeof data);
      data[0] = data[1] = data[2] = 0;
      data[6] = 0;
      data[at == 2 ? 6 : at] = rows[i].sample; /* before, between and after gaps */
      json_object_set_new(lead, "scale", json_string(rows[i].scale));
      seal(j, data, COUNT(data));
      if (takes_with(j, data, sizeof data) != rows[i].fine)
        fail_msg("%d at %s", rows[i].sample, rows[i].scale);
    }
}

/* A channel of eight samples whose missing ones are marked in a text ("..__..._"), and a list of gaps. */
TEST(gap_lists) {
  static const struct {
    const char *samples, *gaps;
    bool fine;
  } rows[] = {
      {"........", "[]", true},
      {"...__...", "[[3,2]]", true},
      {"________", "[[0,8]]", true},
      {"_......_", "[[0,1],[7,1]]", true},
      {"_._._._.", "[[0,1],[2,1],[4,1],[6,1]]", true},
      {"...__...", "[]", false},
      {"...__...", "[[3,1]]", false},
      {"...__...", "[[4,1]]", false},
      {"...__...", "[[2,3]]", false},
      {"...__...", "[[3,3]]", false},
      {"...__...", "[[3,1],[4,1]]", false}, /* one gap in two */
      {"...__...", "[[3,2],[3,2]]", false},
      {"...__...", "[[3,2],[4,1]]", false},
      {"...__...", "[[3,0],[3,2]]", false},
      {"...__...", "[[3,2],[5,0]]", false},
      {"_......_", "[[7,1],[0,1]]", false}, /* out of order */
      {"_._._._.", "[[0,1],[4,1],[2,1],[6,1]]", false},
      {"_._._._.", "[[0,1],[2,1],[4,1]]", false},
      {"_._._._.", "[[2,1],[4,1],[6,1]]", false},
      {"........", "[[0,0]]", false},
      {"........", "[[8,0]]", false},
      {"........", "[[3,2]]", false},
      {"........", "[[8,1]]", false},
      {"_______.", "[[0,8]]", false},
      {"________", "[[0,9]]", false},
      {"________", "[[1,8]]", false},
      {"________", "[[-1,9]]", false},
      {"________", "[[0,9223372036854775807]]", false},
      {"________", "[[9223372036854775807,1]]", false},
      {"________", "[[-9223372036854775808,8]]", false},
      {"________", "[[9223372036854775807,9223372036854775807]]", false},
      {"________", "[[0,-8]]", false},
      {"________", "[[0]]", false},
      {"________", "[[0,8,0]]", false},
      {"________", "[0,8]", false},
      {"________", "[[\"0\",8]]", false},
      {"________", "[[0,true]]", false},
      {"________", "[[]]", false},
      {"________", "[{}]", false},
      {"________", "{}", false},
  };
  _json_cleanup_ json_t *j = rich_record();
  json_t *lead = json_array_get(json_object_get(json_object_get(j, "acquired"), "channels"), 0);
  for (size_t i = 0; i < COUNT(rows); i++) {
    int16_t data[COUNT(rich_data)];
    memcpy(data, rich_data, sizeof data);
    for (size_t k = 0; k < 8; k++)
      data[k] = rows[i].samples[k] == '_' ? ACQ_GAP : 7;
    json_object_set_new(lead, "gaps", json_loads(rows[i].gaps, 0, NULL));
    seal(j, data, COUNT(data));
    if (takes_with(j, data, sizeof data) != rows[i].fine)
      fail_msg("%s %s", rows[i].samples, rows[i].gaps);
  }
}

/* The gaps of a record without one sample are looked at like any others. */
TEST(gap_lists_without_samples) {
  RESULT(r);
  assert_int_equal(decode(empty_channel, &r, NULL), 0);
  _json_cleanup_ json_t *j = bed_accepted(&r);
  json_t *lead = json_array_get(json_object_get(json_object_get(j, "acquired"), "channels"), 0);
  static const char *const bad[] = {"[[0,1]]", "[[0,0]]", "[[]]", "[0]", "{}", "5", "null", "\"x\"", "[null]"};
  for (size_t i = 0; i < COUNT(bad); i++) {
    json_object_set_new(lead, "gaps", json_loads(bad[i], JSON_DECODE_ANY, NULL));
    if (takes_with(j, NULL, 0))
      fail_msg("%s", bad[i]);
  }
  json_object_set_new(lead, "gaps", json_array());
  assert_true(takes_with(j, NULL, 0));
}

static json_t *item_of(json_t *record, const char *list, size_t i) {
  json_t *item = json_array_get(json_object_get(json_object_get(record, "acquired"), list), i);
  assert_non_null(item);
  return item;
}

/* The same sample values as another thing, with the texts of its row. */
static void becomes(json_t *item, const char *new_code) {
  const struct nomenclature *row = nomenclature_find(new_code);
  assert_non_null(row);
  json_object_set_new(item, "code", json_string(row->code));
  json_object_set_new(item, "label", json_string(row->label));
  json_object_set_new(item, "mdc", json_integer((json_int_t)row->mdc));
  json_object_set_new(item, "unit", json_string(row->unit));
  if (row->kind != 'C')
    json_object_set_new(item, "loinc", json_string(row->loinc));
}

TEST(instants_are_there) {
  _json_cleanup_ json_t *j = rich_record();
  json_t *flow = item_of(j, "channels", 2), *step = item_of(j, "channels", 3), *lead = item_of(j, "channels", 0);
  json_object_set_new(lead, "rate", json_string("0"));
  assert_false(takes(j)); /* eight samples of the session, and no instants there */
  json_object_set_new(lead, "trial", json_integer(1));
  assert_false(takes(j)); /* there, two instants */
  json_object_set_new(lead, "trial", json_integer(0));
  json_object_set_new(lead, "rate", json_string("5"));
  assert_true(takes(j));
  json_object_set_new(step, "rate", json_string("1"));
  assert_true(takes(j));
  becomes(step, "volume");
  assert_false(takes(j)); /* the flow has none now */
  json_object_set_new(flow, "rate", json_string("100"));
  assert_true(takes(j));
  becomes(step, "time_step");
  json_object_set_new(flow, "rate", json_string("0.00"));
  assert_true(takes(j));
  becomes(flow, "time_step");
  assert_false(takes(j)); /* two of them */
}

TEST(units_are_normalised) {
  static const struct {
    size_t measure; /* 0 is fev1, 3 is pef in trial 1 */
    const char *value, *unit, *flags;
    bool fine;
  } rows[] = {
      {0, "3.60", "L", "[]", true},
      {0, "3600", "mL", "[]", false}, /* 3.600 L */
      {0, "360", "cL", "[]", false},
      {0, "3.60", "l", "[]", false},
      {0, "3.60", "", "[]", false},
      {0, "3.60", "L/s", "[]", false},
      {0, "3.60", "kg", "[]", false},
      {0, "0.000", "L", "[\"unusually_low\"]", true},
      {3, "7.00", "L/s", "[]", true},
      {3, "700", "cL/s", "[]", false},
      {3, "7", "L", "[]", false},
      {3, "30", "L/min", "[]", true},
      {3, "29.9999", "L/min", "[]", false},
      {3, "29.9999", "L/min", "[\"unusually_low\"]", true},
      {3, "1080", "L/min", "[]", true},
      {3, "1080.0001", "L/min", "[]", false},
      {3, "1080.0001", "L/min", "[\"unusually_high\"]", true},
      {3, "1500", "L/min", "[\"unusually_high\"]", true},
      {3, "1500.0001", "L/min", "[\"unusually_high\"]", false},
      {3, "-0.0001", "L/min", "[\"unusually_low\"]", false},
      {3, "420", "mmol/L", "[]", false},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    _json_cleanup_ json_t *j = rich_record();
    json_t *m = item_of(j, "measures", rows[i].measure);
    json_object_set_new(m, "value", json_string(rows[i].value));
    json_object_set_new(m, "unit", json_string(rows[i].unit));
    json_object_set_new(m, "flags", json_loads(rows[i].flags, 0, NULL));
    if (takes(j) != rows[i].fine)
      fail_msg("row %zu: %s %s", i, rows[i].value, rows[i].unit);
  }
  _json_cleanup_ json_t *j = rich_record();
  becomes(item_of(j, "measures", 0), "fvc");
  assert_true(takes(j));
  becomes(item_of(j, "measures", 0), "fvc_predicted"); /* what only the reader may see is no measure */
  assert_false(takes(j));
}

TEST(trials_as_they_are_read) {
  static const struct {
    const char *trials;
    bool fine;
  } rows[] = {
#define TIMELESS(n) "{\"device_time\":null,\"number\":" #n ",\"phase\":null,\"time\":null}"
      {"[" TIMELESS(1) "," TIMELESS(3) "]", true},
      {"[" TIMELESS(1) "," TIMELESS(2) "," TIMELESS(3) "]", true},
      {"[" TIMELESS(1) "," TIMELESS(3) "," TIMELESS(999) "]", true},
      {"[" TIMELESS(1) "," TIMELESS(3) "," TIMELESS(1000) "]", false},
      {"[" TIMELESS(0) "," TIMELESS(1) "," TIMELESS(3) "]", false},
      {"[" TIMELESS(-1) "," TIMELESS(1) "," TIMELESS(3) "]", false},
      {"[" TIMELESS(3) "," TIMELESS(1) "]", false},
      {"[" TIMELESS(1) "," TIMELESS(1) "," TIMELESS(3) "]", false},
      {"[" TIMELESS(1) "]", false}, /* there are measures of the third */
      {"[" TIMELESS(3) "]", false},
      {"[]", false},
      {"[" TIMELESS(1) ",{\"device_time\":null,\"number\":3,\"phase\":\"baseline\",\"time\":null}]", true},
      {"[" TIMELESS(1) ",{\"device_time\":null,\"number\":3,\"phase\":\"\",\"time\":null}]", false},
      {"[" TIMELESS(1) ",{\"device_time\":\"2013-05-28T10:44:18.000\",\"number\":3,\"phase\":null,\"time\":null}]",
       true},
      {"[" TIMELESS(1) ",{\"device_time\":null,\"number\":3,\"phase\":null,\"time\":"
                       "\"2026-03-29T02:00:01.123456+01:00\"}]",
       false}, /* the host's time of what the instrument's clock never said */
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    _json_cleanup_ json_t *j = rich_record();
    json_object_set_new(json_object_get(j, "acquired"), "trials", json_loads(rows[i].trials, 0, NULL));
    if (takes(j) != rows[i].fine)
      fail_msg("%s", rows[i].trials);
  }
}

TEST(ends_and_starts) {
  static const struct {
    const char *end;
    bool complete, started, fine;
  } rows[] = {
      {"ok", true, true, true},      {"ok", false, true, false},    {"ok", true, false, false},
      {"error", false, true, true},  {"error", true, true, false},  {"error", false, false, false},
      {"cancel", false, true, true}, {"cancel", true, true, false}, {"crash", false, true, true},
      {"crash", true, true, false},  {"none", false, true, true},   {"none", true, true, false},
      {"none", true, false, true}, /* bare bytes */
      {"none", false, false, false}, {"cut", false, true, false},   {"", false, true, false},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    _json_cleanup_ json_t *j = rich_record();
    json_object_set_new(j, "end", json_string(rows[i].end));
    json_object_set_new(j, "complete", json_boolean(rows[i].complete));
    if (!rows[i].started)
      json_object_set_new(j, "started", json_null());
    if (takes(j) != rows[i].fine)
      fail_msg("row %zu", i);
  }
  static const char *const names[] = {"none", "sum8", "crc16", "crc32"}, *const modalities[] = {"ecg", "spirometry",
                                                                                                "fundus",
                                                                                                "measurement"};
  for (size_t i = 0; i < 4; i++) {
    _json_cleanup_ json_t *j = rich_record();
    json_object_set_new(j, "integrity", json_string(names[i]));
    json_object_set_new(j, "modality", json_string(modalities[i]));
    assert_true(takes(j));
  }
}

TEST(flags_follow_from_values) {
  static const struct {
    const char *value, *flags;
    bool fine;
  } rows[] = {
      {"0.50", "[]", true},
      {"0.5", "[]", true},
      {"0.49", "[\"unusually_low\"]", true},
      {"0.49", "[]", false}, /* the flag was taken off */
      {"0.49", "[\"unusually_high\"]", false},
      {"0.49", "[\"unusually_low\",\"unusually_low\"]", false},
      {"0.50", "[\"unusually_low\"]", false},
      {"18", "[]", true},
      {"18.00000001", "[\"unusually_high\"]", true},
      {"18.00000001", "[]", false},
      {"25", "[\"unusually_high\"]", true},
      {"25.00000001", "[\"unusually_high\"]", false},
      {"0", "[\"unusually_low\"]", true},
      {"0.000", "[\"unusually_low\"]", true},
      {"-0.001", "[\"unusually_low\"]", false},
      {"2147483647", "[\"unusually_high\"]", false},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    _json_cleanup_ json_t *j = rich_record();
    json_t *pef = json_array_get(json_object_get(json_object_get(j, "acquired"), "measures"), 1);
    json_object_set_new(pef, "value", json_string(rows[i].value));
    json_object_set_new(pef, "flags", json_loads(rows[i].flags, 0, NULL));
    if (takes(j) != rows[i].fine)
      fail_msg("%s %s", rows[i].value, rows[i].flags);
  }
}

TEST(reader_bounds) {
  json_t *back = NULL;
  char *text = calloc(1, RECORD_JSON_MAX + 1ul);
  assert_non_null(text);
  memset(text, ' ', RECORD_JSON_MAX + 1ul);
  memcpy(text, rich_json, sizeof rich_json - 1);
  assert_int_equal(bed_read(text, RECORD_JSON_MAX + 1ul, rich_data, sizeof rich_data, &back), -EPROTO);
  assert_int_equal(bed_read(text, RECORD_JSON_MAX, rich_data, sizeof rich_data, &back), -EPROTO);
  free(text);
  int16_t *data = calloc(1, RECORD_DATA_MAX + 2ul);
  assert_non_null(data);
  assert_int_equal(bed_read(rich_json, sizeof rich_json - 1, data, RECORD_DATA_MAX + 2ul, &back), -EPROTO);
  free(data);
  static const char *const others[] = {"", "{}", "[]", "null", "{\"schema\":\"asaleed-record-1\"}"};
  for (size_t i = 0; i < COUNT(others); i++)
    assert_int_equal(bed_read(others[i], strlen(others[i]), NULL, 0, &back), -EPROTO);
  _json_cleanup_ json_t *j = rich_record(); /* nothing was read */
  json_t *acquired = json_object_get(j, "acquired");
  json_object_set_new(acquired, "channels", json_array());
  json_object_set_new(acquired, "measures", json_array());
  seal(j, NULL, 0);
  assert_false(takes_with(j, NULL, 0));
  _json_cleanup_ json_t *many = rich_record(); /* more of everything than a record holds */
  static const struct {
    const char *list;
    size_t most;
  } rows[] = {{"measures", 4096}, {"quality", 256}, {"statements", 2048}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    json_t *list = json_object_get(i ? many : json_object_get(many, "acquired"), rows[i].list);
    while (json_array_size(list) < rows[i].most)
      json_array_append_new(list, json_deep_copy(json_array_get(list, 0)));
    assert_true(takes(many));
    json_array_append_new(list, json_deep_copy(json_array_get(list, 0)));
    assert_false(takes(many));
    json_array_remove(list, 0);
  }
}

/* ---- without memory ------------------------------------------------------------------------------------------ */

static void same_result(struct record_result *got, const struct record_result *want) {
  assert_int_equal(!got->json, !want->json);
  if (want->json)
    assert_string_equal(got->json, want->json);
  assert_int_equal(got->json_bytes, want->json_bytes);
  assert_int_equal(got->data_values, want->data_values);
  if (want->data_values)
    assert_memory_equal(got->data, want->data, want->data_values * sizeof(int16_t));
  record_result_finish(got);
}

TEST(decode_without_memory) {
  if (!fail_alloc_works())
    skip();
  CAPTURE(c, "2", "end error\n"); /* the daemon's own quality items too */
  RESULTS(want);
  assert_int_equal(bed_decode_both(&bed_ecg, &c, rich, &want, NULL), 0);
  assert_non_null(want.of[WIRE_STRAY].json);
  for (int on = 0; on < 2; on++)
    for (size_t nth = 1;; nth++) {
      char reason[256];
      const struct record_result before[WIRE_RECORDS] = {{(char *)1, 2, (int16_t *)8, 3, NULL, 7},
                                                         {(char *)4, 5, NULL, 6, NULL, 8}};
      struct record_result got[WIRE_RECORDS];
      memcpy(got, before, sizeof before);
      long live = fail_alloc_live();
      fail_alloc_set(nth, on);
      int r = record_decode(&bed_ecg, &c, got, reason);
      bool hit = fail_alloc_hit();
      fail_alloc_set(0, false);
      if (r == 0) { /* all of it: not a flag or a gap less */
        for (int i = 0; i < WIRE_RECORDS; i++)
          same_result(&got[i], &want.of[i]);
      } else {
        if (r != -ENOMEM)
          fail_msg("without the allocation %zu: %d", nth, r);
        assert_true(hit);
        assert_memory_equal(got, before, sizeof before);
        assert_string_not_equal(reason, "");
      }
      assert_int_equal(fail_alloc_live(), live);
      if (!hit) {
        assert_int_equal(r, 0);
        assert_true(nth > 200);
        break;
      }
    }
}

TEST(read_without_memory) {
  if (!fail_alloc_works())
    skip();
  _json_cleanup_ json_t *want = rich_record();
  for (int on = 0; on < 2; on++)
    for (size_t nth = 1;; nth++) {
      char reason[256] = "";
      json_t *j = (json_t *)(uintptr_t)8;
      long live = fail_alloc_live();
      fail_alloc_set(nth, on);
      int r = record_read(rich_json, sizeof rich_json - 1, rich_data, sizeof rich_data, &j, reason);
      bool hit = fail_alloc_hit();
      fail_alloc_set(0, false);
      if (r == 0) {
        assert_true(json_equal(j, want));
        json_decref(j);
      } else {
        if (r != -ENOMEM)
          fail_msg("without the allocation %zu: %d, %s", nth, r, reason);
        assert_true(hit);
        assert_true((uintptr_t)j == 8);
        assert_string_not_equal(reason, "");
      }
      assert_int_equal(fail_alloc_live(), live);
      if (!hit) {
        assert_int_equal(r, 0);
        assert_true(nth > 200);
        break;
      }
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_of_everything),
      cmocka_unit_test(measures_and_their_ranges),
      cmocka_unit_test(unknown_codes),
      cmocka_unit_test(rates_and_scales),
      cmocka_unit_test(samples_in_range),
      cmocka_unit_test(counts_are_bounded),
      cmocka_unit_test(room_for_our_own_quality),
      cmocka_unit_test(sizes_are_bounded),
      cmocka_unit_test(statements_are_clean),
      cmocka_unit_test(quality_items),
      cmocka_unit_test(errors_of_a_driver),
      cmocka_unit_test(a_channel_without_samples),
      cmocka_unit_test(incomplete_captures),
      cmocka_unit_test(bare_bytes),
      cmocka_unit_test(short_ecg),
      cmocka_unit_test(clean_records),
      cmocka_unit_test(every_member_altered),
      cmocka_unit_test(every_byte_altered),
      cmocka_unit_test(not_canonical),
      cmocka_unit_test(altered_samples),
      cmocka_unit_test(samples_out_of_range),
      cmocka_unit_test(gap_lists),
      cmocka_unit_test(gap_lists_without_samples),
      cmocka_unit_test(instants_are_there),
      cmocka_unit_test(units_are_normalised),
      cmocka_unit_test(trials_as_they_are_read),
      cmocka_unit_test(ends_and_starts),
      cmocka_unit_test(flags_follow_from_values),
      cmocka_unit_test(reader_bounds),
      cmocka_unit_test(decode_without_memory),
      cmocka_unit_test(read_without_memory),
  };
  if (hash_open())
    return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
