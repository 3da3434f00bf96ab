#include "collector.h"

#include "child.h"
#include "log.h"
#include "str.h"
#include "wall.h"
#include <asalee/wire.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SETTLE_MS 1000u /* a file in a folder that stayed the same that long is whole */
#define AGAIN_US (30 * 1000000ull)
#define STORE_AGAIN_US (5 * 1000000ull)
#define SAYINGS_A_TURN 256 /* messages: people first */
#define STICKS_MAX 8
#define ANNOUNCED_MAX (WIRE_BATCHES * WIRE_BATCH_FILES)

enum collector_state { IDLE, COPYING, DONE, FAILED };
static const char *const state_names[] = {"idle", "copying", "done", "failed"};

struct collector {
  struct collectors *all;
  struct collector *next;
  bool stick;
  char name[MEDIA_NAME_MAX]; /* of a stick */
  char path[WIRE_TEXT_MAX];
  enum collector_state state;
  enum problem failure;
  bool said;                             /* that it fails: once, until it works again */
  struct wire_pass pass;                 /* of the last pass; while it copies, what was taken so far */
  uint32_t files, total;                 /* progress */
  const char *device[WIRE_PATTERNS_MAX]; /* whose pattern it is: ids */
  unsigned n_patterns;
  char pattern[WIRE_PATTERNS_MAX][ACQ_TEXT_MAX];
  /* the process */
  char incoming[ARTEFACT_FOLDER_MAX]; /* where it writes; "" = nowhere */
  pid_t pid;
  int control;
  sd_event_source *io, *child, *again;
  struct wire_file *announced;   /* ANNOUNCED_MAX, since the last batch that is in the store */
  unsigned n_announced, n_batch; /* the first n_batch of them are the batch that is being stored; 0 = none is */
  uint32_t waiting[WIRE_BATCHES];
  unsigned n_waiting;
  bool has_pass; /* it went through all, and what it announced before is not in the store yet: */
  struct wire_pass last;
  bool committing, dead; /* its batch is being made durable; it is freed after that */
};

struct collectors {
  struct collectors_parts parts;
  struct collector *list;
  bool started;
};

static void log_name(const struct collector *c, char text[static WIRE_TEXT_MAX + 32]) {
  snprintf(text, WIRE_TEXT_MAX + 32, c->stick ? "stick %s" : "folder %s", c->stick ? c->name : c->path);
}

/* ---- the end of the process ---- */

static void collector_end(struct collector *c) {
  c->io = sd_event_source_disable_unref(c->io);
  c->child = sd_event_source_disable_unref(c->child);
  fd_finish(&c->control);
  if (c->pid > 0) {
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
  }
  c->pid = 0;
  if (c->incoming[0])
    artefacts_incoming_remove(c->all->parts.artefacts, c->incoming);
  c->incoming[0] = 0;
  free(c->announced);
  c->announced = NULL;
  c->n_announced = c->n_batch = c->n_waiting = 0;
  c->has_pass = false;
}

static void set_folders(struct collector *c, bool there) {
  for (unsigned i = 0; i < c->n_patterns && !c->stick; i++) {
    struct device *d = devices_find(c->all->parts.devices, c->device[i]);
    if (d)
      device_set_folder(d, there ? c->path : NULL);
  }
}

static void collector_failed(struct collector *c, enum problem why) {
  char name[WIRE_TEXT_MAX + 32];
  log_name(c, name);
  if (!c->said)
    log_warning("%s: cannot be gone through (%s)%s", name, problem_code(why), c->stick ? "" : ", tried again");
  c->said = true;
  c->failure = why;
  c->state = FAILED;
  collector_end(c);
  set_folders(c, false);
  if (!c->stick) {
    sd_event_source_set_time_relative(c->again, AGAIN_US);
    sd_event_source_set_enabled(c->again, SD_EVENT_ONESHOT);
  }
}

static int on_child(sd_event_source *source, const siginfo_t *info, void *arg) {
  (void)source;
  struct collector *c = arg;
  c->pid = 0;
  c->child = sd_event_source_disable_unref(c->child);
  if (info->si_code != CLD_EXITED) /* what else there is to do is done when its socket ends */
    log_warning("collector: ended by signal %d", info->si_status);
  return 0;
}

/* ---- batches ---- */

/* Whose file it is; "" where it could as well be another instrument's in the same place. */
static const char *device_of(const struct collector *c, const struct wire_file *f) {
  const char *base = strrchr(f->name, '/'), *device = c->device[f->pattern];
  for (unsigned i = 0; i < c->n_patterns; i++)
    if (c->device[i] != device && !fnmatch(c->pattern[i], base ? base + 1 : f->name, FNM_CASEFOLD))
      return "";
  return device;
}

static int add_file(struct collector *c, const struct wire_file *f, int64_t now) {
  struct file file = {
      .at = now, .modified = f->modified_us, .bytes = f->bytes, .source = c->stick ? FILE_STICK : FILE_FOLDER};
  char name[ARTEFACT_NAME_MAX];
  int64_t id;
  bool known;
  snprintf(name, sizeof name, "%s/%u", c->incoming, f->number);
  str_hex(f->sha256, sizeof f->sha256, file.sha256);
  str_copy(file.name, sizeof file.name, f->name);
  str_copy(file.by, sizeof file.by, "asaleed");
  str_copy(file.device, sizeof file.device, device_of(c, f));
  int r = file_add(c->all->parts.store, &file, &id, &known);
  if (r < 0)
    return r;
  c->pass.known += known;
  c->pass.taken += !known;
  if (known) {
    artefact_discard(c->all->parts.artefacts, name);
    return 0;
  }
  return artefact_take(c->all->parts.artefacts, name, file.sha256, file.bytes);
}

static int store_batch(struct collector *c) {
  const struct wire_pass before = c->pass;
  int64_t now = wall_now().us;
  int r = store_begin(c->all->parts.store);
  if (r < 0)
    return r;
  for (unsigned i = 0; i < c->n_batch && r >= 0; i++)
    r = add_file(c, &c->announced[i], now);
  if (r >= 0)
    r = artefacts_settle(c->all->parts.artefacts);
  if (r >= 0)
    r = store_keep(c->all->parts.store);
  if (r < 0) {
    store_undo(c->all->parts.store);
    c->pass = before;
  }
  return r;
}

static void next_batch(struct collector *c);

static void batch_later(struct collector *c, int err) {
  char name[WIRE_TEXT_MAX + 32];
  log_name(c, name);
  log_errno(LOG_ERROR, err, "%s: its files cannot be stored, tried again every %llu s", name, STORE_AGAIN_US / 1000000);
  sd_event_source_set_time_relative(c->again, STORE_AGAIN_US);
  sd_event_source_set_enabled(c->again, SD_EVENT_ONESHOT);
}

static void batch_stored(struct collector *c, int result) {
  if (result < 0)
    return batch_later(c, result);
  c->n_announced -= c->n_batch;
  memmove(c->announced, c->announced + c->n_batch, c->n_announced * sizeof *c->announced);
  c->n_batch = 0;
  if (c->control >= 0)
    wire_send(c->control, &(struct wire_message){.type = WIRE_KEPT});
  intake_wake(c->all->parts.intake);
  next_batch(c);
}

static void on_batch(void *arg, int result) {
  struct collector *c = arg;
  c->committing = false;
  if (c->dead)
    free(c);
  else if (c->n_batch) /* or it failed meanwhile */
    batch_stored(c, result);
}

static void collector_lied(struct collector *c) {
  log_error("collector: said what none may say, ended");
  collector_failed(c, P_worker_crashed);
}

static void try_batch(struct collector *c) {
  int r = store_batch(c);
  if (r == -EPROTO)
    return collector_lied(c);
  if (r < 0)
    return batch_later(c, r);
  c->committing = true;
  store_on_commit(c->all->parts.store, on_batch, c);
}

static void on_pass(struct collector *c, const struct wire_pass *pass) {
  char name[WIRE_TEXT_MAX + 32];
  const uint32_t taken = c->pass.taken, known = c->pass.known + pass->known;
  log_name(c, name);
  c->pass = *pass;
  c->pass.taken = taken;
  c->pass.known = known;
  c->said = false;
  set_folders(c, true);
  if (pass->taken || pass->too_large || pass->not_files || pass->unreadable || pass->too_many)
    log_info("%s: %u file(s) with such a name, %u copied, %u too large, %u no files, %u unreadable%s", name,
             pass->matching, pass->taken, pass->too_large, pass->not_files, pass->unreadable,
             pass->too_many ? ", more than are looked at" : "");
  if (c->stick) {
    c->state = DONE;
    c->failure = P_OK;
  }
}

/* The next one that is complete. When there is none, what the process said after them holds: that it went through all,
 * or that it has gone. */
static void next_batch(struct collector *c) {
  if (c->n_batch)
    return;
  if (c->n_waiting) {
    c->n_batch = c->waiting[0];
    c->n_waiting--;
    memmove(c->waiting, c->waiting + 1, c->n_waiting * sizeof *c->waiting);
    return try_batch(c);
  }
  if (c->has_pass)
    on_pass(c, &c->last);
  c->has_pass = false;
  if (c->control < 0 && c->state == COPYING)
    collector_failed(c, c->failure ? c->failure : P_worker_crashed);
  else if (c->control < 0)
    collector_end(c);
}

/* ---- what it says ---- */

static enum problem problem_of_collector(const struct collector *c, int err) {
  return err == -ENODEV || err == -EIO       ? c->stick ? P_media_unplugged : P_device_absent
         : err == -ENOENT || err == -ENOTDIR ? P_device_absent
         : err == -EACCES                    ? P_device_open
                                             : problem_of_errno(err);
}

/* False when it is not what a collector may say. */
static bool take(struct collector *c, const struct wire_message *m) {
  switch (m->type) {
  case WIRE_FILE:
    if (c->n_announced == ANNOUNCED_MAX || m->file.pattern >= c->n_patterns)
      return false;
    c->announced[c->n_announced++] = m->file;
    return true;
  case WIRE_BATCH: {
    uint32_t before = c->n_batch;
    for (unsigned i = 0; i < c->n_waiting; i++)
      before += c->waiting[i];
    if (c->n_waiting == WIRE_BATCHES || m->batch.files != c->n_announced - before)
      return false;
    c->waiting[c->n_waiting++] = m->batch.files;
    next_batch(c);
    return true;
  }
  case WIRE_PROGRESS:
    c->files = m->progress.done;
    c->total = m->progress.total;
    return true;
  case WIRE_PASS:
    c->last = m->pass;
    c->has_pass = true;
    next_batch(c);
    return true;
  case WIRE_FAIL:
    c->failure = problem_of_collector(c, m->fail.err);
    return true;
  default:
    return false;
  }
}

/* It has gone: what it announced whole is stored first. */
static void hang_up(struct collector *c) {
  c->io = sd_event_source_disable_unref(c->io);
  fd_finish(&c->control);
  next_batch(c);
}

static int on_control(sd_event_source *source, int fd, uint32_t revents, void *arg) {
  (void)source;
  (void)revents;
  struct collector *c = arg;
  struct wire_message m;
  for (int i = 0; i < SAYINGS_A_TURN && c->control >= 0; i++) {
    int r = wire_receive(fd, &m);
    if (r == -EAGAIN)
      break;
    if (r == -ENODATA) {
      hang_up(c);
    } else if (r < 0 || !take(c, &m)) {
      collector_lied(c);
    }
  }
  return 0;
}

/* ---- the beginning ---- */

static int collector_spawn(struct collector *c) {
  static const char *const args[] = {"collect", NULL};
  static_assert(WIRE_FD_CONTROL == CHILD_FD_FIRST && WIRE_FD_INCOMING == CHILD_FD_FIRST + 1, "in this order");
  int pair[2];
  struct wire_message m = {.type = WIRE_COLLECT,
                           .collect = {.watch = !c->stick,
                                       .settle_ms = c->stick ? 0 : SETTLE_MS,
                                       .poll_s = c->stick ? 0 : 1,
                                       .max_bytes = ACQ_BLOB_MAX - 1,
                                       .n_patterns = c->n_patterns}};
  str_copy(m.collect.path, sizeof m.collect.path, c->path);
  memcpy(m.collect.pattern, c->pattern, sizeof c->pattern);
  for (unsigned i = 0; i < c->n_patterns && !c->stick; i++) {
    const struct device *d = devices_find(c->all->parts.devices, c->device[i]);
    if (d && (i == 0 || d->conf.folder_poll < m.collect.poll_s))
      m.collect.poll_s = d->conf.folder_poll;
  }
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
    return -errno;
  c->control = pair[0];
  _fd_cleanup_ int theirs = pair[1], incoming = artefacts_incoming(c->all->parts.artefacts, c->incoming);
  int r = incoming < 0 ? incoming : fcntl(c->control, F_SETFL, O_NONBLOCK) < 0 ? -errno : wire_send(c->control, &m);
  if (r == 0)
    r = child_spawn(c->all->parts.driver_program, args, -1, (const int[]){theirs, incoming}, 2, &c->pid);
  if (r == 0)
    r = sd_event_add_child(c->all->parts.event, &c->child, c->pid, WEXITED, on_child, c);
  if (r >= 0)
    r = sd_event_add_io(c->all->parts.event, &c->io, c->control, EPOLLIN, on_control, c);
  if (r >= 0)
    r = sd_event_source_set_priority(c->io, SD_EVENT_PRIORITY_IDLE);
  return r;
}

static void collector_run(struct collector *c) {
  c->state = COPYING;
  c->failure = P_OK;
  c->pass = (struct wire_pass){0};
  c->files = c->total = 0;
  c->announced = calloc(ANNOUNCED_MAX, sizeof *c->announced);
  int r = c->announced ? collector_spawn(c) : -ENOMEM;
  if (r == -ENOSPC) { /* not the stick's fault: it goes on when there is room */
    collector_end(c);
    batch_later(c, r);
  } else if (r < 0) {
    log_errno(LOG_ERROR, r, "collector: cannot be started");
    collector_failed(c, problem_of_errno(r));
  }
}

static int on_again(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  struct collector *c = arg;
  if (c->n_batch)
    try_batch(c);
  else if (c->control < 0 && (c->state == COPYING || (c->state == FAILED && !c->stick)))
    collector_run(c);
  return 0;
}

static struct collector *collector_new(struct collectors *all) {
  struct collector *c = calloc(1, sizeof *c);
  if (!c)
    return NULL;
  c->all = all;
  c->control = -1;
  int r = sd_event_add_time_relative(all->parts.event, &c->again, CLOCK_MONOTONIC, 0, 0, on_again, c);
  if (r >= 0)
    r = sd_event_source_set_enabled(c->again, SD_EVENT_OFF);
  if (r < 0) {
    sd_event_source_disable_unref(c->again);
    free(c);
    return NULL;
  }
  c->next = all->list;
  all->list = c;
  return c;
}

static void collector_free(struct collector *c) {
  struct collector **at = &c->all->list;
  while (*at != c)
    at = &(*at)->next;
  *at = c->next;
  collector_end(c);
  c->again = sd_event_source_disable_unref(c->again);
  c->dead = c->committing;
  if (!c->dead)
    free(c);
}

/* The patterns of the device's driver are among those that are looked for. */
static void add_patterns(struct collector *c, const struct device *device) {
  const struct driver_info *driver = devices_driver(c->all->parts.devices, device->conf.driver);
  for (unsigned k = 0; driver && driver_of_files(driver) && k < driver->n_match; k++) {
    if (c->n_patterns == WIRE_PATTERNS_MAX) {
      log_warning("device %s: more patterns of files in one place than are looked for", device->conf.id);
      return;
    }
    c->device[c->n_patterns] = device->conf.id;
    str_copy(c->pattern[c->n_patterns++], ACQ_TEXT_MAX, driver->match[k].pattern);
  }
}

static struct collector *of_folder(const struct collectors *all, const char *path) {
  struct collector *c = all->list;
  while (c && (c->stick || strcmp(c->path, path)))
    c = c->next;
  return c;
}

void collectors_start(struct collectors *all) {
  const struct device *d;
  if (all->started)
    return;
  all->started = true;
  for (unsigned i = 0; (d = devices_at(all->parts.devices, i)); i++) {
    if (!d->conf.folder[0])
      continue;
    struct collector *c = of_folder(all, d->conf.folder);
    if (!c && (c = collector_new(all)))
      str_copy(c->path, sizeof c->path, d->conf.folder);
    if (c)
      add_patterns(c, d);
  }
  for (struct collector *c = all->list; c; c = c->next)
    if (!c->stick && c->n_patterns)
      collector_run(c);
}

/* ---- sticks ---- */

/* The name of a block device, and of a folder in the folder of sticks. */
static bool is_media_name(const char *name) {
  size_t n = strlen(name);
  return n && n < MEDIA_NAME_MAX && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n && name[0] != '-';
}

static struct collector *of_stick(const struct collectors *all, const char *name) {
  struct collector *c = all->list;
  while (c && (!c->stick || strcmp(c->name, name)))
    c = c->next;
  return c;
}

/* A new collector with the patterns of those who are declared on it, or NULL. */
static struct collector *stick_new(struct collectors *all, const char *name) {
  const struct device *d;
  struct collector *c = collector_new(all);
  if (!c)
    return NULL;
  c->stick = true;
  str_copy(c->name, sizeof c->name, name);
  for (unsigned i = 0; (d = devices_at(all->parts.devices, i)); i++)
    if (device_is_on_media(d, name))
      add_patterns(c, d);
  if (!c->n_patterns || (size_t)snprintf(c->path, sizeof c->path, "%s/%s", all->parts.media, name) >= sizeof c->path) {
    collector_free(c);
    return NULL;
  }
  return c;
}

/* How the last ones went is remembered of so many; the oldest that is over makes room. */
static bool make_room(struct collectors *all) {
  struct collector *oldest = NULL;
  unsigned n = 0;
  for (struct collector *c = all->list; c; c = c->next) {
    n += c->stick;
    if (c->stick && c->state != COPYING)
      oldest = c;
  }
  if (n >= STICKS_MAX && oldest)
    collector_free(oldest);
  return n < STICKS_MAX || oldest;
}

enum problem collectors_media(struct collectors *all, const char *name) {
  struct collector *c = is_media_name(name) ? of_stick(all, name) : NULL;
  if (c && c->state == COPYING)
    return P_OK;
  if (c) /* another stick may have that name now */
    collector_free(c);
  if (!make_room(all))
    return P_overloaded;
  c = is_media_name(name) ? stick_new(all, name) : NULL;
  if (!c)
    return P_not_found;
  collector_run(c);
  return P_OK;
}

static json_t *devices_of(const struct collector *c) {
  json_t *list = json_array();
  for (unsigned i = 0; i < c->n_patterns; i++)
    if (i == 0 || c->device[i] != c->device[i - 1])
      json_array_append_new(list, json_string(c->device[i]));
  return list;
}

enum problem collectors_media_json(struct collectors *all, const char *name, json_t **ret) {
  struct collector *there = is_media_name(name) ? of_stick(all, name) : NULL;
  struct collector *c = there ? there : is_media_name(name) ? stick_new(all, name) : NULL;
  if (!c)
    return P_not_found;
  const bool copying = c->state == COPYING;
  json_t *failure = c->state == FAILED ? json_pack("{s:s, s:s}", "code", problem_code(c->failure), "detail",
                                                   problem_detail(c->failure))
                                       : json_null();
  *ret = json_pack("{s:o, s:o, s:I, s:I, s:s, s:s, s:I}", "devices", devices_of(c), "failure", failure, "known",
                   (json_int_t)c->pass.known, "matching", (json_int_t)(copying ? c->total : c->pass.matching), "name",
                   name, "state", state_names[c->state], "taken", (json_int_t)c->pass.taken);
  if (!there)
    collector_free(c);
  return *ret ? P_OK : P_overloaded;
}

/* ---- all of them ---- */

int collectors_open(const struct collectors_parts *parts, struct collectors **ret) {
  struct collectors *all = calloc(1, sizeof *all);
  if (!all)
    return -ENOMEM;
  all->parts = *parts;
  *ret = all;
  return 0;
}

void collectors_close(struct collectors *all) {
  while (all && all->list)
    collector_free(all->list);
  free(all);
}
