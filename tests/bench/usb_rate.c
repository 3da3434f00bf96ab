/* What the worker's USB transport and the recording of every byte cost, beside a bare libusb loop on the same simulated
 * device in the same run: round trips of SIZE bytes, out and back. Run under umockdev-wrapper.
 *
 *   usb_rate SIZE TRIPS [RUNS]
 *
 * Prints a line a run: microseconds a trip bare, through the worker's own calls with their capture. */
#include "io.h"
#include "transport.h"
#include "usb_echo_bed.h"
#include "wall.h"
#include <fcntl.h>
#include <libusb-1.0/libusb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MS 2000
#define OUT 0x02
#define IN 0x82
#define INTERFACE 1

static uint8_t out[65536], back[65536];

static void stop(const char *what) {
  fprintf(stderr, "usb_rate: %s\n", what);
  exit(1);
}

static double bare(int size, int trips) {
  libusb_context *context;
  libusb_device_handle *handle;
  int fd = open(USB_ECHO_NODE, O_RDWR | O_CLOEXEC), n;
  libusb_set_option(NULL, LIBUSB_OPTION_NO_DEVICE_DISCOVERY);
  if (fd < 0 || libusb_init(&context) < 0 || libusb_wrap_sys_device(context, fd, &handle) < 0 ||
      libusb_claim_interface(handle, INTERFACE) < 0)
    stop("the device cannot be opened");
  uint64_t start = monotonic_us();
  for (int i = 0; i < trips; i++)
    if (libusb_bulk_transfer(handle, OUT, out, size, &n, MS) < 0 || n != size ||
        libusb_bulk_transfer(handle, IN, back, size, &n, MS) < 0 || n != size)
      stop("a bare trip failed");
  double us = (double)(monotonic_us() - start) / trips;
  libusb_release_interface(handle, INTERFACE);
  libusb_close(handle);
  libusb_exit(context);
  close(fd);
  return us;
}

static double ours(int size, int trips) {
  static const struct acq_match match[] = {
      {.bus = ACQ_USB, .vendor = USB_ECHO_VENDOR, .product = USB_ECHO_PRODUCT, .usb_class = 0xff}, {0}};
  static const struct capture_header header = {.driver = "echo", .version = "1", .bus = ACQ_USB};
  static struct acq_io io;
  struct transport *transport;
  struct capture_writer writer;
  char why[TRANSPORT_WHY_MAX];
  int capture = memfd_create("capture", MFD_CLOEXEC);
  if (transport_usb_open(USB_ECHO_NODE, match, &transport, why) < 0 || transport_start(transport) < 0)
    stop("the transport cannot be opened");
  capture_writer_init(&writer, capture, CAPTURE_TEXT_MAX);
  capture_write_header(&writer, &header);
  io_init(&io, transport, &writer, -1, UINT32_MAX);
  uint64_t start = monotonic_us();
  for (int i = 0; i < trips; i++)
    if (acq_write(&io, out, (size_t)size, MS) < 0 || acq_read(&io, back, (size_t)size, MS) < 0)
      stop("a trip failed");
  double us = (double)(monotonic_us() - start) / trips;
  if (memcmp(out, back, (size_t)size))
    stop("other bytes came back");
  transport_destroy(transport);
  close(capture);
  return us;
}

int main(int argc, char **argv) {
  const int size = argc > 2 ? atoi(argv[1]) : 0, trips = argc > 2 ? atoi(argv[2]) : 0;
  if (size < 1 || size > (int)sizeof out || trips < 1)
    return 2;
  struct usb_echo_bed *bed = usb_echo_bed_create();
  if (!bed)
    stop("no simulated device (run under umockdev-wrapper)");
  for (int i = 0; i < size; i++)
    out[i] = (uint8_t)(i * 7 + 1);
  for (int i = argc > 3 ? atoi(argv[3]) : 5; i > 0; i--) {
    double a = bare(size, trips), b = ours(size, trips);
    printf("%.1f %.1f\n", a, b);
  }
  usb_echo_bed_destroy(bed);
  return 0;
}
