#include "intake.h"

#include "child.h"
#include "log.h"
#include "str.h"
#include "wall.h"
#include <asalee/export.h>
#include <asalee/wire.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS 2 /* files at a time: a practice's box has two processors */
#define AGAIN_US (5 * 1000000ull)
#define EXPORT_US (60 * 1000000ull)

/* One file that is being looked at. */
struct slot {
  struct intake *intake;
  struct file file;             /* id 0 = free */
  unsigned turn;                /* whose it is: driver_at() */
  char flat[ARTEFACT_NAME_MAX]; /* what asaleed-export made of it; "" = nothing */
  pid_t pid;                    /* of asaleed-export */
  sd_event_source *child, *late;
};

struct intake {
  struct intake_parts parts;
  sd_event_source *work, *again;
  struct slot slots[SLOTS];
  int64_t after; /* the file that was put off last: those behind it come first */
  bool stopped;
};

static void slot_free(struct slot *s) {
  sd_event_source_disable_unref(s->child);
  sd_event_source_disable_unref(s->late);
  if (s->pid > 0) {
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
  }
  if (s->flat[0])
    artefact_discard(s->intake->parts.artefacts, s->flat);
  *s = (struct slot){.intake = s->intake};
}

static void again_later(struct intake *i) {
  sd_event_source_set_time_relative(i->again, AGAIN_US);
  sd_event_source_set_enabled(i->again, SD_EVENT_ONESHOT);
}

/* Not the file's fault, or nobody can tell: it is looked at again, and keeps no other from being looked at. */
static void slot_put_off(struct slot *s) {
  struct intake *i = s->intake;
  i->after = s->file.id;
  slot_free(s);
  again_later(i);
}

void intake_wake(struct intake *i) {
  if (!i->stopped)
    sd_event_source_set_enabled(i->work, SD_EVENT_ONESHOT);
}

void intake_stop(struct intake *i) {
  i->stopped = true;
  sd_event_source_set_enabled(i->work, SD_EVENT_OFF);
  sd_event_source_set_enabled(i->again, SD_EVENT_OFF);
}

bool intake_is_busy(const struct intake *i, int64_t file) {
  for (int k = 0; k < SLOTS; k++)
    if (i->slots[k].file.id == file)
      return true;
  return false;
}

/* ---- which driver ---- */

static bool has_pattern(const struct driver_info *d, const char *name) {
  const char *base = strrchr(name, '/');
  for (unsigned k = 0; k < d->n_match; k++)
    if (!fnmatch(d->match[k].pattern, base ? base + 1 : name, FNM_CASEFOLD))
      return true;
  return false;
}

/* In which round the driver has its turn, -1 for none. First comes that of the instrument that the site says, unless
 * that has become one without files since; else those whose pattern fits the name. */
static int round_of(const struct slot *s, const struct driver_info *d) {
  const struct devices *all = s->intake->parts.devices;
  const struct device *device = s->file.device[0] ? devices_find(s->intake->parts.devices, s->file.device) : NULL;
  const struct driver_info *own = device ? devices_driver(all, device->conf.driver) : NULL;
  if (!driver_of_files(d))
    return -1;
  if (own && driver_of_files(own))
    return own == d ? 0 : 1;
  return has_pattern(d, s->file.name) ? 0 : 1;
}

static const struct driver_info *driver_at(const struct slot *s, unsigned turn) {
  return devices_driver_at(s->intake->parts.devices, turn % DRIVERS_MAX);
}

/* The next turn of any driver, from `turn` on. */
static bool next_turn(const struct slot *s, unsigned turn, unsigned *ret) {
  for (; turn < 2 * DRIVERS_MAX; turn++) {
    const struct driver_info *d = driver_at(s, turn);
    if (d && round_of(s, d) == (int)(turn / DRIVERS_MAX)) {
      *ret = turn;
      return true;
    }
  }
  return false;
}

/* ---- one file ---- */

static void slot_decode(struct slot *s);

static void on_file(void *arg, int64_t file, enum session_file_end end) {
  struct slot *s = arg;
  struct intake *i = s->intake;
  unsigned next;
  (void)file;
  if (end == SESSION_FILE_FOREIGN && next_turn(s, s->turn + 1, &next)) {
    if (s->flat[0])
      artefact_discard(i->parts.artefacts, s->flat);
    s->flat[0] = 0;
    s->turn = next;
    return slot_decode(s);
  }
  if (end == SESSION_FILE_STOPPED)
    return slot_put_off(s);
  slot_free(s);
  intake_wake(i);
}

static void slot_run(struct slot *s) {
  char node[WIRE_NODE_MAX];
  unsigned next;
  struct artefacts *a = s->intake->parts.artefacts;
  const struct driver_info *driver = driver_at(s, s->turn);
  int r = s->flat[0] ? artefacts_temporary_path(a, s->flat, node, sizeof node)
                     : artefact_path(a, s->file.sha256, node, sizeof node);
  if (r == 0)
    r = session_file(s->intake->parts.sessions,
                     &(struct session_file){.file = s->file.id,
                                            .at = s->file.at,
                                            .modified = s->file.modified,
                                            .driver = driver,
                                            .device = s->turn < DRIVERS_MAX
                                                          ? s->file.device
                                                          : "", /* another format is not the instrument's */
                                            .node = node,
                                            .alone = s->file.device[0] && s->turn < DRIVERS_MAX,
                                            .last = !next_turn(s, s->turn + 1, &next),
                                            .ended = on_file,
                                            .arg = s});
  if (r < 0) {
    log_errno(LOG_ERROR, r, "file F-%lld: cannot be looked at now", (long long)s->file.id);
    slot_put_off(s);
  }
}

/* ---- what asaleed-export makes of it first ---- */

static int on_exported(sd_event_source *source, const siginfo_t *info, void *arg) {
  (void)source;
  struct slot *s = arg;
  s->pid = 0;
  s->child = sd_event_source_disable_unref(s->child);
  s->late = sd_event_source_disable_unref(s->late);
  bool exited = info->si_code == CLD_EXITED;
  if ((exited && info->si_status == EXPORT_FAILED) || s->intake->stopped) { /* the machine's fault */
    slot_put_off(s);
    return 0;
  }
  if (!exited)
    log_warning("file F-%lld: asaleed-export was ended by signal %d", (long long)s->file.id, info->si_status);
  slot_run(s); /* what was refused is empty, and foreign to the driver */
  return 0;
}

static int on_late(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  struct slot *s = arg;
  log_warning("file F-%lld: asaleed-export is out of time, killed", (long long)s->file.id);
  kill(s->pid, SIGKILL);
  return 0;
}

static int slot_export(struct slot *s) {
  static const char *const args[] = {"decode", NULL};
  static_assert(EXPORT_FD_JOB == CHILD_FD_FIRST && EXPORT_FD_OUT == CHILD_FD_FIRST + 3, "in this order");
  struct artefacts *a = s->intake->parts.artefacts;
  _fd_cleanup_ int none = open("/dev/null", O_RDONLY | O_CLOEXEC), in = artefact_open(a, s->file.sha256);
  _fd_cleanup_ int out = in < 0 ? -1 : artefacts_temporary(a, s->flat);
  int r = in < 0 ? in : out < 0 ? out : none < 0 ? -EMFILE : 0;
  if (r == 0)
    r = child_spawn(s->intake->parts.export_program, args, -1, (const int[]){none, none, in, out}, 4, &s->pid);
  if (r == 0)
    r = sd_event_add_child(s->intake->parts.event, &s->child, s->pid, WEXITED, on_exported, s);
  if (r >= 0)
    r = sd_event_add_time_relative(s->intake->parts.event, &s->late, CLOCK_MONOTONIC, EXPORT_US, 100000, on_late, s);
  return r;
}

static void slot_decode(struct slot *s) {
  if (s->intake->stopped)
    return slot_put_off(s);
  const struct driver_info *driver = driver_at(s, s->turn);
  if (!driver->match[0].flat)
    return slot_run(s);
  int r = slot_export(s);
  if (r < 0) {
    log_errno(LOG_ERROR, r, "file F-%lld: cannot be given to %s", (long long)s->file.id,
              s->intake->parts.export_program);
    slot_put_off(s);
  }
}

/* ---- all of them ---- */

/* The first that nobody looks at, of those behind the one that was put off last; then of all. */
static enum problem next_file(struct intake *i, struct file *ret) {
  enum problem p = P_not_found;
  for (int all = i->after ? 0 : 1; all < 2 && p == P_not_found; all++) {
    int64_t after = all ? 0 : i->after;
    do {
      p = file_next_pending(i->parts.store, after, ret);
      after = ret->id;
    } while (p == P_OK && intake_is_busy(i, ret->id));
  }
  return p;
}

/* Without a driver that reads files it stays pending: they may only not be known yet. */
static bool slot_begin(struct slot *s) {
  struct intake *i = s->intake;
  struct file file = {0};
  enum problem p = next_file(i, &file);
  if (p != P_OK && p != P_not_found) {
    log_error("files: the store cannot be asked (%s)", problem_code(p));
    again_later(i);
  }
  if (p != P_OK)
    return false;
  s->file = file;
  if (!next_turn(s, 0, &s->turn)) {
    s->file.id = 0;
    return false;
  }
  slot_decode(s);
  return true;
}

static int on_work(sd_event_source *source, void *arg) {
  (void)source;
  struct intake *i = arg;
  bool more = devices_driver_at(i->parts.devices, 0) != NULL;
  for (int k = 0; k < SLOTS && more; k++)
    if (!i->slots[k].file.id)
      more = slot_begin(&i->slots[k]);
  return 0;
}

static int on_again(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  intake_wake(arg);
  return 0;
}

int intake_open(const struct intake_parts *parts, struct intake **ret) {
  struct intake *i = calloc(1, sizeof *i);
  if (!i)
    return -ENOMEM;
  i->parts = *parts;
  for (int k = 0; k < SLOTS; k++)
    i->slots[k].intake = i;
  int r = sd_event_add_defer(parts->event, &i->work, on_work, i);
  if (r >= 0)
    r = sd_event_source_set_priority(i->work, SD_EVENT_PRIORITY_IDLE); /* people first */
  if (r >= 0)
    r = sd_event_add_time_relative(parts->event, &i->again, CLOCK_MONOTONIC, AGAIN_US, 0, on_again, i);
  if (r < 0) {
    intake_close(i);
    return r;
  }
  *ret = i;
  return 0;
}

void intake_close(struct intake *i) {
  if (!i)
    return;
  for (int k = 0; k < SLOTS; k++)
    slot_free(&i->slots[k]);
  sd_event_source_disable_unref(i->work);
  sd_event_source_disable_unref(i->again);
  free(i);
}
