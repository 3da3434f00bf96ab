/* Passwords: what is right and what is not, whatever becomes of the process that computes it. This program stands in
 * for four calls of the libraries: in the child some texts crash, hang or lie, and the clock of the deadline is fast.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fail_alloc.h"
#include "hash.h"
#include "password.h"
#include "str.h"
#include "wall.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define GOOD "cheval correct pile agrafe"
#define TODAYS "$argon2id$v=19$m=65536,t=2,p=1$"
/* A hash that is well formed, for texts whose child does as it likes. */
#define ANY_HASH TODAYS "AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define DEADLINE_US (10 * WALL_SECOND)
#define FAST_US 300000
#define PATIENCE_US (30 * WALL_SECOND)

/* Of this process and its children. */
static struct {
  unsigned running, most, computed;
  unsigned long long passes;
  size_t memory;
  pid_t hanging;
} * shared;

static struct {
  sd_event *event;
  struct passwords *p;
  bool no_fork, fast;
  uint64_t deadline;   /* as it was asked for */
  uint8_t hidden[32];  /* a secret, xored with 0x5a */
  size_t hidden_n;     /* 0: the child is not searched */
  uintptr_t stack_top; /* main()'s */
} bed;

/* ---- searching for a secret -------------------------------------------------------------------------------------- */

/* Reads what no object is, too. */
__attribute__((no_sanitize("address"))) static unsigned found_in(uintptr_t from, uintptr_t to) {
  unsigned found = 0;
  for (; from + bed.hidden_n <= to; from++) {
    const volatile char *at = (const volatile char *)from;
    size_t i = 0;
    while (i < bed.hidden_n && (uint8_t)(at[i] ^ 0x5a) == bed.hidden[i])
      i++;
    found += i == bed.hidden_n;
  }
  return found;
}

/* All that can be written, but for what is too large to be anything but a sanitizer's. */
static unsigned found_in_memory(void) {
  FILE *f = fopen("/proc/self/maps", "re");
  char line[512];
  unsigned found = 0;
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    char *end;
    unsigned long from = strtoul(line, &end, 16), to = strtoul(end + 1, &end, 16);
    if (!strncmp(end, " rw", 3) && to - from <= (64u << 20))
      found += found_in(from, to);
  }
  fclose(f);
  return found;
}

/* ---- the stand-ins ----------------------------------------------------------------------------------------------- */

static int open_descriptors(int *ret_last) {
  int n = 0;
  *ret_last = -1;
  for (int fd = 0; fd < 1024; fd++)
    if (fcntl(fd, F_GETFD) >= 0) {
      n++;
      *ret_last = fd;
    }
  return n;
}

static bool has_limit(__rlimit_resource_t resource, rlim_t value) {
  struct rlimit l;
  return getrlimit(resource, &l) == 0 && l.rlim_cur == value && l.rlim_max == value;
}

static bool is_confined(void) {
  int death = 0, last;
  return prctl(PR_GET_PDEATHSIG, &death) == 0 && death == SIGKILL && open_descriptors(&last) == 1 &&
         has_limit(RLIMIT_CORE, 0) && has_limit(RLIMIT_NPROC, 0) && has_limit(RLIMIT_NOFILE, 0) &&
         has_limit(RLIMIT_FSIZE, 0) && has_limit(RLIMIT_CPU, 10) && prctl(PR_GET_DUMPABLE) == 0 &&
         prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
}

/* The first n bytes of what a child writes for the right password. */
static void tell_right(size_t n) {
  struct {
    uint32_t what;
    char encoded[PASSWORD_ENCODED_MAX];
  } right = {.what = 2};
  int fd;
  open_descriptors(&fd);
  if (write(fd, &right, n) != (ssize_t)n)
    abort();
}
#define RIGHT_BYTES (4 + PASSWORD_ENCODED_MAX)

static void leave(int status) {
  syscall(SYS_exit_group, status);
}

static int misbehave(const char *text) {
  if (!strcmp(text, "abort"))
    abort();
  if (!strcmp(text, "kill"))
    raise(SIGKILL);
  if (!strcmp(text, "stop"))
    raise(SIGSTOP);
  if (!strcmp(text, "exit"))
    leave(0);
  if (!strcmp(text, "exit 1 after"))
    tell_right(RIGHT_BYTES), leave(1);
  if (!strcmp(text, "kill after"))
    tell_right(RIGHT_BYTES), raise(SIGKILL);
  if (!strcmp(text, "half"))
    tell_right(RIGHT_BYTES - 1), leave(0);
  if (!strcmp(text, "right")) /* that these lies are well told */
    tell_right(RIGHT_BYTES), leave(0);
  if (!strcmp(text, "confined?"))
    tell_right(RIGHT_BYTES), leave(!is_confined());
  if (!strcmp(text, "hang")) {
    shared->hanging = getpid();
    for (;;)
      pause();
  }
  if (!strcmp(text, "no memory")) {
    errno = ENOMEM;
    return -1;
  }
  if (!strcmp(text, "slow")) {
    unsigned running = __atomic_add_fetch(&shared->running, 1, __ATOMIC_SEQ_CST);
    shared->most = running > shared->most ? running : shared->most;
    usleep(10000);
    __atomic_sub_fetch(&shared->running, 1, __ATOMIC_SEQ_CST);
    tell_right(RIGHT_BYTES), leave(0);
  }
  return 0;
}

int crypto_pwhash(unsigned char *const out, unsigned long long n, const char *const text, unsigned long long text_n,
                  const unsigned char *const salt, unsigned long long passes, size_t memory, int algorithm) {
  int (*real)(unsigned char *, unsigned long long, const char *, unsigned long long, const unsigned char *,
              unsigned long long, size_t, int);
  *(void **)(void *)&real = dlsym(RTLD_NEXT, "crypto_pwhash");
  shared->passes = passes;
  shared->memory = memory;
  shared->computed++;
  return misbehave(text) < 0 ? -1 : real(out, n, text, text_n, salt, passes, memory, algorithm);
}

int crypto_pwhash_str(char out[crypto_pwhash_STRBYTES], const char *const text, unsigned long long n,
                      unsigned long long passes, size_t memory) {
  int (*real)(char *, const char *, unsigned long long, unsigned long long, size_t);
  *(void **)(void *)&real = dlsym(RTLD_NEXT, "crypto_pwhash_str");
  return misbehave(text) < 0 ? -1 : real(out, text, n, passes, memory);
}

pid_t fork(void) {
  pid_t (*real)(void);
  *(void **)(void *)&real = dlsym(RTLD_NEXT, "fork");
  if (bed.no_fork) {
    errno = EAGAIN;
    return -1;
  }
  return real();
}

/* The child's last step: nothing is left of the secret where the password was and where it was worked on. */
void _exit(int status) {
  uintptr_t p = (uintptr_t)bed.p, here = (uintptr_t)__builtin_frame_address(0);
  if (bed.hidden_n && (found_in(p, p + malloc_usable_size(bed.p)) || found_in(here - 8192, bed.stack_top)))
    status = 99;
  for (;;)
    leave(status);
}

int sd_event_add_time_relative(sd_event *e, sd_event_source **ret, clockid_t clock, uint64_t usec, uint64_t accuracy,
                               sd_event_time_handler_t callback, void *arg) {
  bed.deadline = usec;
  return sd_event_add_time(e, ret, clock, monotonic_us() + (bed.fast ? usec * FAST_US / DEADLINE_US : usec), accuracy,
                           callback, arg);
}

/* ---- the bed ----------------------------------------------------------------------------------------------------- */

struct answer {
  int calls, err;
  bool needs_rehash;
  char encoded[PASSWORD_ENCODED_MAX];
  unsigned turn;
};
static unsigned turns;

static void on_hashed(void *arg, int err, const char *encoded) {
  struct answer *a = arg;
  a->calls++;
  a->err = err;
  a->turn = ++turns;
  assert_int_equal(encoded == NULL, err != 0);
  assert_true(str_copy(a->encoded, sizeof a->encoded, encoded ? encoded : ""));
}

static void on_checked(void *arg, int err, bool needs_rehash) {
  struct answer *a = arg;
  a->calls++;
  a->err = err;
  a->needs_rehash = needs_rehash;
  a->turn = ++turns;
}

static void wait_for(const struct answer *a) {
  uint64_t until = monotonic_us() + PATIENCE_US;
  assert_int_equal(a->calls, 0); /* never before the call returns */
  while (!a->calls && monotonic_us() < until)
    assert_true(sd_event_run(bed.event, WALL_SECOND) >= 0);
  assert_int_equal(a->calls, 1);
}

static struct answer check(const char *text, const char *encoded) {
  struct answer a = {0};
  assert_int_equal(password_check(bed.p, text, encoded, on_checked, &a), 0);
  wait_for(&a);
  return a;
}

static struct answer hash(const char *text) {
  struct answer a = {0};
  assert_int_equal(password_hash(bed.p, text, on_hashed, &a), 0);
  wait_for(&a);
  return a;
}

/* With other limits than today's, and in no time. */
static void hash_cheaply(const char *text, char ret[static PASSWORD_ENCODED_MAX]) {
  assert_int_equal(crypto_pwhash_str(ret, text, strlen(text), 1, crypto_pwhash_MEMLIMIT_MIN), 0);
}

static int set_up(void **state) {
  (void)state;
  bed.no_fork = bed.fast = false;
  bed.hidden_n = 0;
  memset(shared, 0, sizeof *shared);
  return sd_event_new(&bed.event) < 0 || passwords_open(bed.event, &bed.p) < 0 ? -1 : 0;
}

static int tear_down(void **state) {
  (void)state;
  passwords_close(bed.p);
  bed.p = NULL;
  bed.event = sd_event_unref(bed.event);
  return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : -1; /* no child is left */
}

/* ---- right and wrong --------------------------------------------------------------------------------------------- */

static void test_right_and_wrong(void **state) {
  (void)state;
  struct answer one = hash(GOOD), two = hash(GOOD), a;
  assert_int_equal(one.err, 0);
  assert_int_equal(strncmp(one.encoded, TODAYS, strlen(TODAYS)), 0);
  assert_string_not_equal(one.encoded, two.encoded); /* each its salt */
  assert_int_equal(crypto_pwhash_str_verify(one.encoded, GOOD, strlen(GOOD)), 0);
  a = check(GOOD, one.encoded);
  assert_int_equal(a.err, 0);
  assert_false(a.needs_rehash);
  static const char *const wrong[] = {"", "Cheval correct pile agrafe", "cheval correct pile agraf", GOOD " ",
                                      "cheval correct pile agrafé"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    a = check(wrong[i], one.encoded);
    assert_int_equal(a.err, -EACCES);
    assert_false(a.needs_rehash);
  }
}

static void test_limits_of_earlier(void **state) {
  (void)state;
  char old[PASSWORD_ENCODED_MAX];
  hash_cheaply(GOOD, old);
  struct answer a = check(GOOD, old);
  assert_int_equal(a.err, 0);
  assert_true(a.needs_rehash);
  a = check("another one", old);
  assert_int_equal(a.err, -EACCES);
  assert_false(a.needs_rehash);
}

static void test_length(void **state) {
  (void)state;
  char text[PASSWORD_MAX + 2], old[PASSWORD_ENCODED_MAX];
  memset(text, 'x', sizeof text);
  text[PASSWORD_MAX] = 0;
  struct answer a = hash(text);
  assert_int_equal(check(text, a.encoded).err, 0);
  hash_cheaply(text, old);
  text[PASSWORD_MAX] = 'x';
  text[PASSWORD_MAX + 1] = 0;
  assert_int_equal(password_hash(bed.p, text, on_hashed, &a), -EINVAL);
  assert_int_equal(check(text, old).err, -EACCES); /* never cut to fit */
  hash_cheaply(text, old);
  assert_int_equal(check(text, old).err, -EACCES);
  hash_cheaply("", old);
  assert_int_equal(check(text, old).err, -EACCES); /* nor taken for another */
}

/* Whether there is such an account cannot be told from how long it takes. */
static void test_nobody(void **state) {
  (void)state;
  struct answer somebody = hash(GOOD);
  assert_int_equal(check(GOOD "!", somebody.encoded).err, -EACCES);
  unsigned long long passes = shared->passes;
  size_t memory = shared->memory;
  assert_int_equal(shared->computed, 1);
  static const char *const texts[] = {"", GOOD, "0"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    shared->passes = shared->memory = 0;
    assert_int_equal(check(texts[i], NULL).err, -EACCES);
    assert_int_equal(shared->computed, 2 + i);
    assert_int_equal(shared->passes, passes);
    assert_int_equal(shared->memory, memory);
  }
}

static void test_encoded_forms(void **state) {
  (void)state;
#define SALT "AAAAAAAAAAAAAAAAAAAAAA"
#define HASH "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
  static const char *const bad[] = {
      "",
      "x",
      "$",
      "$argon2id$",
      "$argon2id$v=19$m=65536,t=2,p=1",
      "$argon2i$v=19$m=65536,t=2,p=1$" SALT "$" HASH,
      "$argon2d$v=19$m=65536,t=2,p=1$" SALT "$" HASH,
      "$argon2id$v=16$m=65536,t=2,p=1$" SALT "$" HASH,
      "$argon2id$m=65536,t=2,p=1$" SALT "$" HASH,
      "$argon2id$v=19$m=,t=2,p=1$" SALT "$" HASH,
      "$argon2id$v=19$m=0,t=2,p=1$" SALT "$" HASH,
      "$argon2id$v=19$m=-1,t=2,p=1$" SALT "$" HASH,
      "$argon2id$v=19$m=262145,t=2,p=1$" SALT "$" HASH, /* 256 MiB is enough */
      "$argon2id$v=19$m=4294967295,t=2,p=1$" SALT "$" HASH,
      "$argon2id$v=19$m=99999999999999999999,t=2,p=1$" SALT "$" HASH,
      "$argon2id$v=19$m=65536,t=0,p=1$" SALT "$" HASH,
      "$argon2id$v=19$m=65536,t=11,p=1$" SALT "$" HASH,
      "$argon2id$v=19$m=65536,t=2,p=2$" SALT "$" HASH,
      "$argon2id$v=19$m=65536,t=2,p=1$" SALT HASH,
      "$argon2id$v=19$m=65536,t=2,p=1$" SALT "$" HASH "$",
      "$argon2id$v=19$m=65536,t=2,p=1$" SALT "$" HASH "=",
      "$argon2id$v=19$m=65536,t=2,p=1$" SALT "$" HASH "A",
      "$argon2id$v=19$m=65536,t=2,p=1$A" SALT "$" HASH,
      "$argon2id$v=19$m=65536,t=2,p=1$" SALT "$",
      "$argon2id$v=19$m=65536,t=2,p=1$$" HASH,
      "$argon2id$v=19$m=65536,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAB$" HASH, /* bits that are none */
      "$argon2id$v=19$m=65536,t=2,p=1$AAAAAAAAAAAAAAAA-AAAAA$" HASH,
      " $argon2id$v=19$m=65536,t=2,p=1$" SALT "$" HASH,
      "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
      "$6$salt$hash",
  };
  struct answer a = {0};
  char old[PASSWORD_ENCODED_MAX], other[PASSWORD_ENCODED_MAX];
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (password_check(bed.p, GOOD, bad[i], on_checked, &a) != -EUCLEAN)
      fail_msg("%s", bad[i]);
  /* Every other character and every shorter text: not right. */
  hash_cheaply(GOOD, old);
  assert_int_equal(check(GOOD, old).err, 0);
  unsigned refused = 0, computed = 0;
  for (size_t i = 0; i < strlen(old); i++)
    for (const char *c = "A1$"; *c; c++) {
      str_copy(other, sizeof other, old);
      other[i] = *c;
      if (!strcmp(other, old))
        continue;
      a = (struct answer){0};
      int r = password_check(bed.p, GOOD, other, on_checked, &a);
      if (r == 0) {
        wait_for(&a);
        computed++;
      } else {
        assert_int_equal(r, -EUCLEAN);
        refused++;
      }
      if (r == 0 && a.err != -EACCES && a.err != -EIO)
        fail_msg("%s", other);
    }
  assert_true(computed > 60 && refused > 100);
  for (size_t n = 0; n < strlen(old); n++) {
    str_copy(other, sizeof other, old);
    other[n] = 0;
    assert_int_equal(password_check(bed.p, GOOD, other, on_checked, &a), -EUCLEAN);
  }
  print_message("# %u hashes changed by one character: %u refused, %u computed\n", refused + computed, refused,
                computed);
}

/* ---- the process ------------------------------------------------------------------------------------------------- */

static void test_lies_are_well_told(void **state) {
  (void)state;
  assert_int_equal(check("right", ANY_HASH).err, 0);
  assert_int_equal(check("confined?", ANY_HASH).err, 0);
}

static void test_what_becomes_of_it(void **state) {
  (void)state;
  static const char *const texts[] = {"abort",        "kill", "exit",      "hang",      "stop",
                                      "exit 1 after", "half", "no memory", "kill after"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    bed.fast = !strcmp(texts[i], "hang") || !strcmp(texts[i], "stop");
    assert_int_equal(check(texts[i], ANY_HASH).err, -EIO);
    assert_int_equal(hash(texts[i]).err, -EIO);
    bed.fast = false;
  }
  assert_int_equal(hash("right").err, -EIO); /* of another job */
  assert_int_equal(bed.deadline, DEADLINE_US);
  assert_int_equal(hash(GOOD).err, 0);
}

static void test_no_process(void **state) {
  (void)state;
  struct answer a = {0}, b = {0};
  bed.no_fork = true;
  assert_int_equal(check("right", ANY_HASH).err, -EAGAIN);
  assert_int_equal(hash(GOOD).err, -EAGAIN);
  assert_int_equal(password_check(bed.p, "right", ANY_HASH, on_checked, &a), 0);
  assert_int_equal(password_check(bed.p, "right", ANY_HASH, on_checked, &b), 0);
  wait_for(&a);
  bed.no_fork = false;
  wait_for(&b);
  assert_int_equal(a.err, -EAGAIN);
  assert_int_equal(b.err, 0);
  struct rlimit old, none;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
  none = (struct rlimit){3, old.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  a = check("right", ANY_HASH);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
  assert_int_equal(a.err, -EMFILE);
}

static void test_queue(void **state) {
  (void)state;
  static struct answer a[1 + PASSWORD_WAITING_MAX];
  struct answer more = {0};
  for (unsigned round = 0; round < 2; round++) {
    memset(a, 0, sizeof a);
    for (size_t i = 0; i < sizeof a / sizeof *a; i++)
      assert_int_equal(password_check(bed.p, "slow", ANY_HASH, on_checked, &a[i]), 0);
    for (unsigned i = 0; i < 3; i++) {
      assert_int_equal(password_check(bed.p, "slow", ANY_HASH, on_checked, &more), -EBUSY);
      assert_int_equal(password_hash(bed.p, "slow", on_hashed, &more), -EBUSY);
    }
    wait_for(&a[0]);
    assert_int_equal(password_check(bed.p, "slow", ANY_HASH, on_checked, &more), 0); /* one place is free */
    for (size_t i = 1; i < sizeof a / sizeof *a; i++) {
      wait_for(&a[i]);
      assert_int_equal(a[i].err, 0);
      assert_int_equal(a[i].turn, a[i - 1].turn + 1); /* in their order */
    }
    wait_for(&more);
    more.calls = 0;
  }
  assert_int_equal(shared->most, 1);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *arg) {
  (*(unsigned *)arg)++;
  sd_event_source_set_time(source, usec + 1000);
  return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void test_loop_goes_on(void **state) {
  (void)state;
  unsigned ticks = 0;
  sd_event_source *tick = NULL;
  assert_true(sd_event_add_time(bed.event, &tick, CLOCK_MONOTONIC, 0, 1, on_tick, &ticks) >= 0);
  bed.fast = true;
  assert_int_equal(check("hang", ANY_HASH).err, -EIO);
  sd_event_source_disable_unref(tick);
  assert_true(ticks >= 20);
}

static void on_checked_again(void *arg, int err, bool needs_rehash) {
  (void)needs_rehash;
  assert_int_equal(err, 0);
  assert_int_equal(password_hash(bed.p, GOOD, on_hashed, arg), 0);
}

static void test_asked_from_the_answer(void **state) {
  (void)state;
  struct answer a = {0};
  assert_int_equal(password_check(bed.p, "right", ANY_HASH, on_checked_again, &a), 0);
  wait_for(&a);
  assert_int_equal(a.err, 0);
}

static int count_open(void) {
  int last;
  return open_descriptors(&last);
}

static void test_close(void **state) {
  (void)state;
  struct answer a[3] = {0};
  assert_int_equal(check("right", ANY_HASH).err, 0); /* the loop has what it opens for itself */
  int before = count_open();
  for (size_t i = 0; i < 3; i++)
    assert_int_equal(password_check(bed.p, "hang", ANY_HASH, on_checked, &a[i]), 0);
  while (!shared->hanging)
    assert_true(sd_event_run(bed.event, 10000) >= 0);
  pid_t child = shared->hanging;
  assert_int_equal(kill(child, 0), 0);
  passwords_close(bed.p);
  bed.p = NULL;
  assert_int_equal(kill(child, 0), -1);
  assert_int_equal(errno, ESRCH);
  while (sd_event_run(bed.event, 10000) > 0)
    ;
  for (size_t i = 0; i < 3; i++)
    assert_int_equal(a[i].calls, 0);
  assert_int_equal(count_open(), before);
  passwords_close(NULL);
}

/* The daemon is killed: its child goes with it. */
static void test_parent_dies(void **state) {
  (void)state;
  assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  pid_t daemon = fork();
  if (daemon == 0) {
    struct answer a = {0};
    struct passwords *p;
    sd_event *event;
    if (sd_event_new(&event) < 0 || passwords_open(event, &p) < 0 ||
        password_check(p, "hang", ANY_HASH, on_checked, &a) < 0)
      leave(1);
    while (!shared->hanging)
      sd_event_run(event, 10000);
    raise(SIGKILL);
  }
  int status;
  assert_int_equal(waitpid(daemon, &status, 0), daemon);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && shared->hanging > 0);
  assert_int_equal(waitpid(shared->hanging, &status, 0), shared->hanging);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

static void test_no_memory_to_open(void **state) {
  (void)state;
  struct passwords *p = NULL;
  long live = fail_alloc_live();
  size_t n = 0;
  if (!fail_alloc_works())
    skip();
  for (bool hit = true; hit;) {
    fail_alloc_set(++n, false);
    int r = passwords_open(bed.event, &p);
    hit = fail_alloc_hit();
    fail_alloc_set(0, false);
    assert_int_equal(r, hit ? -ENOMEM : 0);
    assert_int_equal(p == NULL, hit);
  }
  assert_true(n > 2);
  passwords_close(p);
  assert_true(fail_alloc_live() <= live + 1); /* what sd-event keeps to grow into */
}

/* ---- what is left of it ------------------------------------------------------------------------------------------ */

static void show(char ret[static sizeof bed.hidden + 1]) {
  for (size_t i = 0; i < bed.hidden_n; i++)
    ret[i] = (char)(bed.hidden[i] ^ 0x5a);
  ret[bed.hidden_n] = 0;
}

static void test_wiped(void **state) {
  (void)state;
  struct answer a[4] = {0};
  char secret[sizeof bed.hidden + 1], old[PASSWORD_ENCODED_MAX];
  bed.hidden_n = sizeof bed.hidden;
  random_bytes(bed.hidden, sizeof bed.hidden);
  for (size_t i = 0; i < sizeof bed.hidden; i++)
    bed.hidden[i] = (uint8_t)((bed.hidden[i] % 26 + 'a') ^ 0x5a);
  show(secret);
  hash_cheaply(secret, old);
  assert_true(found_in_memory() >= 1); /* the search finds */
  assert_int_equal(password_hash(bed.p, secret, on_hashed, &a[0]), 0);
  assert_int_equal(password_check(bed.p, secret, old, on_checked, &a[1]), 0);
  assert_int_equal(password_check(bed.p, secret, ANY_HASH, on_checked, &a[2]), 0);
  assert_int_equal(password_check(bed.p, secret, NULL, on_checked, &a[3]), 0);
  sodium_memzero(secret, sizeof secret);
  for (size_t i = 0; i < 4; i++)
    wait_for(&a[i]);
  assert_int_equal(found_in_memory(), 0);
  assert_int_equal(a[1].err, 0); /* with 99, its child had it still: -EIO */
  assert_int_equal(a[0].err, 0);
  assert_int_equal(a[2].err, -EACCES);
  assert_int_equal(a[3].err, -EACCES);
  /* Nor where there was no process, nor of those who wait when it ends. */
  bed.no_fork = true;
  show(secret);
  a[0].calls = 0;
  assert_int_equal(password_hash(bed.p, secret, on_hashed, &a[0]), 0);
  sodium_memzero(secret, sizeof secret);
  wait_for(&a[0]);
  assert_int_equal(found_in_memory(), 0);
  show(secret);
  assert_int_equal(password_hash(bed.p, secret, on_hashed, &a[0]), 0);
  sodium_memzero(secret, sizeof secret);
  assert_int_equal(found_in_memory(), 1);
  passwords_close(bed.p);
  bed.p = NULL;
  assert_int_equal(found_in_memory(), 0);
}

/* ---- which are good ---------------------------------------------------------------------------------------------- */

static void test_judge(void **state) {
  (void)state;
#define TEN "bac-def-gh"
  static const struct {
    const char *text, *account;
    enum password_fault fault;
  } known[] = {
      {"", "anne.martin", PASSWORD_TOO_SHORT},
      {"bac-def-ghi", "anne.martin", PASSWORD_TOO_SHORT},
      {"bac-def-ghik", "anne.martin", PASSWORD_GOOD},
      {GOOD, "anne.martin", PASSWORD_GOOD},
      {"été à Kœnigsmacker", "anne.martin", PASSWORD_GOOD},
      {"bac-def-ghi\n", "anne.martin", PASSWORD_UNCLEAN},
      {"bac-def\tghik", "anne.martin", PASSWORD_UNCLEAN},
      {"bac-def-ghik\x7f", "anne.martin", PASSWORD_UNCLEAN},
      {"bac-def-gh\xc3", "anne.martin", PASSWORD_TOO_SHORT},
      {"bac-def-ghik\xc3", "anne.martin", PASSWORD_UNCLEAN},
      {"bac-def-ghik\xc0\xaf", "anne.martin", PASSWORD_UNCLEAN},
      {"bac-def-ghik\xed\xa0\x80", "anne.martin", PASSWORD_UNCLEAN},
      {"bac-def-ghik\xc2\x85", "anne.martin", PASSWORD_UNCLEAN},
      /* names */
      {"anne.martin.", "anne.martin", PASSWORD_IS_NAME},
      {"ANNE.MARTIN1", "anne.martin", PASSWORD_IS_NAME},
      {"Anne-Martin-75", "anne.martin", PASSWORD_IS_NAME},
      {"annemartin2024", "anne.martin", PASSWORD_IS_NAME},
      {"1234annemartin", "anne.martin", PASSWORD_IS_NAME},
      {"annemartinannemartin1", "anne.martin", PASSWORD_IS_NAME},
      {"annemartin-1234567", "anne.martin", PASSWORD_GOOD}, /* 8 more */
      {"annemartin-123456", "anne.martin", PASSWORD_IS_NAME},
      {"anne.martin aime le café", "anne.martin", PASSWORD_GOOD},
      {"annemartin2024", "bob.leponge", PASSWORD_GOOD},
      {"ann.martin.20", "al", PASSWORD_GOOD},
      {"lallalalxalal", "al", PASSWORD_REPETITIVE},
      {"bac-def-ghik", "...", PASSWORD_GOOD},
      {"bac-def-ghik", "", PASSWORD_GOOD},
      /* repetitions */
      {"aaaaaaaaaaaa", "x", PASSWORD_REPETITIVE},
      {"            ", "x", PASSWORD_REPETITIVE},
      {"éééééééééééé", "x", PASSWORD_REPETITIVE},
      {"abcdabdcacbdcdab", "x", PASSWORD_REPETITIVE},
      {"abcdabdcacbdcdae", "x", PASSWORD_GOOD}, /* the fifth */
      {"passwordpassword", "x", PASSWORD_REPETITIVE},
      {"soleilsoleil", "x", PASSWORD_REPETITIVE},
      {"soleilsoleils", "x", PASSWORD_REPETITIVE},
      {"soleilsoleix", "x", PASSWORD_GOOD},
      {"bac-def-ghi.bac-def-ghi.", "x", PASSWORD_GOOD}, /* long enough once */
      {"bac-def-ghibac-def-ghi", "x", PASSWORD_REPETITIVE},
      /* what everybody takes */
      {"123456789012", "x", PASSWORD_COMMON},
      {"motdepasse123", "x", PASSWORD_COMMON},
      {"MotDePasse123", "x", PASSWORD_COMMON},
      {"azertyuiop123", "x", PASSWORD_COMMON},
      {"1q2w3e4r5t6y", "x", PASSWORD_COMMON},
      {"Password1234", "x", PASSWORD_COMMON},
      {"administrateur", "x", PASSWORD_COMMON},
      {"zaq12wsxcde3", "x", PASSWORD_COMMON},
      {"correct horse battery staple", "x", PASSWORD_COMMON},
      {"motdepasse123!", "x", PASSWORD_GOOD},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (password_judge(known[i].text, known[i].account) != known[i].fault)
      fail_msg("%s: %d", known[i].text, password_judge(known[i].text, known[i].account));
  char text[PASSWORD_MAX + 2];
  for (size_t i = 0; i < sizeof text; i++)
    text[i] = (char)('a' + (i * i + i / 7) % 26);
  text[PASSWORD_MAX + 1] = 0;
  assert_int_equal(password_judge(text, "x"), PASSWORD_TOO_LONG);
  text[PASSWORD_MAX] = 0;
  assert_int_equal(password_judge(text, "x"), PASSWORD_GOOD);
}

static void test_made(void **state) {
  (void)state;
  char text[PASSWORD_MADE], before[PASSWORD_MADE] = "";
  unsigned seen[256] = {0};
  for (unsigned n = 0; n < 1000; n++) {
    password_make(text);
    assert_int_equal(strlen(text), 23);
    for (size_t i = 0; i < 23; i++) {
      if ((text[i] == '-') != (i % 6 == 5) || (text[i] != '-' && !strchr("abcdefghjkmnpqrstuvwxyz", text[i])))
        fail_msg("%s", text);
      seen[(uint8_t)text[i]]++;
    }
    assert_int_equal(password_judge(text, "anne.martin"), PASSWORD_GOOD);
    assert_string_not_equal(text, before);
    str_copy(before, sizeof before, text);
  }
  for (const char *c = "abcdefghjkmnpqrstuvwxyz"; *c; c++) /* 870 each, by chance within 5 deviations of 29 */
    assert_in_range(seen[(uint8_t)*c], 725, 1015);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_right_and_wrong, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_limits_of_earlier, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_length, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_nobody, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_encoded_forms, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_lies_are_well_told, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_what_becomes_of_it, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_no_process, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_queue, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_loop_goes_on, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_asked_from_the_answer, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_close, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_parent_dies, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_no_memory_to_open, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_wiped, set_up, tear_down),
      cmocka_unit_test(test_judge),
      cmocka_unit_test(test_made),
  };
  char top;
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, NULL);
  bed.stack_top = (uintptr_t)&top;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED || hash_open() < 0)
    return 1;
  return cmocka_run_group_tests_name("password", tests, NULL, NULL);
}
