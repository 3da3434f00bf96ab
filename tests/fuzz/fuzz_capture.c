/* The capture reader: what it accepts can be written again and read back the same. */
#include "fuzz.h"

#include "capture.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOTE_MAX 400 /* a longer one is cut when written */

static bool write_again(const struct acq_capture *c, int fd) {
  struct capture_writer w;
  struct acq_event e;
  capture_writer_init(&w, fd, CAPTURE_TEXT_MAX);
  capture_write_header(&w, &c->header);
  for (size_t i = 0; acq_capture_event(c, i, &e); i++)
    if (e.kind != ACQ_NOTE)
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
  FUZZ_CHECK(a->end == b->end && a->n_events == b->n_events && a->n_received == b->n_received);
  for (size_t i = 0; i < a->n_events; i++) {
    struct acq_event x, y;
    FUZZ_CHECK(acq_capture_event(a, i, &x) && acq_capture_event(b, i, &y));
    FUZZ_CHECK(x.kind == y.kind && x.ms == y.ms && x.n == y.n && (!x.n || !memcmp(x.bytes, y.bytes, x.n)));
  }
}

static void check_events(const struct acq_capture *c) {
  struct acq_cur received = acq_capture_received(c);
  struct acq_event e;
  uint32_t ms = 0;
  for (size_t i = 0; acq_capture_event(c, i, &e); i++) {
    FUZZ_CHECK(e.ms >= ms && (e.kind == ACQ_RECEIVED || e.kind == ACQ_SENT || e.kind == ACQ_NOTE));
    ms = e.ms;
    if (e.kind != ACQ_RECEIVED)
      continue;
    const uint8_t *p = acq_bytes(&received, e.n);
    FUZZ_CHECK(p && !memcmp(p, e.bytes, e.n));
  }
  FUZZ_CHECK(acq_end(&received) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct acq_capture capture, again;
  unsigned line = 0;
  int err = capture_parse((const char *)data, n, &capture, &line);
  if (err < 0) {
    FUZZ_CHECK(err == -EPROTO || err == -EFBIG);
    return 0;
  }
  check_events(&capture);
  int fd = memfd_create("capture", MFD_CLOEXEC);
  FUZZ_CHECK(fd >= 0);
  if (write_again(&capture, fd)) {
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = size > 0 ? malloc((size_t)size) : NULL;
    FUZZ_CHECK(text && pread(fd, text, (size_t)size, 0) == size);
    FUZZ_CHECK(capture_parse(text, (size_t)size, &again, &line) == 0);
    check_same(&capture, &again);
    capture_finish(&again);
    free(text);
  }
  close(fd);
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
  };
  if (!file && i < sizeof built_in / sizeof *built_in)
    return buf_text(ret, built_in[i]) == 0;
  return file && i == 0 && buf_add(ret, file, n) == 0;
}
