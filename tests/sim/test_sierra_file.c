/*
 * The Sierra writer, read back: XML and base64 by the judge, XLI by a decoder of this file that shares nothing with the
 * writer. That decoder is right where it makes a real recording's limb leads agree.
 */
#include "sierra_file.h"
#include "xml_judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define WAVES "//parsedwaveforms"
#define CHANNELS 16
#define BYTES_MAX (1u << 20)

static struct ecg12 ecg;
static struct buf file;
static struct xml_judge *judge;
static uint8_t data[4u << 20];
static long data_len;

/* ---- a decoder ---- */

struct chunk {
  const char *error; /* NULL: whole */
  unsigned n;        /* bytes after LZW */
  bool ended;        /* by code 1023 */
  unsigned last;     /* the greatest code before */
  uint8_t bytes[BYTES_MAX];
  int v[BYTES_MAX / 2];
};

static struct chunk chunks[CHANNELS];

/* Strings are positions in what was put out: each made code is an earlier one and the byte that followed it. */
static void decode_codes(struct chunk *c, const uint8_t *p, long n, int first_delta) {
  unsigned at[1024], len[1024], made = 256, previous_at = 0, previous_len = 0;
  c->n = 0;
  c->ended = false;
  c->last = 0;
  for (long bit = 0; bit + 10 <= 8 * n; bit += 10) {
    unsigned code = ((unsigned)p[bit / 8] << 8 | p[bit / 8 + 1]) >> (6 - bit % 8) & 1023;
    if (code == 1023) {
      c->ended = true;
      break;
    }
    bool is_new = previous_len > 0 && made < 1023;
    if (is_new) {
      at[made] = previous_at;
      len[made] = previous_len + 1;
      made++;
    }
    if (code >= made) {
      c->error = "a code that is not made yet";
      return;
    }
    c->last = code > c->last ? code : c->last;
    unsigned here = c->n, l = code < 256 ? 1 : len[code];
    if (here + l > BYTES_MAX) {
      c->error = "too long";
      return;
    }
    for (unsigned i = 0; i < l; i++) /* one by one: a string may run into itself */
      c->bytes[here + i] = code < 256 ? (uint8_t)code : c->bytes[at[code] + i];
    c->n += l;
    previous_at = here;
    previous_len = l;
  }
  unsigned samples = c->n / 2;
  for (unsigned i = 0; i < samples; i++) {
    int word = (int16_t)(c->bytes[i] << 8 | c->bytes[samples + i]);
    if (i < 2)
      c->v[i] = word;
    else {
      c->v[i] = 2 * c->v[i - 1] - c->v[i - 2] - first_delta;
      first_delta = word - 64;
    }
  }
}

/* The number of whole chunks. */
static unsigned decode_chunks(void) {
  long pos = 0;
  unsigned k = 0;
  for (; k < CHANNELS && pos + 8 <= data_len; k++) {
    const uint8_t *p = data + pos;
    int32_t size = (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
    if (size <= 0 || size > data_len - pos - 8 || p[4] != 1 || p[5] != 0)
      break;
    chunks[k].error = NULL;
    decode_codes(&chunks[k], p + 8, size, (int16_t)(p[6] | p[7] << 8));
    pos += 8 + size;
  }
  return k;
}

static int lead_at(unsigned lead, unsigned i) {
  int one = chunks[0].v[i], two = chunks[1].v[i], three = two - one - chunks[2].v[i], v = chunks[lead].v[i];
  switch (lead) {
  case 2:
    return three;
  case 3:
    return -v - (one + two) / 2;
  case 4:
    return (one - three) / 2 - v;
  case 5:
    return (two + three) / 2 - v;
  default:
    return v;
  }
}

/* ---- what was written ---- */

static void read_data(void) {
  data_len = xml_judge_base64(xml_judge_text(judge, WAVES), data, sizeof(data));
}

static void write_file(const struct sierra_file *options) {
  xml_judge_close(judge);
  buf_reset(&file);
  file.max = XML_OUT_MAX;
  assert_int_equal(sierra_file_make(options, &ecg, &file), 0);
  judge = xml_judge_open(file.data, file.len);
  if (judge)
    read_data();
}

static void expect(const char *path, const char *value) {
  assert_non_null(judge);
  const char *got = xml_judge_text(judge, path);
  if (strcmp(got, value) != 0)
    fail_msg("%s: '%.40s' instead of '%s'", path, got, value);
}

static void expect_samples(const struct sierra_file *options) {
  size_t n = sierra_file_samples(options, &ecg);
  assert_int_equal(decode_chunks(), ECG12_LEADS + options->spare);
  for (unsigned lead = 0; lead < ECG12_LEADS; lead++) {
    assert_null(chunks[lead].error);
    assert_true(chunks[lead].ended);
    assert_int_equal(chunks[lead].n, 2 * n);
    for (unsigned i = 0; i < n; i++) {
      if (lead_at(lead, i) != sierra_file_sample(&ecg, (enum ecg12_lead)lead, i))
        fail_msg("%s[%u]: %d", ecg12_lead_name((enum ecg12_lead)lead), i, lead_at(lead, i));
    }
  }
}

static int setup(void **state) {
  (void)state;
  file = BUF_INIT(XML_OUT_MAX);
  ecg12_make(&ecg, 500, 10, 5, 3, 1);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  xml_judge_close(judge);
  judge = NULL;
  buf_finish(&file);
  return 0;
}

/* ---- tests ---- */

TEST(real_recording) {
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[512];
  snprintf(path, sizeof(path), "%s/philips_sierra/129DYPRG_1_03.xml", folder ? folder : "../shared/samples");
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("skipped: no %s\n", path);
    skip();
    return;
  }
  size_t n = fread(data, 1, sizeof(data), f);
  fclose(f);
  judge = xml_judge_open(data, n);
  assert_non_null(judge);
  read_data();
  assert_int_equal(decode_chunks(), 16);
  for (unsigned k = 0; k < 16; k++) {
    assert_null(chunks[k].error);
    assert_true(chunks[k].ended);
    assert_int_equal(chunks[k].n, 2 * 5500); /* durationperchannel 11000 at 500 Hz */
  }
  for (unsigned i = 0; i < 5200; i++) {
    assert_in_range(lead_at(2, i) - (lead_at(1, i) - lead_at(0, i)) + 2, 0, 4);
    assert_in_range(2 * lead_at(3, i) + lead_at(0, i) + lead_at(1, i) + 3, 0, 6);
  }
  assert_int_equal(lead_at(6, 5400), 200); /* the calibration */
}

/* Both versions, with and without what a real file has beside the leads. */
TEST(compressed) {
  const struct sierra_file all[] = {{.facts = ecg_facts_example},
                                    {.v104 = true, .spare = 4, .calibration = true},
                                    {.v104 = true, .encoding = XML_UTF16LE},
                                    {.spare = 4, .calibration = true, .encoding = XML_UTF16BE}};
  for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
    write_file(&all[i]);
    expect_samples(&all[i]);
  }
  assert_int_equal(lead_at(8, 5000 + 300), 200);
  assert_int_equal(lead_at(3, 5000 + 300), 200);
  assert_int_equal(lead_at(8, 5000 + 100), 0);
  assert_int_equal(chunks[15].v[5000 + 300], 200);
  assert_int_equal(chunks[15].v[100], 0);
}

/* The table is used to its end, as in real files. */
TEST(last_code) {
  ecg12_make(&ecg, 500, 30, 1, 4, 1);
  write_file(&(struct sierra_file){.v104 = true});
  assert_int_equal(decode_chunks(), 12);
  unsigned last = 0;
  for (unsigned k = 0; k < 12; k++)
    last = chunks[k].last > last ? chunks[k].last : last;
  assert_int_equal(last, 1022);
}

/* Of the augmented leads, which are in half steps, a reader finds the whole steps below. */
TEST(whole_steps) {
  bool odd_and_negative = false;
  for (enum ecg12_lead lead = ECG12_AVR; lead <= ECG12_AVF; lead++) {
    for (size_t i = 0; i < ecg.n; i++) {
      int halves = ecg.lead[lead][i], steps = sierra_file_sample(&ecg, lead, i);
      assert_true(2 * steps <= halves && halves < 2 * steps + 2);
      odd_and_negative = odd_and_negative || (halves < 0 && halves % 2 != 0);
    }
  }
  assert_true(odd_and_negative);
}

TEST(other_rates) {
  static const unsigned rates[] = {250, 1000};
  for (unsigned i = 0; i < 2; i++) {
    ecg12_make(&ecg, rates[i], 11, i, 40, 1);
    const struct sierra_file options = {.v104 = true};
    write_file(&options);
    expect_samples(&options);
    expect(WAVES "/@durationperchannel", "11000");
    expect(WAVES "/@samplespersecond", i ? "1000" : "250");
    expect("//samplingrate", i ? "1000" : "250");
  }
}

/* Flat but for the pulse, a lead of a real file takes 276 bytes for 5500 samples: ours are not longer. */
TEST(flat_channels) {
  write_file(&(struct sierra_file){.spare = 1, .calibration = true});
  assert_int_equal(decode_chunks(), 13);
  long before = 0;
  for (unsigned k = 0; k < 12; k++)
    before += 8 + (data[before] | data[before + 1] << 8);
  assert_in_range(data_len - before - 8, 200, 290);
}

TEST(uncompressed) {
  for (unsigned v = 0; v < 2; v++) {
    write_file(&(struct sierra_file){.coding = SIERRA_BASE64, .v104 = v});
    assert_int_equal(data_len, 12 * 2 * 5000);
    for (unsigned i = 0; i < 12 * 5000; i++)
      assert_int_equal((int16_t)(data[2 * i] | data[2 * i + 1] << 8),
                       sierra_file_sample(&ecg, (enum ecg12_lead)(i / 5000), i % 5000));
    expect(WAVES "/@dataencoding", "Base64");
  }
  assert_int_equal(xml_judge_count(judge, WAVES "/@compression"), 0);
  write_file(&(struct sierra_file){.coding = SIERRA_PLAIN});
  const char *text = xml_judge_text(judge, WAVES);
  for (unsigned i = 0; i < 12 * 5000; i++)
    assert_int_equal(strtol(text, (char **)&text, 10), sierra_file_sample(&ecg, (enum ecg12_lead)(i / 5000), i % 5000));
  expect(WAVES "/@compressflag", "False");
}

TEST(what_it_says) {
  write_file(&(struct sierra_file){.facts = ecg_facts_example, .filters = true, .measurements = true});
  expect("//documenttype", "SierraECG");
  expect("//documentversion", "1.03");
  expect("//signalresolution", "5");
  expect("//dataacquisition/@date", "2026-03-01");
  expect("//dataacquisition/@time", "09:15:30");
  expect("//machine", "Écho 12");
  expect("//machine/@machineid", "SN-7731");
  expect("//patientid", "P-2026/0042");
  expect("//name/lastname", "Lefèvre");
  expect("//name/firstname", "Zoé");
  expect("//dateofbirth", "1960-02-29");
  expect("//sex", "Female");
  expect("//reportbandwidth/highpassfiltersetting", "0.05");
  expect("//statement/leftstatement", ecg_facts_example.statement);
  expect("//interpretationmeasurements/heartrate", "75");
  expect(WAVES "/@compressmethod", "XLI");
  expect(WAVES "/@compressflag", "True");
  write_file(&(struct sierra_file){.facts = ecg_facts_example, .measurements = true, .v104 = true});
  expect("//documenttype", "PhilipsECG");
  expect("//documentversion", "1.04");
  expect("//signalcharacteristics/resolution", "5");
  expect("//interpretation/globalmeasurements/qtint", "400");
  expect(WAVES "/@compression", "XLI");
  expect(WAVES "/@leadlabels", "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6");
  write_file(&(struct sierra_file){.v104 = true});
  assert_int_equal(xml_judge_count(judge, "//interpretations"), 0);
  assert_int_equal(xml_judge_count(judge, "//dataacquisition/@date"), 0);
  assert_int_equal(xml_judge_count(judge, "//lastname"), 0);
}

TEST(representative_beats) {
  size_t first, n;
  assert_true(ecg12_median(&ecg, &first, &n));
  for (unsigned v = 0; v < 2; v++) {
    const struct sierra_file options = {.repbeats = true, .v104 = v};
    write_file(&options);
    expect_samples(&options); /* the rhythm stays what it is */
    expect("//repbeats/repbeat[4]/@leadname", "aVR");
    const char *path = v ? "//repbeats/repbeat[4]/waveform" : "//repbeats/repbeat[4]";
    assert_int_equal(xml_judge_base64(xml_judge_text(judge, path), data, sizeof(data)), 2 * n);
    for (size_t i = 0; i < n; i++)
      assert_int_equal((int16_t)(data[2 * i] | data[2 * i + 1] << 8), sierra_file_sample(&ecg, ECG12_AVR, first + i));
    expect(v ? "//repbeat[4]/waveform/@duration" : "//repbeat[4]/@duration", "600");
  }
}

static unsigned damage(enum sierra_damage what) {
  write_file(&(struct sierra_file){.facts = ecg_facts_example, .damage = what, .v104 = true});
  return judge ? decode_chunks() : 0;
}

TEST(damaged_chunks) {
  assert_int_equal(damage(SIERRA_CODE_BEYOND_TABLE), 12);
  assert_string_equal(chunks[8].error, "a code that is not made yet");
  assert_null(chunks[9].error);
  assert_int_equal(damage(SIERRA_CHUNK_BEYOND_DATA), 8);
  assert_int_equal(damage(SIERRA_CHUNK_NEGATIVE), 8);
  assert_int_equal(damage(SIERRA_CHUNK_EMPTY), 8);
  assert_int_equal(damage(SIERRA_GROWTH_BOMB), 12);
  assert_string_equal(chunks[8].error, "too long");
  assert_true(file.len < 200000);
  assert_int_equal(damage(SIERRA_NO_END_CODE), 12);
  for (unsigned k = 0; k < 12; k++)
    assert_false(chunks[k].ended);
  assert_int_equal(damage(SIERRA_SHORT_LEAD), 12);
  assert_int_equal(chunks[8].n, 2 * 4999);
  assert_int_equal(damage(SIERRA_ODD_BYTES), 12);
  assert_int_equal(chunks[8].n, 2 * 5000 + 1);
  assert_int_equal(damage(SIERRA_MISSING_LEAD), 11);
  assert_int_equal(damage(SIERRA_BEYOND_16_BITS), 12);
  assert_int_equal(chunks[8].v[4999], 40000);
}

TEST(damaged_text) {
  assert_in_range(damage(SIERRA_DATA_CUT), 4, 8);
  damage(SIERRA_BAD_BASE64);
  assert_int_equal(data_len, -1);
  damage(SIERRA_TRUNCATED);
  assert_null(judge);
  damage(SIERRA_VERSION);
  expect("//documentversion", "9.99");
  damage(SIERRA_NO_RESOLUTION);
  assert_int_equal(xml_judge_count(judge, "//resolution"), 0);
  assert_int_equal(xml_judge_count(judge, "//@resolution"), 0);
  damage(SIERRA_NO_RATE);
  assert_int_equal(xml_judge_count(judge, "//samplingrate"), 0);
  assert_int_equal(xml_judge_count(judge, "//@samplespersecond"), 0);
  damage(SIERRA_WRONG_DURATION);
  expect(WAVES "/@durationperchannel", "20000");
  damage(SIERRA_UNKNOWN_LEAD);
  expect(WAVES "/@leadlabels", "I II III aVR aVL aVF V1 V2 Q7 V4 V5 V6");
  damage(SIERRA_COMPRESSION);
  expect(WAVES "/@compression", "Huffman");
  damage(SIERRA_ENTITY_BOMB);
  assert_non_null(memmem(file.data, file.len, "<label>&j;</label>", 18));
}

TEST(names) {
  for (unsigned d = 0; d < SIERRA_DAMAGES; d++)
    assert_int_equal(file_word(sierra_damage_names[d], sierra_damage_names, SIERRA_DAMAGES), d);
  ecg12_make(&ecg, 500, 0, 5, 3, 1);
  assert_int_equal(sierra_file_make(&(struct sierra_file){.v104 = true}, &ecg, &file), -EINVAL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(real_recording), T(compressed),   T(other_rates), T(flat_channels), T(uncompressed), T(what_it_says),
      T(damaged_chunks), T(damaged_text), T(names),       T(last_code),     T(whole_steps),  T(representative_beats),
  };
  return cmocka_run_group_tests_name("sierra_file", tests, NULL, NULL);
}
