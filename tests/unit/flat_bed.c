#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flat_bed.h"
#include <cmocka.h>

#include "hash.h"
#include "io.h"
#include "talk.h"
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern const struct acq_driver file_dicom;

static void *map(int fd, size_t *ret_n) {
  struct stat s;
  assert_int_equal(fstat(fd, &s), 0);
  *ret_n = (size_t)s.st_size;
  return *ret_n ? mmap(NULL, *ret_n, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
}

/* The conversation, recorded; its first error. */
static int converse(const char *path, int text, int blobs, char reason[static 256]) {
  const struct capture_header header = {
      .driver = "file_dicom",
      .version = "1",
      .bus = ACQ_FILE,
      .order = {.seconds = 60, .started_us = FLAT_BED_START_US, .offset_minutes = 60, .modality = ACQ_ECG}};
  struct transport *transport;
  struct capture_writer writer;
  struct acq_identity identity;
  struct acq_io io;
  char why[TRANSPORT_WHY_MAX];
  assert_int_equal(transport_file_open(path, file_dicom.limits.max_bytes, &transport, why), 0);
  capture_writer_init(&writer, text, CAPTURE_TEXT_MAX);
  writer.blobs = blobs;
  io_init(&io, transport, &writer, -1, file_dicom.limits.max_bytes);
  assert_int_equal(capture_write_header(&writer, &header), 0);
  int r = talk_identify(&io, &file_dicom, &identity);
  if (r == 0)
    r = talk_acquire(&io, &file_dicom, &header.order);
  snprintf(reason, 256, "%s", io.reason);
  const int released = talk_release(&io, &file_dicom, r);
  assert_int_equal(released, 0);
  assert_int_equal(capture_write_end(&writer, r ? CAPTURE_ERROR : CAPTURE_OK), 0);
  transport_destroy(transport);
  return r;
}

void flat_take(const void *flat, size_t n, struct flat_result *ret) {
  char path[64] = "/tmp/asaleed-flat-XXXXXX";
  struct acq_capture capture;
  int fd = mkstemp(path), text = memfd_create("text", MFD_CLOEXEC), blobs = memfd_create("blobs", MFD_CLOEXEC);
  assert_true(fd >= 0 && text >= 0 && blobs >= 0);
  assert_int_equal(hash_open(), 0);
  assert_int_equal(write(fd, flat, n), n);
  *ret = (struct flat_result){0};
  ret->err = converse(path, text, blobs, ret->reason);
  unlink(path);
  if (ret->err == 0) {
    size_t n_text, n_blobs;
    char *text_bytes = map(text, &n_text);
    void *blob_bytes = map(blobs, &n_blobs);
    assert_int_equal(capture_parse_with(text_bytes, n_text, blob_bytes, n_blobs, &capture, NULL), 0);
    ret->err = record_decode(&file_dicom, &capture, ret->results, ret->reason);
    capture_finish(&capture);
    munmap(text_bytes, n_text);
    if (blob_bytes)
      munmap(blob_bytes, n_blobs);
  }
  if (ret->err == 0) {
    const struct record_result *own = &ret->results[ret->results[WIRE_OWN].json ? WIRE_OWN : WIRE_STRAY];
    char reason[256];
    assert_int_equal(record_read(own->json, own->json_bytes, own->data, own->data_values * 2, &ret->record, reason), 0);
    ret->samples = own->data;
  }
  close(fd), close(text), close(blobs);
}

void flat_result_finish(struct flat_result *r) {
  json_decref(r->record);
  for (int i = 0; i < WIRE_RECORDS; i++)
    record_result_finish(&r->results[i]);
  *r = (struct flat_result){0};
}
