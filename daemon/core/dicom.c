#include "dicom.h"

#include "child.h"
#include "fundus.h"
#include "log.h"
#include "reading.h"
#include "str.h"
#include "wall.h"
#include <asalee/export.h>
#include <asalee/record.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM ASALEED_VERSION
#define JOB_US (60 * WALL_SECOND)
#define PAUSE_US WALL_SECOND /* after a job's first failure; each further one doubles it */
#define PAUSE_MAX_US (600 * WALL_SECOND)
#define CRASHES_MAX 2             /* of one job: the next one is a refusal */
#define LOOK_US (5 * WALL_SECOND) /* until the database is asked again that did not answer */
#define STUDIES_A_TURN 256
#define SLICE (512u << 10) /* of an artefact hashed in one turn */
#define RESTS 16           /* more jobs than that fail only where the machine is at fault: then none is begun */

enum stage { IDLE, CHECKING, RUNNING, STORING, COMMITTING };

struct job {
  enum stage stage;
  struct dicom_key key;
  int64_t study, patient_version;
  int job, record, data, out; /* descriptors, -1 = none */
  char data_sha[HASH_TEXT];   /* "" = there is no data */
  struct hash_stream hash;    /* of the data so far */
  off_t hashed;
  pid_t pid;
  bool late;
  sd_event_source *child, *timer;
  struct artefact_writer *writer;
  int64_t bytes; /* of the object */
};

/* A job that failed, and when it may be tried again. */
struct rest {
  struct dicom_key key;
  enum problem why;
  unsigned times;
  uint64_t until; /* monotonic microseconds; 0 = a free place */
};

struct dicom {
  struct dicom_parts parts;
  sd_event_source *work, *timer;
  int64_t done;       /* studies up to this one have been looked at */
  int64_t missed;     /* the first among them that has a job at rest, 0 = none */
  uint64_t missed_at; /* when the first of those may be tried again */
  struct rest rests[RESTS];
  struct job job;
};

static const struct job no_job = {.job = -1, .record = -1, .data = -1, .out = -1};

static void work_on(struct dicom *d) {
  sd_event_source_set_enabled(d->work, SD_EVENT_ONESHOT);
}

static void work_at(struct dicom *d, uint64_t us) {
  sd_event_source_set_time(d->timer, us);
  sd_event_source_set_enabled(d->timer, SD_EVENT_ONESHOT);
}

/* ---- jobs at rest ---- */

static struct rest *rest_find(struct dicom *d, const struct dicom_key *key) {
  for (struct rest *x = d->rests; x < d->rests + RESTS; x++)
    if (x->until && x->key.record == key->record && x->key.number == key->number && x->key.whole == key->whole)
      return x;
  return NULL;
}

/* The place that is free, or free first. */
static struct rest *rest_first(struct dicom *d) {
  struct rest *first = d->rests;
  for (struct rest *x = d->rests; x < d->rests + RESTS; x++)
    if (x->until < first->until)
      first = x;
  return first;
}

static void miss(struct dicom *d, int64_t study, uint64_t until) {
  if (!d->missed || until < d->missed_at)
    d->missed_at = until;
  if (!d->missed || study < d->missed)
    d->missed = study;
}

/* ---- the end of a job ---- */

static void job_finish(struct job *j) {
  sd_event_source_disable_unref(j->child);
  sd_event_source_disable_unref(j->timer);
  if (j->pid > 0) {
    kill(j->pid, SIGKILL);
    waitpid(j->pid, NULL, 0);
  }
  artefact_writer_free(j->writer);
  fd_finish(&j->job);
  fd_finish(&j->record);
  fd_finish(&j->data);
  fd_finish(&j->out);
  *j = no_job;
}

static void job_done(struct dicom *d) {
  struct rest *rest = rest_find(d, &d->job.key);
  if (rest)
    *rest = (struct rest){0};
  job_finish(&d->job);
  work_on(d);
}

static void job_failed(struct dicom *d, enum problem why) {
  char name[DICOM_KEY_MAX];
  struct rest *rest = rest_find(d, &d->job.key);
  if (!rest) {
    rest = rest_first(d);
    *rest = (struct rest){.key = d->job.key};
  }
  uint64_t pause = PAUSE_US;
  for (unsigned i = 0; i < rest->times && pause < PAUSE_MAX_US; i++)
    pause *= 2;
  pause = pause < PAUSE_MAX_US ? pause : PAUSE_MAX_US;
  rest->times++;
  rest->why = why;
  rest->until = monotonic_us() + pause;
  dicom_key_text(&rest->key, name);
  log_warning("record %s: cannot be made a DICOM object now (%s), tried again in %llu s", name, problem_code(why),
              (unsigned long long)(pause / WALL_SECOND));
  miss(d, d->job.study, rest->until);
  job_finish(&d->job);
  work_on(d);
}

static void on_durable(void *arg, int result) {
  struct dicom *d = arg;
  if (result < 0)
    job_failed(d, problem_of_errno(result));
  else
    job_done(d);
}

/* A file that no row names, as its patient may have been erased meanwhile. It is made again where it is wanted. */
static void drop_file(struct dicom *d, const char *sha256) {
  struct rows r = store_query(d->parts.store, "SELECT 1 FROM artefact WHERE sha256 = ?", "t", sha256);
  const bool named = rows_next(&r);
  int err = rows_finish(&r);
  if (err == 0 && !named)
    err = artefact_erase(d->parts.artefacts, sha256);
  if (err < 0)
    log_errno(LOG_WARNING, err, "artefact %s: it stays on the disk, named by nothing", sha256);
}

/* The row: sha256 of what was stored, or why there is nothing to store. */
static void job_commit(struct dicom *d, const char *sha256, const char *failure) {
  const struct dicom_key *key = &d->job.key;
  struct store *store = d->parts.store;
  int64_t now = wall_now().us;
  int r = store_begin(store);
  if (r < 0) {
    job_failed(d, problem_of_errno(r));
    return;
  }
  if (sha256)
    r = artefact_add(store, sha256, "dicom", (size_t)d->job.bytes, now);
  if (r >= 0)
    r = store_run(store,
                  "INSERT INTO dicom(record, number, whole, sha256, failure, program, patient_version, at)"
                  " VALUES(?,?,?,?,?,?,?,?)",
                  "iiitttii", key->record, key->number, (int64_t)key->whole, sha256, failure, PROGRAM,
                  d->job.patient_version, now);
  if (r >= 0)
    r = store_keep(store);
  if (r < 0) {
    store_undo(store);
    if (sha256)
      drop_file(d, sha256);
    job_failed(d, problem_of_errno(r));
    return;
  }
  d->job.stage = COMMITTING;
  store_on_commit(store, on_durable, d);
}

static void job_refused(struct dicom *d) {
  char name[DICOM_KEY_MAX];
  dicom_key_text(&d->job.key, name);
  log_notice("record %s: no DICOM object can be made of it", name);
  job_commit(d, NULL, problem_code(P_dicom_refused));
}

/* ---- the process ---- */

/* Such a picture would crash the program, or keep it busy, the next time too, and a few of them would leave no time for
 * all the others. Whoever else kills it (the kernel out of memory, a person) means the machine. */
static bool is_its_own_fault(const struct job *j, const siginfo_t *info) {
  static const int faults[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGXCPU, SIGXFSZ};
  bool fault = j->late;
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
    fault |= info->si_code != CLD_EXITED && info->si_status == faults[i];
  return fault;
}

static void job_ended(struct dicom *d, const siginfo_t *info) {
  struct job *j = &d->job;
  struct stat st;
  j->pid = 0;
  j->child = sd_event_source_disable_unref(j->child);
  j->timer = sd_event_source_disable_unref(j->timer);
  bool exited = info->si_code == CLD_EXITED && !j->late;
  if (exited && info->si_status == EXPORT_REFUSED) {
    job_refused(d);
    return;
  }
  if (!exited || info->si_status != EXPORT_DONE) {
    log_warning("export: ended by %s %d%s", info->si_code == CLD_EXITED ? "exit" : "signal", info->si_status,
                j->late ? ", out of time" : "");
    const struct rest *rest = rest_find(d, &j->key);
    if (is_its_own_fault(j, info) && rest && rest->times >= CRASHES_MAX)
      job_refused(d);
    else
      job_failed(d, P_dicom_pending);
    return;
  }
  int r = fstat(j->out, &st) < 0 ? -errno : !st.st_size ? -ENODATA : st.st_size > EXPORT_OBJECT_MAX ? -EFBIG : 0;
  if (r == 0) {
    j->bytes = st.st_size;
    r = artefact_writer_start(d->parts.artefacts, j->out, 0, (size_t)st.st_size, &j->writer);
  }
  if (r < 0) {
    log_errno(LOG_ERROR, r, "export: what it wrote cannot be stored");
    job_failed(d, problem_of_errno(r));
    return;
  }
  j->stage = STORING;
  work_on(d);
}

static int on_child(sd_event_source *source, const siginfo_t *info, void *arg) {
  (void)source;
  job_ended(arg, info);
  return 0;
}

static int on_late(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  struct dicom *d = arg;
  d->job.late = true;
  kill(d->job.pid, SIGKILL);
  return 0;
}

static int job_run(struct dicom *d) {
  struct job *j = &d->job;
  static const char *const args[] = {"encode", NULL};
  static_assert(EXPORT_FD_JOB == CHILD_FD_FIRST && EXPORT_FD_OUT == CHILD_FD_FIRST + 3, "in this order");
  int r = child_spawn(d->parts.program, args, -1, (const int[]){j->job, j->record, j->data, j->out}, 4, &j->pid);
  if (r == 0)
    r = sd_event_add_child(d->parts.event, &j->child, j->pid, WEXITED, on_child, d);
  if (r >= 0)
    r = sd_event_add_time_relative(d->parts.event, &j->timer, CLOCK_MONOTONIC, JOB_US, 100000, on_late, d);
  j->stage = RUNNING;
  return r < 0 ? log_errno(LOG_ERROR, r, "export: cannot run %s", d->parts.program) : 0;
}

/* ---- the beginning ---- */

static int memory_file(const char *name, const void *bytes, size_t n) {
  int fd = memfd_create(name, MFD_CLOEXEC);
  int r = fd < 0 ? -errno : fd_write_all(fd, bytes, n);
  if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
    r = -errno;
  if (r < 0)
    fd_finish(&fd);
  return r < 0 ? r : fd;
}

static int job_open(struct dicom *d, const struct dicom_job *job) {
  struct job *j = &d->job;
  uint8_t *record;
  size_t n;
  int r = artefact_get(d->parts.artefacts, job->record, RECORD_JSON_MAX, &record, &n);
  if (r < 0)
    return r;
  j->record = memory_file("record", record, n);
  free(record);
  j->job = memory_file("job", job->json, job->json_bytes);
  j->out = artefacts_scratch(d->parts.artefacts);
  if (job->data[0])
    j->data = artefact_open(d->parts.artefacts, job->data);
  else if ((j->data = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
    j->data = -errno;
  str_copy(j->data_sha, sizeof j->data_sha, job->data);
  hash_start(&j->hash);
  return j->record < 0 ? j->record : j->job < 0 ? j->job : j->out < 0 ? j->out : j->data < 0 ? j->data : 0;
}

static void job_start(struct dicom *d, const struct dicom_key *key, int64_t study) {
  struct dicom_job job = {0};
  d->job.key = *key;
  d->job.study = study;
  int r = dicom_job_make(d->parts.store, d->parts.devices, key, &job);
  d->job.patient_version = job.patient_version;
  if (r == 0)
    r = job_open(d, &job);
  dicom_job_finish(&job);
  if (r == 0) {
    d->job.stage = CHECKING;
    work_on(d);
  } else {
    char name[DICOM_KEY_MAX];
    dicom_key_text(key, name);
    log_errno(LOG_ERROR, r, "record %s: cannot be read for its DICOM object", name);
    job_failed(d, problem_of_errno(r));
  }
}

/* One part of the data; 1 = there is more, 0 = it is what was stored. */
static int job_check(struct job *j) {
  if (!j->data_sha[0])
    return 0;
  _free_cleanup_ uint8_t *bytes = malloc(SLICE);
  if (!bytes)
    return -ENOMEM;
  ssize_t n = pread(j->data, bytes, SLICE, j->hashed);
  if (n < 0)
    return errno == EINTR ? 1 : -errno;
  hash_add(&j->hash, bytes, (size_t)n);
  j->hashed += n;
  if (n > 0)
    return 1;
  char again[HASH_TEXT];
  hash_text(&j->hash, again);
  if (!strcmp(again, j->data_sha))
    return 0;
  log_error("artefact %s: its contents are damaged", j->data_sha);
  return -EUCLEAN;
}

/* ---- which ---- */

/* What is to be made of the studies ?1 < id <= ?2; the GP's variant first. */
static const char wanted[] =
    "SELECT y.id, r.id, coalesce(p.number, 0), w.whole FROM study y CROSS JOIN orders o ON o.id = y.orders"
    " CROSS JOIN patient q ON q.id = o.patient CROSS JOIN record r ON r.study = y.id LEFT JOIN picture p ON p.record = "
    "r.id"
    " CROSS JOIN (SELECT 1 AS whole UNION ALL SELECT 0) w"
    " WHERE y.id > ?1 AND y.id <= ?2 AND y.state IN ('to_interpret','interpreting','interpreted')"
    " AND r.id NOT IN (SELECT record FROM supersession) AND (p.number IS NULL) = (o.act <> 'fundus')"
    " AND (p.number IS NULL OR (EXISTS (SELECT 1 FROM pupil WHERE study = y.id) AND (SELECT laterality"
    " FROM picture_label WHERE id = " FUNDUS_LABEL_ID ") IS NOT NULL))"
    " AND NOT EXISTS (SELECT 1 FROM dicom d WHERE d.record = r.id AND d.number = coalesce(p.number, 0)"
    " AND d.whole = w.whole AND d.patient_version = q.version AND (d.sha256 IS NOT NULL OR d.program = ?3))"
    " ORDER BY y.id, r.id, p.number, w.whole DESC";

static struct dicom_key wanted_key(const struct rows *r) {
  return (struct dicom_key){.record = rows_int(r, 1), .number = rows_int(r, 2), .whole = rows_int(r, 3)};
}

/* The next studies, some a turn: begins the first job that is not at rest. */
static int sweep(struct dicom *d) {
  struct rows r = store_query(d->parts.store, "SELECT coalesce(max(id), 0) FROM study", "");
  int64_t last = rows_next(&r) ? rows_int(&r, 0) : 0;
  uint64_t now = monotonic_us();
  int err = rows_finish(&r);
  if (err < 0)
    return err;
  if (d->done >= last) {
    if (d->missed && d->missed_at <= now) {
      d->done = d->missed - 1;
      d->missed = 0;
      work_on(d);
    } else if (d->missed) {
      work_at(d, d->missed_at);
    }
    return 0;
  }
  if (rest_first(d)->until > now) {
    work_at(d, rest_first(d)->until);
    return 0;
  }
  int64_t to = last - d->done > STUDIES_A_TURN ? d->done + STUDIES_A_TURN : last, study = 0;
  struct dicom_key key;
  r = store_query(d->parts.store, wanted, "iit", d->done, to, PROGRAM);
  while (!study && rows_next(&r)) {
    key = wanted_key(&r);
    const struct rest *rest = rest_find(d, &key);
    if (rest && rest->until > now)
      miss(d, rows_int(&r, 0), rest->until);
    else
      study = rows_int(&r, 0);
  }
  err = rows_finish(&r);
  if (err < 0)
    return err;
  d->done = study ? study - 1 : to;
  if (study)
    job_start(d, &key, study);
  else
    work_on(d);
  return 0;
}

static int on_work(sd_event_source *source, void *arg) {
  (void)source;
  struct dicom *d = arg;
  int r;
  switch (d->job.stage) {
  case IDLE:
    if ((r = sweep(d)) < 0) {
      log_errno(LOG_ERROR, r, "export: cannot look for what is to be made");
      work_at(d, monotonic_us() + LOOK_US);
    }
    break;
  case CHECKING:
    r = job_check(&d->job);
    if (r > 0)
      work_on(d);
    else if (r < 0 || (r = job_run(d)) < 0)
      job_failed(d, r == -EUCLEAN ? P_artefact_corrupt : P_dicom_pending);
    break;
  case STORING:
    r = artefact_writer_step(d->job.writer);
    if (r > 0)
      work_on(d);
    else if (r == 0)
      job_commit(d, artefact_writer_sha256(d->job.writer), NULL);
    else
      job_failed(d, problem_of_errno(r));
    break;
  default: /* its process, or the commit, says when it goes on */
    break;
  }
  return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  work_on(arg);
  return 0;
}

struct wake {
  struct dicom *d;
  int64_t study;
};

static void on_wake(void *arg, int result) {
  struct wake *w = arg;
  struct dicom *d = w->d;
  (void)result; /* nothing changed: nothing is found */
  if (d->done >= w->study)
    d->done = w->study - 1;
  work_on(d);
  free(w);
}

void dicom_wake(struct dicom *d, int64_t study) {
  struct wake *w = malloc(sizeof *w);
  if (!w) { /* looks at all of them, whenever */
    d->done = 0;
    work_on(d);
    return;
  }
  *w = (struct wake){d, study};
  store_on_commit(d->parts.store, on_wake, w);
}

void dicom_wake_patient(struct dicom *d, const char *patient) {
  struct rows r =
      store_query(d->parts.store,
                  "SELECT min(y.id) FROM patient q CROSS JOIN orders o ON o.patient = q.id"
                  " CROSS JOIN study y ON y.orders = o.id CROSS JOIN record r ON r.study = y.id"
                  " WHERE q.id = ? AND r.id NOT IN (SELECT record FROM supersession)"
                  " AND EXISTS (SELECT 1 FROM dicom WHERE record = r.id)"
                  " AND NOT EXISTS (SELECT 1 FROM dicom WHERE record = r.id AND patient_version = q.version)",
                  "t", patient);
  int64_t first = rows_next(&r) ? rows_int(&r, 0) : 0;
  if (rows_finish(&r) < 0 || first)
    dicom_wake(d, first ? first : 1); /* on to the last; what the sweep has not come to needs no waking */
}

/* ---- who asks ---- */

/* Of dicom d: only what was made under the identity that the patient has now. */
#define WITH_IDENTITY                                                                                 \
  " JOIN record r ON r.id = d.record JOIN study y ON y.id = r.study JOIN orders o ON o.id = y.orders" \
  " JOIN patient q ON q.id = o.patient AND q.version = d.patient_version"

/* Why there is no object of this record or picture. */
static enum problem why_not(struct dicom *d, const struct dicom_key *key) {
  struct rows r = store_query(d->parts.store,
                              "SELECT y.id, y.state FROM record r JOIN study y ON y.id = r.study"
                              " WHERE r.id = ?",
                              "i", key->record);
  int64_t study = 0;
  enum problem p = P_not_found;
  if (rows_next(&r)) {
    const char *state = rows_text(&r, 1);
    study = rows_int(&r, 0);
    p = !strcmp(state, "acquiring") || !strcmp(state, "acquired") ? P_not_accepted : P_wrong_state;
  }
  int err = rows_finish(&r);
  if (err < 0 || p != P_wrong_state)
    return err < 0 ? problem_of_errno(err) : p;
  r = store_query(d->parts.store, wanted, "iit", study - 1, study, PROGRAM);
  while (p == P_wrong_state && rows_next(&r)) {
    const struct dicom_key other = wanted_key(&r);
    if (other.record == key->record && other.number == key->number && other.whole == key->whole)
      p = P_dicom_pending;
  }
  err = rows_finish(&r);
  const struct rest *rest = rest_find(d, key);
  if (err < 0 || p != P_dicom_pending)
    return err < 0 ? problem_of_errno(err) : p;
  dicom_wake(d, study);
  return rest ? rest->why : p;
}

/* Objects of a record that went to another patient have the wrong name: nobody gets them any more. */
enum problem dicom_find(struct dicom *d, const struct dicom_key *key, char ret_sha256[static HASH_TEXT]) {
  struct rows r = store_query(d->parts.store,
                              "SELECT d.sha256, d.failure FROM dicom d" WITH_IDENTITY
                              " WHERE d.record = ?1 AND d.number = ?2 AND d.whole = ?3 AND (d.sha256 IS NOT NULL OR"
                              " d.program = ?4) AND (SELECT study FROM record WHERE id = " RECORD_NOW(
                                  "?1") ") = (SELECT study FROM record WHERE"
                                        " id = ?1) ORDER BY d.sha256 IS NULL, d.id LIMIT 1",
                              "iiit", key->record, key->number, (int64_t)key->whole, PROGRAM);
  bool there = rows_next(&r);
  enum problem p = P_OK;
  if (there && rows_is_null(&r, 0)) {
    p = problem_find(rows_text(&r, 1));
  } else if (there) {
    str_copy(ret_sha256, HASH_TEXT, rows_text(&r, 0));
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : there ? p : why_not(d, key);
}

int dicom_list(struct store *s, int64_t study, bool whole, json_t **ret) {
  json_t *list = json_array();
  struct rows r = store_query(s,
                              "SELECT d.record, d.number, d.sha256, a.bytes FROM dicom d" WITH_IDENTITY
                              " JOIN artefact a ON a.sha256 = d.sha256 WHERE r.study = ? AND d.whole = ?"
                              " AND r.id NOT IN (SELECT record FROM supersession) ORDER BY d.record, d.number",
                              "ii", study, (int64_t)whole);
  int err = list ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    char ref[STR_REF_MAX];
    str_ref('R', rows_int(&r, 0), ref);
    json_t *picture = rows_int(&r, 1) ? json_integer((json_int_t)rows_int(&r, 1)) : json_null();
    json_t *item = json_pack("{s:I, s:o, s:s, s:s}", "bytes", (json_int_t)rows_int(&r, 3), "picture", picture, "record",
                             ref, "sha256", rows_text(&r, 2));
    err = item && json_array_append_new(list, item) == 0 ? 0 : -ENOMEM;
  }
  int query_err = rows_finish(&r);
  err = err < 0 ? err : query_err;
  if (err < 0)
    json_decref(list);
  else
    *ret = list;
  return err;
}

/* ---- all of it ---- */

int dicom_open(const struct dicom_parts *parts, struct dicom **ret) {
  struct dicom *d = calloc(1, sizeof *d);
  if (!d)
    return -ENOMEM;
  d->parts = *parts;
  d->job = no_job;
  int r = sd_event_add_defer(parts->event, &d->work, on_work, d);
  if (r >= 0) /* behind whoever waits for an answer */
    r = sd_event_source_set_priority(d->work, SD_EVENT_PRIORITY_IDLE);
  if (r >= 0)
    r = sd_event_add_time(parts->event, &d->timer, CLOCK_MONOTONIC, UINT64_MAX, 100000, on_timer, d);
  if (r >= 0)
    r = sd_event_source_set_enabled(d->timer, SD_EVENT_OFF);
  if (r < 0) {
    dicom_close(d);
    return r;
  }
  *ret = d;
  return 0;
}

void dicom_close(struct dicom *d) {
  if (!d)
    return;
  job_finish(&d->job);
  sd_event_source_disable_unref(d->work);
  sd_event_source_disable_unref(d->timer);
  free(d);
}
