/* How fast a received stream is taken apart, beside memcpy of the same bytes in the same run.
 *
 *   decode_rate DRIVER FILE [RUNS]
 *
 * FILE holds the bytes an instrument sent. A run does memcpy, the EMI12 frame reader (frames, CRC, sample sets), and
 * the driver's whole decode to a record with its canonical JSON, each for a tenth of a second. Prints a line a run:
 * bytes/s of memcpy, frames, record. */
#include "capture.h"
#include "frame.h"
#include "hash.h"
#include "record.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUN_S 0.1

extern const struct acq_driver *const acq_drivers[];

static uint8_t bytes[64 << 20], copy[64 << 20];
static size_t n;
static struct acq_capture capture;
static const struct acq_driver *driver;
static unsigned long sets;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void do_memcpy(void) {
  memcpy(copy, bytes, n);
  __asm__ volatile("" ::"r"(copy) : "memory");
}

static void do_frames(void) {
  static struct emi12_reader reader;
  static struct emi12_ecg ecg;
  struct emi12_frame frame;
  emi12_reader_init(&reader);
  struct acq_cur in = acq_cur(bytes, n);
  enum emi12_status s;
  while ((s = emi12_read(&reader, &in, &frame)) != EMI12_MORE)
    if (s == EMI12_FRAME && frame.command == EMI12_ECG && emi12_ecg_read(&frame, &ecg) == 0)
      sets += ecg.sets;
}

static void do_record(void) {
  struct record_result results[WIRE_RECORDS];
  char reason[256];
  if (record_decode(driver, &capture, results, reason) < 0) {
    fprintf(stderr, "decode_rate: %s\n", reason);
    exit(1);
  }
  for (int i = 0; i < WIRE_RECORDS; i++)
    record_result_finish(&results[i]);
}

static double rate(void (*work)(void)) {
  double start = now(), took;
  size_t times = 0;
  do {
    work();
    times++;
  } while ((took = now() - start) < RUN_S);
  return (double)(n * times) / took;
}

int main(int argc, char **argv) {
  if (argc < 3)
    return 2;
  FILE *f = fopen(argv[2], "rb");
  if (!f || (n = fread(bytes, 1, sizeof bytes, f)) == 0 || hash_open() < 0 ||
      capture_from_raw(bytes, n, &capture) < 0) {
    fprintf(stderr, "decode_rate: cannot read %s\n", argv[2]);
    return 1;
  }
  fclose(f);
  for (size_t i = 0; acq_drivers[i]; i++)
    if (!strcmp(acq_drivers[i]->name, argv[1]))
      driver = acq_drivers[i];
  if (!driver)
    return 1;
  do_frames();
  if (!sets) {
    fprintf(stderr, "decode_rate: %s holds no sample\n", argv[2]);
    return 1;
  }
  for (int i = argc > 3 ? atoi(argv[3]) : 5; i > 0; i--) {
    double a = rate(do_memcpy), b = rate(do_frames), c = rate(do_record);
    printf("%.0f %.0f %.0f\n", a, b, c);
  }
  return 0;
}
