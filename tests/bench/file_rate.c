/* How fast a recorder's file becomes a record, beside peers that read the same file in the same run.
 *
 *   file_rate DRIVER FILE [RUNS]
 *
 * A run is the driver's whole decode (hashes, checksums, samples, the record with its canonical JSON), then the peers,
 * each for a tenth of a second of the processor's time. For SCP-ECG that is libbiosig's sopen and sread; for XML
 * libxml2's SAX parse with handlers that do nothing, and with one that gives each number to strtol(). All read the
 * file from the disk's cache each time. Prints the file's bytes, then a line a run: files/s of the decode and of the
 * two peers, 0 where there is none. */
#include "capture.h"
#include "hash.h"
#include "peer_biosig.h"
#include "record_build.h"
#include <fcntl.h>
#include <libxml/parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RUN_S 0.1

extern const struct acq_driver *const acq_drivers[];

static const char *path;
static uint8_t bytes[32 << 20];
static const struct acq_driver *driver;

static _Noreturn void stop(const char *what) {
  fprintf(stderr, "file_rate: %s: %s\n", path, what);
  exit(1);
}

static size_t take_in(void) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof bytes);
  if (n <= 0)
    stop("cannot be read");
  close(fd);
  return (size_t)n;
}

static void ours(void) {
  struct acq_capture capture;
  struct record_result results[WIRE_RECORDS] = {0};
  char reason[256] = "";
  if (capture_from_file(bytes, take_in(), &capture) < 0 || record_decode(driver, &capture, results, reason) < 0)
    stop(reason);
  if (!results[0].data_values)
    stop("holds no sample");
  for (int i = 0; i < WIRE_RECORDS; i++)
    record_result_finish(&results[i]);
  capture_finish(&capture);
}

/* ---- peers ---- */

static void biosig(void) {
  if (!peer_biosig(path))
    stop("libbiosig does not read it");
}

static bool in_digits;
static long total; /* so that no number is read in vain */

static void on_start(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *space, int n_spaces,
                     const xmlChar **spaces, int n_attributes, int n_default, const xmlChar **attributes) {
  (void)arg, (void)name, (void)prefix, (void)space, (void)n_spaces, (void)spaces, (void)n_attributes;
  (void)n_default, (void)attributes;
}

static void on_end(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *space) {
  (void)arg, (void)name, (void)prefix, (void)space;
}

static void on_text(void *arg, const xmlChar *text, int n) {
  (void)arg, (void)text, (void)n;
}

static void number_start(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *space, int n_spaces,
                         const xmlChar **spaces, int n_attributes, int n_default, const xmlChar **attributes) {
  in_digits = !strcmp((const char *)name, "digits");
  on_start(arg, name, prefix, space, n_spaces, spaces, n_attributes, n_default, attributes);
}

static void number_end(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *space) {
  in_digits = false;
  on_end(arg, name, prefix, space);
}

/* The text stands in the document: what follows it is no figure. */
static void number_text(void *arg, const xmlChar *text, int n) {
  const char *at = (const char *)text, *end = at + n;
  (void)arg;
  for (char *next; in_digits && at < end; at = next) {
    total += strtol(at, &next, 10);
    if (next == at)
      break;
  }
}

static void parse(xmlSAXHandler handler) {
  if (xmlSAXUserParseMemory(&handler, NULL, (const char *)bytes, (int)take_in()) != 0)
    stop("libxml2 does not read it");
}

static void sax(void) {
  parse((xmlSAXHandler){.initialized = XML_SAX2_MAGIC,
                        .startElementNs = on_start,
                        .endElementNs = on_end,
                        .characters = on_text,
                        .ignorableWhitespace = on_text,
                        .cdataBlock = on_text});
}

static void sax_numbers(void) {
  parse((xmlSAXHandler){.initialized = XML_SAX2_MAGIC,
                        .startElementNs = number_start,
                        .endElementNs = number_end,
                        .characters = number_text,
                        .ignorableWhitespace = number_text,
                        .cdataBlock = number_text});
}

static const struct {
  const char *driver;
  void (*peer[2])(void);
} peers[] = {{"file_scp_ecg", {biosig, NULL}}, {"file_hl7_aecg", {sax, sax_numbers}}};

/* What else the machine does is no part of either. */
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double rate(void (*work)(void)) {
  double start = now(), took;
  unsigned times = 0;
  do {
    work();
    times++;
  } while ((took = now() - start) < RUN_S);
  return times / took;
}

int main(int argc, char **argv) {
  void (*peer[2])(void) = {NULL, NULL};
  bool known = false;
  if (argc < 3)
    return 2;
  path = argv[2];
  for (size_t i = 0; acq_drivers[i]; i++)
    if (!strcmp(acq_drivers[i]->name, argv[1]))
      driver = acq_drivers[i];
  for (size_t i = 0; i < sizeof peers / sizeof *peers; i++)
    if (!strcmp(peers[i].driver, argv[1])) {
      known = true;
      memcpy(peer, peers[i].peer, sizeof peer);
    }
  if (!driver || !known || hash_open() < 0)
    return 2;
  if (peer[0] == biosig && !peer_biosig)
    peer[0] = NULL;
  printf("%zu\n", take_in());
  for (int i = argc > 3 ? atoi(argv[3]) : 5; i > 0; i--) {
    double a = rate(ours), b = peer[0] ? rate(peer[0]) : 0, c = peer[1] ? rate(peer[1]) : 0;
    printf("%.1f %.1f %.1f\n", a, b, c);
  }
  return 0;
}
