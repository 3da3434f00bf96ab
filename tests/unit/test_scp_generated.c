/* The SCP-ECG driver against the files of tests/sim/scp_file.h, in every encoding: its writer and the driver were
 * written apart from each other, from the same description. */
#include "capture.h"
#include "hash.h"
#include "record_build.h"
#include "scp_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

extern const struct acq_driver file_scp_ecg;

static struct ecg12 ecg; /* large */

struct reading {
  int err;
  char reason[256];
  struct record_result result[WIRE_RECORDS];
  json_t *record;
};

static struct reading read_file(const struct buf *file) {
  struct reading r = {0};
  struct acq_capture capture;
  char why[256] = "";
  assert_int_equal(capture_from_file(file->data, file->len, &capture), 0);
  r.err = record_decode(&file_scp_ecg, &capture, r.result, r.reason);
  capture_finish(&capture);
  if (r.err == 0 && record_read(r.result[0].json, r.result[0].json_bytes, r.result[0].data,
                                r.result[0].data_values * sizeof(int16_t), &r.record, why) < 0)
    fail_msg("the record is not accepted: %s", why);
  return r;
}

static struct reading read_made(const struct scp_options *o) {
  struct buf file = BUF_INIT(SCP_FILE_MAX);
  const int err = scp_file_make(o, &ecg, &file);
  if (err < 0)
    fail_msg("the file cannot be made: %d", err);
  struct reading r = read_file(&file);
  buf_finish(&file);
  return r;
}

static void reading_finish(struct reading *r) {
  json_decref(r->record);
  for (int i = 0; r->err == 0 && i < WIRE_RECORDS; i++)
    record_result_finish(&r->result[i]);
}

static const json_t *channel(const struct reading *r, size_t i) {
  return json_array_get(json_object_get(json_object_get(r->record, "acquired"), "channels"), i);
}

static int noted(const struct reading *r, const char *code, const char *subject) {
  size_t i;
  json_t *item;
  int n = 0;
  json_array_foreach(json_object_get(r->record, "quality"), i, item) {
    n += !strcmp(json_text(item, "code"), code) && (!subject || !strcmp(json_text(item, "subject"), subject));
  }
  return n;
}

/* A lead of the record is what the writer says a reader gets, to the last digit. Returns its first wrong sample, or
 * -1. */
static long compare(const struct reading *r, const struct scp_options *o, unsigned lead, size_t begin) {
  struct scp_truth truth;
  struct dec scale;
  const json_t *c = channel(r, lead);
  assert_int_equal(scp_file_truth(o, &ecg, lead, &truth), 0);
  assert_int_equal(dec_parse(json_text(c, "scale"), &scale), 0);
  int64_t nv = scale.mantissa;
  for (int e = scale.exponent; e < -3; e++)
    nv /= 10;
  for (int e = scale.exponent; e > -3; e--)
    nv *= 10;
  const int16_t *samples = r->result[0].data + json_integer_value(json_object_get(c, "first")) + begin;
  long wrong = (size_t)json_integer_value(json_object_get(c, "samples")) < begin + truth.n ? 0 : -1;
  for (size_t i = 0; i < truth.n && wrong < 0; i++)
    if (samples[i] * nv != truth.nv[i])
      wrong = (long)i;
  scp_truth_finish(&truth);
  return wrong;
}

static void assert_same(const struct reading *r, const struct scp_options *o, const char *what) {
  if (r->err)
    fail_msg("%s: %d, %s", what, r->err, r->reason);
  for (unsigned i = 0; i < o->n_leads; i++) {
    const long at = compare(r, o, i, 0);
    if (at >= 0)
      fail_msg("%s: lead %u is wrong at %ld", what, i, at);
  }
}

/* All codes, differences and abridged forms, in each version. */
static void test_every_encoding(void **state) {
  (void)state;
  unsigned files = 0;
  ecg12_make(&ecg, 500, 4, 7, 3, 1);
  for (unsigned k = 0; k < 3 * SCP_CODES * 3 * 2 * 3; k++) {
    static const unsigned versions[] = {10, 13, 20}, decimations[] = {1, 2, 4};
    struct scp_options o = scp_file_defaults();
    char what[128];
    o.version = versions[k % 3];
    o.code = (enum scp_code)(k / 3 % SCP_CODES);
    o.difference = k / 3 / SCP_CODES % 3;
    o.subtract = k / 9 / SCP_CODES % 2;
    o.decimation = decimations[k / 18 / SCP_CODES];
    if (o.code == SCP_THREE && k % 2)
      scp_file_twelve(&o), o.avm_nv = 2500;
    if (o.subtract)
      o.foreign_every = k % 4;
    snprintf(what, sizeof what, "version %u, code %d, difference %u, subtracted %d, decimation %u", o.version, o.code,
             o.difference, o.subtract, o.decimation);
    struct reading r = read_made(&o);
    assert_same(&r, &o, what);
    assert_int_equal(noted(&r, "signal_reconstructed", "complexe moyen"), o.subtract && o.foreign_every != 1);
    assert_int_equal(noted(&r, "signal_reconstructed", "bimodal"), o.decimation > 1);
    assert_int_equal(noted(&r, "file_inconsistent", NULL) + noted(&r, "file_shortened", NULL), 0);
    reading_finish(&r);
    files++;
  }
  print_message("%u files\n", files);
}

static void test_scales(void **state) {
  (void)state;
  static const unsigned steps[][2] = {{5000, 0}, {2500, 1250}, {1000, 5000}, {5000, 1000}, {500, 2500}, {2500, 1000}};
  ecg12_make(&ecg, 1000, 3, 1, 2, 1);
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
    for (unsigned decimation = 1; decimation <= 4; decimation *= 2) {
      struct scp_options o = scp_file_defaults();
      char what[64];
      o.avm_nv = steps[i][0];
      o.beat_avm_nv = steps[i][1];
      o.subtract = true;
      o.decimation = decimation;
      snprintf(what, sizeof what, "%u and %u nV, decimation %u", steps[i][0], steps[i][1], decimation);
      struct reading r = read_made(&o);
      assert_same(&r, &o, what);
      reading_finish(&r);
    }
}

static void test_leads_apart(void **state) {
  (void)state;
  ecg12_make(&ecg, 500, 10, 3, 2, 1);
  for (unsigned kind = 0; kind < 6; kind++) {
    struct scp_options o = scp_file_defaults();
    o.n_leads = 3;
    o.leads[0] = (struct scp_lead){ECG12_V1, 1, 2500};
    o.leads[1] = (struct scp_lead){ECG12_V2, 2501, 5000};
    o.leads[2] = (struct scp_lead){ECG12_II, 1001, 4003};
    o.subtract = kind & 1;
    o.decimation = kind < 2 ? 1 : kind < 4 ? 2 : 4;
    struct reading r = read_made(&o);
    assert_int_equal(r.err, 0);
    for (unsigned i = 0; i < 3; i++) {
      const long at = compare(&r, &o, i, o.leads[i].first - 1);
      if (at >= 0)
        fail_msg("kind %u: lead %u is wrong at %ld", kind, i, at);
      assert_int_equal(json_integer_value(json_object_get(channel(&r, i), "samples")), 5000);
    }
    assert_int_equal(r.result[0].data[2500], ACQ_GAP);
    assert_int_equal(r.result[0].data[2 * 5000 + 4003], ACQ_GAP);
    reading_finish(&r);
  }
}

static void test_quirks(void **state) {
  (void)state;
  static const struct {
    unsigned quirk;
    enum scp_code code;
    const char *make, *code_noted, *subject;
    int err;
  } v[] = {
      {SCP_LEAD_COUNT, SCP_DEFAULT, NULL, "file_inconsistent", "dérivations", 0},
      {SCP_FIRST_ZERO, SCP_DEFAULT, NULL, NULL, NULL, 0},
      {SCP_FIRST_ZERO, SCP_RAW, NULL, NULL, NULL, 0},
      {SCP_NO_LEAD_LENGTHS, SCP_RAW, "corpuls", "file_inconsistent", "longueurs", 0},
      {SCP_NO_LEAD_LENGTHS, SCP_RAW, "other", NULL, NULL, -EPROTO},
      {SCP_CRC_BLANK, SCP_DEFAULT, NULL, "file_unchecked", "section 6", 0},
      {SCP_SIGNATURE_BLANK, SCP_DEFAULT, NULL, NULL, NULL, 0},
      {SCP_SHUFFLED | SCP_POINTERS_SHUFFLED, SCP_LARGE, NULL, NULL, NULL, 0},
      {SCP_NO_NUL, SCP_DEFAULT, NULL, NULL, NULL, 0},
  };
  ecg12_make(&ecg, 500, 4, 7, 3, 1);
  for (size_t i = 0; i < sizeof v / sizeof *v; i++)
    for (unsigned seed = 0; seed < 4; seed++) {
      struct scp_options o = scp_file_defaults();
      o.quirks = v[i].quirk;
      o.code = v[i].code;
      o.manufacturer = v[i].make;
      o.seed = seed;
      o.extra_sections = seed;
      struct reading r = read_made(&o);
      if (r.err != v[i].err)
        fail_msg("case %zu: %d, %s", i, r.err, r.reason);
      if (!r.err) {
        assert_same(&r, &o, "a quirk");
        if (v[i].code_noted)
          assert_int_equal(noted(&r, v[i].code_noted, v[i].subject), 1);
        else
          assert_int_equal(json_array_size(json_object_get(r.record, "quality")), 0);
      }
      reading_finish(&r);
    }
  struct scp_options o = scp_file_defaults();
  o.quirks = SCP_BIMODAL_IDLE;
  o.with_beat = true;
  struct reading r = read_made(&o);
  assert_same(&r, &o, "bimodal in name");
  assert_int_equal(json_array_size(json_object_get(r.record, "quality")), 0);
  reading_finish(&r);
}

/* Streams of more bytes than their lengths can say: whole, or cut. */
static void test_long(void **state) {
  (void)state;
  ecg12_make(&ecg, 1000, 40, 7, 3, 1);
  for (unsigned cut = 0; cut < 2; cut++) {
    struct scp_options o = scp_file_defaults();
    o.code = SCP_RAW;
    o.difference = 0;
    o.quirks = cut ? SCP_LONG_CUT : 0;
    struct reading r = read_made(&o);
    assert_int_equal(r.err, 0);
    assert_int_equal(json_integer_value(json_object_get(channel(&r, 0), "samples")), cut ? 32767 : 40000);
    assert_int_equal(noted(&r, "file_shortened", NULL), cut);
    assert_int_equal(noted(&r, "file_inconsistent", "longueurs"), !cut);
    if (!cut)
      assert_same(&r, &o, "long");
    reading_finish(&r);
  }
}

static void test_damages(void **state) {
  (void)state;
  static const int want[SCP_DAMAGES] = {
      [SCP_POINTER_OUTSIDE] = -EPROTO,
      [SCP_OVERLAP] = -EPROTO,
      [SCP_PREFIX] = -EPROTO,
      [SCP_SWITCH_LOOP] = -EPROTO,
      [SCP_FILE_CRC] = -EBADMSG,
      [SCP_SECTION_CRC] = -EBADMSG,
      [SCP_LEAD_LENGTH] = -EPROTO,
      [SCP_STREAM_SHORT] = 0,
      [SCP_CUT] = -EPROTO,
      [SCP_ZERO_INTERVAL] = -ERANGE,
      [SCP_ZERO_AVM] = -ERANGE,
      [SCP_65_LEADS] = -EPROTO,
      [SCP_ZERO_LENGTHS] = -ENXIO,
      [SCP_POINTER_LOOP] = -EPROTO,
      [SCP_TAG_LENGTH] = -EPROTO,
      [SCP_NO_TAG_END] = 0,
      [SCP_BEAT_OUTSIDE] = -EPROTO,
      [SCP_LEAD_BACKWARDS] = -EPROTO,
  };
  ecg12_make(&ecg, 500, 4, 7, 3, 1);
  for (unsigned d = SCP_SOUND; d < SCP_DAMAGES; d++) {
    struct scp_options o = scp_file_defaults();
    o.damage = (enum scp_damage)d;
    o.code = d == SCP_PREFIX || d == SCP_SWITCH_LOOP ? SCP_THREE : SCP_DEFAULT;
    o.subtract = d == SCP_BEAT_OUTSIDE;
    o.with_beat = true;
    o.person.family = "NOM";
    struct reading r = read_made(&o);
    if (r.err != want[d])
      print_message("%s: %d, %s\n", scp_damage_name(d), r.err, r.reason);
    assert_int_equal(r.err, want[d]);
    if (d == SCP_STREAM_SHORT)
      assert_int_equal(noted(&r, "file_shortened", NULL), 1);
    reading_finish(&r);
  }
}

/* What section 1 says, and that what the instrument concluded is in statements alone. */
static void test_texts(void **state) {
  (void)state;
  static const char *const alphabets[] = {"ascii", "latin1", "iso-8859-15", "utf16"};
  ecg12_make(&ecg, 500, 2, 7, 3, 1);
  for (size_t i = 0; i < 4; i++) {
    struct scp_options o = scp_file_defaults();
    o.alphabet = alphabets[i];
    o.person = (struct file_person){
        .family = i ? "LEFÈVRE" : "LEFEVRE", .given = "Zoe", .id = "A-1", .birth = {.year = 1950, 2, 28}, .sex = 'F'};
    o.high_pass_chz = 5;
    o.low_pass_hz = 150;
    o.filters = 2;
    o.manufacturer = "Acme";
    o.model = "X-12";
    o.serial = "0815";
    o.marker = "MARQUE";
    struct reading r = read_made(&o);
    assert_same(&r, &o, alphabets[i]);
    const json_t *s = json_object_get(r.record, "subject"), *device = json_object_get(r.record, "device");
    assert_string_equal(json_text(s, "family"), o.person.family);
    assert_string_equal(json_text(s, "given"), "Zoe");
    assert_string_equal(json_text(s, "id"), "A-1");
    assert_string_equal(json_text(s, "birth_date"), "1950-02-28");
    assert_string_equal(json_text(s, "sex"), "F");
    assert_string_equal(json_text(device, "make"), "Acme");
    assert_string_equal(json_text(device, "model"), "X-12");
    assert_string_equal(json_text(device, "serial"), "0815");
    assert_int_equal(noted(&r, "signal_filtered", "0,05 à 150 Hz"), 1);
    assert_int_equal(noted(&r, "signal_filtered", "secteur 50 Hz"), 1);
    assert_int_equal(json_array_size(json_object_get(r.record, "quality")), 2);
    size_t k, marked = 0;
    json_t *item;
    json_array_foreach(json_object_get(r.record, "statements"), k, item) {
      marked += strstr(json_text(item, "text"), "MARQUE") != NULL;
    }
    assert_true(marked >= 5); /* of the fields 13, 30, 35, and of the sections 8 and 11 */
    json_object_del(r.record, "statements");
    char *rest = json_dumps(r.record, 0);
    assert_null(strstr(rest, "MARQUE"));
    free(rest);
    reading_finish(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_encoding), cmocka_unit_test(test_scales), cmocka_unit_test(test_leads_apart),
      cmocka_unit_test(test_quirks),         cmocka_unit_test(test_long),   cmocka_unit_test(test_damages),
      cmocka_unit_test(test_texts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
