/* Blobs on their way to artefacts and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"
#include "blobs.h"
#include "capture.h"
#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define LARGE (5u << 20)

static uint8_t large[LARGE];

struct lap {
  sd_event *event;
  unsigned turns, done;
  int result;
};

static void on_done(void *arg, int result) {
  struct lap *lap = arg;
  lap->done++;
  lap->result = result;
}

static void lap_begin(struct lap *lap) {
  *lap = (struct lap){0};
  assert_true(sd_event_new(&lap->event) >= 0);
}

/* Until it is done; the turns it took. */
static int lap_run(struct lap *lap) {
  for (lap->turns = 0; !lap->done; lap->turns++) {
    assert_true(lap->turns < 100);
    assert_true(sd_event_run(lap->event, 1000000) > 0);
  }
  assert_int_equal(lap->done, 1);
  lap->done = 0;
  return lap->result;
}

static int file_of(const void *bytes, size_t n) {
  int fd = memfd_create("blobs", MFD_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, bytes, n), n);
  return fd;
}

static int parse(struct store_bed *b, const char *text, int file, struct blobs **ret) {
  return blobs_new(b->artefacts, text, strlen(text), file, ret);
}

static unsigned incoming(const struct store_bed *b) {
  unsigned n = 0;
  DIR *d = opendir(bed_path(b, "artefacts/incoming"));
  assert_non_null(d);
  for (const struct dirent *e; (e = readdir(d));)
    n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

static void is_stored(struct store_bed *b, const char *sha, const void *bytes, size_t n) {
  uint8_t *got;
  size_t got_n;
  assert_int_equal(artefact_get(b->artefacts, sha, n, &got, &got_n), 0);
  assert_int_equal(got_n, n);
  assert_memory_equal(got, bytes, n);
  free(got);
}

/* Three blobs: "abc" whole, `large` whole, "de" waste. */
static struct { char sha[3][HASH_TEXT], text[512]; } three;

static int three_file(void) {
  int fd = file_of("abc", 3);
  for (size_t i = 0; i < sizeof large; i++)
    large[i] = (uint8_t)(i * 7 + i / 251);
  assert_int_equal(write(fd, large, sizeof large), sizeof large);
  assert_int_equal(write(fd, "de", 2), 2);
  hash_sha256_text("abc", 3, three.sha[0]);
  hash_sha256_text(large, sizeof large, three.sha[1]);
  hash_sha256_text("de", 2, three.sha[2]);
  snprintf(three.text, sizeof three.text,
           "asaleed-capture 1\n@ 1 3 0\n# 1 3 %s\n@ 1 %zu 0\n# 2 %zu %s\n~ 3 2 %s\nend ok\n", three.sha[0],
           sizeof large, sizeof large, three.sha[1], three.sha[2]);
  return fd;
}

#define SHA "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* of "abc" */

static void test_lines(void **state) {
  struct store_bed *bed = *state;
  static const struct {
    const char *text;
    int n; /* or an error */
  } rows[] = {
      {"", 0},
      {"# 1 3 " SHA "\n", 1},
      {"~ 4294967295 3 " SHA "\n", 1},
      {"# 1 3 " SHA, 0}, /* cut */
      {"# 1 3 " SHA " \n", 0},
      {"# 1 3 " SHA "0\n", 0},
      {"# 1 0 " SHA "\n", 0},
      {"# 1 67108865 " SHA "\n", 0},
      {"# 1 3 BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n", 0},
      {"# 1 3 ../../../../../../../../../../../../../../../../../../etc/passwd\n", 0},
      {"#\n# \n#  \n#   \n~ 1 3\n", 0},
      {"< 1 # 1 3 " SHA "\n", 0},
      {"# 1 3 " SHA "\n~ 2 4 " SHA "\n", -EUCLEAN}, /* 3 bytes are there */
      {"# 1 67108864 " SHA "\n", -EUCLEAN},
      {"# 1 67108864 " SHA "\n# 1 67108864 " SHA "\n# 1 67108864 " SHA "\n# 1 67108864 " SHA "\n# 1 67108864 " SHA
       "\n# 1 67108864 " SHA "\n# 1 1 " SHA "\n",
       -EFBIG},
  };
  int file = file_of("abc", 3);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct blobs *b = NULL;
    int r = parse(bed, rows[i].text, file, &b);
    if (r < 0 ? r != rows[i].n : blobs_count(b) != (size_t)rows[i].n)
      fail_msg("row %zu: %d", i, r);
    assert_int_equal(!b, r < 0);
    blobs_free(b);
  }
  close(file);
  /* As many as a capture has, and one more. */
  char *many = malloc((CAPTURE_BLOBS_MAX + 1) * 80), *p = many;
  for (unsigned i = 0; i <= CAPTURE_BLOBS_MAX; i++)
    p += sprintf(p, "# 1 1 " SHA "\n");
  struct blobs *b = NULL;
  assert_int_equal(blobs_new(bed->artefacts, many, (size_t)(p - many), -1, &b), -EFBIG);
  assert_int_equal(blobs_new(bed->artefacts, many, (size_t)(p - many) - strlen("# 1 1 " SHA "\n"), -1, &b), 0);
  assert_int_equal(blobs_count(b), CAPTURE_BLOBS_MAX);
  blobs_free(b);
  free(many);
}

/* A file with holes holds what it says, but not more than an acquisition makes. */
static void test_holes(void **state) {
  struct store_bed *bed = *state;
  char text[1024], *p = text;
  struct blobs *b = NULL;
  int file = file_of("", 0);
  assert_int_equal(ftruncate(file, (off_t)1 << 40), 0);
  for (int i = 0; i < 7; i++)
    p += sprintf(p, "# 1 67108864 " SHA "\n");
  assert_int_equal(parse(bed, text, file, &b), -EFBIG);
  close(file);
}

static void test_store(void **state) {
  struct store_bed *bed = *state;
  struct lap lap;
  struct blobs *b;
  int file = three_file();
  assert_int_equal(parse(bed, three.text, file, &b), 0);
  assert_int_equal(blobs_count(b), 3);
  assert_false(blobs_stored(b));
  lap_begin(&lap);
  assert_int_equal(blobs_store(b, lap.event, on_done, &lap), 0);
  assert_int_equal(lap_run(&lap), 0);
  assert_in_range(lap.turns, 5, 20); /* a slice a turn */
  assert_true(blobs_stored(b));
  assert_int_equal(incoming(bed), 0);
  is_stored(bed, three.sha[0], "abc", 3);
  is_stored(bed, three.sha[1], large, sizeof large);
  is_stored(bed, three.sha[2], "de", 2);
  assert_int_equal(bed_int(bed, "SELECT count(*) FROM artefact"), 0); /* the rows are the act's */
  bed_begin(bed);
  assert_int_equal(blobs_add_rows(b, bed->store, 7), 0);
  bed_keep(bed);
  assert_int_equal(bed_int(bed, "SELECT count(*) FROM artefact WHERE kind = 'blob' AND at = 7"), 3);
  assert_int_equal(bed_int(bed, "SELECT max(bytes) FROM artefact"), LARGE);
  assert_true(blobs_have(b, three.sha[0], 3));
  assert_true(blobs_have(b, three.sha[1], LARGE));
  assert_false(blobs_have(b, three.sha[0], 4));
  assert_false(blobs_have(b, three.sha[2], 2)); /* waste is no picture */
  blobs_free(b);
  close(file);
  sd_event_unref(lap.event);
}

/* What the capture says of a blob is not what it is: kept as what it is. */
static void test_other_bytes(void **state) {
  struct store_bed *bed = *state;
  struct lap lap;
  struct blobs *b;
  char sha[HASH_TEXT];
  int file = file_of("xyz", 3);
  assert_int_equal(parse(bed, "# 1 3 " SHA "\n", file, &b), 0);
  lap_begin(&lap);
  assert_int_equal(blobs_store(b, lap.event, on_done, &lap), 0);
  assert_int_equal(lap_run(&lap), 0);
  hash_sha256_text("xyz", 3, sha);
  is_stored(bed, sha, "xyz", 3);
  assert_true(blobs_have(b, sha, 3));
  assert_false(blobs_have(b, SHA, 3));
  blobs_free(b);
  close(file);
  sd_event_unref(lap.event);
}

/* A disk that is full in the middle of a blob: nothing of it is named, and the next try goes on with it. */
static void test_full_disk(void **state) {
  struct store_bed *bed = *state;
  struct lap lap;
  struct blobs *b;
  struct rlimit before, small;
  struct stat first, again;
  int file = three_file();
  char path[512];
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  small = before;
  small.rlim_cur = 3u << 20;
  assert_int_equal(parse(bed, three.text, file, &b), 0);
  lap_begin(&lap);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(blobs_store(b, lap.event, on_done, &lap), 0);
    int r = lap_run(&lap);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(r, -EFBIG);
    assert_false(blobs_stored(b));
    assert_int_equal(incoming(bed), 0);
    is_stored(bed, three.sha[0], "abc", 3);
    assert_int_equal(artefact_open(bed->artefacts, three.sha[1]), -ENOENT);
    snprintf(path, sizeof path, "%s/artefacts/%.2s/%s", bed->dir, three.sha[0], three.sha[0]);
    assert_int_equal(stat(path, i ? &again : &first), 0);
    assert_true(!i || again.st_ino == first.st_ino); /* what is stored is not stored again */
  }
  assert_int_equal(blobs_store(b, lap.event, on_done, &lap), 0);
  assert_int_equal(lap_run(&lap), 0);
  is_stored(bed, three.sha[1], large, sizeof large);
  is_stored(bed, three.sha[2], "de", 2);
  blobs_free(b);
  close(file);
  sd_event_unref(lap.event);
}

/* Given up between two slices. */
static void test_given_up(void **state) {
  struct store_bed *bed = *state;
  struct lap lap;
  struct blobs *b;
  int file = three_file();
  for (unsigned turns = 0; turns < 8; turns++) {
    assert_int_equal(parse(bed, three.text, file, &b), 0);
    lap_begin(&lap);
    assert_int_equal(blobs_store(b, lap.event, on_done, &lap), 0);
    for (unsigned i = 0; i < turns; i++)
      sd_event_run(lap.event, 0);
    blobs_free(b);
    assert_int_equal(incoming(bed), 0);
    sd_event_unref(lap.event);
  }
  close(file);
}

static int fill(struct store_bed *bed, const char *text, int file) {
  struct blobs *b;
  struct lap lap;
  lap_begin(&lap);
  assert_int_equal(parse(bed, text, -1, &b), 0);
  assert_true(blobs_stored(b));
  assert_int_equal(blobs_fill(b, file, lap.event, on_done, &lap), 0);
  int r = lap_run(&lap);
  blobs_free(b);
  sd_event_unref(lap.event);
  return r;
}

static void test_fill(void **state) {
  struct store_bed *bed = *state;
  struct lap lap;
  struct blobs *b;
  int file = three_file(), into = artefacts_scratch(bed->artefacts);
  assert_true(into >= 0);
  assert_int_equal(fill(bed, "end ok\n", into), 0); /* none */
  assert_int_equal(fill(bed, three.text, into), -ENOENT);
  assert_int_equal(parse(bed, three.text, file, &b), 0);
  lap_begin(&lap);
  assert_int_equal(blobs_store(b, lap.event, on_done, &lap), 0);
  assert_int_equal(lap_run(&lap), 0);
  blobs_free(b);
  sd_event_unref(lap.event);
  assert_int_equal(lseek(into, 0, SEEK_END), 0);
  assert_int_equal(fill(bed, three.text, into), 0);
  uint8_t *was = malloc(LARGE + 5), *is = malloc(LARGE + 5);
  assert_int_equal(pread(file, was, LARGE + 5, 0), LARGE + 5);
  assert_int_equal(lseek(into, 0, SEEK_END), LARGE + 5);
  assert_int_equal(pread(into, is, LARGE + 5, 0), LARGE + 5);
  assert_memory_equal(was, is, LARGE + 5);
  close(into);
  into = memfd_create("scratch", MFD_CLOEXEC); /* what there is on a full disk: another file system */
  assert_int_equal(fill(bed, three.text, into), 0);
  assert_int_equal(pread(into, is, LARGE + 5, 0), LARGE + 5);
  assert_memory_equal(was, is, LARGE + 5);
  free(was);
  free(is);
  close(into);
  /* Shorter than it was, or gone. */
  char path[512];
  snprintf(path, sizeof path, "%s/artefacts/%.2s/%s", bed->dir, three.sha[1], three.sha[1]);
  assert_int_equal(chmod(path, 0600), 0);
  assert_int_equal(truncate(path, 4 << 20), 0);
  into = artefacts_scratch(bed->artefacts);
  assert_int_equal(fill(bed, three.text, into), -EUCLEAN);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(ftruncate(into, 0), 0);
  assert_int_equal(fill(bed, three.text, into), -ENOENT);
  close(into);
  close(file);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, bed_setup, bed_teardown)
  const struct CMUnitTest tests[] = {TEST(lines),     TEST(holes),    TEST(store), TEST(other_bytes),
                                     TEST(full_disk), TEST(given_up), TEST(fill)};
  return cmocka_run_group_tests_name("blobs", tests, NULL, NULL);
}
