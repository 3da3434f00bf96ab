/* Runs a fuzz target without libFuzzer:
 *   PROGRAM [-n MUTATIONS] [-w FOLDER] FOLDER...
 * every file of the folders (and theirs) through the target, and MUTATIONS (100) deterministic mutations of each.
 * -w writes the inputs into a folder instead, as libFuzzer's first corpus. Prints what it ran. */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX (8u << 20)

static uint64_t dice = 88172645463325252u;

static uint64_t throw_dice(void) { /* xorshift64 */
  dice ^= dice << 13;
  dice ^= dice >> 7;
  return dice ^= dice << 17;
}

static size_t below(size_t n) {
  return n ? (size_t)(throw_dice() % n) : 0;
}

struct count {
  unsigned files, seeds;
  unsigned long inputs;
  unsigned mutations;
  const char *write;
};

/* One to four changes; returns the new length, at most n + 64. */
static size_t mutate(uint8_t *p, size_t n) {
  static const uint8_t telling[] = {0x00, 0xff, 0x7f, 0x80, 0xfc, 0xfd, 0xfe, '0', '9', ' ', '\n', '"', '{', '<', '>'};
  for (size_t changes = 1 + below(4); changes && n; changes--) {
    size_t at = below(n), len = 1 + below(n - at < 16 ? n - at : 16);
    switch (below(6)) {
    case 0:
      p[at] ^= (uint8_t)(1u << below(8));
      break;
    case 1:
      p[at] = telling[below(sizeof telling)];
      break;
    case 2:
      p[at] = (uint8_t)throw_dice();
      break;
    case 3: /* takes a piece out */
      memmove(p + at, p + at + len, n - at - len);
      n -= len;
      break;
    case 4: /* doubles one */
      memmove(p + at + len, p + at, n - at);
      n += len;
      break;
    default: /* cuts the end off, rarely */
      if (below(8) == 0)
        n = at;
    }
  }
  return n;
}

static void write_seed(const struct count *c, const struct buf *seed) {
  char path[512];
  snprintf(path, sizeof path, "%s/seed-%05u", c->write, c->seeds);
  FILE *f = fopen(path, "wb");
  FUZZ_CHECK(f && fwrite(seed->data, 1, seed->len, f) == seed->len && fclose(f) == 0);
}

static void run_seed(struct count *c, const struct buf *seed) {
  c->seeds++;
  if (c->write) {
    write_seed(c, seed);
    return;
  }
  for (unsigned m = 0; m <= c->mutations; m++) {
    uint8_t *work = malloc(seed->len + 64);
    FUZZ_CHECK(work);
    if (seed->len)
      memcpy(work, seed->data, seed->len);
    size_t n = m ? mutate(work, seed->len) : seed->len;
    uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees the end */
    FUZZ_CHECK(exact);
    memcpy(exact, work, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    free(work);
    c->inputs++;
  }
}

static void run_seeds(struct count *c, const uint8_t *file, size_t n) {
  for (unsigned i = 0; i < 1000; i++) {
    struct buf seed = BUF_INIT(INPUT_MAX);
    bool more = fuzz_seed(file, n, i, &seed);
    if (more && !seed.err)
      run_seed(c, &seed);
    buf_finish(&seed);
    if (!more)
      break;
  }
}

static void run_file(struct count *c, const char *path, size_t size) {
  uint8_t *file = malloc(size + 1);
  FILE *f = fopen(path, "rb");
  FUZZ_CHECK(file && f && fread(file, 1, size, f) == size);
  fclose(f);
  c->files++;
  run_seeds(c, file, size);
  free(file);
}

static void run_path(struct count *c, const char *path) {
  struct stat st;
  if (stat(path, &st) < 0) {
    fprintf(stderr, "%s: no such file or folder\n", path);
    exit(2);
  }
  if (S_ISREG(st.st_mode) && st.st_size <= INPUT_MAX)
    run_file(c, path, (size_t)st.st_size);
  if (!S_ISDIR(st.st_mode))
    return;
  struct dirent **entries;
  int n = scandir(path, &entries, NULL, alphasort);
  FUZZ_CHECK(n >= 0);
  for (int i = 0; i < n; i++) {
    char *below_path = NULL;
    if (entries[i]->d_name[0] != '.' && asprintf(&below_path, "%s/%s", path, entries[i]->d_name) > 0)
      run_path(c, below_path);
    free(below_path);
    free(entries[i]);
  }
  free(entries);
}

int main(int argc, char **argv) {
  struct count c = {.mutations = 100};
  int option;
  while ((option = getopt(argc, argv, "n:w:")) != -1)
    switch (option) {
    case 'n':
      c.mutations = (unsigned)strtoul(optarg, NULL, 10);
      break;
    case 'w':
      c.write = optarg;
      break;
    default:
      return 2;
    }
  run_seeds(&c, NULL, 0);
  for (int i = optind; i < argc; i++)
    run_path(&c, argv[i]);
  printf("%s: %u files, %u seeds, %lu inputs\n", argv[0], c.files, c.seeds, c.inputs);
  return c.seeds ? 0 : 1; /* a corpus that gives nothing tests nothing */
}
