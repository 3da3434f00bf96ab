/* A camera's pictures by the barest libusb loop: the physical limit beside which the worker's own transfer is measured,
 * on the same simulated camera. Nothing is kept.
 *
 *   bare_pictures NODE COUNT BYTES
 *
 * Opens a session, says "open", waits until the camera has COUNT objects with data more than then, and reads each with
 * bulk transfers of BYTES. Prints a line a picture: its bytes and the microseconds from the command to the response. */
#include "wall.h"
#include <fcntl.h>
#include <libusb-1.0/libusb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS 5000
#define HEAD 12u
#define HANDLES_MAX 1024
#define BUFFER (4 << 20)

static libusb_device_handle *camera;
static uint8_t in, out, buffer[BUFFER];
static uint32_t transaction;

static void stop(const char *what) {
  fprintf(stderr, "bare_pictures: %s\n", what);
  exit(1);
}

static uint32_t u32(const uint8_t *p) {
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put32(uint8_t *p, uint32_t v) {
  for (int i = 0; i < 4; i++)
    p[i] = (uint8_t)(v >> (8 * i));
}

/* A command and its answer; returns how many bytes of data came, of which the first `keep` are in the buffer. */
static uint32_t ask(uint16_t code, const uint32_t *parameters, unsigned n, int chunk, uint32_t keep) {
  uint8_t command[32] = {0};
  int moved;
  put32(command, HEAD + 4 * n);
  command[4] = 1;
  command[6] = (uint8_t)code;
  command[7] = (uint8_t)(code >> 8);
  put32(command + 8, transaction++);
  for (unsigned i = 0; i < n; i++)
    put32(command + HEAD + 4 * i, parameters[i]);
  if (libusb_bulk_transfer(camera, out, command, (int)(HEAD + 4 * n), &moved, MS) < 0)
    stop("a command was not taken");
  if (libusb_bulk_transfer(camera, in, buffer, chunk, &moved, MS) < 0 || moved < (int)HEAD)
    stop("no answer");
  uint32_t length = u32(buffer), data = 0;
  if (buffer[4] == 2) {
    data = length - HEAD;
    for (uint32_t got = (uint32_t)moved; got < length; got += (uint32_t)moved)
      if (libusb_bulk_transfer(camera, in, buffer + (got < keep ? got : 0), chunk, &moved, MS) < 0)
        stop("the data broke off");
    do /* the response; an empty packet may stand before it */
      if (libusb_bulk_transfer(camera, in, buffer + BUFFER - 1024, 512, &moved, MS) < 0)
        stop("no response");
    while (!moved);
    if (buffer[BUFFER - 1024 + 7] != 0x20 || buffer[BUFFER - 1024 + 6] != 0x01)
      stop("not OK");
  }
  return data;
}

static unsigned handles(uint32_t ret[static HANDLES_MAX]) {
  const uint32_t jpeg[] = {0xffffffff, 0x3801, 0};
  uint32_t bytes = ask(0x1007, jpeg, 3, 65536, 65536);
  unsigned n = bytes < 4 ? 0 : u32(buffer + HEAD);
  for (unsigned i = 0; i < n && i < HANDLES_MAX; i++)
    ret[i] = u32(buffer + HEAD + 4 + 4 * i);
  return n;
}

int main(int argc, char **argv) {
  libusb_context *context;
  struct libusb_config_descriptor *config;
  static uint32_t list[HANDLES_MAX];
  const unsigned count = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
  const int chunk = argc == 4 ? atoi(argv[3]) : 0;
  if (!count || chunk < 65536 || chunk > BUFFER / 2)
    return 2;
  int fd = open(argv[1], O_RDWR | O_CLOEXEC);
  libusb_set_option(NULL, LIBUSB_OPTION_NO_DEVICE_DISCOVERY);
  if (fd < 0 || libusb_init(&context) < 0 || libusb_wrap_sys_device(context, fd, &camera) < 0 ||
      libusb_get_active_config_descriptor(libusb_get_device(camera), &config) < 0 ||
      libusb_claim_interface(camera, 0) < 0)
    stop("the camera cannot be opened");
  const struct libusb_interface_descriptor *d = &config->interface[0].altsetting[0];
  for (int i = 0; i < d->bNumEndpoints; i++)
    if ((d->endpoint[i].bmAttributes & 3) == LIBUSB_TRANSFER_TYPE_BULK)
      *(d->endpoint[i].bEndpointAddress & 0x80 ? &in : &out) = d->endpoint[i].bEndpointAddress;
  const uint32_t session = 1;
  ask(0x1002, &session, 1, 65536, 0);
  const unsigned old = handles(list);
  puts("open");
  fflush(stdout);
  while (handles(list) < old + count)
    usleep(100000);
  for (unsigned i = old; i < old + count; i++) {
    uint64_t start = monotonic_us();
    uint32_t n = ask(0x1009, &list[i], 1, chunk, 0);
    printf("%u %llu\n", n, (unsigned long long)(monotonic_us() - start));
  }
  libusb_release_interface(camera, 0);
  libusb_close(camera);
  libusb_exit(context);
  close(fd);
  return 0;
}
