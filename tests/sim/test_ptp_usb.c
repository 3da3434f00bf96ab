/*
 * The simulated camera as a program sees it: this program again, started by `sim` beside it, as a host on the real
 * libusb. Run under umockdev-wrapper. With "bench" as its only argument it measures a bare bulk loop on 24 Mpx
 * pictures.
 */
#include "hash.h"
#include "host_usb.h"
#include "usb_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <libgen.h>
#include <libusb-1.0/libusb.h>
#include <limits.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-device.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 4000
#define SHORT_MS 60
#define CHUNK (1 << 20)
#define OBJECT_MAX (32u << 20)
#define BENCH_PICTURES 5u

/* ---- the host ---- */

struct host {
  libusb_context *context;
  libusb_device_handle *handle;
  uint8_t in, out, interrupt;
  uint8_t *data; /* a data container */
  size_t n;
  uint8_t response[512];
  uint32_t next;
  uint64_t total; /* bulk bytes since it was opened */
  FILE *control;
};

static bool is_camera(libusb_device *dev, void *host) {
  struct host *h = host;
  struct libusb_config_descriptor *c;
  if (libusb_get_active_config_descriptor(dev, &c) < 0)
    return false;
  const struct libusb_interface_descriptor *i = &c->interface[0].altsetting[0];
  bool good = i->bInterfaceClass == 6 && i->bInterfaceSubClass == 1 && i->bInterfaceProtocol == 1;
  for (int e = 0; good && e < i->bNumEndpoints; e++) {
    const struct libusb_endpoint_descriptor *d = &i->endpoint[e];
    *(d->bmAttributes == 3 ? &h->interrupt : d->bEndpointAddress & 0x80 ? &h->in : &h->out) = d->bEndpointAddress;
  }
  libusb_free_config_descriptor(c);
  return good;
}

static void open_device(struct host *h) {
  h->total = 0;
  h->handle = host_usb_open(h->context, is_camera, h);
}

static void close_device(struct host *h) {
  libusb_close(h->handle);
  h->handle = NULL;
}

static uint32_t get(const uint8_t *p, unsigned n) {
  uint32_t v = 0;
  for (unsigned i = n; i-- > 0;)
    v = v << 8 | p[i];
  return v;
}

static int send_command(struct host *h, uint16_t operation, unsigned n, const uint32_t *p) {
  uint8_t k[32] = {(uint8_t)(12 + 4 * n), 0, 0, 0, 1, 0, (uint8_t)operation, (uint8_t)(operation >> 8)};
  int moved;
  memcpy(k + 8, &h->next, 4);
  if (n)
    memcpy(k + 12, p, 4 * n);
  h->next++;
  return libusb_bulk_transfer(h->handle, h->out, k, (int)(12 + 4 * n), &moved, PATIENCE_MS);
}

/* Data and response: the response's code, or libusb's error. */
static int read_answer(struct host *h, unsigned ms) {
  int n, r;
  h->n = 0;
  for (;;) {
    n = 0;
    r = libusb_bulk_transfer(h->handle, h->in, h->data + h->n, CHUNK, &n, ms);
    h->total += (uint64_t)n;
    if (r < 0)
      return r;
    const uint8_t *at = h->data + h->n;
    if (n >= 12 && n <= 32 && get(at, 4) == (uint32_t)n && get(at + 4, 2) == 3) {
      memcpy(h->response, at, (size_t)n);
      return (int)get(at + 6, 2);
    }
    h->n += (size_t)n;
    NEED(h->n + CHUNK <= OBJECT_MAX);
  }
}

#define P(...)                                                      \
  sizeof((const uint32_t[]){__VA_ARGS__}) / 4, (const uint32_t[]) { \
    __VA_ARGS__                                                     \
  }

static int ask(struct host *h, uint16_t operation, unsigned n, const uint32_t *p) {
  int r = send_command(h, operation, n, p);
  return r < 0 ? r : read_answer(h, PATIENCE_MS);
}

static void open_session(struct host *h) {
  h->next = 0;
  NEED(ask(h, 0x1002, P(1)) == 0x2001);
}

static uint32_t handle_of(const char *answer) {
  const char *at = strstr(answer, "handle=");
  NEED(at);
  return (uint32_t)strtoul(at + 7, NULL, 16);
}

static bool has_sha(struct host *h, const char *answer) {
  char hash[HASH_TEXT];
  hash_sha256_text(h->data + 12, h->n - 12, hash);
  return strstr(answer, hash);
}

static int control(struct host *h, uint8_t type, uint8_t code, uint8_t *data, uint16_t n) {
  return libusb_control_transfer(h->handle, type, code, 0, 0, data, n, PATIENCE_MS);
}

static void find_by_udev(void) {
  sd_device_enumerator *e = NULL;
  unsigned found = 0;
  NEED(sd_device_enumerator_new(&e) >= 0);
  NEED(sd_device_enumerator_add_match_subsystem(e, "usb", true) >= 0);
  NEED(sd_device_enumerator_add_match_property(e, "ID_USB_INTERFACES", ":060101:") >= 0);
  for (sd_device *dev = sd_device_enumerator_get_device_first(e); dev; dev = sd_device_enumerator_get_device_next(e))
    found++;
  sd_device_enumerator_unref(e);
  NEED(found == 1);
}

static void case_talk(struct host *h) {
  char answer[512];
  uint8_t event[64];
  int n;
  find_by_udev();
  open_device(h);
  NEED(libusb_get_max_packet_size(libusb_get_device(h->handle), h->in) == 512);
  NEED(libusb_get_device_speed(libusb_get_device(h->handle)) == LIBUSB_SPEED_HIGH);
  h->next = 0;
  NEED(ask(h, 0x1001, 0, NULL) == 0x2001 && h->n == get(h->data, 4));
  open_session(h);
  NEED(libusb_interrupt_transfer(h->handle, h->interrupt, event, sizeof event, &n, SHORT_MS) == LIBUSB_ERROR_TIMEOUT);
  host_tell(h->control, "shoot left disc", answer);
  NEED(libusb_interrupt_transfer(h->handle, h->interrupt, event, sizeof event, &n, PATIENCE_MS) == 0);
  NEED(n == 16 && memcmp(event, "\x10\0\0\0\4\0\2\x40\xFF\xFF\xFF\xFF", 12) == 0);
  NEED(get(event + 12, 4) == handle_of(answer));
  NEED(libusb_interrupt_transfer(h->handle, h->interrupt, event, sizeof event, &n, PATIENCE_MS) == 0);
  NEED(get(event + 6, 2) == 0x400D);
  NEED(ask(h, 0x1009, P(handle_of(answer))) == 0x2001);
  NEED(has_sha(h, answer));
  host_tell(h->control, "stats", answer);
  NEED(strstr(answer, "objects=1 ") && strstr(answer, "deletes=0 ") && strstr(answer, "bad=0 "));
  NEED(libusb_reset_device(h->handle) == 0);
  NEED(ask(h, 0x1004, 0, NULL) == 0x2003);
  close_device(h);
}

static volatile int interrupted; /* transfers of the interrupt endpoint that ended with an event */

static void LIBUSB_CALL on_event(struct libusb_transfer *t) {
  interrupted += t->status == LIBUSB_TRANSFER_COMPLETED && t->actual_length == 16;
  t->user_data = NULL;
}

/* Pictures come by themselves while others go over, and an interrupt transfer waits all the while. */
static void case_both_pipes(struct host *h) {
  uint8_t event[64];
  struct libusb_transfer *t = libusb_alloc_transfer(0);
  NEED(t);
  open_device(h);
  open_session(h);
  for (unsigned i = 0; i < 4; i++) {
    libusb_fill_interrupt_transfer(t, h->handle, h->interrupt, event, sizeof event, on_event, h, 0);
    NEED(libusb_submit_transfer(t) == 0);
    while (t->user_data)
      NEED(ask(h, 0x1009, P(0x01900011)) == 0x2001);
  }
  NEED(interrupted == 4);
  libusb_free_transfer(t);
  close_device(h);
}

/* Three transfers wait at any time: each gets what follows the one before. */
static void case_pipelined(struct host *h) {
  enum { WAITING = 3, EACH = 65536 };
  char answer[512];
  struct libusb_transfer *t[WAITING];
  uint8_t *rooms = malloc(WAITING * EACH);
  unsigned next = 0;
  NEED(rooms);
  open_device(h);
  open_session(h);
  host_tell(h->control, "shoot", answer);
  for (unsigned i = 0; i < WAITING; i++) {
    NEED(t[i] = libusb_alloc_transfer(0));
    libusb_fill_bulk_transfer(t[i], h->handle, h->in, rooms + i * EACH, EACH, on_event, h, 0);
    NEED(libusb_submit_transfer(t[i]) == 0);
  }
  NEED(send_command(h, 0x1009, P(handle_of(answer))) == 0);
  for (h->n = 0; h->n < 12 || h->n < get(h->data, 4); next = (next + 1) % WAITING) {
    struct libusb_transfer *one = t[next];
    while (one->user_data)
      NEED(libusb_handle_events(h->context) == 0);
    NEED(one->status == LIBUSB_TRANSFER_COMPLETED);
    memcpy(h->data + h->n, one->buffer, (size_t)one->actual_length);
    h->n += (size_t)one->actual_length;
    one->user_data = h;
    NEED(libusb_submit_transfer(one) == 0);
  }
  NEED(has_sha(h, answer));
  while (t[next]->user_data)
    NEED(libusb_handle_events(h->context) == 0);
  NEED(t[next]->actual_length == 12 && get(t[next]->buffer + 6, 2) == 0x2001);
  for (unsigned i = 0; i < WAITING; i++)
    libusb_cancel_transfer(t[i]);
  for (unsigned i = 0; i < WAITING; i++) {
    while (t[i]->user_data)
      NEED(libusb_handle_events(h->context) == 0);
    libusb_free_transfer(t[i]);
  }
  free(rooms);
  close_device(h);
}

static void case_unplug(struct host *h) {
  char answer[512], command[32];
  open_device(h);
  open_session(h);
  host_order(h->control, "shoot 600 400");
  close_device(h);
  for (unsigned cut = 0; cut < 60000; cut += cut < 600 ? 97 : 9973) {
    host_order(h->control, "reset");
    snprintf(command, sizeof command, "unplug-after %u", cut);
    host_order(h->control, command);
    open_device(h);
    h->next = 0;
    int r = ask(h, 0x1002, P(1));
    while (r >= 0)
      r = ask(h, 0x1009, P(0x01900051));
    NEED(r == LIBUSB_ERROR_NO_DEVICE);
    NEED(h->total == cut);
    close_device(h);
    do
      host_tell(h->control, "replug", answer);
    while (strstr(answer, "plugged"));
  }
}

static void case_trouble(struct host *h) {
  char answer[512];
  uint8_t status[64], cancel[6] = {1, 0x40};
  int n;
  open_device(h);
  open_session(h);
  host_tell(h->control, "shoot", answer);
  uint32_t picture = handle_of(answer);
  host_order(h->control, "fault stall");
  NEED(ask(h, 0x1009, P(picture)) == LIBUSB_ERROR_PIPE);
  NEED(control(h, 0xA1, 0x67, status, sizeof status) == 8 && get(status + 2, 2) == 0x201F && status[4] == h->in);
  NEED(libusb_clear_halt(h->handle, h->in) == 0);
  NEED(ask(h, 0x1009, P(picture)) == 0x2001 && has_sha(h, answer));
  /* given up in the middle */
  NEED(send_command(h, 0x1009, P(picture)) == 0);
  NEED(libusb_bulk_transfer(h->handle, h->in, h->data, 16384, &n, PATIENCE_MS) == 0 && n == 16384);
  uint32_t id = h->next - 1;
  memcpy(cancel + 2, &id, 4);
  NEED(control(h, 0x21, 0x64, cancel, sizeof cancel) == sizeof cancel);
  NEED(control(h, 0xA1, 0x67, status, sizeof status) == 4 && get(status + 2, 2) == 0x2019);
  do
    NEED(control(h, 0xA1, 0x67, status, sizeof status) == 4);
  while (get(status + 2, 2) == 0x2019);
  NEED(get(status + 2, 2) == 0x2001);
  NEED(ask(h, 0x1009, P(picture)) == 0x2001 && has_sha(h, answer));
  /* a room of one byte too few */
  NEED(send_command(h, 0x1004, 0, NULL) == 0);
  NEED(libusb_bulk_transfer(h->handle, h->in, h->data, 19, &n, PATIENCE_MS) == LIBUSB_ERROR_OVERFLOW);
  NEED(read_answer(h, PATIENCE_MS) == 0x2001 && h->n == 0);
  host_order(h->control, "fault hang:100000");
  NEED(send_command(h, 0x1009, P(picture)) == 0);
  NEED(read_answer(h, SHORT_MS) == LIBUSB_ERROR_TIMEOUT);
  NEED(control(h, 0x21, 0x66, NULL, 0) == 0);
  open_session(h);
  NEED(ask(h, 0x1009, P(picture)) == 0x2001 && has_sha(h, answer));
  close_device(h);
}

/* At its pace, and what the host did not wait for is not lost. */
static void case_slow(struct host *h) {
  char answer[512];
  open_device(h);
  open_session(h);
  host_tell(h->control, "shoot", answer);
  host_order(h->control, "fault slow:500");
  NEED(ask(h, 0x1009, P(handle_of(answer))) == 0x2001 && has_sha(h, answer));
  close_device(h);
}

static void case_eos(struct host *h) {
  char answer[512];
  open_device(h);
  open_session(h);
  NEED(ask(h, 0x9114, P(1)) == 0x2001 && ask(h, 0x9115, P(1)) == 0x2001);
  host_tell(h->control, "shoot", answer);
  NEED(ask(h, 0x9116, 0, NULL) == 0x2001 && get(h->data + 16, 4) == 0xC181);
  NEED(ask(h, 0x9107, P(handle_of(answer), 0, 0xFFFFFFFF)) == 0x2001 && has_sha(h, answer));
  close_device(h);
}

/* The bytes of the picture in the samples, out of the recording. */
static void case_recording(struct host *h) {
  char path[PATH_MAX];
  static uint8_t file[65536];
  snprintf(path, sizeof path, "%s/umockdev_powershot/IMG_0001.jpg", getenv("ASALEED_SAMPLES"));
  FILE *f = fopen(path, "rbe");
  NEED(f);
  size_t n = fread(file, 1, sizeof file, f);
  fclose(f);
  open_device(h);
  NEED(ask(h, 0x1001, 0, NULL) == 0x2001);
  open_session(h);
  NEED(ask(h, 0x1009, P(0x01900011)) == 0x2001);
  NEED(h->n == n + 12 && memcmp(h->data + 12, file, n) == 0);
  close_device(h);
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* As many pixels as anybody has; how fast they go over. */
static void case_large(struct host *h) {
  char answer[512];
  open_device(h);
  open_session(h);
  double from = seconds();
  host_tell(h->control, "shoot 6000 4000", answer);
  double made = seconds() - from, took = 0, best = 1e9;
  for (unsigned i = 0; i < BENCH_PICTURES; i++) {
    from = seconds();
    NEED(ask(h, 0x1009, P(handle_of(answer))) == 0x2001);
    double one = seconds() - from;
    took += one;
    best = one < best ? one : best;
  }
  NEED(h->n > 8000000 && has_sha(h, answer));
  NEED(made < 5); /* 0.2 s on an idle machine */
  printf("# %.1f MB made in %.2f s, read at %.0f MB/s, at best %.0f\n", (double)h->n / 1e6, made,
         (double)h->n * BENCH_PICTURES / took / 1e6, (double)h->n / best / 1e6);
  fflush(stdout);
  close_device(h);
}

static const struct {
  const char *name, *instrument;
  void (*run)(struct host *h);
} cases[] = {
    {"talk", "ptp,size=1200x800", case_talk},
    {"both_pipes", "ptp,size=64x64,auto=40", case_both_pipes},
    {"pipelined", "ptp,size=1200x800", case_pipelined},
    {"unplug", "ptp", case_unplug},
    {"trouble", "ptp,size=1200x800", case_trouble},
    {"slow", "ptp,size=600x400", case_slow},
    {"eos", "ptp,eos=yes,size=600x400", case_eos},
    {"recording", "ptp,recording=%s/umockdev_powershot/powershot.ioctl", case_recording},
    {"large", "ptp", case_large},
};

static int host(const char *name, const char *control_path) {
  static struct host h;
  h.control = host_control(control_path);
  h.data = malloc(OBJECT_MAX);
  NEED(h.data && hash_open() == 0);
  /* One for all: who stops listening to uevents at the very moment of one makes umockdev abort. */
  NEED(libusb_init(&h.context) == 0);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (strcmp(cases[i].name, name) == 0)
      cases[i].run(&h);
  fclose(h.control);
  free(h.data);
  return 0; /* the context ends with the process: see above */
}

/* ---- the tests ---- */

static int run_case(size_t number) {
  char self[PATH_MAX], sim[PATH_MAX + 8], folder[] = "/tmp/ptp_usb.XXXXXX", control_path[64], instrument[PATH_MAX];
  const char *samples = getenv("ASALEED_SAMPLES");
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (n <= 0 || !mkdtemp(folder))
    return -1;
  self[n] = 0;
  char *copy = strdup(self);
  snprintf(sim, sizeof sim, "%s/sim", dirname(copy));
  free(copy);
  snprintf(control_path, sizeof control_path, "%s/control", folder);
  const char *mark = strstr(cases[number].instrument, "%s");
  snprintf(instrument, sizeof instrument, "%.*s%s%s",
           (int)(mark ? mark - cases[number].instrument : (ssize_t)strlen(cases[number].instrument)),
           cases[number].instrument, mark && samples ? samples : "", mark ? mark + 2 : "");
  const char *argv[] = {sim,  "--control", control_path,       "--instrument", instrument,
                        "--", self,        cases[number].name, control_path,   NULL};
  pid_t child;
  int status = -1;
  if (posix_spawn(&child, sim, NULL, NULL, (char *const *)(uintptr_t)argv, environ) != 0 ||
      waitpid(child, &status, 0) != child)
    return -1;
  rmdir(folder);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_case(void **state) {
  size_t number = (size_t)(uintptr_t)*state;
  if (strcmp(cases[number].name, "recording") == 0) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/umockdev_powershot/powershot.ioctl", getenv("ASALEED_SAMPLES"));
    if (access(path, R_OK) < 0) {
      print_message("skipped: no umockdev_powershot in ASALEED_SAMPLES\n");
      skip();
    }
  }
  assert_int_equal(run_case(number), 0);
}

int main(int argc, char **argv) {
  struct CMUnitTest tests[sizeof cases / sizeof *cases];
  const size_t count = sizeof cases / sizeof *cases;
  if (argc == 3)
    return host(argv[1], argv[2]);
  if (!usb_bed_available()) {
    fprintf(stderr, "run me under umockdev-wrapper\n");
    return 77;
  }
  if (argc == 2 && strcmp(argv[1], "bench") == 0)
    return run_case(count - 1);
  for (size_t i = 0; i < count; i++)
    tests[i] =
        (struct CMUnitTest){.name = cases[i].name, .test_func = test_case, .initial_state = (void *)(uintptr_t)i};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
