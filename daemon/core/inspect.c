#include "inspect.h"

#include "child.h"
#include "confine.h"
#include "log.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct job {
  void (*verified)(void *arg, int err, const struct audit_check *check); /* NULL: it exports, */
  void (*exported)(void *arg, int err, uint64_t bytes);
  void *arg;
  int64_t from; /* from this row, into this file */
  int fd;
};

struct inspector {
  sd_event *event;
  struct store *store;
  struct artefacts *artefacts;
  sd_event_source *work, *child, *timer;
  struct job job;
  bool busy;     /* there is a job, */
  bool frozen;   /* the store is frozen for it, */
  bool strained; /* and must not be any more, */
  pid_t pid;     /* and its process runs; 0 = none */
  int result;
};

/* What the child writes, once and whole. */
struct result {
  int err;
  struct audit_check check;
  uint64_t bytes;
};

/* ---- the child ---- */

struct export {
  FILE *file;
  uint64_t bytes;
};

static int export_write(void *arg, const void *bytes, size_t n) {
  struct export *x = arg;
  x->bytes += n;
  return fwrite(bytes, 1, n, x->file) == n ? 0 : -errno;
}

static int export_to(struct store *s, struct artefacts *a, const struct job *j, uint64_t *ret_bytes) {
  struct export x = {.file = fdopen(j->fd, "w")};
  int r = x.file ? audit_export(s, a, j->from, export_write, &x) : -errno;
  if (r == 0 && fflush(x.file) != 0)
    r = -errno;
  *ret_bytes = x.bytes;
  return r;
}

/* Nothing but this folder from now on, and that to be read: whatever goes wrong here, the store stays as it is. */
static int confine(const char *dir) {
  static const struct confine_limits limits = {
      .cpu_seconds = INSPECT_S,
      .descriptors = 64,
      .file_max = (uint64_t)1 << 40,
      .memory_max = (uint64_t)4 << 30, /* with the daemon's own, and an archive of the trail */
  };
  tzset(); /* the zone's file is elsewhere */
  _fd_cleanup_ int folder = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  int r = folder < 0 ? -errno : confine_limit(&limits);
  return r < 0 ? r : confine_to(&(struct confine_folder){.fd = folder, .rights = CONFINE_READ}, 1);
}

static int job_do(const struct inspector *x, struct result *ret) {
  const char *dir = artefacts_store(x->artefacts);
  struct store *s;
  struct artefacts *a;
  int r = confine(dir);
  if (r == 0)
    r = store_snapshot(x->store, &s);
  if (r == 0)
    r = artefacts_look(dir, &a);
  if (r < 0)
    return r;
  return x->job.verified ? audit_verify(s, a, &ret->check) : export_to(s, a, &x->job, &ret->bytes);
}

/* A copy of the daemon. SQLite minds when a low number is free: it would be the database's. */
static _Noreturn void child_run(const struct inspector *x, int out, pid_t parent) {
  struct result result = {0};
  const int fd = x->job.fd;
  const int fds[] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, fd >= 0 && fd < out ? fd : out, fd > out ? fd : out};
  result.err = child_stay(parent, fds, fd < 0 ? 4 : 5);
  if (result.err == 0)
    result.err = job_do(x, &result);
  _exit(fd_write_all(out, &result, sizeof result) < 0);
}

/* ---- the parent ---- */

static void process_finish(struct inspector *x) {
  x->child = sd_event_source_disable_unref(x->child);
  x->timer = sd_event_source_disable_unref(x->timer);
  if (x->pid > 0) {
    kill(x->pid, SIGKILL);
    waitpid(x->pid, NULL, 0);
  }
  x->pid = 0;
  fd_finish(&x->result);
  if (x->frozen)
    store_thaw(x->store);
  x->frozen = false;
}

/* Calls back when this is in order again, as more may be asked at once. */
static void job_end(struct inspector *x, const struct result *result) {
  const struct job j = x->job;
  sd_event_source_set_enabled(x->work, SD_EVENT_OFF);
  process_finish(x);
  x->busy = false;
  if (j.verified)
    j.verified(j.arg, result->err, result->err < 0 ? NULL : &result->check);
  else
    j.exported(j.arg, result->err, result->err < 0 ? 0 : result->bytes);
}

static int on_child(sd_event_source *source, const siginfo_t *info, void *arg) {
  (void)source;
  struct inspector *x = arg;
  struct result result;
  x->pid = 0;
  if (info->si_code != CLD_EXITED || info->si_status != 0)
    log_error("inspect: its process was ended by %s %d", info->si_code == CLD_EXITED ? "exit" : "signal",
              info->si_status);
  if (x->strained)
    result = (struct result){.err = -ENOSPC};
  else if (info->si_code != CLD_EXITED || info->si_status != 0 ||
           read(x->result, &result, sizeof result) != sizeof result)
    result = (struct result){.err = -EIO};
  job_end(x, &result);
  return 0;
}

static int on_late(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  struct inspector *x = arg;
  log_error("inspect: not done within %d s, killed", INSPECT_S);
  kill(x->pid, SIGKILL); /* on_child() comes next */
  return 0;
}

/* Within a commit: the process goes now, and the rest with on_child(). */
static void on_strained(void *arg) {
  struct inspector *x = arg;
  x->strained = true;
  log_error("inspect: ended, as the store's log takes too much of the disk meanwhile");
  if (x->pid > 0)
    kill(x->pid, SIGKILL);
}

static int job_start(struct inspector *x) {
  x->strained = false;
  int ends[2], r = store_freeze(x->store, on_strained, x);
  pid_t self = getpid();
  if (r < 0)
    return r;
  x->frozen = true;
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
    return -errno;
  x->result = ends[0];
  x->pid = fork();
  if (x->pid == 0)
    child_run(x, ends[1], self);
  r = x->pid < 0 ? -errno : 0;
  close(ends[1]);
  if (r == 0)
    r = sd_event_add_child(x->event, &x->child, x->pid, WEXITED, on_child, x);
  if (r >= 0)
    r = sd_event_add_time_relative(x->event, &x->timer, CLOCK_MONOTONIC, INSPECT_S * WALL_SECOND, WALL_SECOND, on_late,
                                   x);
  return r < 0 ? r : 0;
}

static int on_work(sd_event_source *source, void *arg) {
  struct inspector *x = arg;
  if (store_is_dirty(x->store)) /* once more, after the commit at this turn's end */
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
  int r = job_start(x);
  if (r < 0)
    job_end(x, &(struct result){.err = r});
  return 0;
}

static int job_add(struct inspector *x, const struct job *j) {
  if (x->busy)
    return -EBUSY;
  int r = sd_event_source_set_enabled(x->work, SD_EVENT_ONESHOT);
  if (r < 0)
    return r;
  x->job = *j;
  x->busy = true;
  return 0;
}

int inspect_verify(struct inspector *x, void (*done)(void *arg, int err, const struct audit_check *check), void *arg) {
  return job_add(x, &(struct job){.verified = done, .arg = arg, .fd = -1});
}

int inspect_export(struct inspector *x, int64_t from, int fd, void (*done)(void *arg, int err, uint64_t bytes),
                   void *arg) {
  return job_add(x, &(struct job){.exported = done, .arg = arg, .from = from, .fd = fd});
}

bool inspector_is_busy(const struct inspector *x) {
  return x->busy;
}

int inspector_open(sd_event *event, struct store *s, struct artefacts *a, struct inspector **ret) {
  struct inspector *x = calloc(1, sizeof *x);
  if (!x)
    return -ENOMEM;
  *x = (struct inspector){.event = sd_event_ref(event), .store = s, .artefacts = a, .result = -1};
  int r = sd_event_add_defer(event, &x->work, on_work, x);
  if (r >= 0)
    r = sd_event_source_set_priority(x->work, SD_EVENT_PRIORITY_IDLE); /* people, and commits, first */
  if (r >= 0)
    r = sd_event_source_set_enabled(x->work, SD_EVENT_OFF);
  if (r < 0) {
    inspector_close(x);
    return r;
  }
  *ret = x;
  return 0;
}

void inspector_close(struct inspector *x) {
  if (!x)
    return;
  if (x->busy)
    job_end(x, &(struct result){.err = -ECANCELED});
  sd_event_source_disable_unref(x->work);
  sd_event_unref(x->event);
  free(x);
}
