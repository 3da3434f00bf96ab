#include "commands.h"

#include "control.h"
#include "hash.h"
#include "known.h"
#include "log.h"
#include "sandbox.h"
#include "str.h"
#include "text.h"
#include "tree.h"
#include "wall.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define COLLECT_PROGRESS_US 250000u
#define COLLECT_GATHER_MS 100         /* changes come in bursts: one pass for all of one */
#define COLLECT_SOON_MS 1000          /* what was unsettled is looked at again */
#define COLLECT_ROOT_MS 5000          /* how often the path is looked at while nothing happens */
#define COLLECT_TRIES 100000          /* numbers in a row that are taken */
#define COLLECT_FAULTS_MAX 8          /* so many files in a row that cannot be read: not they are broken */
#define COLLECT_KEEP_CACHED (1 << 20) /* a longer file, once copied, does not push others out of the memory */

struct collector {
  struct wire_collect order;
  struct tree tree;
  struct stat root; /* the folder that the path led to */
  struct known known;
  struct wire_pass pass;
  uint32_t number;                 /* of the last file that was made */
  uint32_t made[WIRE_BATCH_FILES]; /* their numbers, since the last BATCH */
  unsigned n_made;
  uint64_t batch_bytes; /* likewise */
  unsigned unanswered;  /* BATCHes without their KEPT */
  unsigned faults;      /* reads that failed since one did not */
  uint64_t progress_us; /* when the last PROGRESS was sent */
};

/* ---- the end ---- */

/* Nobody was told that these are safe, so nobody will look for them. */
static void discard(struct collector *c) {
  char name[16];
  while (c->n_made) {
    snprintf(name, sizeof name, "%u", c->made[--c->n_made]);
    unlinkat(WIRE_FD_INCOMING, name, 0);
  }
}

static _Noreturn void leave(struct collector *c, int status) {
  discard(c);
  _exit(status);
}

/* ---- what the daemon says ---- */

static void take_in(struct collector *c) {
  struct wire_message m;
  int r;
  while ((r = wire_receive(WIRE_FD_CONTROL, &m)) == 0) {
    if (m.type == WIRE_CANCEL)
      leave(c, 0);
    if (m.type != WIRE_KEPT || !c->unanswered) {
      log_error("collect: a message that has no place here");
      leave(c, 2);
    }
    c->unanswered--;
  }
  if (r != -EAGAIN)
    leave(c, 1); /* the daemon is gone */
}

/* Waits until the control socket is ready for `events` or has a message, which is taken in, until fd (-1: none) can be
 * read, or until the time is over (-1: never). True when fd can be read. */
static bool attend(struct collector *c, short events, int fd, int timeout_ms) {
  struct pollfd fds[] = {{.fd = WIRE_FD_CONTROL, .events = (short)(POLLIN | events)}, {.fd = fd, .events = POLLIN}};
  int r = poll(fds, 2, timeout_ms);
  if (r > 0 && fds[0].revents & ~POLLOUT)
    take_in(c);
  return r > 0 && fds[1].revents;
}

static void breathe(void *arg) {
  attend(arg, 0, -1, 0);
}

/* The same for a while; true as soon as fd can be read. */
static bool attend_for(struct collector *c, int fd, uint64_t ms) {
  uint64_t end = monotonic_us() + ms * 1000;
  for (uint64_t now; (now = monotonic_us()) < end;)
    if (attend(c, 0, fd, (int)((end - now + 999) / 1000)))
      return true;
  return false;
}

static void say(struct collector *c, const struct wire_message *m) {
  int r;
  while ((r = wire_send(WIRE_FD_CONTROL, m)) == -EAGAIN)
    attend(c, POLLOUT, -1, -1);
  if (r < 0) {
    if (r != -EPIPE)
      log_errno(LOG_ERROR, r, "collect: a message could not be sent");
    leave(c, 1);
  }
}

/* A socket that is closed with packets in it loses what went the other way: the daemon's answers come first. */
static _Noreturn void goodbye(struct collector *c, int status) {
  while (c->unanswered)
    attend(c, 0, -1, -1);
  _exit(status);
}

/* What was not announced is gone first: on a full disk it is in the daemon's way. */
static _Noreturn void fail(struct collector *c, int err, enum wire_step step, const char *text) {
  struct wire_message m = {.type = WIRE_FAIL, .fail = {.err = err < -4095 ? -EIO : err, .step = step}};
  discard(c);
  str_copy(m.fail.text, sizeof m.fail.text, text);
  say(c, &m);
  goodbye(c, 1);
}

/* ---- batches ---- */

static void close_batch(struct collector *c) {
  if (!c->n_made)
    return;
  if (syncfs(WIRE_FD_INCOMING) < 0)
    fail(c, -errno, WIRE_STEP_ACQUIRE, "the copies could not be written to the disk");
  say(c, &(struct wire_message){.type = WIRE_BATCH, .batch = {c->n_made}});
  c->n_made = 0;
  c->batch_bytes = 0;
  c->unanswered++;
}

/* Room for one more file: in this batch, or in the next as soon as the daemon is no more than so many behind. */
static void make_room(struct collector *c, uint64_t bytes) {
  if (c->batch_bytes + bytes > WIRE_BATCH_BYTES || c->n_made == WIRE_BATCH_FILES)
    close_batch(c);
  while (!c->n_made && c->unanswered >= WIRE_BATCHES)
    attend(c, 0, -1, -1);
}

/* ---- one file ---- */

static _Noreturn void tree_gone(struct collector *c) {
  close_batch(c);
  fail(c, -ENODEV, WIRE_STEP_ACQUIRE, "the folder is no longer there");
}

/* Copies up to the end of the file, which must come after as many bytes as it has; -EAGAIN when it does not. */
static int copy_bytes(struct collector *c, int from, int to, uint64_t size, uint8_t sha256[static HASH_BYTES]) {
  static uint8_t part[256 << 10];
  struct hash_stream hash;
  uint64_t done = 0;
  ssize_t n;
  hash_start(&hash);
  while ((n = read(from, part, sizeof part)) != 0) {
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -errno;
    done += (size_t)n;
    if (done > size)
      return -EAGAIN;
    hash_add(&hash, part, (size_t)n);
    int r = fd_write_all(to, part, (size_t)n);
    if (r < 0)
      fail(c, r, WIRE_STEP_ACQUIRE, "a copy cannot be written");
    breathe(c);
  }
  hash_end(&hash, sha256);
  return done == size ? 0 : -EAGAIN;
}

/* A file under a number that is free: the folder may have others' files in it. */
static int make_file(struct collector *c, char name[static 16]) {
  int fd;
  unsigned tries = 0;
  do {
    snprintf(name, 16, "%u", ++c->number);
    fd = openat(WIRE_FD_INCOMING, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
  } while (fd < 0 && errno == EEXIST && ++tries < COLLECT_TRIES);
  if (fd < 0)
    fail(c, -errno, WIRE_STEP_ACQUIRE, "no file can be made in the incoming folder");
  c->made[c->n_made++] = c->number;
  return fd;
}

/* Makes the next file; 0, or why there is none: -EAGAIN for one that was changed meanwhile. */
static int copy(struct collector *c, int from, const struct tree_look *look, uint8_t sha256[static HASH_BYTES]) {
  char name[16];
  _fd_cleanup_ int to = make_file(c, name);
  posix_fadvise(from, 0, 0, POSIX_FADV_SEQUENTIAL);
  int r = copy_bytes(c, from, to, look->size, sha256);
  if (r == 0 && !tree_same(from, look))
    r = -EAGAIN;
  if (look->size > COLLECT_KEEP_CACHED)
    posix_fadvise(from, 0, 0, POSIX_FADV_DONTNEED);
  if (r < 0) {
    unlinkat(WIRE_FD_INCOMING, name, 0);
    c->n_made--;
  }
  return r;
}

/* The path as the daemon may show it: its end counts more than its beginning. */
static void clean_name(const char *path, char ret[static WIRE_TEXT_MAX]) {
  char clean[PATH_MAX];
  text_read(TEXT_UTF8, path, strlen(path), clean, sizeof clean);
  size_t n = strlen(clean), from = n < WIRE_TEXT_MAX ? 0 : n - (WIRE_TEXT_MAX - 1);
  while ((clean[from] & 0xc0) == 0x80) /* not within a character */
    from++;
  memcpy(ret, clean + from, n - from + 1);
  if (!ret[0])
    str_copy(ret, WIRE_TEXT_MAX, "?");
}

static void tell_file(struct collector *c, const struct tree_file *f, const uint8_t sha256[static HASH_BYTES]) {
  char path[PATH_MAX];
  int64_t us = f->look.modified_ns / 1000;
  struct wire_message m = {.type = WIRE_FILE,
                           .file = {.number = c->number,
                                    .pattern = f->pattern,
                                    .bytes = (uint32_t)f->look.size,
                                    .modified_us = us < WALL_MIN || us > WALL_MAX ? 0 : us}};
  memcpy(m.file.sha256, sha256, HASH_BYTES);
  tree_path(&c->tree, f, path);
  clean_name(path, m.file.name);
  c->batch_bytes += f->look.size;
  say(c, &m);
}

/* Counts a file that is not taken. One that was removed meanwhile does not count. */
static void not_taken(struct collector *c, int err) {
  if (tree_is_gone(err))
    tree_gone(c);
  if (err == -EIO && ++c->faults == COLLECT_FAULTS_MAX)
    tree_gone(c);
  switch (err) {
  case -ENOENT:
  case -ENOTDIR:
    break;
  case -ELOOP:
  case -EXDEV:
  case -ENXIO:
    c->pass.not_files++;
    break;
  case -EAGAIN:
    c->pass.unsettled++;
    break;
  default:
    c->pass.unreadable++;
  }
}

static void take(struct collector *c, struct tree_file *f) {
  struct tree_look look;
  uint8_t sha256[HASH_BYTES];
  make_room(c, f->look.size);
  _fd_cleanup_ int from = tree_open(&c->tree, f, &look);
  int r = from < 0 ? from : 0;
  if (r == 0 && !tree_look_same(&look, &f->look)) {
    /* Without two looks it is what it is now; but not when that may no longer fit the batch. */
    if (c->order.settle_ms || !look.size || look.size > f->look.size)
      r = -EAGAIN;
    f->look = look;
    f->print = tree_print(&c->tree, f);
  }
  if (r == 0)
    r = copy(c, from, &look, sha256);
  if (r < 0) {
    not_taken(c, r);
    return;
  }
  tell_file(c, f, sha256);
  c->faults = 0;
  c->pass.taken++;
  f->done = true;
}

/* ---- a pass ---- */

/* The path may lead elsewhere by now: the folder was moved away, the stick unmounted, a share mounted over it. */
static void check_root(struct collector *c) {
  struct stat st;
  if (fstatat(AT_FDCWD, c->order.path, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != c->root.st_dev ||
      st.st_ino != c->root.st_ino)
    tree_gone(c);
}

static void tell_progress(struct collector *c, uint32_t done, uint32_t total) {
  uint64_t now = monotonic_us();
  if (done < total && c->progress_us && now - c->progress_us < COLLECT_PROGRESS_US)
    return;
  c->progress_us = now;
  wire_send(WIRE_FD_CONTROL, &(struct wire_message){.type = WIRE_PROGRESS, .progress = {done, total}});
}

static void take_all(struct collector *c, uint32_t total) {
  uint32_t done = 0;
  c->progress_us = 0;
  for (size_t i = 0; i < c->tree.n_files; i++)
    if (!c->tree.files[i].done) {
      breathe(c);
      tell_progress(c, done++, total);
      take(c, &c->tree.files[i]);
    }
  tell_progress(c, done, total);
  close_batch(c);
}

/* A pass that saw the whole tree forgets what is no longer in it. */
static void remember(struct collector *c, bool whole) {
  if (whole)
    known_clear(&c->known);
  for (size_t i = 0; i < c->tree.n_files; i++)
    if (c->tree.files[i].done)
      known_add(&c->known, c->tree.files[i].print);
}

static void tell_pass(struct collector *c) {
  struct wire_pass *p = &c->pass;
  p->matching = p->taken + p->known + p->unsettled + p->empty + p->too_large + p->not_files + p->unreadable;
  say(c, &(struct wire_message){.type = WIRE_PASS, .pass = *p});
}

static void pass(struct collector *c) {
  struct tree *t = &c->tree;
  c->pass = (struct wire_pass){0};
  check_root(c);
  int r = tree_list(t, &c->pass);
  if (r == -ENODEV)
    tree_gone(c);
  if (r < 0)
    fail(c, r, WIRE_STEP_ACQUIRE, "the folder cannot be listed");
  bool whole = !c->pass.too_many && !c->pass.unreadable;
  for (size_t i = 0; i < t->n_files; i++)
    c->pass.known += t->files[i].done = known_has(&c->known, t->files[i].print);
  uint32_t total = (uint32_t)t->n_files - c->pass.known;
  if (total) {
    attend_for(c, -1, c->order.settle_ms);
    take_all(c, total);
  }
  check_root(c);
  remember(c, whole);
  tell_pass(c);
}

/* Until something changes or the interval is over. The kernel says nothing of a folder that is removed while it is
 * open, nor of one that is mounted over: the path is looked at now and then. */
static void wait_for_change(struct collector *c) {
  uint64_t left = c->order.poll_s * UINT64_C(1000), soon = c->order.settle_ms + COLLECT_SOON_MS;
  if (c->pass.unsettled && soon < left)
    left = soon;
  while (left) {
    uint64_t step = left < COLLECT_ROOT_MS ? left : COLLECT_ROOT_MS;
    if (attend_for(c, c->tree.inotify, step)) {
      attend_for(c, -1, COLLECT_GATHER_MS);
      tree_drain(&c->tree);
      return;
    }
    check_root(c);
    left -= step;
  }
}

/* ---- the order ---- */

static void receive_order(struct collector *c) {
  static const char by_hand[] = "collect is for asaleed, which passes descriptors 3 and 4";
  struct wire_message m;
  control_open(by_hand);
  if (fstat(WIRE_FD_INCOMING, &c->tree.omit) < 0 || !S_ISDIR(c->tree.omit.st_mode))
    control_refuse(by_hand);
  control_first(&m, WIRE_COLLECT, "the first message is not what to collect");
  c->order = m.collect;
}

static void begin(struct collector *c) {
  struct tree *t = &c->tree;
  int r = sandbox_limit(UINT32_MAX); /* a folder is watched for months */
  if (r < 0)
    fail(c, r, WIRE_STEP_SANDBOX, "the limits cannot be set");
  t->root = open(c->order.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (t->root < 0 || fstat(t->root, &c->root) < 0)
    fail(c, -errno, WIRE_STEP_OPEN, "the folder cannot be opened");
  t->inotify = c->order.watch ? inotify_init1(IN_NONBLOCK | IN_CLOEXEC) : -1;
  if (t->inotify < 0 && c->order.watch)
    log_errno(LOG_WARNING, -errno, "collect: the kernel tells of no changes, the folder is only polled");
  t->order = &c->order;
  t->breathe = breathe;
  t->arg = c;
  r = hash_open();
  if (r == 0) { /* from anywhere: the numbers of several collectors, and of one that was killed, keep apart */
    random_bytes(&c->number, sizeof c->number);
    c->number /= 2;
    r = sandbox_enter_collect(t->root, WIRE_FD_INCOMING);
  }
  if (r < 0)
    fail(c, r, WIRE_STEP_SANDBOX, "the sandbox cannot be set up");
}

_Noreturn void command_collect(void) {
  static struct collector c;
  receive_order(&c);
  begin(&c);
  pass(&c);
  while (c.order.watch) {
    wait_for_change(&c);
    pass(&c);
  }
  goodbye(&c, 0);
}
