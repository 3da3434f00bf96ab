/* The capture reader: what it accepts can be written again and read back the same, and what was cut can be mended. The
 * text goes up to the first NUL, the rest are its blobs. */
#include "fuzz.h"

#include "capture.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOTE_MAX 400 /* a longer one is cut when written */
#define BLOBS_SEED 2 /* the built-in one that has blobs */

static bool write_again(const struct acq_capture *c, int fd, int blobs) {
  struct capture_writer w;
  struct acq_event e;
  capture_writer_init(&w, fd, CAPTURE_TEXT_MAX);
  w.blobs = blobs;
  capture_write_header(&w, &c->header);
  for (size_t i = 0; acq_capture_event(c, i, &e); i++)
    if (e.kind == ACQ_BLOB)
      FUZZ_CHECK(capture_add_to_blob(&w, e.bytes, e.n) == 0 && capture_write_blob(&w, e.ms, e.n, 0, 0) == 0);
    else if (e.kind == ACQ_BLOB_WHOLE || e.kind == ACQ_BLOB_WASTE)
      FUZZ_CHECK(w.blob_bytes == e.n && capture_write_blob_end(&w, e.kind, e.ms) == 0);
    else if (e.kind != ACQ_NOTE)
      capture_write_event(&w, e.kind, e.ms, e.bytes, e.n);
    else if (e.n > NOTE_MAX)
      return false;
    else
      capture_write_note(&w, e.ms, "%.*s", (int)e.n, e.n ? (const char *)e.bytes : "");
  if (c->end != CAPTURE_CUT)
    capture_write_end(&w, c->end);
  FUZZ_CHECK(w.err == 0);
  return true;
}

static void check_same(const struct acq_capture *a, const struct acq_capture *b) {
  FUZZ_CHECK(!memcmp(&a->identity, &b->identity, sizeof a->identity));
  FUZZ_CHECK(!strcmp(a->header.driver, b->header.driver) && !strcmp(a->header.version, b->header.version));
  FUZZ_CHECK(a->header.bus == b->header.bus && a->header.order.seconds == b->header.order.seconds);
  FUZZ_CHECK(a->header.order.started_us == b->header.order.started_us);
  FUZZ_CHECK(a->header.order.offset_minutes == b->header.order.offset_minutes);
  FUZZ_CHECK(a->header.order.modality == b->header.order.modality && a->header.order.phase == b->header.order.phase);
  FUZZ_CHECK(a->end == b->end && a->n_events == b->n_events && a->n_received == b->n_received &&
             a->n_blobs == b->n_blobs);
  for (size_t i = 0; i < a->n_blobs; i++)
    FUZZ_CHECK(a->blobs[i].event == b->blobs[i].event && !strcmp(a->blobs[i].sha256, b->blobs[i].sha256));
  for (size_t i = 0; i < a->n_events; i++) {
    struct acq_event x, y;
    FUZZ_CHECK(acq_capture_event(a, i, &x) && acq_capture_event(b, i, &y));
    FUZZ_CHECK(x.kind == y.kind && x.ms == y.ms && x.n == y.n && (!x.n || !memcmp(x.bytes, y.bytes, x.n)));
  }
}

static void check_events(const struct acq_capture *c, size_t n_blobs) {
  struct acq_cur received = acq_capture_received(c);
  struct acq_event e;
  uint32_t ms = 0;
  size_t at = 0, ended = 0, blob = 0;
  for (size_t i = 0; acq_capture_event(c, i, &e); i++) {
    FUZZ_CHECK(e.ms >= ms && strchr("<>!^@#~", e.kind));
    FUZZ_CHECK(e.n || e.kind == ACQ_NOTE);
    ms = e.ms;
    if (e.kind == ACQ_RECEIVED) {
      const uint8_t *p = acq_bytes(&received, e.n);
      FUZZ_CHECK(p && !memcmp(p, e.bytes, e.n));
    } else if (e.kind == ACQ_BLOB) {
      FUZZ_CHECK(e.bytes == c->blob_bytes + at && e.n <= n_blobs - at);
      at += e.n;
    } else if (e.kind == ACQ_BLOB_WHOLE || e.kind == ACQ_BLOB_WASTE) {
      FUZZ_CHECK(blob < c->n_blobs && c->blobs[blob].event == i);
      FUZZ_CHECK(e.bytes == c->blob_bytes + ended && e.n == at - ended);
      ended = at;
      blob++;
    }
  }
  FUZZ_CHECK(acq_end(&received) == 0 && blob == c->n_blobs);
  FUZZ_CHECK(c->end == CAPTURE_CUT || (ended == at && at == n_blobs));
}

/* What stands in the two files, parsed; a capture and what it refers to. */
static int parse_files(int fd, int blobs, struct acq_capture *ret, char **ret_text, uint8_t **ret_blobs) {
  off_t size = lseek(fd, 0, SEEK_END), n_blobs = lseek(blobs, 0, SEEK_END);
  *ret_text = malloc((size_t)size + 1);
  *ret_blobs = malloc((size_t)n_blobs + 1);
  FUZZ_CHECK(*ret_text && *ret_blobs && pread(fd, *ret_text, (size_t)size, 0) == size);
  FUZZ_CHECK(pread(blobs, *ret_blobs, (size_t)n_blobs, 0) == n_blobs);
  return capture_parse_with(*ret_text, (size_t)size, *ret_blobs, (size_t)n_blobs, ret, NULL);
}

/* A conversation that was cut, mended as after a crash: all that there is has its name. */
static void check_mended(const char *text, size_t n, const uint8_t *blob_bytes, size_t n_blobs,
                         const struct acq_capture *c) {
  int fd = memfd_create("capture", MFD_CLOEXEC), blobs = memfd_create("blobs", MFD_CLOEXEC);
  struct acq_capture again;
  char *again_text;
  uint8_t *again_blobs;
  FUZZ_CHECK(fd >= 0 && blobs >= 0 && write(fd, text, n) == (ssize_t)n);
  FUZZ_CHECK(write(blobs, blob_bytes, n_blobs) == (ssize_t)n_blobs);
  FUZZ_CHECK(capture_mend(fd, blobs) == 0);
  FUZZ_CHECK(parse_files(fd, blobs, &again, &again_text, &again_blobs) == 0);
  FUZZ_CHECK(again.end == (c->end == CAPTURE_CUT ? CAPTURE_CRASH : c->end));
  FUZZ_CHECK(again.n_received == c->n_received);
  capture_finish(&again);
  free(again_text);
  free(again_blobs);
  close(fd);
  close(blobs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct acq_capture capture, again;
  unsigned line = 0;
  const uint8_t *nul = n ? memchr(data, 0, n) : NULL;
  const size_t n_text = nul ? (size_t)(nul - data) : n, n_blobs = nul ? n - n_text - 1 : 0;
  const uint8_t *blob_bytes = nul ? nul + 1 : data + n;
  int err = capture_parse_with((const char *)data, n_text, blob_bytes, n_blobs, &capture, &line);
  if (err < 0) {
    FUZZ_CHECK(err == -EPROTO || err == -EFBIG || err == -EBADMSG);
    return 0;
  }
  check_events(&capture, n_blobs);
  check_mended((const char *)data, n_text, blob_bytes, n_blobs, &capture);
  int fd = memfd_create("capture", MFD_CLOEXEC), blobs = memfd_create("blobs", MFD_CLOEXEC);
  FUZZ_CHECK(fd >= 0 && blobs >= 0);
  if (write_again(&capture, fd, blobs)) {
    char *text;
    uint8_t *bytes;
    FUZZ_CHECK(parse_files(fd, blobs, &again, &text, &bytes) == 0);
    check_same(&capture, &again);
    capture_finish(&again);
    free(text);
    free(bytes);
  }
  close(fd);
  close(blobs);
  capture_finish(&capture);
  return 0;
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const char *const built_in[] = {
      "asaleed-capture 1\ndriver a_b 1\nbus usb\norder 10 spirometry pre\nstart 2026-03-29T01:59:59.123456+01:00\n"
      "! 0 identity\n! 0 make A\n! 0 model B\n! 1 serial \n! 1 sensor S\n! 1 firmware 1.0\n! 2 acquire\n> 3 00ff\n< 4 "
      "fc00fd\n"
      "! 5 timeout\n! 6 fail no answer\nend error\n",
      "asaleed-capture 1\ndriver a 1\nbus file\norder 0\nstart 1970-01-01T00:00:00Z\nend cancel\n",
      "asaleed-capture 1\ndriver a 1\nbus usb\norder 600 fundus 4\nstart 2026-03-29T01:59:59.123456+01:00\n! 0 "
      "acquire\n> 1 43\n< 2 6861627878\n@ 2 2 2 1\n# 2 2 "
      "3ff1726cd4437f1f30e268f95c9e56d7d77ddbaa40ef94d7fb376882e9c32ada\n^ 3 45\n< 4 6163\n@ 4 1 1\n@ 5 2 0\n! 6 "
      "timeout\n~ 6 3 08a018a9549220d707e11c5c4fe94d8dd60825f010e71efaa91e5e784f364d7b\n! 7 finish\nend ok\n",
  };
  static const char blobs[] = "bxcde";
  if (!file && (i == BLOBS_SEED || i == BLOBS_SEED + 1)) { /* whole, and cut after its first blob */
    const char *cut = strstr(built_in[BLOBS_SEED], i == BLOBS_SEED ? "end ok" : "< 4");
    buf_add(ret, built_in[BLOBS_SEED], (size_t)(cut - built_in[BLOBS_SEED]) + (i == BLOBS_SEED ? 7 : 0));
    return buf_u8(ret, 0) == 0 && buf_text(ret, blobs) == 0;
  }
  if (!file && i < sizeof built_in / sizeof *built_in)
    return buf_text(ret, built_in[i]) == 0;
  return file && i == 0 && buf_add(ret, file, n) == 0;
}
