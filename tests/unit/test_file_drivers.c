/* All drivers that take files whole, side by side: files of different formats have the same names, so each must know
 * its own, and leave the others' alone at once. */
#include "drivers.h"
#include "file_bed.h"
#include "hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

/* The i-th of them; NULL past the last. */
static const struct acq_driver *whole(unsigned i) {
  for (const struct acq_driver *const *d = acq_drivers; *d; d++)
    if (drivers_takes_whole_file(*d) && i-- == 0)
      return *d;
  return NULL;
}

static void test_declared(void **state) {
  (void)state;
  assert_non_null(whole(1));
  for (unsigned i = 0; whole(i); i++) {
    const struct acq_driver *d = whole(i);
    assert_int_equal(strncmp(d->name, "file_", 5), 0);
    assert_int_equal(d->maturity, ACQ_EXPERIMENTAL);
    assert_true(d->limits.max_bytes < ACQ_BLOB_MAX);
    for (const struct acq_match *m = d->match; m->bus; m++)
      assert_int_equal(strncmp(m->pattern, "*.", 2), 0);
  }
}

/* What no driver takes, by any error that is not a wrong one. */
static void refused_by_all(const void *bytes, size_t n) {
  for (unsigned i = 0; whole(i); i++) {
    _reading_cleanup_ struct file_reading r = file_decode(whole(i), bytes, n);
    if (n ? r.err != -ENXIO : r.err != -ENODATA)
      fail_msg("%s: %d (%s) for %zu bytes", whole(i)->name, r.err, r.reason, n);
  }
}

static void test_nothing_known(void **state) {
  (void)state;
  static uint8_t bytes[5000];
  uint32_t dice = 2463534242u;
  static const char *const texts[] = {"\n",
                                      "hello",
                                      "%PDF-1.4\n%\xe2\xe3\xcf\xd3\n",
                                      "PK\3\4\24\0\0\0",
                                      "MZ\x90",
                                      "\x89PNG\r\n\x1a\n",
                                      "GIF89a",
                                      "{}",
                                      "\x1f\x8b\x08",
                                      "a;b;c\r\n1;2;3\r\n"};
  refused_by_all("", 0);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    refused_by_all(texts[i], strlen(texts[i]));
  for (size_t n = 1; n <= sizeof bytes; n = n * 3 + 1) {
    memset(bytes, 0, n);
    refused_by_all(bytes, n);
    memset(bytes, 0xff, n);
    refused_by_all(bytes, n);
    memset(bytes, ' ', n);
    refused_by_all(bytes, n);
  }
  for (unsigned round = 0; round < 500; round++) {
    const size_t n = round % sizeof bytes + 1;
    for (size_t i = 0; i < n; i++) {
      dice ^= dice << 13, dice ^= dice >> 17, dice ^= dice << 5;
      bytes[i] = (uint8_t)dice;
    }
    refused_by_all(bytes, n);
  }
}

/* Each real recording is one driver's, and nobody else's: not even as a damaged one. */
static void test_real(void **state) {
  (void)state;
  static const struct {
    const char *sample, *driver;
  } v[] = {{"contec_ecg90a/0000050.ECG", "file_contec_ecg90a"},
           {"healforce/prince180d_62.SCP", "file_healforce"},
           {"fundus/fundus_normal_right_eye_600px_CC0.jpg", "file_jpeg_fundus"},
           {"scp_ecg/Example.scp", "file_scp_ecg"},
           {"hl7_aecg/fda_minimum_aecg.xml", "file_hl7_aecg"},
           {"hl7_aecg/ECGToolkit_Example.xml", "file_hl7_aecg"},
           {"philips_sierra/129DYPRG_1_03.xml", "file_philips_sierra"},
           {"dicom_ecg/ECGToolkit_Example.dcm", "file_dicom"},
           {"corscience_emi12/emi12_12lead_500Hz_serial_capture.bin", ""}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    _buf_cleanup_ struct buf b = {0};
    if (!file_find_sample(v[i].sample, &b)) {
      skip();
      return;
    }
    for (unsigned k = 0; whole(k); k++) {
      const struct acq_driver *d = whole(k);
      const bool own = !strcmp(d->name, v[i].driver);
      for (size_t n = b.len; n > b.len / 2; n -= b.len / 3) { /* whole, and cut */
        _reading_cleanup_ struct file_reading r = file_decode(d, b.data, n);
        if (!own && r.err != -ENXIO)
          fail_msg("%s takes %s: %d (%s)", d->name, v[i].sample, r.err, r.reason);
        if (own && r.err == -ENXIO)
          fail_msg("%s does not know %s: %s", d->name, v[i].sample, r.reason);
      }
    }
  }
}

static int set_up(void **state) {
  (void)state;
  return hash_open();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_declared),
      cmocka_unit_test(test_nothing_known),
      cmocka_unit_test(test_real),
  };
  cmocka_set_message_output(CM_OUTPUT_TAP);
  return cmocka_run_group_tests(tests, set_up, NULL);
}
