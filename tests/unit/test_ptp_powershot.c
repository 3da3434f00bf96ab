/* A real camera's answers (a recording in the samples, umockdev_powershot) through the driver's own functions, the USB
 * transport and the real libusb: this program again, as the host beside `sim`, whose camera answers with the recorded
 * transfers. Run under umockdev-wrapper.
 *
 * What the recorded camera holds is older than any order, so acquire() would leave it there: its functions are called
 * here one after the other instead, and the capture that comes of it is decoded as any other.
 *
 * Replaying the recorded ioctls themselves (umockdev-run -i) is not for this transport. It opens the node before the
 * sandbox and wraps it, for which libusb asks USBDEVFS_CONNECTINFO: not in the recording, so ENOTTY. And a replayed
 * transfer must have the recorded one's buffer length: the recording has room for two packets where the driver reads a
 * container's head (one packet), no class requests, and a picture's last 67 bytes in a buffer shorter than a packet,
 * where the transport asks for whole packets, as the kernel drops what does not fit. */
#include "../../drivers/ptp_camera/camera.h"
#include "capture.h"
#include "host.h"
#include "io.h"
#include "record_build.h"
#include "transport.h"
#include "usb_bed.h"
#include "wall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLUGGED_MS 4000
#define PICTURE 0x1900011u /* IMG_0001.JPG on the recorded camera */
#define STORAGE 0x10001u
#define MAX_BYTES (1u << 20)

extern const struct acq_driver ptp_camera;

static struct transport *open_camera(const char *node) {
  struct transport *t;
  char why[TRANSPORT_WHY_MAX] = "";
  struct stat st;
  for (unsigned ms = 0; ms < PLUGGED_MS && stat(node, &st) < 0; ms++)
    usleep(1000);
  int r = transport_usb_open(node, ptp_camera.match, &t, why);
  if (r == 0 && (r = transport_start(t)) < 0)
    snprintf(why, sizeof why, "%s", t->why);
  if (r < 0)
    fprintf(stderr, "host: %s: %s\n", node, why);
  NEED(r == 0);
  return t;
}

static void check_device_info(const uint8_t *bytes, size_t n) {
  struct ptp_device_info info;
  const char *why;
  NEED(ptp_device_info_read(acq_cur(bytes, n), &info, &why) == 0);
  NEED(strcmp(info.identity.make, "Canon Inc.") == 0);
  NEED(strcmp(info.identity.model, "Canon PowerShot SX200 IS") == 0);
  NEED(info.can & PTP_CAN_BROWSE);
}

static void check_object_info(const uint8_t *bytes, size_t n, struct ptp_object_info *ret) {
  const char *why;
  NEED(ptp_object_info_read(acq_cur(bytes, n), ret, &why) == 0);
  NEED(ret->storage == STORAGE && strcmp(ret->name, "IMG_0001.JPG") == 0 && ptp_is_picture(ret));
}

static uint8_t *read_file(int fd, size_t *ret_n) {
  struct stat st;
  NEED(fstat(fd, &st) == 0);
  *ret_n = (size_t)st.st_size;
  uint8_t *bytes = malloc(*ret_n + 1);
  NEED(bytes && pread(fd, bytes, *ret_n, 0) == st.st_size);
  return bytes;
}

static bool is_file(const char *path, const uint8_t *bytes, size_t n) {
  size_t size;
  FILE *file = fopen(path, "re");
  NEED(file);
  uint8_t *content = read_file(fileno(file), &size);
  fclose(file);
  bool same = size == n && memcmp(content, bytes, n) == 0;
  free(content);
  return same;
}

/* ---- the host ---------------------------------------------------------------------------------- */

static uint32_t only_one(struct ptp_camera *camera) {
  struct acq_cur c = acq_cur(camera->data, camera->n_data);
  NEED(ptp_count(&c, 4) >= 1);
  return acq_u32le(&c);
}

static void talk(struct ptp_camera *camera, struct acq_io *io, struct ptp_object_info *info) {
  static const uint32_t root[] = {STORAGE, 0, UINT32_MAX}, picture = PICTURE;
  struct acq_identity identity;
  NEED(ptp_camera.identify(io, &identity) == 0);
  NEED(strcmp(identity.model, "Canon PowerShot SX200 IS") == 0);
  NEED(capture_write_identity(io->capture, 0, &identity) == 0);
  NEED(io_begin(io, "acquire", 20000) == 0);
  ptp_camera_init(camera, io); /* a session of our own: the driver's is its own */
  NEED(ptp_open(camera) == 0);
  NEED(ptp_ask(camera, PTP_GET_DEVICE_INFO, NULL, 0, PTP_ANSWER_MS) == 0);
  check_device_info(camera->data, camera->n_data);
  NEED(ptp_ask(camera, PTP_GET_STORAGE_IDS, NULL, 0, PTP_LIST_MS) == 0 && only_one(camera) == STORAGE);
  NEED(ptp_ask(camera, PTP_GET_OBJECT_HANDLES, root, 3, PTP_LIST_MS) == 0 && only_one(camera) == 0x80000);
  NEED(ptp_ask(camera, PTP_GET_OBJECT_INFO, &picture, 1, PTP_ANSWER_MS) == 0);
  check_object_info(camera->data, camera->n_data, info);
  NEED(ptp_ask_blob(camera, PTP_GET_OBJECT, &picture, 1, info->size, 1) == 0);
  NEED(acq_blob_end(io) == 0);
  io_release(io);
  NEED(io_begin(io, "release", 5000) == 0 && ptp_close(camera) == 0);
}

/* The capture as it would be kept: decoded, its one picture is that blob. */
static void decode(const struct capture_writer *writer, const char *jpeg) {
  struct acq_capture capture;
  struct record_result results[WIRE_RECORDS] = {0};
  char reason[256] = "";
  size_t n, n_blobs;
  uint8_t *text = read_file(writer->fd, &n), *blobs = read_file(writer->blobs, &n_blobs);
  NEED(is_file(jpeg, blobs, n_blobs));
  NEED(capture_parse_with((const char *)text, n, blobs, n_blobs, &capture, NULL) == 0);
  int r = record_decode(&ptp_camera, &capture, results, reason);
  if (r < 0)
    fprintf(stderr, "host: decode: %s\n", reason);
  NEED(r == 0 && capture.n_blobs == 1);
  const char *json = results[WIRE_OWN].json; /* this camera dates nothing: no picture can be of another day */
  NEED(json && !results[WIRE_STRAY].json);
  NEED(strstr(json, capture.blobs[0].sha256) && strstr(json, "\"name\":\"IMG_0001.JPG\"") &&
       strstr(json, "\"width\":640"));
  NEED(!strstr(json, "\"incomplete\"") && strstr(json, "\"complete\":true"));
  for (unsigned i = 0; i < WIRE_RECORDS; i++)
    record_result_finish(&results[i]);
  capture_finish(&capture);
  free(text);
  free(blobs);
}

static int host(const char *jpeg) {
  static struct ptp_camera camera;
  static struct acq_io io;
  struct capture_writer writer;
  struct capture_header header = {.driver = "ptp_camera", .version = "1", .bus = ACQ_USB};
  struct ptp_object_info info;
  int pair[2];
  header.order = (struct acq_order){.seconds = 60, .modality = ACQ_FUNDUS, .pictures = 1, .started_us = wall_now().us};
  NEED(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
  capture_writer_init(&writer, memfd_create("capture", MFD_CLOEXEC), MAX_BYTES);
  writer.blobs = memfd_create("blobs", MFD_CLOEXEC);
  NEED(capture_write_header(&writer, &header) == 0);
  struct transport *transport = open_camera("/dev/bus/usb/002/002");
  io_init(&io, transport, &writer, pair[0], MAX_BYTES);
  NEED(io_begin(&io, NULL, 20000) == 0);
  talk(&camera, &io, &info);
  NEED(info.size == 4151);
  NEED(capture_write_end(&writer, CAPTURE_OK) == 0);
  decode(&writer, jpeg);
  transport_destroy(transport);
  return 0;
}

/* ---- the tests ----------------------------------------------------------------------------------------------- */

static char self[PATH_MAX], sample[2][PATH_MAX];

static void find_samples(void) {
  static const char *const names[] = {"powershot.ioctl", "IMG_0001.jpg"};
  const char *folder = getenv("ASALEED_SAMPLES");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(sample[i], sizeof sample[i], "%.3000s/umockdev_powershot/%s", folder ? folder : "", names[i]);
    if (access(sample[i], R_OK) < 0) {
      print_message("skipped: no umockdev_powershot in ASALEED_SAMPLES\n");
      skip();
    }
  }
}

static int run(const char *program, const char *const *argv) {
  pid_t child;
  int status = -1;
  if (posix_spawn(&child, program, NULL, NULL, (char *const *)(uintptr_t)argv, environ) != 0 ||
      waitpid(child, &status, 0) != child)
    return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_transfers(void **state) {
  (void)state;
  find_samples();
  char copy[PATH_MAX], sim[PATH_MAX + 8], instrument[PATH_MAX + 32];
  snprintf(copy, sizeof copy, "%s", self);
  snprintf(sim, sizeof sim, "%s/sim", dirname(copy));
  snprintf(instrument, sizeof instrument, "ptp,recording=%s", sample[0]);
  const char *argv[] = {sim, "--instrument", instrument, "--", self, sample[1], NULL};
  assert_int_equal(run(sim, argv), 0);
}

int main(int argc, char **argv) {
  static const struct CMUnitTest tests[] = {cmocka_unit_test(test_transfers)};
  if (argc == 2)
    return host(argv[1]);
  if (!usb_bed_available()) {
    fprintf(stderr, "run me under umockdev-wrapper\n");
    return 77;
  }
  if (readlink("/proc/self/exe", self, sizeof self - 1) <= 0)
    return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
