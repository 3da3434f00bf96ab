#include "worker.h"

#include "buf.h"
#include "capture.h"
#include "child.h"
#include "log.h"
#include "str.h"
#include "wall.h"
#include <asalee/record.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGES_A_TURN 64 /* a worker that babbles does not keep the loop from the others */

struct worker {
  struct worker_calls calls;
  void *arg;
  pid_t pid;
  int control, capture, record, blobs;
  sd_event_source *io, *child, *timer;
  bool late, cancelled;
  struct wire_message last; /* RECORD or FAIL, once it came; type 0 before */
  void *maps[2];
  size_t map_bytes[2];
};

static int memory_file(const char *name) {
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  return fd < 0 ? -errno : fd;
}

void worker_free(struct worker *w) {
  if (!w)
    return;
  sd_event_source_disable_unref(w->io);
  sd_event_source_disable_unref(w->child);
  sd_event_source_disable_unref(w->timer);
  if (w->pid > 0) {
    kill(w->pid, SIGKILL);
    waitpid(w->pid, NULL, 0);
  }
  for (int i = 0; i < 2; i++)
    if (w->maps[i])
      munmap(w->maps[i], w->map_bytes[i]);
  fd_finish(&w->control);
  fd_finish(&w->capture);
  fd_finish(&w->record);
  fd_finish(&w->blobs);
  free(w);
}

/* Nobody writes any more: seals the file against everyone and maps it. NULL when empty or over the bound. */
static const void *worker_map(struct worker *w, int i, int fd, size_t max) {
  struct stat st;
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0 || fstat(fd, &st) < 0 ||
      st.st_size <= 0 || (uint64_t)st.st_size > max)
    return NULL;
  void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED)
    return NULL;
  w->maps[i] = map;
  w->map_bytes[i] = (size_t)st.st_size;
  return map;
}

static void worker_say(struct worker *w, const struct wire_message *m) {
  if (m->type == WIRE_RECORD || m->type == WIRE_FAIL)
    w->last = *m;
  else if (!w->last.type && m->type >= WIRE_OPENED && w->calls.said)
    w->calls.said(w->arg, m);
}

/* The records as the last message says they lie in the memory file: the samples of both, the previews of both, then the
 * JSON of both. */
static bool worker_records(struct worker *w, struct worker_record ret[static WIRE_RECORDS]) {
  const struct wire_record *said = &w->last.record;
  const char *at = worker_map(w, 1, w->record,
                              WIRE_RECORDS * (size_t)(RECORD_JSON_MAX + RECORD_DATA_MAX) +
                                  WIRE_RECORDS * (size_t)RECORD_PREVIEWS_MAX);
  size_t total = 0;
  for (int i = 0; i < WIRE_RECORDS; i++)
    total += (size_t)said->json_bytes[i] + said->data_bytes[i] + said->preview_bytes[i];
  if (!at || total != w->map_bytes[1])
    return false;
  for (int i = 0; i < WIRE_RECORDS; i++) {
    ret[i].data = at;
    ret[i].data_bytes = said->data_bytes[i];
    at += said->data_bytes[i];
  }
  for (int i = 0; i < WIRE_RECORDS; i++) {
    ret[i].previews = at;
    ret[i].preview_bytes = said->preview_bytes[i];
    at += said->preview_bytes[i];
  }
  for (int i = 0; i < WIRE_RECORDS; i++) {
    ret[i].json = said->json_bytes[i] ? at : NULL;
    ret[i].json_bytes = said->json_bytes[i];
    at += said->json_bytes[i];
  }
  return true;
}

static void worker_ended(struct worker *w, const siginfo_t *info) {
  struct wire_message m;
  int r = 0;
  while (w->control >= 0 && (r = wire_receive(w->control, &m)) == 0)
    worker_say(w, &m);
  w->pid = 0;
  w->io = sd_event_source_disable_unref(w->io);
  w->timer = sd_event_source_disable_unref(w->timer);
  int mended = capture_mend(w->capture, w->blobs);
  if (mended < 0)
    log_errno(LOG_ERROR, mended, "worker: its capture cannot be ended");
  struct worker_end end = {.outcome = w->late ? WORKER_DEADLINE : WORKER_CRASH};
  bool clean = info->si_code == CLD_EXITED && !w->late && r == -ENODATA;
  if (!clean)
    log_warning("worker: ended by %s %d", info->si_code == CLD_EXITED ? "exit" : "signal", info->si_status);
  end.capture = worker_map(w, 0, w->capture, CAPTURE_TEXT_MAX);
  end.capture_bytes = end.capture ? w->map_bytes[0] : 0;
  end.blobs = w->blobs;
  if (clean && w->last.type == WIRE_FAIL) {
    end.outcome = WORKER_FAIL;
    end.fail = w->last.fail;
  } else if (clean && w->last.type == WIRE_RECORD && worker_records(w, end.records)) {
    end.outcome = WORKER_RECORD;
  }
  w->calls.ended(w->arg, &end);
}

static int on_child(sd_event_source *source, const siginfo_t *info, void *arg) {
  (void)source;
  worker_ended(arg, info);
  return 0;
}

static int on_control(sd_event_source *source, int fd, uint32_t revents, void *arg) {
  (void)revents;
  struct worker *w = arg;
  struct wire_message m;
  int r = 0;
  for (int i = 0; i < MESSAGES_A_TURN && (r = wire_receive(fd, &m)) == 0; i++)
    worker_say(w, &m);
  if (r < 0 && r != -EAGAIN) {
    sd_event_source_set_enabled(source, SD_EVENT_OFF); /* its exit comes next */
    if (r != -ENODATA) {
      log_errno(LOG_ERROR, r, "worker: does not speak the daemon's language, killed");
      fd_finish(&w->control);
      kill(w->pid, SIGKILL);
    }
  }
  return 0;
}

static int on_late(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  struct worker *w = arg;
  log_warning("worker: out of time, killed");
  w->late = true;
  kill(w->pid, SIGKILL);
  return 0;
}

static int worker_spawn(struct worker *w, const char *program, int control) {
  static const char *const args[] = {"run", NULL};
  static_assert(WIRE_FD_CONTROL == CHILD_FD_FIRST && WIRE_FD_BLOBS == CHILD_FD_FIRST + 3, "in this order");
  return child_spawn(program, args, -1, (const int[]){control, w->capture, w->record, w->blobs}, 4, &w->pid);
}

static int write_capture(int fd, const char *capture, size_t n) {
  int r = fd_write_all(fd, capture, n);
  return r < 0 ? r : lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

int worker_start(sd_event *event, const char *program, const struct wire_order *order, const char *capture,
                 size_t capture_bytes, int blobs, uint32_t seconds, const struct worker_calls *calls, void *arg,
                 struct worker **ret) {
  struct worker *w = calloc(1, sizeof *w);
  if (!w) {
    close(blobs);
    return -ENOMEM;
  }
  *w = (struct worker){.calls = *calls, .arg = arg, .control = -1, .capture = -1, .record = -1, .blobs = blobs};
  int pair[2] = {-1, -1};
  struct wire_message m = {.type = WIRE_ORDER, .order = *order};
  int r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
  w->control = pair[0];
  _fd_cleanup_ int theirs = pair[1];
  if (r == 0 && (r = w->capture = memory_file("capture")) >= 0 && (r = w->record = memory_file("record")) >= 0)
    r = write_capture(w->capture, capture, capture_bytes);
  if (r == 0 && fcntl(w->control, F_SETFL, O_NONBLOCK) < 0)
    r = -errno;
  if (r == 0)
    r = wire_send(w->control, &m);
  if (r == 0)
    r = worker_spawn(w, program, theirs);
  if (r == 0)
    r = sd_event_add_child(event, &w->child, w->pid, WEXITED, on_child, w);
  if (r >= 0)
    r = sd_event_add_io(event, &w->io, w->control, EPOLLIN, on_control, w);
  if (r >= 0)
    r = sd_event_add_time_relative(event, &w->timer, CLOCK_MONOTONIC, (uint64_t)seconds * 1000000, 100000, on_late, w);
  if (r < 0) {
    worker_free(w);
    return log_errno(LOG_ERROR, r, "worker: cannot start %s", program);
  }
  *ret = w;
  return 0;
}

int worker_begin(struct worker *w) {
  return wire_send(w->control, &(struct wire_message){.type = WIRE_START});
}

int worker_finish(struct worker *w) {
  return wire_send(w->control, &(struct wire_message){.type = WIRE_FINISH});
}

void worker_cancel(struct worker *w, uint32_t grace_ms) {
  /* Whether it can hear or not, it ends by then; asking again gives it no more time. */
  uint64_t set, wanted = monotonic_us() + (uint64_t)grace_ms * 1000;
  if (sd_event_source_get_time(w->timer, &set) >= 0 && wanted < set)
    sd_event_source_set_time(w->timer, wanted);
  if (w->control >= 0 && !w->cancelled)
    wire_send(w->control, &(struct wire_message){.type = WIRE_CANCEL});
  w->cancelled = true;
}
