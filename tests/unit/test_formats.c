/* One synthetic ECG, written in every format and every encoding of each by writers that know nothing of the readers,
 * comes back sample by sample, to the nanovolt; what a writer says of the patient, the instrument and its own
 * interpretation stands where it belongs. And the three real files of one ECG. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "child.h"
#include "dicom_order.h"
#include "ecg90a_file.h"
#include "ecg_facts.h"
#include "file_bed.h"
#include "flat_bed.h"
#include "hash.h"
#include "healforce_file.h"
#include "scp_file.h"
#include "sierra_file.h"
#include "str.h"
#include "xml_order.h"
#include <cmocka.h>

#include <fcntl.h>
#include <libgen.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MARKER "MARKERSTATEMENT"

extern const struct acq_driver file_contec_ecg90a, file_healforce, file_hl7_aecg, file_philips_sierra, file_ge_muse_xml,
    file_scp_ecg;

static char program[512]; /* asaleed-export */
static struct ecg12 ecg;

/* ---- one reading, whichever way it came ---- */

struct reading {
  const json_t *record;
  const int16_t *samples;
  struct file_reading of_file;
  struct flat_result of_flat;
};

static void finish(struct reading *r) {
  file_reading_finish(&r->of_file);
  flat_result_finish(&r->of_flat);
}

static int file_of(const struct buf *bytes) {
  int fd = memfd_create("file", MFD_CLOEXEC);
  assert_int_equal(fd_write_all(fd, bytes->data, bytes->len), 0);
  assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
  return fd;
}

/* As the daemon does: asaleed-export, then the driver. */
static void read_dicom(const struct buf *bytes, struct reading *ret) {
  static const char *const args[] = {"decode", NULL};
  int none = open("/dev/null", O_RDONLY | O_CLOEXEC), in = file_of(bytes), out = memfd_create("flat", MFD_CLOEXEC),
      status;
  pid_t pid;
  struct stat st;
  assert_int_equal(child_spawn(program, args, -1, (const int[]){none, none, in, out}, 4, &pid), 0);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_int_equal(fstat(out, &st), 0);
  char *flat = malloc((size_t)st.st_size + 1);
  assert_int_equal(pread(out, flat, (size_t)st.st_size, 0), st.st_size);
  flat_take(flat, (size_t)st.st_size, &ret->of_flat);
  if (ret->of_flat.err)
    fail_msg("%s", ret->of_flat.reason);
  free(flat);
  close(none), close(in), close(out);
  ret->record = ret->of_flat.record;
  ret->samples = ret->of_flat.samples;
}

/* driver NULL: DICOM. */
static void read_as(const struct acq_driver *driver, const struct buf *bytes, struct reading *ret) {
  *ret = (struct reading){0};
  if (!driver)
    return read_dicom(bytes, ret);
  ret->of_file = file_decode(driver, bytes->data, bytes->len);
  if (ret->of_file.err)
    fail_msg("%s: %d %s", driver->name, ret->of_file.err, ret->of_file.reason);
  ret->record = ret->of_file.record[WIRE_OWN];
  ret->samples = ret->of_file.data[WIRE_OWN];
  assert_non_null(ret->record);
}

/* ---- the comparison ---- */

static int64_t nanovolts(const char *scale) {
  struct dec d;
  assert_int_equal(dec_parse(scale, &d), 0);
  int64_t v = d.mantissa;
  int e = d.exponent + 3; /* from uV */
  assert_true(e >= 0);
  for (; e > 0; e--)
    v *= 10;
  return v;
}

static const char *const codes[ECG12_LEADS] = {"lead_i",  "lead_ii", "lead_iii", "lead_avr", "lead_avl", "lead_avf",
                                               "lead_v1", "lead_v2", "lead_v3",  "lead_v4",  "lead_v5",  "lead_v6"};

static bool whole_steps; /* the format has one step for all leads: the half steps of the augmented ones are rounded */

static int64_t truth(enum ecg12_lead lead, size_t i) {
  return whole_steps ? sierra_file_sample(&ecg, lead, i) * INT64_C(5000)
                     : (int64_t)ecg.lead[lead][i] * ecg12_lead_step(lead) * 100;
}

/* How many of the recording's samples are off by how much at most, in nanovolts. */
struct difference {
  size_t leads, measured, samples, wrong;
  int64_t worst;
};

static struct difference compare(const struct reading *r, size_t n) {
  struct difference d = {0};
  const json_t *acquired = json_object_get(r->record, "acquired");
  size_t i;
  json_t *c;
  json_array_foreach(json_object_get(acquired, "channels"), i, c) {
    enum ecg12_lead lead = 0;
    while (lead < ECG12_LEADS && strcmp(codes[lead], json_text(c, "code")))
      lead++;
    assert_true(lead < ECG12_LEADS);
    const int64_t nv = nanovolts(json_text(c, "scale"));
    const int16_t *v = r->samples + json_integer_value(json_object_get(c, "first"));
    assert_int_equal(json_integer_value(json_object_get(c, "samples")), n);
    for (size_t k = 0; k < n; k++) {
      int64_t off = llabs(v[k] * nv - truth(lead, k));
      d.wrong += off != 0;
      d.worst = off > d.worst ? off : d.worst;
    }
    d.leads++;
    d.measured += !json_is_true(json_object_get(c, "derived"));
    d.samples += n;
  }
  return d;
}

/* ---- every format ---- */

struct made {
  const char *options; /* key=value,key=value */
  unsigned measured;   /* leads */
};

static void make(const struct file_format *format, unsigned rate, const char *options, struct buf *ret) {
  static struct file_order order;
  char why[256] = "";
  order = (struct file_order){
      .rate_hz = rate,
      .seconds = 10,
      .seed = 3,
      .noise_steps = 2,
      .person = {.family = "DUPONT", .given = "Marie", .id = "4711", .birth = {1950, 4, 12, 0, 0, 0}, .sex = 'F'},
      .taken = {2026, 5, 4, 10, 30, 0},
      .marker = MARKER};
  for (int more; (more = option_next(&options, &order.options[order.n_options])) > 0;)
    order.n_options++;
  *ret = BUF_INIT(SCP_FILE_MAX);
  int err = format->make(&order, ret, why);
  if (err)
    fail_msg("%s %s: %d %s", format->name, order.n_options ? order.options[0].value : "", err, why);
}

/* Its interpretation is a statement, and stands nowhere else. */
static void check_masked(const struct reading *r) {
  json_t *rest = json_deep_copy(r->record);
  char *whole = json_dumps(rest, JSON_COMPACT);
  assert_non_null(strstr(whole, MARKER));
  json_object_del(rest, "statements");
  json_object_del(rest, "sources");
  char *shown = json_dumps(rest, JSON_COMPACT);
  if (strstr(shown, MARKER))
    fail_msg("an interpretation outside the statements: %s", strstr(shown, MARKER));
  free(whole), free(shown);
  json_decref(rest);
}

static void check_subject(const struct reading *r, bool all) {
  const json_t *subject = json_object_get(r->record, "subject");
  if (strcmp(json_text(subject, "family"), "DUPONT") || (all && strcmp(json_text(subject, "given"), "Marie")) ||
      (all && strcmp(json_text(subject, "birth_date"), "1950-04-12")) ||
      (all && strcmp(json_text(subject, "id"), "4711")) || strcmp(json_text(subject, "sex"), "F"))
    fail_msg("subject: %s", json_dumps(subject, JSON_COMPACT));
  const json_t *trial = json_array_get(json_object_get(json_object_get(r->record, "acquired"), "trials"), 0);
  assert_string_equal(json_text(trial, "device_time"), "2026-05-04T10:30:00.000");
}

static void all_exact(const struct file_format *format, const struct acq_driver *driver, unsigned rate,
                      const struct made *list, size_t n) {
  ecg12_make(&ecg, rate, 10, 3, 2, 1);
  for (size_t i = 0; i < n; i++) {
    _buf_cleanup_ struct buf bytes;
    struct reading r;
    make(format, rate, list[i].options, &bytes);
    print_message("# %s\n", list[i].options);
    read_as(driver, &bytes, &r);
    struct difference d = compare(&r, (size_t)rate * 10);
    if (d.wrong || d.measured != list[i].measured)
      fail_msg("%s %s: %zu leads, %zu measured, %zu of %zu samples wrong, the worst by %ld nV", format->name,
               list[i].options, d.leads, d.measured, d.wrong, d.samples, (long)d.worst);
    assert_true(d.leads == 12);
    check_masked(&r);
    check_subject(&r, true);
    finish(&r);
  }
  print_message("# %s: %zu encodings, every sample the same\n", format->name, n);
}

TEST(scp) {
  static const struct made list[] = {
      {"code=raw,difference=0", 8},
      {"code=raw,difference=1", 8},
      {"code=raw,difference=2", 8},
      {"code=raw-empty,difference=0", 8},
      {"code=default,difference=0", 8},
      {"code=default,difference=1", 8},
      {"code=default,difference=2", 8},
      {"code=one,difference=0", 8},
      {"code=one,difference=1", 8},
      {"code=one,difference=2", 8},
      {"code=ranges,difference=1", 8},
      {"code=ranges,difference=2", 8},
      {"code=three,difference=1", 8},
      {"code=three,difference=2", 8},
      {"code=large,difference=0", 8},
      {"code=large,difference=2", 8},
      {"version=10", 8},
      {"version=13", 8},
      {"version=20,avm=2500", 8},
      {"avm=1000", 8},
      {"leads=12,avm=2500", 12},
      {"leads=12,avm=500,code=three", 12},
      {"extra=3,quirk=shuffled", 8},
      {"quirk=pointers-shuffled", 8},
      {"quirk=lead-count", 8},
      {"quirk=first-zero", 8},
      {"quirk=no-lead-lengths,code=raw,difference=0,manufacturer=corpuls", 8},
      {"quirk=crc-blank", 8},
      {"quirk=signature-blank", 8},
      {"quirk=no-nul", 8},
      {"quirk=bimodal-idle,beat=1", 8},
      {"beat=1", 8},
      {"subtract=1", 8},
      {"subtract=1,difference=0,code=raw", 8},
      {"subtract=1,difference=1,code=three", 8},
      {"subtract=1,foreign=3", 8},
      {"subtract=1,avm=2500,beat-avm=5000", 8},
      {"subtract=1,avm=5000,beat-avm=2500", 8},
      {"alphabet=latin1", 8},
      {"alphabet=latin9", 8},
      {"alphabet=utf16", 8},
  };
  all_exact(&scp_format, &file_scp_ecg, 500, list, COUNT(list));
  all_exact(&scp_format, &file_scp_ecg, 1000, list, 10);
  all_exact(&scp_format, &file_scp_ecg, 250, list, 10);
}

/* Where a decimated stretch is the recording's own sample it comes back exactly, elsewhere as near as the rule says. */
TEST(scp_bimodal) {
  static const struct {
    unsigned decimation;
    bool subtract;
    enum scp_code code;
    unsigned difference;
  } rows[] = {{2, false, SCP_DEFAULT, 2}, {4, false, SCP_DEFAULT, 1}, {4, false, SCP_RAW, 0},
              {2, true, SCP_DEFAULT, 2},  {4, true, SCP_THREE, 1},    {4, true, SCP_DEFAULT, 2}};
  ecg12_make(&ecg, 500, 10, 3, 2, 1);
  size_t exact = 0, all = 0, worst = 0;
  for (size_t i = 0; i < COUNT(rows); i++) {
    _buf_cleanup_ struct buf bytes = BUF_INIT(SCP_FILE_MAX);
    struct scp_options o = scp_file_defaults();
    struct reading r;
    o.decimation = rows[i].decimation;
    o.subtract = rows[i].subtract;
    o.code = rows[i].code;
    o.difference = rows[i].difference;
    assert_int_equal(scp_file_make(&o, &ecg, &bytes), 0);
    read_as(&file_scp_ecg, &bytes, &r);
    char *quality = json_dumps(json_object_get(r.record, "quality"), 0);
    assert_non_null(strstr(quality, "signal_reconstructed"));
    free(quality);
    for (unsigned lead = 0; lead < o.n_leads; lead++) {
      struct scp_truth t = {0};
      const json_t *c = json_array_get(json_object_get(json_object_get(r.record, "acquired"), "channels"), lead);
      assert_int_equal(scp_file_truth(&o, &ecg, lead, &t), 0);
      assert_int_equal(json_integer_value(json_object_get(c, "samples")), t.n);
      const int64_t nv = nanovolts(json_text(c, "scale"));
      const int16_t *v = r.samples + json_integer_value(json_object_get(c, "first"));
      for (size_t k = 0; k < t.n; k++) {
        size_t off = (size_t)llabs(v[k] * nv - t.nv[k]);
        if (t.exact[k] && off)
          fail_msg("row %zu, lead %u, sample %zu: %ld nV instead of %d", i, lead, k, (long)(v[k] * nv), t.nv[k]);
        if (off > worst)
          worst = off;
        exact += t.exact[k];
      }
      all += t.n;
      scp_truth_finish(&t);
    }
    finish(&r);
  }
  print_message(
      "# bimodal: %zu of %zu samples are the recording's own and came back exactly; the others differ from the "
      "rule by %zu nV at most\n",
      exact, all, worst);
  assert_true(exact * 10 > all && worst <= 2 * 5000 + 5000);
}

TEST(aecg) {
  static const struct made list[] = {{"increment=s", 12},
                                     {"increment=ms", 12},
                                     {"increment=us", 12},
                                     {"scale=mV", 12},
                                     {"scale=nV", 12},
                                     {"relative=1", 12},
                                     {"zone=+0100", 12},
                                     {"origin=40", 12},
                                     {"prefix=h", 12},
                                     {"eight=1", 8},
                                     {"encoding=utf-16le", 12},
                                     {"encoding=utf-16be", 12},
                                     {"encoding=iso-8859-1", 12},
                                     {"between=newline", 12},
                                     {"between=mixed", 12},
                                     {"derived=1", 12},
                                     {"measurements=1,filters=1", 12}};
  all_exact(&aecg_format, &file_hl7_aecg, 500, list, COUNT(list));
}

TEST(sierra) {
  static const struct made list[] = {
      {"version=1.03", 12},      {"version=1.04", 12},           {"coding=base64", 12},
      {"encoding=utf-16le", 12}, {"encoding=utf-16be", 12},      {"encoding=iso-8859-1", 12},
      {"spare=4", 12},           {"version=1.04,filters=1", 12}, {"measurements=1", 12}};
  whole_steps = true;
  all_exact(&sierra_format, &file_philips_sierra, 500, list, COUNT(list));
  all_exact(&sierra_format, &file_philips_sierra, 1000, list, 2);
  _buf_cleanup_ struct buf bytes;
  make(&sierra_format, 500, "coding=plain", &bytes);
  file_refused(&file_philips_sierra, bytes.data, bytes.len, -EOPNOTSUPP, "not written in base64");
  whole_steps = false;
}

TEST(muse) {
  static const struct made list[] = {{"crc=1", 8},
                                     {"crc=0", 8},
                                     {"exponent=1", 8},
                                     {"median=1", 8},
                                     {"measurements=1,filters=1", 8},
                                     {"encoding=utf-8", 8},
                                     {"encoding=utf-16le", 8}};
  all_exact(&muse_format, &file_ge_muse_xml, 500, list, COUNT(list));
  all_exact(&muse_format, &file_ge_muse_xml, 250, list, 2);
}

TEST(dicom) {
  static const struct made list[] = {
      {"syntax=explicit", 12},   {"syntax=implicit", 12}, {"syntax=big", 12},
      {"lengths=undefined", 12}, {"leads=scpecg", 12},    {"unit=mV", 12},
      {"correction=1", 12},      {"median=1", 12},        {"filters=1,measurements=1", 12},
      {"alphabet=latin1", 12},   {"private=1", 12}};
  all_exact(&dicom_ecg_format, NULL, 500, list, COUNT(list));
}

/* No statements are in it, and of a person the name and the sex. */
TEST(ecg90a) {
  _buf_cleanup_ struct buf bytes;
  struct reading r;
  ecg12_make(&ecg, ECG90A_RATE_HZ, 10, 3, 2, 1);
  make(&ecg90a_format, 0, "", &bytes);
  read_as(&file_contec_ecg90a, &bytes, &r);
  struct difference d = compare(&r, ECG90A_RATE_HZ * 10);
  assert_int_equal(d.measured, 8);
  assert_int_equal(d.leads, 12);
  assert_int_equal(d.wrong, 0);
  check_subject(&r, false);
  finish(&r);
}

/* Steps of about 10 uV, leads without a name. */
TEST(healforce) {
  for (unsigned n = 1; n <= HEALFORCE_LEADS_MAX; n++) {
    _buf_cleanup_ struct buf bytes;
    struct reading r;
    char options[32];
    snprintf(options, sizeof options, "leads=%u", n);
    ecg12_make(&ecg, HEALFORCE_RATE_HZ, 10, 3, 2, 1);
    make(&healforce_format, 0, options, &bytes);
    read_as(&file_healforce, &bytes, &r);
    assert_int_equal(file_count(r.record, "channels"), n);
    for (unsigned lead = 0; lead < n; lead++) {
      const json_t *c = file_item(r.record, "channels", lead);
      assert_int_equal(nanovolts(json_text(c, "scale")), 9524); /* as the recorder writes it */
      assert_int_equal(json_integer_value(json_object_get(c, "samples")), HEALFORCE_RATE_HZ * 10);
      for (size_t k = 0; k < HEALFORCE_RATE_HZ * 10; k++)
        assert_int_equal(r.samples[json_integer_value(json_object_get(c, "first")) + (json_int_t)k],
                         healforce_step(&ecg, (enum ecg12_lead)lead, k));
    }
    finish(&r);
  }
}

/* ---- the real ones ---- */

/* Lead by lead, in uV: [code] -> samples of 12 x 5000. */
static bool real(const char *name, const struct acq_driver *driver, int32_t ret[static 12 * 5000]) {
  _buf_cleanup_ struct buf bytes = {0};
  struct reading r;
  if (!file_find_sample(name, &bytes))
    return false;
  read_as(driver, &bytes, &r);
  assert_int_equal(file_count(r.record, "channels"), 12);
  for (size_t i = 0; i < 12; i++) {
    const json_t *c = file_item(r.record, "channels", i);
    size_t lead = 0;
    while (lead < 12 && strcmp(codes[lead], json_text(c, "code")))
      lead++;
    assert_true(lead < 12);
    assert_string_equal(json_text(c, "rate"), "500");
    assert_int_equal(json_integer_value(json_object_get(c, "samples")), 5000);
    for (size_t k = 0; k < 5000; k++)
      ret[lead * 5000 + k] = (int32_t)(r.samples[json_integer_value(json_object_get(c, "first")) + (json_int_t)k] *
                                       nanovolts(json_text(c, "scale")));
  }
  finish(&r);
  return true;
}

TEST(one_ecg_three_real_files) {
  static int32_t scp_is[12 * 5000], dicom_is[12 * 5000], aecg_is[12 * 5000];
  if (!real("scp_ecg/Example.scp", &file_scp_ecg, scp_is) ||
      !real("dicom_ecg/ECGToolkit_Example.dcm", NULL, dicom_is) ||
      !real("hl7_aecg/ECGToolkit_Example.xml", &file_hl7_aecg, aecg_is))
    skip();
  assert_memory_equal(dicom_is, scp_is, sizeof scp_is);
  assert_memory_equal(aecg_is, scp_is, sizeof scp_is);
}

int main(int argc, char **argv) {
  (void)argc;
  char here[512];
  snprintf(here, sizeof here, "%s", argv[0]);
  snprintf(program, sizeof program, "%s/../asaleed-export", dirname(here));
  char *absolute = realpath(program, NULL);
  if (absolute)
    snprintf(program, sizeof program, "%s", absolute);
  free(absolute);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scp),    cmocka_unit_test(scp_bimodal), cmocka_unit_test(aecg),
      cmocka_unit_test(sierra), cmocka_unit_test(muse),        cmocka_unit_test(dicom),
      cmocka_unit_test(ecg90a), cmocka_unit_test(healforce),   cmocka_unit_test(one_ecg_three_real_files),
  };
  return hash_open() < 0 ? 1 : cmocka_run_group_tests_name("formats", tests, NULL, NULL);
}
