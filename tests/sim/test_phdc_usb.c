/*
 * The simulated health device as a program sees it: this program again, started by `sim` beside it, as a host on the
 * real libusb. Run under umockdev-wrapper.
 */
#include "host_usb.h"
#include "usb_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <libgen.h>
#include <libusb-1.0/libusb.h>
#include <limits.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-device.h>
#include <unistd.h>

#define PATIENCE_MS 4000
#define SHORT_MS 60

/* ---- the host ---- */

struct host {
  libusb_context *context;
  libusb_device_handle *handle;
  uint8_t in, out;
  uint8_t apdu[100000];
  size_t have;    /* bytes in it; the first APDU is at its start */
  uint64_t total; /* since it was opened */
  FILE *control;
};

/* Is this device one of class 0F that speaks 11073-20601? Then its endpoints. */
static bool is_health(libusb_device *dev, void *host) {
  struct host *h = host;
  struct libusb_config_descriptor *c;
  if (libusb_get_active_config_descriptor(dev, &c) < 0)
    return false;
  const struct libusb_interface_descriptor *i = &c->interface[0].altsetting[0];
  bool good = i->bInterfaceClass == 0x0F && i->extra_length >= 10 && i->extra[1] == 0x20 && i->extra[2] == 2 &&
              i->extra[5] == 0x30;
  for (int e = 0; good && e < i->bNumEndpoints; e++)
    *(i->endpoint[e].bEndpointAddress & 0x80 ? &h->in : &h->out) = i->endpoint[e].bEndpointAddress;
  libusb_free_config_descriptor(c);
  return good && h->in && h->out;
}

static void open_device(struct host *h) {
  h->have = 0;
  h->total = 0;
  h->handle = host_usb_open(h->context, is_health, h);
}

static void close_device(struct host *h) {
  libusb_close(h->handle);
  h->handle = NULL;
}

static int read_more(struct host *h, unsigned ms) {
  int n = 0;
  int r = libusb_bulk_transfer(h->handle, h->in, h->apdu + h->have, 16384, &n, ms);
  h->have += (size_t)n;
  h->total += (size_t)n;
  return r;
}

static size_t length(const struct host *h) {
  return h->have < 4 ? SIZE_MAX : (size_t)(h->apdu[2] << 8 | h->apdu[3]) + 4;
}

/* A whole APDU; its choice, or libusb's error. */
static int read_apdu(struct host *h, unsigned ms) {
  while (h->have < length(h)) {
    int r = read_more(h, ms);
    if (r < 0)
      return r;
  }
  return h->apdu[0] << 8 | h->apdu[1];
}

static void drop(struct host *h) {
  size_t n = length(h);
  h->have -= n;
  memmove(h->apdu, h->apdu + n, h->have);
}

static int send_bytes(struct host *h, const void *bytes, int n) {
  int moved;
  return libusb_bulk_transfer(h->handle, h->out, (unsigned char *)(uintptr_t)bytes, n, &moved, PATIENCE_MS);
}

static int accept_it(struct host *h, uint8_t result) {
  uint8_t aare[48] = "\xE3\0\0\x2C\0\0\x50\x79\0\x26\x80\0\0\0\x80\0\x80\0\0\0\0\0\0\0\x80\0\0\0\0\x08hosthost";
  aare[5] = result;
  return send_bytes(h, aare, sizeof aare);
}

static int accept_config(struct host *h) {
  uint8_t answer[26] = "\xE7\0\0\x16\0\x14\0\0\2\1\0\x0E\0\0\xFF\xFF\xFF\xFF\x0D\x1C\0\4\0\0\0\0";
  memcpy(answer + 6, h->apdu + 6, 2);
  memcpy(answer + 22, h->apdu + 22, 2);
  return send_bytes(h, answer, sizeof answer);
}

static int confirm(struct host *h) {
  uint8_t answer[22] = "\xE7\0\0\x12\0\x10\0\0\2\1\0\x0A\0\0\0\0\0\0\0\0\0\0";
  memcpy(answer + 6, h->apdu + 6, 2);
  memcpy(answer + 18, h->apdu + 18, 2);
  return send_bytes(h, answer, sizeof answer);
}

static void associate(struct host *h) {
  NEED(read_apdu(h, PATIENCE_MS) == 0xE200);
  drop(h);
  NEED(accept_it(h, 3) == 0);
  NEED(read_apdu(h, PATIENCE_MS) == 0xE700);
  NEED(accept_config(h) == 0);
  drop(h);
}

/* udev has dealt with it, and says its class and its number. */
static void find_by_udev(void) {
  sd_device_enumerator *e = NULL;
  const char *text;
  unsigned found = 0;
  NEED(sd_device_enumerator_new(&e) >= 0);
  NEED(sd_device_enumerator_add_match_subsystem(e, "usb", true) >= 0);
  NEED(sd_device_enumerator_add_match_property(e, "ID_USB_INTERFACES", ":0f0000:") >= 0);
  for (sd_device *dev = sd_device_enumerator_get_device_first(e); dev; dev = sd_device_enumerator_get_device_next(e)) {
    NEED(sd_device_get_property_value(dev, "ID_SERIAL_SHORT", &text) >= 0 && strcmp(text, "PF-0042") == 0);
    NEED(sd_device_get_devname(dev, &text) >= 0 && strcmp(text, "/dev/bus/usb/002/002") == 0);
    found++;
  }
  sd_device_enumerator_unref(e);
  NEED(found == 1);
}

static void case_talk(struct host *h) {
  char answer[512], text[64];
  uint8_t status[2];
  struct libusb_device_descriptor d;
  find_by_udev();
  open_device(h);
  NEED(libusb_get_device_descriptor(libusb_get_device(h->handle), &d) == 0);
  NEED(libusb_get_string_descriptor_ascii(h->handle, d.iSerialNumber, (unsigned char *)text, sizeof text) == 7);
  NEED(strcmp(text, "PF-0042") == 0);
  NEED(libusb_control_transfer(h->handle, 0xA1, 0, 0, 0, status, 2, PATIENCE_MS) == 2);
  NEED(status[0] == 2); /* bytes wait on endpoint 1 */
  NEED(libusb_control_transfer(h->handle, 0x21, 3, 0x0101, 0, NULL, 0, PATIENCE_MS) == LIBUSB_ERROR_PIPE);
  associate(h);
  NEED(read_apdu(h, SHORT_MS) == LIBUSB_ERROR_TIMEOUT);
  host_tell(h->control, "blow obstructive", answer);
  NEED(strncmp(answer, "ok pef=", 7) == 0);
  NEED(read_apdu(h, PATIENCE_MS) == 0xE700);
  NEED(h->apdu[18] == 0x0D && h->apdu[19] == 0x1D);
  /* Handle 1, ten bytes, an SFLOAT without decimals: litres a minute. */
  NEED(atoi(answer + 7) == (h->apdu[34] << 8 | h->apdu[35]));
  NEED(confirm(h) == 0);
  drop(h);
  NEED(send_bytes(h, "\xE4\0\0\2\0\0", 6) == 0);
  NEED(read_apdu(h, PATIENCE_MS) == 0xE500);
  drop(h);
  host_tell(h->control, "stats", answer);
  NEED(strstr(answer, "open=1") && strstr(answer, "state=unassociated") && strstr(answer, "reports=1"));
  NEED(libusb_reset_device(h->handle) == 0);
  associate(h);
  close_device(h);
}

static void case_unplug(struct host *h) {
  for (int i = 0; i < 5; i++) {
    open_device(h);
    associate(h);
    host_order(h->control, "unplug");
    NEED(read_apdu(h, PATIENCE_MS) == LIBUSB_ERROR_NO_DEVICE);
    close_device(h);
    NEED(!host_usb_find(h->context, is_health, h));
    host_order(h->control, "replug");
  }
}

/* Cut anywhere in the request and the configuration, the host gets each byte before and none after. */
static void case_cut(struct host *h) {
  for (unsigned cut = 0; cut < 252; cut += cut % 64 == 63 || cut % 64 == 0 ? 1 : 9) {
    char command[32];
    int r = 0;
    snprintf(command, sizeof command, "unplug-after %u", cut);
    host_order(h->control, command);
    open_device(h);
    while (r >= 0) {
      r = read_apdu(h, PATIENCE_MS);
      if (r == 0xE200) {
        drop(h);
        int sent = accept_it(h, 3);
        NEED(sent == 0 || sent == LIBUSB_ERROR_NO_DEVICE);
      } else if (r == 0xE700) {
        drop(h);
      }
    }
    NEED(r == LIBUSB_ERROR_NO_DEVICE);
    NEED(h->total == cut);
    close_device(h);
    char answer[512];
    do
      host_tell(h->control, "replug", answer);
    while (strstr(answer, "plugged"));
  }
}

static void case_stream(struct host *h) {
  open_device(h);
  associate(h);
  host_order(h->control, "measure 10");
  unsigned reports = 0, bytes = 0;
  for (int r; (r = read_apdu(h, SHORT_MS)) == 0xE700; reports++) {
    bytes += (unsigned)length(h);
    NEED(confirm(h) == 0);
    drop(h);
  }
  NEED(reports >= 10 && bytes > 2 * 20 * 500);
  close_device(h);
}

static void case_preamble(struct host *h) {
  open_device(h);
  NEED(libusb_control_transfer(h->handle, 0x21, 3, 0x0101, 0, NULL, 0, PATIENCE_MS) == 0);
  /* What was made before comes as it was. */
  NEED(read_apdu(h, PATIENCE_MS) == 0xE200);
  drop(h);
  NEED(accept_it(h, 3) == 0);
  while (h->have < 20)
    NEED(read_more(h, PATIENCE_MS) == 0);
  NEED(memcmp(h->apdu, "PhdcQoSSignature", 16) == 0);
  close_device(h);
}

/* As long an APDU as there can be. */
static void case_crowd(struct host *h) {
  open_device(h);
  NEED(read_apdu(h, PATIENCE_MS) == 0xE200);
  drop(h);
  NEED(accept_it(h, 3) == 0);
  NEED(read_apdu(h, PATIENCE_MS) == 0xE700);
  NEED(length(h) > 65000 && h->have == length(h));
  close_device(h);
}

/* Another instrument on another bus. */
static void case_both(struct host *h) {
  int fd = open("/dev/ttyUSB0", O_RDWR | O_NOCTTY | O_NONBLOCK);
  NEED(fd >= 0);
  open_device(h);
  host_order(h->control, "phdc unplug");
  host_order(h->control, "emi12 stats");
  NEED(read_apdu(h, PATIENCE_MS) == LIBUSB_ERROR_NO_DEVICE);
  close_device(h);
  close(fd);
}

static const struct {
  const char *name, *instruments[2];
  void (*run)(struct host *h);
} cases[] = {
    {"talk", {"phdc,profile=pefm,serial=PF-0042", NULL}, case_talk},
    {"unplug", {"phdc", NULL}, case_unplug},
    {"cut", {"phdc", NULL}, case_cut},
    {"stream", {"phdc,profile=ecg,speed=max", NULL}, case_stream},
    {"split", {"phdc,fault=split:3", NULL}, case_unplug},
    {"preamble", {"phdc,preamble=yes", NULL}, case_preamble},
    {"crowd", {"phdc,fault=objects", NULL}, case_crowd},
    {"both", {"emi12", "phdc"}, case_both},
};

static int host(const char *name, const char *control) {
  static struct host h;
  h.control = host_control(control);
  /* One for all: who stops listening to uevents at the very moment of one makes umockdev abort. */
  NEED(libusb_init(&h.context) == 0);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (strcmp(cases[i].name, name) == 0)
      cases[i].run(&h);
  fclose(h.control);
  return 0; /* the context ends with the process: see above */
}

/* ---- the tests ---- */

static void run_case(size_t number) {
  char self[PATH_MAX], sim[PATH_MAX + 8], folder[] = "/tmp/phdc_usb.XXXXXX", control[64];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  assert_true(n > 0);
  self[n] = 0;
  char *copy = strdup(self);
  snprintf(sim, sizeof sim, "%s/sim", dirname(copy));
  free(copy);
  assert_non_null(mkdtemp(folder));
  snprintf(control, sizeof control, "%s/control", folder);
  const char *argv[16] = {sim, "--control", control};
  size_t at = 3;
  for (size_t i = 0; i < 2 && cases[number].instruments[i]; i++) {
    argv[at++] = "--instrument";
    argv[at++] = cases[number].instruments[i];
  }
  memcpy(argv + at, (const char *[]){"--", self, cases[number].name, control}, 4 * sizeof *argv);
  pid_t child;
  int status;
  assert_int_equal(posix_spawn(&child, sim, NULL, NULL, (char *const *)(uintptr_t)argv, environ), 0);
  assert_int_equal(waitpid(child, &status, 0), child);
  rmdir(folder);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_case(void **state) {
  run_case((size_t)(uintptr_t)*state);
}

int main(int argc, char **argv) {
  if (argc == 3)
    return host(argv[1], argv[2]);
  if (!usb_bed_available()) {
    fprintf(stderr, "run me under umockdev-wrapper\n");
    return 77;
  }
  struct CMUnitTest tests[sizeof cases / sizeof *cases];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    tests[i] =
        (struct CMUnitTest){.name = cases[i].name, .test_func = test_case, .initial_state = (void *)(uintptr_t)i};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
