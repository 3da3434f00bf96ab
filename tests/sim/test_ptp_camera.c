/*
 * The simulated PTP camera against a host of its own, byte for byte as the protocol's text has it; every fault does
 * what it says; the recorded camera answers with the recorded bytes.
 */
#include "engine_usb.h"
#include "hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <jpeglib.h>
#include <unistd.h>

#define IN 0x81
#define INTERRUPT 0x83
#define PACKET 512u
#define DAY_US (86400 * (int64_t)1000000)
#define LOCAL_US (20577 * DAY_US + 37800 * (int64_t)1000000) /* 2026-05-04T10:30:00 */
#define READ_MAX (32u << 20)

extern const struct sim_engine sim_ptp;
extern const struct sim_usb sim_ptp_usb;

/* ---- the host ---- */

struct host {
  void *camera;
  uint64_t now;
  uint32_t next;
  /* of the last transaction */
  uint8_t *data;      /* container with header, READ_MAX bytes of room */
  size_t n;           /* in it */
  unsigned transfers; /* of the data phase */
  bool empty;         /* the last one was an empty packet */
  uint8_t response[64];
  size_t response_n;
  bool stalled;
};

static uint32_t get(const uint8_t *p, unsigned n) {
  uint32_t v = 0;
  for (unsigned i = n; i-- > 0;)
    v = v << 8 | p[i];
  return v;
}

static void start(struct host *h, const char *options) {
  char why[256] = "";
  struct sim_usb_descriptors d;
  memset(h, 0, sizeof *h);
  h->now = 1000;
  h->data = malloc(READ_MAX);
  h->camera = sim_ptp.create(options, LOCAL_US - 1000, why);
  if (!h->camera || !h->data)
    fail_msg("%s: %s", options, why);
  sim_ptp_usb.describe(h->camera, "PC-7", &d);
}

static void end(struct host *h) {
  sim_ptp.destroy(h->camera);
  free(h->data);
}

/* One transfer: as usbfs, until a packet is short or the room is used up. -1: nothing comes, -2: it stalls. */
static ssize_t read_transfer(struct host *h, uint8_t endpoint, uint8_t *bytes, size_t room) {
  struct sim_usb_piece piece;
  unsigned packet = endpoint == IN ? PACKET : 64;
  size_t n = 0;
  while (n < room) {
    if (!sim_ptp_usb.say(h->camera, h->now, endpoint, (room - n + packet - 1) / packet * packet, &piece))
      return n ? (ssize_t)n : -1;
    if (piece.stall)
      return -2;
    assert_true(piece.n <= room - n);
    if (piece.n)
      memcpy(bytes + n, piece.bytes, piece.n);
    n += piece.n;
    if (piece.n % packet || piece.n == 0)
      break;
  }
  return (ssize_t)n;
}

static void write_command(struct host *h, uint16_t operation, uint32_t transaction, unsigned n, const uint32_t *p) {
  uint8_t k[32] = {(uint8_t)(12 + 4 * n), 0, 0, 0, 1, 0, (uint8_t)operation, (uint8_t)(operation >> 8)};
  memcpy(k + 8, &transaction, 4);
  if (n)
    memcpy(k + 12, p, 4 * n);
  sim_ptp.receive(h->camera, h->now, k, 12 + 4 * n);
}

/* Reads data, if any, and the response; its code, or 0 when there is none. */
static unsigned read_answer(struct host *h) {
  ssize_t r;
  h->n = h->transfers = 0;
  h->response_n = 0;
  h->stalled = h->empty = false;
  while ((r = read_transfer(h, IN, h->data + h->n, READ_MAX - h->n)) >= 0) {
    const uint8_t *at = h->data + h->n;
    if (r >= 12 && r <= 32 && get(at, 4) == (size_t)r && get(at + 4, 2) == 3) {
      memcpy(h->response, at, (size_t)r);
      h->response_n = (size_t)r;
      return get(at + 6, 2);
    }
    h->n += (size_t)r;
    h->transfers++;
    h->empty = r == 0;
  }
  h->stalled = r == -2;
  return 0;
}

static unsigned ask_n(struct host *h, uint16_t operation, uint32_t transaction, unsigned n, const uint32_t *p) {
  write_command(h, operation, transaction, n, p);
  return read_answer(h);
}

#define P(...)                                                      \
  sizeof((const uint32_t[]){__VA_ARGS__}) / 4, (const uint32_t[]) { \
    __VA_ARGS__                                                     \
  }
#define ask(h, operation, ...) ask_n(h, operation, (h)->next++, P(__VA_ARGS__))
#define ask0(h, operation) ask_n(h, operation, (h)->next++, 0, NULL)

static void open_session(struct host *h) {
  h->next = 0;
  assert_int_equal(ask(h, 0x1002, 1), 0x2001);
}

static void order(struct host *h, const char *command, char answer[static 256]) {
  if (sim_ptp.command(h->camera, h->now, command, answer) < 0)
    fail_msg("%s: %s", command, answer);
}

static void fault(struct host *h, const char *text) {
  assert_int_equal(sim_ptp.fault(h->camera, text), 0);
}

static uint32_t handle_of(const char *answer) {
  const char *at = strstr(answer, "handle=");
  assert_non_null(at);
  return (uint32_t)strtoul(at + 7, NULL, 16);
}

static uint32_t shoot(struct host *h, const char *words) {
  char answer[256], text[300];
  snprintf(text, sizeof text, "shoot %s", words);
  order(h, text, answer);
  return handle_of(answer);
}

static unsigned stat(struct host *h, const char *name) {
  char text[512], key[32];
  sim_ptp.stats(h->camera, text, sizeof text);
  snprintf(key, sizeof key, "%s=", name);
  const char *at = strstr(text, key);
  assert_non_null(at);
  return (unsigned)strtoul(at + strlen(key), NULL, 10);
}

/* The next event: its code, 0 for none. */
static unsigned event(struct host *h, uint32_t *parameter) {
  uint8_t e[64];
  ssize_t n = read_transfer(h, INTERRUPT, e, sizeof e);
  if (n < 0)
    return 0;
  assert_true(n >= 12 && get(e, 4) == (size_t)n && get(e + 4, 2) == 4);
  *parameter = n > 12 ? get(e + 12, 4) : 0;
  return get(e + 6, 2);
}

static void assert_sha(struct host *h, const char *answer) {
  char hash[HASH_TEXT];
  const char *sha = strstr(answer, "sha=");
  hash_sha256_text(h->data + 12, h->n - 12, hash);
  assert_non_null(sha);
  assert_memory_equal(sha + 4, hash, 64);
}

/* ---- descriptors and session ---- */

static void test_descriptors(void **state) {
  static const uint8_t whole[] = {9,    2, 39, 0, 1, 1, 0, 0xC0, 1, 9, 4, 0, 0, 3, 6,    1, 1,  0, 7, 5,
                                  0x81, 2, 0,  2, 0, 7, 5, 2,    2, 0, 2, 0, 7, 5, 0x83, 3, 64, 0, 9};
  struct sim_usb_descriptors d;
  struct host h;
  (void)state;
  start(&h, "");
  sim_ptp_usb.describe(h.camera, "PC-7", &d);
  assert_memory_equal(d.configuration, whole, sizeof whole);
  assert_memory_equal(d.device + 8, "\x09\x12\x03\x00", 4);
  end(&h);
  start(&h, "interrupt=no,ids=04A9:31c0");
  sim_ptp_usb.describe(h.camera, "PC-7", &d);
  assert_int_equal(d.configuration[2], 32);
  assert_int_equal(d.configuration[13], 2);
  assert_memory_equal(d.device + 8, "\xA9\x04\xC0\x31", 4);
  end(&h);
}

static void test_session(void **state) {
  static const uint8_t ok[] = {12, 0, 0, 0, 3, 0, 1, 0x20, 0, 0, 0, 0};
  struct host h;
  (void)state;
  start(&h, "stored=0");
  assert_int_equal(ask_n(&h, 0x1004, 5, 0, NULL), 0x2003);
  assert_int_equal(ask_n(&h, 0x1001, 0, 0, NULL), 0x2001);
  assert_int_equal(ask_n(&h, 0x1001, 3, 0, NULL), 0x2004);
  assert_int_equal(ask_n(&h, 0x1002, 1, P(1)), 0x2004);
  assert_int_equal(ask_n(&h, 0x1002, 0, P(0)), 0x201D);
  assert_int_equal(ask_n(&h, 0x1002, 0, P(7)), 0x2001);
  assert_memory_equal(h.response, ok, sizeof ok);
  assert_int_equal(ask_n(&h, 0x1002, 0, P(1)), 0x201E);
  assert_int_equal(get(h.response + 12, 4), 7);
  assert_int_equal(ask_n(&h, 0x1004, 2, 0, NULL), 0x2004);
  assert_int_equal(ask_n(&h, 0x1004, 1, 0, NULL), 0x2001);
  assert_int_equal(h.n, 20);
  assert_memory_equal(h.data, "\x14\0\0\0\2\0\4\x10\1\0\0\0\1\0\0\0\1\0\1\0", 20);
  assert_int_equal(ask_n(&h, 0x9999, 2, 0, NULL), 0x2005);
  assert_int_equal(ask_n(&h, 0x1005, 3, P(0x20001)), 0x2008);
  assert_int_equal(ask_n(&h, 0x1008, 4, P(0x999)), 0x2009);
  assert_int_equal(ask_n(&h, 0x1008, 5, 0, NULL), 0x201D);
  assert_int_equal(ask_n(&h, 0x1009, 6, P(1, 2, 3)), 0x2006);
  assert_int_equal(ask_n(&h, 0x9116, 7, 0, NULL), 0x2005); /* no EOS body */
  assert_int_equal(ask_n(&h, 0x1003, 77, 0, NULL), 0x2001);
  assert_int_equal(ask_n(&h, 0x1003, 78, 0, NULL), 0x2003);
  assert_int_equal(stat(&h, "sessions"), 1);
  /* What is no command is not heard. */
  sim_ptp.receive(h.camera, h.now, (const uint8_t *)"\x0C\0\0\0\1\0", 6);
  sim_ptp.receive(h.camera, h.now, (const uint8_t *)"\x0D\0\0\0\1\0\1\x10\0\0\0\0", 12);
  sim_ptp.receive(h.camera, h.now, (const uint8_t *)"\x0C\0\0\0\2\0\1\x10\0\0\0\0", 12);
  assert_int_equal(read_answer(&h), 0);
  assert_int_equal(stat(&h, "bad"), 3);
  end(&h);
}

static void test_device_info(void **state) {
  struct host h;
  (void)state;
  start(&h, "");
  assert_int_equal(ask_n(&h, 0x1001, 0, 0, NULL), 0x2001);
  assert_int_equal(get(h.data, 4), h.n);
  /* version, extension, its version, "", mode, 14 operations */
  assert_memory_equal(h.data + 12, "\x64\0\0\0\0\0\0\0\0\0\0\x0E\0\0\0\1\x10\2\x10\3\x10\4\x10\5\x10\6\x10\7\x10", 29);
  /* the serial number: a count, UTF-16, its end */
  assert_memory_equal(h.data + h.n - 11, "\5P\0C\0-\0007\0\0\0", 11);
  end(&h);
  start(&h, "eos=yes");
  assert_int_equal(ask_n(&h, 0x1001, 0, 0, NULL), 0x2001);
  assert_memory_equal(h.data + 12, "\x64\0\x0B\0\0\0\x64\0", 8);
  assert_non_null(memmem(h.data, h.n, "\x14\x91\x15\x91\x16\x91\x17\x91", 8));
  end(&h);
}

/* ---- objects ---- */

static void test_tree(void **state) {
  struct host h;
  (void)state;
  start(&h, "stored=6,storages=2");
  open_session(&h);
  assert_int_equal(ask0(&h, 0x1004), 0x2001);
  assert_memory_equal(h.data + 12, "\2\0\0\0\1\0\1\0\1\0\2\0", 12);
  assert_int_equal(ask(&h, 0x1005, 0x10001), 0x2001);
  assert_memory_equal(h.data + 12, "\4\0\3\0\0\0\0\0\0\0\x08\0\0\0", 14);
  /* all objects of both; the tops; the children of a folder; pictures only */
  assert_int_equal(ask(&h, 0x1007, 0xFFFFFFFF, 0, 0), 0x2001);
  assert_int_equal(get(h.data + 12, 4), 10);
  assert_int_equal(ask(&h, 0x1007, 0x10001, 0, 0xFFFFFFFF), 0x2001);
  assert_memory_equal(h.data + 12, "\1\0\0\0\0\0\x08\0", 8);
  assert_int_equal(ask(&h, 0x1007, 0x20001, 0, 0xFFFFFFFF), 0x2001);
  uint32_t dcim = get(h.data + 16, 4);
  assert_int_equal(ask(&h, 0x1007, 0x20001, 0, dcim), 0x2001);
  uint32_t folder = get(h.data + 16, 4);
  assert_int_equal(ask(&h, 0x1007, 0xFFFFFFFF, 0x3801, folder), 0x2001);
  assert_int_equal(get(h.data + 12, 4), 3);
  uint32_t picture = get(h.data + 16, 4);
  assert_int_equal(ask(&h, 0x1006, 0x10001, 0x3801), 0x2001);
  assert_int_equal(get(h.response + 12, 4), 3);
  assert_int_equal(ask(&h, 0x1006, 0xFFFFFFFF, 0xFFFFFFFF), 0x2001);
  assert_int_equal(get(h.response + 12, 4), 6);
  assert_int_equal(ask(&h, 0x1007, 0x30001, 0, 0), 0x2008);
  assert_int_equal(ask(&h, 0x1007, 0x10001, 0, 0x777), 0x2009);
  assert_int_equal(ask(&h, 0x1007, 0x10001, 0, picture), 0x201A);
  assert_int_equal(ask(&h, 0x1008, dcim), 0x2001);
  assert_memory_equal(h.data + 12, "\1\0\2\0\1\x30\0\0\0\0\0\0", 12);
  assert_memory_equal(h.data + 12 + 42, "\1\0\0\0\0\0\0\0\0\0\5D\0C\0I\0M\0\0\0", 21);
  assert_int_equal(ask(&h, 0x1009, dcim), 0x2009);
  assert_int_equal(ask(&h, 0x100A, dcim), 0x2010);
  end(&h);
}

static void put_utf16(uint8_t *at, const char *text) {
  for (; *text; text++, at += 2) {
    at[0] = (uint8_t)*text;
    at[1] = 0;
  }
}

static void test_picture(void **state) {
  struct host h;
  char answer[256];
  uint8_t name[2 * 13] = {0}, date[2 * 16] = {0};
  (void)state;
  start(&h, "stored=2,slow=90");
  open_session(&h);
  order(&h, "shoot 600 400 left disc", answer);
  uint32_t handle = handle_of(answer), e;
  assert_non_null(strstr(answer, "name=IMG_0003.JPG"));
  assert_int_equal(event(&h, &e), 0x4002);
  assert_int_equal(e, handle);
  assert_int_equal(event(&h, &e), 0x400D);
  assert_int_equal(event(&h, &e), 0);
  assert_int_equal(ask(&h, 0x1008, handle), 0x2001);
  const uint8_t *info = h.data + 12;
  assert_memory_equal(info, "\1\0\1\0\1\x38\0\0", 8);
  uint32_t size = get(info + 8, 4), thumb = get(info + 14, 4);
  assert_int_equal(get(info + 12, 2), 0x3808);
  assert_int_equal(get(info + 26, 4), 600);
  assert_int_equal(get(info + 30, 4), 400);
  assert_int_equal(get(info + 34, 4), 24);
  put_utf16(name, "IMG_0003.JPG");
  put_utf16(date, "20260504T102830"); /* by its slow clock */
  assert_int_equal(info[52], 13);
  assert_memory_equal(info + 53, name, sizeof name);
  assert_int_equal(info[79], 16);
  assert_memory_equal(info + 80, date, sizeof date);
  assert_int_equal(h.n, 12 + 80 + 32 + 33 + 1);

  assert_int_equal(ask(&h, 0x1009, handle), 0x2001);
  assert_int_equal(h.n, size + 12);
  assert_int_equal(get(h.data, 4), h.n);
  assert_memory_equal(h.data + 4, "\2\0\x09\x10", 4);
  assert_sha(&h, answer);
  assert_non_null(memmem(h.data, h.n, "2026:05:04 10:28:30", 20));
  uint8_t *whole = malloc(size);
  memcpy(whole, h.data + 12, size);
  /* in parts: the last one as long as what is left */
  for (uint32_t at = 0; at < size; at += 5000) {
    assert_int_equal(ask(&h, 0x101B, handle, at, 5000), 0x2001);
    uint32_t part = size - at < 5000 ? size - at : 5000;
    assert_int_equal(h.n, part + 12);
    assert_int_equal(get(h.response + 12, 4), part);
    assert_memory_equal(h.data + 12, whole + at, part);
  }
  assert_int_equal(ask(&h, 0x101B, handle, size + 1, 1), 0x201D);
  assert_int_equal(ask(&h, 0x100A, handle), 0x2001);
  assert_int_equal(h.n, thumb + 12);
  assert_non_null(memmem(whole, size, h.data + 12, thumb));
  free(whole);
  char again[256];
  order(&h, "sha 1", again);
  assert_string_equal(again, answer);
  assert_int_equal(stat(&h, "deletes"), 0);
  assert_int_equal(ask(&h, 0x100B, handle), 0x2001);
  assert_int_equal(stat(&h, "deletes"), 1);
  assert_int_equal(ask(&h, 0x1008, handle), 0x2009);
  end(&h);
}

static void test_properties(void **state) {
  struct host h;
  uint8_t date[30] = {0};
  (void)state;
  start(&h, "");
  open_session(&h);
  put_utf16(date, "20260504T103000");
  assert_int_equal(ask(&h, 0x1015, 0x5011), 0x2001);
  assert_int_equal(h.data[12], 16);
  assert_memory_equal(h.data + 13, date, sizeof date);
  assert_int_equal(ask(&h, 0x1014, 0x5011), 0x2001);
  assert_memory_equal(h.data + 12, "\x11\x50\xFF\xFF\0\x10", 6);
  assert_int_equal(ask(&h, 0x1014, 0x5001), 0x2001);
  assert_memory_equal(h.data + 12, "\1\x50\2\0\0\x64\x5A\1\0\x64\1", 11);
  assert_int_equal(ask(&h, 0x1015, 0x5001), 0x2001);
  assert_int_equal(h.n, 13);
  assert_int_equal(ask(&h, 0x1015, 0x5005), 0x200A);
  end(&h);
}

/* ---- pictures ---- */

struct image {
  unsigned width, height;
  uint8_t *rgb; /* at an eighth */
};

static void decode(const uint8_t *bytes, size_t n, struct image *ret) {
  struct jpeg_decompress_struct d;
  struct jpeg_error_mgr errors;
  d.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&d);
  jpeg_mem_src(&d, bytes, n);
  assert_int_equal(jpeg_read_header(&d, TRUE), JPEG_HEADER_OK);
  d.scale_denom = 8;
  jpeg_start_decompress(&d);
  *ret = (struct image){.width = d.output_width, .height = d.output_height};
  ret->rgb = malloc((size_t)3 * ret->width * ret->height);
  while (d.output_scanline < d.output_height) {
    uint8_t *row = ret->rgb + (size_t)3 * d.output_scanline * ret->width;
    jpeg_read_scanlines(&d, &row, 1);
  }
  assert_int_equal(errors.num_warnings, 0);
  jpeg_destroy_decompress(&d);
}

/* The mean of green over a small square about (x, y), in radii of the field from its centre. */
static unsigned green(const struct image *i, double x, double y) {
  double r = 0.49 * i->height;
  int cx = (int)(i->width / 2.0 + x * r), cy = (int)(i->height / 2.0 + y * r), reach = (int)(r / 40);
  unsigned sum = 0, n = 0;
  for (int v = cy - reach; v <= cy + reach; v++)
    for (int u = cx - reach; u <= cx + reach; u++, n++)
      sum += i->rgb[3 * ((size_t)v * i->width + (size_t)u) + 1];
  return sum / n;
}

static double contrast(const struct image *i) {
  double sum = 0;
  for (size_t k = 1; k < (size_t)i->width * i->height; k++) {
    double step = (double)i->rgb[3 * k + 1] - i->rgb[3 * k - 2];
    sum += step * step;
  }
  return sum / i->width / i->height;
}

static void take(struct host *h, const char *words, struct image *ret) {
  uint32_t handle = shoot(h, words);
  assert_int_equal(ask(h, 0x1009, handle), 0x2001);
  decode(h->data + 12, h->n - 12, ret);
}

static void test_fundus(void **state) {
  static const struct {
    const char *words;
    double disc, macula;
  } views[] = {{"right macula", 0.69, 0}, {"right disc", 0, -0.69}, {"left macula", -0.69, 0}, {"left disc", 0, 0.69}};
  struct host h;
  struct image i, other;
  (void)state;
  start(&h, "stored=0,size=1504x1000");
  open_session(&h);
  for (size_t v = 0; v < 4; v++) {
    take(&h, views[v].words, &i);
    double up = strstr(views[v].words, "disc") ? 0 : -0.06;
    assert_true(green(&i, views[v].disc, up) > 140);
    assert_true(green(&i, views[v].macula, up + 0.06) < 70);
    assert_true(green(&i, -1.3, 0) < 12 && green(&i, 1.3, -0.9) < 12);
    assert_true(green(&i, 0.3 * (views[v].disc > 0 ? -1 : 1), 0.3) > 60);
    free(i.rgb);
  }
  take(&h, "right macula", &i);
  take(&h, "right macula dark", &other);
  assert_true(3 * green(&other, -0.3, 0.3) < green(&i, -0.3, 0.3));
  free(other.rgb);
  take(&h, "right macula bright", &other);
  assert_true(green(&other, -0.3, 0.3) > 170);
  free(other.rgb);
  take(&h, "right macula blurred", &other);
  assert_true(3 * contrast(&other) < contrast(&i));
  free(other.rgb);
  take(&h, "right macula progressive", &other);
  assert_non_null(memmem(h.data, h.n, "\xFF\xC2\0\x11", 4));
  assert_int_equal(other.width, i.width);
  free(other.rgb);
  free(i.rgb);
  take(&h, "17 333", &i);
  assert_int_equal(i.width, 3);
  free(i.rgb);
  end(&h);
}

/* Same seed, same bytes; and as many pixels as anybody has. */
static void test_large(void **state) {
  struct host h;
  char first[256], second[256];
  (void)state;
  for (unsigned round = 0; round < 2; round++) {
    start(&h, "stored=1,size=6000x4000,seed=9");
    order(&h, "shoot", round ? second : first);
    open_session(&h);
    assert_int_equal(ask(&h, 0x1009, handle_of(first)), 0x2001);
    assert_true(h.n > 8000000 && h.n < 13000000);
    end(&h);
  }
  assert_string_equal(first, second);
  start(&h, "stored=1,size=600x400,seed=10");
  order(&h, "shoot", first);
  order(&h, "shoot", second);
  assert_string_not_equal(strstr(first, "sha="), strstr(second, "sha="));
  char answer[256];
  assert_int_equal(sim_ptp.command(h.camera, h.now, "shoot 6001 4000", answer), -EINVAL);
  assert_int_equal(sim_ptp.command(h.camera, h.now, "shoot 600", answer), -EINVAL);
  assert_int_equal(sim_ptp.command(h.camera, h.now, "shoot card2", answer), -EINVAL);
  assert_int_equal(sim_ptp.command(h.camera, h.now, "shoot sideways", answer), -EINVAL);
  assert_int_equal(sim_ptp.command(h.camera, h.now, "shoot file /nowhere", answer), -EINVAL);
  end(&h);
}

static void test_files(void **state) {
  struct host h;
  char path[] = "/tmp/ptp \xC5\x93uf.XXXXXX", command[64], answer[256];
  uint32_t e;
  (void)state;
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, "\x89PNG\r\n\x1A\nrest", 12), 12);
  close(fd);
  start(&h, "stored=0,size=600x400");
  open_session(&h);
  snprintf(command, sizeof command, "shoot file %s", path);
  order(&h, command, answer);
  unlink(path);
  assert_int_equal(ask(&h, 0x1008, handle_of(answer)), 0x2001);
  assert_int_equal(get(h.data + 16, 2), 0x380B);
  assert_memory_equal(h.data + 12 + 53, "p\0t\0p\0 \0\x53\1u\0f\0.\0", 16);
  assert_int_equal(ask(&h, 0x1009, handle_of(answer)), 0x2001);
  assert_int_equal(h.n, 24);
  assert_sha(&h, answer);
  assert_int_equal(ask(&h, 0x100A, handle_of(answer)), 0x2010);
  order(&h, "shoot raw+jpeg", answer);
  uint32_t jpeg = handle_of(answer);
  const unsigned codes[] = {0x4002, 0x400D, 0x4002, 0x4002, 0x400D};
  for (size_t i = 0; i < 5; i++)
    assert_int_equal(event(&h, &e), codes[i]);
  assert_int_equal(ask(&h, 0x1008, jpeg + 1), 0x2001);
  assert_int_equal(get(h.data + 16, 2), 0x3000);
  assert_int_equal(ask(&h, 0x1009, jpeg + 1), 0x2001);
  char hash[HASH_TEXT];
  hash_sha256_text(h.data + 12, h.n - 12, hash);
  assert_non_null(strstr(answer, hash));
  order(&h, "sha 2", answer);
  assert_int_equal(handle_of(answer), jpeg);
  end(&h);
}

static void test_auto(void **state) {
  struct host h;
  uint32_t e;
  (void)state;
  start(&h, "stored=0,size=64x64,auto=1000,shots=3");
  assert_true(sim_ptp.next_us(h.camera) == UINT64_MAX);
  open_session(&h);
  uint64_t due = sim_ptp.next_us(h.camera);
  assert_in_range(due - h.now, 1000000, 1000100);
  h.now = due - 1;
  assert_int_equal(event(&h, &e), 0);
  h.now = due;
  assert_int_equal(event(&h, &e), 0x4002);
  h.now += 5000000;
  assert_int_equal(event(&h, &e), 0x400D);
  assert_int_equal(stat(&h, "shots"), 3);
  assert_true(sim_ptp.next_us(h.camera) == UINT64_MAX);
  end(&h);
}

/* ---- class requests ---- */

static int request(struct host *h, uint8_t type, uint8_t code, const void *data, size_t n, uint8_t answer[64]) {
  const uint8_t setup[8] = {type, code, 0, 0, 0, 0, (uint8_t)n, 0};
  return sim_ptp_usb.control(h->camera, h->now, setup, data, n, answer, 64);
}

static unsigned status(struct host *h) {
  uint8_t s[64];
  int n = request(h, 0xA1, 0x67, NULL, 0, s);
  assert_true(n >= 4 && get(s, 2) == (unsigned)n);
  return get(s + 2, 2);
}

static void test_requests(void **state) {
  struct host h;
  uint8_t s[64], some[1024], id[6] = {1, 0x40};
  (void)state;
  start(&h, "stored=0,size=600x400");
  open_session(&h);
  assert_int_equal(request(&h, 0xA1, 0x65, NULL, 0, s), -EPIPE);
  uint32_t handle = shoot(&h, "");
  assert_int_equal(request(&h, 0xA1, 0x65, NULL, 0, s), 14);
  assert_memory_equal(s, "\x0D\x40\xFF\xFF\xFF\xFF\1\0\4\0", 10);
  write_command(&h, 0x1009, h.next++, P(handle));
  assert_int_equal(read_transfer(&h, IN, some, sizeof some), sizeof some);
  assert_int_equal(status(&h), 0x2001);
  assert_int_equal(request(&h, 0x21, 0x64, id, 5, s), -EPIPE);
  id[2] = 9; /* another one's: no effect */
  assert_int_equal(request(&h, 0x21, 0x64, id, 6, s), 0);
  assert_int_equal(read_transfer(&h, IN, some, sizeof some), sizeof some);
  id[2] = (uint8_t)(h.next - 1);
  assert_int_equal(request(&h, 0x21, 0x64, id, 6, s), 0);
  assert_int_equal(status(&h), 0x2019);
  assert_int_equal(read_answer(&h), 0);
  assert_int_equal(ask(&h, 0x1008, handle), 0x2019);
  h.now += 20000;
  assert_int_equal(status(&h), 0x2001);
  assert_int_equal(ask(&h, 0x1008, handle), 0x2001);
  assert_int_equal(stat(&h, "cancels"), 2);
  assert_int_equal(request(&h, 0x21, 0x66, NULL, 0, s), 0);
  assert_int_equal(ask(&h, 0x1008, handle), 0x2003);
  assert_int_equal(request(&h, 0x21, 0x77, NULL, 0, s), -EPIPE);
  open_session(&h);
  sim_ptp.power_on(h.camera, h.now);
  assert_int_equal(ask(&h, 0x1008, handle), 0x2003);
  end(&h);
}

/* Commands that were written before the answer to the first was read wait their turn. */
static void test_queue(void **state) {
  struct host h;
  (void)state;
  start(&h, "");
  open_session(&h);
  write_command(&h, 0x1004, 1, 0, NULL);
  write_command(&h, 0x1005, 2, P(0x10001));
  assert_int_equal(read_answer(&h), 0x2001);
  assert_int_equal(h.n, 20);
  assert_int_equal(read_answer(&h), 0x2001);
  assert_int_equal(get(h.response + 8, 4), 2);
  end(&h);
}

/* ---- EOS ---- */

static void test_eos(void **state) {
  struct host h;
  char answer[256];
  uint32_t e;
  (void)state;
  start(&h, "eos=yes,stored=2,size=600x400");
  open_session(&h);
  shoot(&h, ""); /* nobody listens yet */
  assert_int_equal(ask(&h, 0x9114, 1), 0x2001);
  assert_int_equal(ask(&h, 0x9115, 1), 0x2001);
  assert_int_equal(ask(&h, 0x911A, 0x7FFFFFFF, 0x1000, 1), 0x2001);
  assert_int_equal(ask0(&h, 0x911D), 0x2001);
  assert_int_equal(ask0(&h, 0x9116), 0x2001);
  assert_int_equal(h.n, 20);
  assert_memory_equal(h.data + 12, "\x08\0\0\0\0\0\0\0", 8);
  order(&h, "shoot left disc", answer);
  uint32_t handle = handle_of(answer);
  assert_int_equal(event(&h, &e), 0);
  assert_int_equal(ask0(&h, 0x9116), 0x2001);
  const uint8_t *r = h.data + 12;
  assert_int_equal(get(r, 4), 0x38);
  assert_int_equal(get(r + 4, 4), 0xC181);
  assert_int_equal(get(r + 8, 4), handle);
  assert_int_equal(get(r + 0x0C, 4), 0x10001);
  assert_int_equal(get(r + 0x10, 4), 0x3801);
  uint32_t size = get(r + 0x1C, 4);
  assert_int_equal(get(r + 0x20, 4), 0x01900000);
  assert_string_equal((const char *)r + 0x28, "IMG_0004.JPG");
  assert_memory_equal(r + 0x38, "\x08\0\0\0\0\0\0\0", 8);
  assert_int_equal(ask(&h, 0x9104, handle), 0x2001);
  assert_int_equal(h.n, size + 12);
  assert_sha(&h, answer);
  assert_int_equal(ask(&h, 0x9107, handle, 0, 1000), 0x2001);
  assert_int_equal(h.n, 1012);
  assert_int_equal(ask(&h, 0x9107, handle, size - 10, 1000), 0x2001);
  assert_int_equal(h.n, 22);
  assert_int_equal(ask(&h, 0x9117, handle), 0x2001);
  assert_int_equal(ask(&h, 0x1008, handle), 0x2001); /* stays on the card */
  assert_int_equal(ask0(&h, 0x9101), 0x2001);
  assert_int_equal(h.n, 20);
  assert_int_equal(ask(&h, 0x9109, 0x10001, 0x01900000, 0x100000), 0x2001);
  assert_int_equal(get(h.data + 12, 4), 4);
  assert_int_equal(h.n, 16 + 4 * 0x38);
  assert_int_equal(get(h.response + 16, 4), 4 + 4 * 0x38);
  const uint8_t *entry = h.data + 16 + 3 * 0x38;
  assert_int_equal(get(entry, 4), 0x38);
  assert_int_equal(get(entry + 4, 4), handle);
  assert_int_equal(get(entry + 4 + 8, 2), 0x3801);
  assert_int_equal(get(entry + 4 + 20, 4), size);
  assert_string_equal((const char *)entry + 4 + 32, "IMG_0004.JPG");
  assert_int_equal(get(entry + 4 + 48, 4), (uint32_t)(LOCAL_US / 1000000));
  assert_int_equal(ask(&h, 0x9109, 0x10001, 0xFFFFFFFF, 0), 0x2001);
  assert_int_equal(get(h.data + 12, 4), 1);
  end(&h);

  start(&h, "eos=64,stored=0,size=64x64");
  open_session(&h);
  ask(&h, 0x9115, 1);
  handle = shoot(&h, "");
  assert_int_equal(ask0(&h, 0x9116), 0x2001);
  assert_int_equal(get(h.data + 16, 4), 0xC1A7);
  assert_int_equal(get(h.data + 12 + 0x20, 4), 0);
  assert_int_equal(get(h.data + 12 + 0x24, 4), 0x01900000);
  assert_string_equal((const char *)h.data + 12 + 0x2C, "IMG_0001.JPG");
  end(&h);

  start(&h, "eos=host,stored=0,size=64x64");
  open_session(&h);
  ask(&h, 0x9115, 1);
  handle = shoot(&h, "");
  assert_int_equal(ask0(&h, 0x9116), 0x2001);
  assert_int_equal(get(h.data + 16, 4), 0xC186);
  assert_int_equal(get(h.data + 20, 4), handle);
  assert_int_equal(get(h.data + 12 + 0x0C, 4), 0x3801);
  size = get(h.data + 12 + 0x14, 4);
  assert_string_equal((const char *)h.data + 12 + 0x1C, "IMG_0001.JPG");
  assert_int_equal(ask(&h, 0x1006, 0xFFFFFFFF, 0x3801), 0x2001);
  assert_int_equal(get(h.response + 12, 4), 0); /* on no card */
  assert_int_equal(ask(&h, 0x9107, handle, 0, 0xFFFFFFFF), 0x2001);
  assert_int_equal(h.n, size + 12);
  assert_int_equal(ask(&h, 0x9117, handle), 0x2001);
  assert_int_equal(ask(&h, 0x9104, handle), 0x2009);
  end(&h);
}

/* ---- faults ---- */

static void begin(struct host *h, uint32_t *handle, const char *text) {
  start(h, "stored=1,size=600x400");
  open_session(h);
  *handle = shoot(h, "");
  fault(h, text);
}

static void test_fault_answers(void **state) {
  struct host h;
  uint32_t p;
  (void)state;
  begin(&h, &p, "busy:2");
  assert_int_equal(ask0(&h, 0x1004), 0x2019);
  assert_int_equal(ask0(&h, 0x1004), 0x2019);
  assert_int_equal(ask0(&h, 0x1004), 0x2001);
  end(&h);
  begin(&h, &p, "vanish:1");
  assert_int_equal(ask(&h, 0x1008, p), 0x2001);
  assert_int_equal(ask(&h, 0x1009, p), 0x2009);
  assert_int_equal(ask(&h, 0x1008, p), 0x2009);
  assert_int_equal(ask(&h, 0x1009, 0x01900011), 0x2001); /* the old one stays */
  end(&h);
  begin(&h, &p, "huge");
  assert_int_equal(ask(&h, 0x1008, p), 0x2001);
  assert_int_equal(get(h.data + 20, 4), 0xFFFFFFFF);
  assert_int_equal(ask(&h, 0x1009, p), 0x2001);
  assert_int_equal(get(h.data, 4), h.n);
  end(&h);
  begin(&h, &p, "wrong-transaction:1");
  assert_int_equal(ask0(&h, 0x1004), 0x2001);
  assert_int_equal(get(h.response + 8, 4), h.next);
  assert_int_equal(ask0(&h, 0x1004), 0x2001);
  assert_int_equal(get(h.response + 8, 4), h.next - 1);
  end(&h);
  begin(&h, &p, "no-response:1");
  assert_int_equal(ask0(&h, 0x1004), 0);
  assert_int_equal(h.n, 20);
  assert_int_equal(ask0(&h, 0x1004), 0x2001);
  end(&h);
  start(&h, "");
  assert_int_equal(sim_ptp.fault(h.camera, "lazy"), -EINVAL);
  end(&h);
}

/* With packets of 8 bytes, read one by one and at once. */
static void test_small_packets(void **state) {
  struct sim_usb_descriptors d;
  struct sim_usb_piece piece;
  struct host h;
  uint8_t whole[16];
  (void)state;
  start(&h, "interrupt=8,stored=0,size=64x64");
  sim_ptp_usb.describe(h.camera, "PC-7", &d);
  assert_memory_equal(d.configuration + 32, "\7\5\x83\3\x08\0", 6);
  open_session(&h);
  uint32_t p = shoot(&h, "");
  for (size_t at = 0; at < 16; at += 8) {
    assert_true(sim_ptp_usb.say(h.camera, h.now, INTERRUPT, 8, &piece) && piece.n == 8);
    memcpy(whole + at, piece.bytes, 8);
  }
  assert_memory_equal(whole, "\x10\0\0\0\4\0\2\x40\xFF\xFF\xFF\xFF", 12);
  assert_int_equal(get(whole + 12, 4), p);
  assert_true(sim_ptp_usb.say(h.camera, h.now, INTERRUPT, 8, &piece) && piece.n == 0);
  fault(&h, "no-zlp");
  assert_true(sim_ptp_usb.say(h.camera, h.now, INTERRUPT, 64, &piece) && piece.n == 16);
  assert_int_equal(get(piece.bytes + 6, 2), 0x400D);
  assert_false(sim_ptp_usb.say(h.camera, h.now, INTERRUPT, 64, &piece));
  end(&h);
}

static void test_fault_events(void **state) {
  struct host h;
  uint32_t p, e;
  unsigned code, all = 0, added = 0;
  (void)state;
  begin(&h, &p, "event-storm:400");
  while (event(&h, &e))
    ;
  p = shoot(&h, "");
  while ((code = event(&h, &e))) {
    all++;
    added += code == 0x4002 && e == p;
  }
  assert_int_equal(all, 402);
  assert_int_equal(added, 1);
  end(&h);
  start(&h, "eos=yes,size=64x64");
  open_session(&h);
  ask(&h, 0x9115, 1);
  fault(&h, "event-storm");
  shoot(&h, "");
  assert_int_equal(ask0(&h, 0x9116), 0x2001);
  assert_int_equal(h.n, 12 + 300 * 16 + 0x38 + 8);
  end(&h);
  begin(&h, &p, "lost-event:1");
  while (event(&h, &e))
    ;
  shoot(&h, "");
  assert_int_equal(event(&h, &e), 0x400D);
  p = shoot(&h, "");
  assert_int_equal(event(&h, &e), 0x4002);
  assert_int_equal(e, p);
  end(&h);
  start(&h, "interrupt=no,size=64x64");
  open_session(&h);
  shoot(&h, "");
  assert_int_equal(event(&h, &e), 0);
  end(&h);
}

static void test_fault_lengths(void **state) {
  static const uint32_t lies[] = {0, 11, 500, 0xFFFFFFFF};
  struct host h;
  uint32_t p;
  (void)state;
  begin(&h, &p, "none");
  assert_int_equal(ask(&h, 0x1009, p), 0x2001);
  size_t size = h.n;
  uint8_t *whole = malloc(size);
  memcpy(whole, h.data, size);
  fault(&h, "short-object:1");
  assert_int_equal(ask(&h, 0x1009, p), 0x2001);
  assert_true(h.n < size && h.n > size / 2 && h.n % PACKET != 0);
  assert_memory_equal(h.data + 12, whole + 12, h.n - 12);
  assert_int_equal(get(h.data, 4), size);
  assert_int_equal(ask(&h, 0x1009, p), 0x2001);
  assert_int_equal(h.n, size);
  fault(&h, "long-object:700");
  assert_int_equal(ask(&h, 0x1009, p), 0x2001);
  assert_int_equal(h.n, size + 700);
  assert_int_equal(get(h.data, 4), size);
  assert_memory_equal(h.data + 12, whole + 12, size - 12);
  fault(&h, "none");
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    char text[32];
    snprintf(text, sizeof text, "wrong-length:%u", lies[i]);
    fault(&h, text);
    assert_int_equal(ask(&h, 0x1009, p), 0x2001);
    assert_int_equal(get(h.data, 4), lies[i]);
    assert_int_equal(h.n, size);
    assert_int_equal(ask0(&h, 0x1004), 0x2001);
    assert_int_equal(get(h.data, 4), 20);
  }
  fault(&h, "none");
  fault(&h, "wrong-data-length:11");
  assert_int_equal(ask0(&h, 0x1004), 0x2001);
  assert_int_equal(get(h.data, 4), 11);
  assert_int_equal(ask(&h, 0x1009, p), 0x2001);
  assert_int_equal(get(h.data, 4), size);
  free(whole);
  end(&h);
}

static void test_fault_transfers(void **state) {
  struct host h;
  uint32_t p;
  uint8_t s[64];
  (void)state;
  begin(&h, &p, "stall:1");
  assert_int_equal(ask(&h, 0x1009, p), 0);
  assert_true(h.stalled);
  assert_int_equal(request(&h, 0xA1, 0x67, NULL, 0, s), 8);
  assert_memory_equal(s, "\x08\0\x1F\x20\x81\0\0\0", 8);
  assert_int_equal(ask(&h, 0x1009, p), 0x2001);
  assert_int_equal(status(&h), 0x2001);
  end(&h);

  /* A data phase of a whole number of packets: with an empty one at its end, and without. */
  begin(&h, &p, "none");
  assert_int_equal(ask(&h, 0x101B, p, 0, 4 * PACKET - 12), 0x2001);
  assert_true(h.transfers == 1 && h.n == 4 * PACKET);
  write_command(&h, 0x101B, h.next++, P(p, 0, 4 * PACKET - 12));
  uint8_t exact[4 * PACKET];
  assert_int_equal(read_transfer(&h, IN, exact, sizeof exact), sizeof exact);
  assert_int_equal(read_transfer(&h, IN, exact, sizeof exact), 0);
  assert_int_equal(read_transfer(&h, IN, exact, sizeof exact), 16);
  fault(&h, "no-zlp");
  write_command(&h, 0x101B, h.next++, P(p, 0, 4 * PACKET - 12));
  assert_int_equal(read_transfer(&h, IN, exact, sizeof exact), sizeof exact);
  assert_int_equal(read_transfer(&h, IN, exact, sizeof exact), 16);
  /* the response comes in the transfer of the data when the host asks for more */
  assert_int_equal(ask(&h, 0x101B, p, 0, 4 * PACKET - 12), 0);
  assert_int_equal(h.n, 4 * PACKET + 16);
  end(&h);

  begin(&h, &p, "split-header");
  assert_int_equal(ask(&h, 0x101B, p, 0, 1000), 0x2001);
  assert_true(h.transfers == 2 && h.n == 1012);
  assert_memory_equal(h.data + 12, "\xFF\xD8", 2);
  write_command(&h, 0x1009, h.next++, P(p));
  assert_int_equal(read_transfer(&h, IN, exact, sizeof exact), 12);
  assert_int_equal(read_transfer(&h, IN, exact, sizeof exact), sizeof exact);
  end(&h);
}

static void test_fault_hang(void **state) {
  struct host h;
  uint32_t p;
  uint8_t s[64], id[6] = {1, 0x40};
  (void)state;
  begin(&h, &p, "hang");
  assert_int_equal(ask0(&h, 0x1004), 0);
  assert_int_equal(ask0(&h, 0x1004), 0);
  assert_int_equal(status(&h), 0x2019);
  assert_int_equal(request(&h, 0x21, 0x66, NULL, 0, s), 0);
  assert_int_equal(status(&h), 0x2001);
  open_session(&h);
  assert_int_equal(ask0(&h, 0x1004), 0x2001);
  fault(&h, "hang:3000");
  assert_int_equal(ask(&h, 0x1009, p), 0);
  assert_in_range(h.n, 3000, 3000 + PACKET);
  id[2] = (uint8_t)(h.next - 1);
  assert_int_equal(request(&h, 0x21, 0x64, id, 6, s), 0);
  assert_int_equal(status(&h), 0x2019);
  sim_ptp.power_on(h.camera, h.now);
  assert_int_equal(status(&h), 0x2001);
  end(&h);
}

static void test_fault_slow(void **state) {
  struct host h;
  uint32_t p;
  size_t got = 0, size;
  (void)state;
  begin(&h, &p, "none");
  ask(&h, 0x1009, p);
  size = h.n;
  fault(&h, "slow:100");
  write_command(&h, 0x1009, h.next++, P(p));
  uint64_t from = h.now;
  while (got < size) {
    ssize_t n = read_transfer(&h, IN, h.data, PACKET);
    if (n >= 0) {
      got += (size_t)n;
      continue;
    }
    uint64_t next = sim_ptp.next_us(h.camera);
    assert_true(next > h.now && next < h.now + 1000000);
    h.now = next;
  }
  uint64_t should = size * 10; /* us, at 100 kB/s */
  assert_in_range(h.now - from, should * 8 / 10, should * 12 / 10);
  assert_true(read_answer(&h) == 0x2001 || (h.now += 100000, read_answer(&h) == 0x2001));
  end(&h);
}

/* ---- the recorded camera ---- */

static uint8_t *read_file(const char *path, size_t *n) {
  FILE *file = fopen(path, "rbe");
  uint8_t *bytes = malloc(1u << 20);
  if (!file) {
    free(bytes);
    return NULL;
  }
  *n = fread(bytes, 1, 1u << 20, file);
  fclose(file);
  return bytes;
}

static void test_recording(void **state) {
  struct host h;
  char path[512], options[600];
  const char *samples = getenv("ASALEED_SAMPLES");
  size_t n = 0;
  (void)state;
  snprintf(path, sizeof path, "%s/umockdev_powershot/IMG_0001.jpg", samples ? samples : ".");
  uint8_t *jpeg = read_file(path, &n);
  if (!jpeg) {
    print_message("skipped: no umockdev_powershot in ASALEED_SAMPLES\n");
    skip();
  }
  snprintf(options, sizeof options, "recording=%s/umockdev_powershot/powershot.ioctl", samples);
  start(&h, options);
  open_session(&h);
  h.next = 41; /* any will do */
  assert_int_equal(ask0(&h, 0x1001), 0x2001);
  assert_int_equal(h.n, 405);
  assert_int_equal(get(h.data + 8, 4), 41);
  assert_int_equal(ask(&h, 0x1007, 0x10001, 0, 0x01900000), 0x2001);
  assert_memory_equal(h.data + 12, "\2\0\0\0\x11\0\x90\1\x21\0\x90\1", 12);
  assert_int_equal(ask(&h, 0x1009, 0x01900011), 0x2001);
  assert_int_equal(h.n, n + 12);
  assert_memory_equal(h.data + 12, jpeg, n);
  assert_int_equal(get(h.response + 8, 4), 43);
  assert_int_equal(ask(&h, 0x1009, 0x77), 0x2005);
  free(jpeg);
  end(&h);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_descriptors),   cmocka_unit_test(test_session),
      cmocka_unit_test(test_device_info),   cmocka_unit_test(test_tree),
      cmocka_unit_test(test_picture),       cmocka_unit_test(test_properties),
      cmocka_unit_test(test_fundus),        cmocka_unit_test(test_large),
      cmocka_unit_test(test_files),         cmocka_unit_test(test_auto),
      cmocka_unit_test(test_requests),      cmocka_unit_test(test_queue),
      cmocka_unit_test(test_eos),           cmocka_unit_test(test_fault_answers),
      cmocka_unit_test(test_fault_events),  cmocka_unit_test(test_small_packets),
      cmocka_unit_test(test_fault_lengths), cmocka_unit_test(test_fault_transfers),
      cmocka_unit_test(test_fault_hang),    cmocka_unit_test(test_fault_slow),
      cmocka_unit_test(test_recording),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
