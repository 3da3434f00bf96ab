/* How fast a received stream is taken apart, beside memcpy of the same bytes in the same run.
 *
 *   decode_rate DRIVER FILE [RUNS]
 *
 * FILE holds the bytes an instrument sent. A run does memcpy, the driver's reader of frames (EMI12: frames, CRC, sample
 * sets; ISO/IEEE 11073: APDUs and the events in them), and the driver's whole decode to a record with its canonical
 * JSON, each for a tenth of a second. Prints a line a run: bytes/s of memcpy, frames, record, and frames/s. */
#include "../../drivers/corscience_emi12/frame.h"
#include "../../drivers/ieee11073_phdc/apdu.h"
#include "capture.h"
#include "hash.h"
#include "record_build.h"
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
static unsigned long frames; /* of the last walk that held something */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void do_memcpy(void) {
  memcpy(copy, bytes, n);
  __asm__ volatile("" ::"r"(copy) : "memory");
}

static void emi12_frames(void) {
  static struct emi12_reader reader;
  static struct emi12_ecg ecg;
  struct emi12_frame frame;
  frames = 0;
  emi12_reader_init(&reader);
  struct acq_cur in = acq_cur(bytes, n);
  enum emi12_status s;
  while ((s = emi12_read(&reader, &in, &frame)) != EMI12_MORE)
    if (s == EMI12_FRAME && frame.command == EMI12_ECG && emi12_ecg_read(&frame, &ecg) == 0)
      frames++;
}

static void phdc_frames(void) {
  static struct phd_assembler assembler;
  struct acq_cur in = acq_cur(bytes, n);
  struct phd_apdu apdu;
  struct phd_data data;
  struct phd_event event;
  const char *why;
  frames = 0;
  memset(&assembler, 0, sizeof assembler);
  while (phd_assemble(&assembler, &in, &apdu) > 0)
    frames += apdu.choice != PHD_PRST ||
              (phd_data_read(apdu.body, &data, &why) == 0 &&
               (data.choice > PHD_CONFIRMED_EVENT || phd_event_read(data.body, &event, &why) == 0));
}

static const struct {
  const char *driver;
  void (*frames)(void);
} readers[] = {{"corscience_emi12", emi12_frames}, {"ieee11073_phdc", phdc_frames}};

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
  void (*do_frames)(void) = NULL;
  for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
    if (!strcmp(readers[i].driver, argv[1]))
      do_frames = readers[i].frames;
  if (!driver || !do_frames)
    return 1;
  do_frames();
  if (!frames) {
    fprintf(stderr, "decode_rate: %s holds no frame\n", argv[2]);
    return 1;
  }
  for (int i = argc > 3 ? atoi(argv[3]) : 5; i > 0; i--) {
    double a = rate(do_memcpy), b = rate(do_frames), c = rate(do_record);
    printf("%.0f %.0f %.0f %.0f\n", a, b, c, b / (double)n * (double)frames);
  }
  return 0;
}
