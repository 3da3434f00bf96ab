#include "password.h"

#include "child.h"
#include "confine.h"
#include "log.h"
#include "str.h"
#include "wall.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX (1 + PASSWORD_WAITING_MAX)
#define DEADLINE_US (10 * WALL_SECOND)
#define KIB_MAX (crypto_pwhash_MEMLIMIT_MODERATE / 1024)
#define PASSES_MAX 10
#define HASHED_BYTES 32

static_assert(crypto_pwhash_STRBYTES == PASSWORD_ENCODED_MAX, "the library's size");

/* ---- the encoded form ---- */

struct encoded {
  uint64_t kib, passes;
  uint8_t salt[crypto_pwhash_SALTBYTES], hash[HASHED_BYTES];
};

static bool take(const char **at, const char *text) {
  size_t n = strlen(text);
  if (strncmp(*at, text, n))
    return false;
  *at += n;
  return true;
}

static bool take_number(const char **at, uint64_t max, uint64_t *ret) {
  char digits[12];
  size_t n = strspn(*at, "0123456789");
  if (n >= sizeof digits)
    return false;
  memcpy(digits, *at, n);
  digits[n] = 0;
  *at += n;
  return str_to_u64(digits, 1, max, ret) == 0;
}

static bool take_base64(const char **at, uint8_t *bytes, size_t n) {
  size_t digits = (4 * n + 2) / 3, got = 0;
  if (strnlen(*at, digits) < digits ||
      sodium_base642bin(bytes, n, *at, digits, NULL, &got, NULL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING) < 0)
    return false;
  *at += digits;
  return got == n;
}

/* "$argon2id$v=19$m=65536,t=2,p=1$<salt>$<hash>", as libsodium writes it. Its own reader (1.0.18) is not used: it says
 * "wrong password" when it finds no memory. */
static bool encoded_read(const char *at, struct encoded *ret) {
  return take(&at, crypto_pwhash_STRPREFIX "v=19$m=") && take_number(&at, KIB_MAX, &ret->kib) && take(&at, ",t=") &&
         take_number(&at, PASSES_MAX, &ret->passes) && take(&at, ",p=1$") &&
         take_base64(&at, ret->salt, sizeof ret->salt) && take(&at, "$") &&
         take_base64(&at, ret->hash, sizeof ret->hash) && !*at;
}

static const struct encoded nobodys = {.kib = crypto_pwhash_MEMLIMIT_INTERACTIVE / 1024,
                                       .passes = crypto_pwhash_OPSLIMIT_INTERACTIVE};

static bool is_todays(const struct encoded *e) {
  return e->kib == nobodys.kib && e->passes == nobodys.passes;
}

/* ---- jobs ---- */

struct job {
  char text[PASSWORD_MAX + 1];
  bool nobody;
  struct encoded against; /* of a check */
  void (*hashed)(void *arg, int err, const char *encoded);
  void (*checked)(void *arg, int err, bool needs_rehash); /* NULL: it is to be hashed */
  void *arg;
};

struct passwords {
  sd_event *event;
  sd_event_source *work, *child, *timer;
  struct job jobs[JOBS_MAX]; /* a ring; the first is the one that is computed */
  unsigned first, count;
  pid_t pid; /* 0 = none runs */
  int result;
};

/* What the child writes, once and whole. */
struct result {
  enum { NOTHING, HASHED, RIGHT, WRONG } what;
  char encoded[PASSWORD_ENCODED_MAX]; /* of HASHED */
};

/* ---- the child ---- */

static void job_compute(const struct job *j, struct result *ret) {
  uint8_t hash[HASHED_BYTES];
  size_t n = strlen(j->text);
  if (!j->checked) {
    if (crypto_pwhash_str(ret->encoded, j->text, n, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                          crypto_pwhash_MEMLIMIT_INTERACTIVE) == 0)
      ret->what = HASHED;
    return;
  }
  if (crypto_pwhash(hash, sizeof hash, j->text, n, j->against.salt, j->against.passes, (size_t)j->against.kib * 1024,
                    crypto_pwhash_ALG_ARGON2ID13) == 0)
    ret->what = sodium_memcmp(hash, j->against.hash, sizeof hash) == 0 && !j->nobody ? RIGHT : WRONG;
  sodium_memzero(hash, sizeof hash);
}

/* A copy of the daemon, whose files, locks and memory it leaves alone, but for the texts of those who wait. */
static _Noreturn void child_run(struct passwords *p, int out, pid_t parent) {
  static const struct confine_limits limits = {
      .cpu_seconds = DEADLINE_US / WALL_SECOND,
      .memory_max = (uint64_t)3 << 30, /* with the daemon's own, readings and all */
  };
  struct result result = {0};
  struct job j = p->jobs[p->first];
  sodium_memzero(p->jobs, sizeof p->jobs);
  if (child_stay(parent, &out, 1) == 0 && confine_limit(&limits) == 0)
    job_compute(&j, &result);
  sodium_memzero(&j, sizeof j);
  bool told = result.what != NOTHING && fd_write_all(out, &result, sizeof result) == 0;
  sodium_memzero(&result, sizeof result);
  _exit(told ? 0 : 1);
}

/* ---- the parent ---- */

static void process_finish(struct passwords *p) {
  p->child = sd_event_source_disable_unref(p->child);
  p->timer = sd_event_source_disable_unref(p->timer);
  if (p->pid > 0) {
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
  }
  p->pid = 0;
  fd_finish(&p->result);
}

/* The first job has ended; calls back when this is in order again, as more may be asked at once. */
static void job_done(struct passwords *p, int err, const char *encoded) {
  struct job j = p->jobs[p->first];
  sodium_memzero(&p->jobs[p->first], sizeof j);
  p->first = (p->first + 1) % JOBS_MAX;
  p->count--;
  process_finish(p);
  if (p->count)
    sd_event_source_set_enabled(p->work, SD_EVENT_ONESHOT);
  if (j.checked)
    j.checked(j.arg, err, err == 0 && !is_todays(&j.against));
  else
    j.hashed(j.arg, err, err == 0 ? encoded : NULL);
  sodium_memzero(&j, sizeof j);
}

static int job_verdict(const struct job *j, const struct result *r) {
  struct encoded again;
  if (j->checked)
    return r->what == RIGHT ? 0 : r->what == WRONG ? -EACCES : -EIO;
  /* What is kept can be read the next time. */
  return r->what == HASHED && memchr(r->encoded, 0, sizeof r->encoded) && encoded_read(r->encoded, &again) ? 0 : -EIO;
}

static int on_child(sd_event_source *source, const siginfo_t *info, void *arg) {
  (void)source;
  struct passwords *p = arg;
  struct result result;
  int err = -EIO;
  p->pid = 0;
  if (info->si_code != CLD_EXITED || info->si_status != 0)
    log_warning("password: its process was ended by %s %d", info->si_code == CLD_EXITED ? "exit" : "signal",
                info->si_status);
  else if (read(p->result, &result, sizeof result) == sizeof result)
    err = job_verdict(&p->jobs[p->first], &result);
  job_done(p, err, result.encoded);
  sodium_memzero(&result, sizeof result);
  return 0;
}

static int on_late(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  struct passwords *p = arg;
  log_warning("password: out of time, killed");
  kill(p->pid, SIGKILL); /* on_child() comes next */
  return 0;
}

static int job_start(struct passwords *p) {
  struct job *j = &p->jobs[p->first];
  int ends[2];
  pid_t self = getpid();
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
    return -errno;
  p->result = ends[0];
  p->pid = fork();
  if (p->pid == 0)
    child_run(p, ends[1], self);
  int r = p->pid < 0 ? -errno : 0;
  close(ends[1]);
  sodium_memzero(j->text, sizeof j->text); /* the child has it */
  if (r == 0)
    r = sd_event_add_child(p->event, &p->child, p->pid, WEXITED, on_child, p);
  if (r >= 0)
    r = sd_event_add_time_relative(p->event, &p->timer, CLOCK_MONOTONIC, DEADLINE_US, 100000, on_late, p);
  return r < 0 ? r : 0;
}

static int on_work(sd_event_source *source, void *arg) {
  (void)source;
  struct passwords *p = arg;
  int r = job_start(p);
  if (r < 0)
    job_done(p, r, NULL);
  return 0;
}

static int job_add(struct passwords *p, const struct job *j, const char *text) {
  if (p->count == JOBS_MAX)
    return -EBUSY;
  struct job *mine = &p->jobs[(p->first + p->count) % JOBS_MAX];
  *mine = *j;
  str_copy(mine->text, sizeof mine->text, text);
  if (p->count++ == 0)
    sd_event_source_set_enabled(p->work, SD_EVENT_ONESHOT);
  return 0;
}

int passwords_open(sd_event *event, struct passwords **ret) {
  struct passwords *p = calloc(1, sizeof *p);
  if (!p)
    return -ENOMEM;
  *p = (struct passwords){.event = sd_event_ref(event), .result = -1};
  int r = sd_event_add_defer(event, &p->work, on_work, p);
  if (r >= 0)
    r = sd_event_source_set_enabled(p->work, SD_EVENT_OFF);
  if (r < 0) {
    passwords_close(p);
    return r;
  }
  *ret = p;
  return 0;
}

void passwords_close(struct passwords *p) {
  if (!p)
    return;
  process_finish(p);
  sd_event_source_disable_unref(p->work);
  sd_event_unref(p->event);
  sodium_memzero(p, sizeof *p);
  free(p);
}

int password_hash(struct passwords *p, const char *text, void (*done)(void *arg, int err, const char *encoded),
                  void *arg) {
  if (strlen(text) > PASSWORD_MAX)
    return -EINVAL;
  return job_add(p, &(struct job){.hashed = done, .arg = arg}, text);
}

int password_check(struct passwords *p, const char *text, const char *encoded,
                   void (*done)(void *arg, int err, bool needs_rehash), void *arg) {
  struct job j = {.against = nobodys, .checked = done, .arg = arg};
  if (encoded && !encoded_read(encoded, &j.against))
    return -EUCLEAN;
  /* What was too long to be hashed is nobody's: cut off it might be somebody's. */
  j.nobody = !encoded || strlen(text) > PASSWORD_MAX;
  return job_add(p, &j, j.nobody ? "" : text);
}

/* ---- which are good ---- */

#define BESIDE_NAME_MIN 8
#define NAME_MIN 3 /* a shorter one is in too many words */
#define DIFFERENT_MIN 5

/* The most used of PASSWORD_MIN bytes and more, in lower case; what password_judge() sees by itself is not among them.
 */
static const char *const common[] = {
    "012345678901",
    "012345678910",
    "0123456789abcdef",
    "098765432109",
    "0987654321098",
    "123456789000",
    "123456789012",
    "1234567890123",
    "12345678901234",
    "123456789012345",
    "1234567890123456",
    "1234567890abc",
    "1234567890az",
    "1234567890azerty",
    "1234567890qwerty",
    "1234567891011",
    "123456789101112",
    "123456789abc",
    "123456789azerty",
    "123456789qwerty",
    "123456abcdef",
    "123456azerty",
    "123456qwerty",
    "1a2z3e4r5t6y",
    "1a2z3e4r5t6y7u",
    "1a2z3e4r5t6y7u8i9o0p",
    "1q2w3e4r5t6y",
    "1q2w3e4r5t6y7u",
    "1q2w3e4r5t6y7u8i",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc",
    "1qaz2wsx3edc4rfv",
    "a1z2e3r4t5y6",
    "abc123456789",
    "abcd12345678",
    "abcdef123456",
    "abcdefghijkl",
    "abcdefghijklm",
    "abcdefghijklmnop",
    "abcdefghijklmnopqrstuvwxyz",
    "administrateur",
    "administrateur1",
    "administrator",
    "administrator1",
    "asdfghjkl123",
    "azerty123456",
    "azerty123456789",
    "azertyuiop12",
    "azertyuiop123",
    "azertyuiop1234",
    "azertyuiop^$",
    "azertyuiopqs",
    "azertyuiopqsdfghjklm",
    "azertyuiopqsdfghjklmwxcvbn",
    "bienvenue123",
    "bienvenue1234",
    "bonjour12345",
    "bonjour123456",
    "cabinetmedical",
    "changeme1234",
    "changeme12345",
    "changezmoi123",
    "chouchou1234",
    "correct horse battery staple",
    "correcthorsebatterystaple",
    "doudou123456",
    "football1234",
    "iloveyou1234",
    "iloveyou12345",
    "iloveyou123456",
    "jetaime12345",
    "jetaime123456",
    "letmein12345",
    "letmein123456",
    "loulou123456",
    "maisondesante",
    "monmotdepasse",
    "motdepasse12",
    "motdepasse123",
    "motdepasse1234",
    "motdepasse12345",
    "motdepasse123456",
    "nevergonnagiveyouup",
    "p@ssw0rd1234",
    "p@ssword1234",
    "passw0rd1234",
    "password1234",
    "password12345",
    "password123456",
    "password123456789",
    "princess1234",
    "q1w2e3r4t5y6",
    "qazwsxedcrfv",
    "qazwsxedcrfvtgb",
    "qsdfghjklm123",
    "qwerty123456",
    "qwerty123456789",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiop1234",
    "qwertyuiop[]",
    "qwertyuiopasdfghjkl",
    "qwertyuiopasdfghjklzxcvbnm",
    "soleil123456",
    "sunshine1234",
    "superman1234",
    "thisisapassword",
    "unmotdepasse",
    "welcome12345",
    "welcome123456",
    "zaq12wsxcde3",
};

static char lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* In lower case, and with `letters` only letters, digits and what is not ASCII. Returns the length. */
static size_t fold(const char *text, size_t max, bool letters, char *ret) {
  size_t n = 0;
  for (; *text && n < max; text++) {
    char c = lower(*text);
    if (!letters || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (uint8_t)c >= 0x80)
      ret[n++] = c;
  }
  ret[n] = 0;
  return n;
}

static bool is_name(const char *text, size_t n, const char *account) {
  char folded[PASSWORD_MAX + 1], name[PASSWORD_MAX + 1];
  size_t named = 0, name_n = fold(account, PASSWORD_MAX, true, name);
  fold(text, PASSWORD_MAX, true, folded);
  if (name_n >= NAME_MIN)
    for (const char *at = folded; (at = strstr(at, name)); at += name_n)
      named += name_n;
  sodium_memzero(folded, sizeof folded);
  return named && n - named < BESIDE_NAME_MIN;
}

static bool is_repetitive(const char *text, size_t n) {
  bool seen[256] = {0};
  unsigned different = 0;
  for (size_t i = 0; i < n; i++) {
    different += !seen[(uint8_t)text[i]];
    seen[(uint8_t)text[i]] = true;
  }
  bool again = false;
  for (size_t part = 1; part < PASSWORD_MIN && 2 * part <= n; part++)
    again |= memcmp(text, text + part, n - part) == 0;
  sodium_memzero(seen, sizeof seen);
  return different < DIFFERENT_MIN || again;
}

static bool is_common(const char *text) {
  char folded[PASSWORD_MAX + 1];
  bool found = false;
  fold(text, PASSWORD_MAX, false, folded);
  for (size_t i = 0; !found && i < sizeof common / sizeof *common; i++)
    found = !strcmp(folded, common[i]);
  sodium_memzero(folded, sizeof folded);
  return found;
}

enum password_fault password_judge(const char *text, const char *account) {
  size_t n = strlen(text);
  return n < PASSWORD_MIN              ? PASSWORD_TOO_SHORT
         : n > PASSWORD_MAX            ? PASSWORD_TOO_LONG
         : !str_is_clean_utf8(text, n) ? PASSWORD_UNCLEAN
         : is_name(text, n, account)   ? PASSWORD_IS_NAME
         : is_repetitive(text, n)      ? PASSWORD_REPETITIVE
         : is_common(text)             ? PASSWORD_COMMON
                                       : PASSWORD_GOOD;
}

void password_make(char ret[static PASSWORD_MADE]) {
  static const char letters[] = "abcdefghjkmnpqrstuvwxyz"; /* no i, l, o */
  for (size_t i = 0; i < PASSWORD_MADE - 1; i++)
    ret[i] = i % 6 == 5 ? '-' : letters[randombytes_uniform(sizeof letters - 1)];
  ret[PASSWORD_MADE - 1] = 0;
}
