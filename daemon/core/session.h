/* Acquisitions: one session is one worker process working for one study. It begins once its row is durable and ends
 * with its capture, its record and the study's next state in one act. When the store cannot take them (disk full) the
 * session keeps them in memory and tries again until it can: a reading is given up only with the process. */
#ifndef ASALEED_SESSION_H
#define ASALEED_SESSION_H

#include "assessment.h"
#include "calibration.h"
#include "device.h"
#include "dicom.h"
#include "events.h"
#include "worklist.h"

struct sessions;

struct sessions_parts {
  sd_event *event;
  struct store *store;
  struct artefacts *artefacts;
  struct devices *devices;
  struct hub *hub;
  struct dicom *dicom; /* learns of new records */
  const struct conf *conf;
  const char *driver_program;
};
int sessions_open(const struct sessions_parts *parts, struct sessions **ret);
/* Tells every worker to put its instrument at rest and end; sessions_running() comes down to 0 as they do. */
void sessions_stop(struct sessions *s);
void sessions_close(struct sessions *s); /* kills what still runs */

/* Acquisitions that an earlier run left open become interrupted. At start, before anything else. What the store cannot
 * take now (disk full) is tried again until it can: the queue must be readable meanwhile. */
void sessions_recover(struct sessions *s);

/* Inside the caller's act; the worker starts when that act is durable. An instrument that leaves files has no worker:
 * the acquisition waits `seconds` for them, in vain too. seconds 0 = the driver's default; phase of a
 * spirometry, ACQ_NO_PHASE = baseline; how many pictures of a retinography, 0 of anything else. */
enum problem session_start(struct sessions *s, const struct caller *c, struct study *study, const char *device,
                           uint32_t seconds, enum acq_phase phase, uint16_t pictures);
/* Cancels the study's running acquisition; its end comes as an event. */
enum problem session_cancel(struct sessions *s, const struct caller *c, struct study *study);
/* Nothing more will come: the retinography's running acquisition takes what there is, and ends with a record. */
enum problem session_finish(struct sessions *s, const struct caller *c, const struct study *study);
/* Inside the caller's act; once that is durable, decodes the study's newest capture again with the driver that is
 * installed now. The new record takes the old one's place if the study is still where nobody reads it. */
enum problem session_redecode(struct sessions *s, const struct caller *c, const struct study *study);

/* A file that was taken in, looked at by a worker of its own. Where an order waits for files of this instrument since
 * before the file came, the reading is judged as that order's. */
enum session_file_end {
  SESSION_FILE_STORED,  /* what it held is in the tray, or with the order that waited */
  SESSION_FILE_FOREIGN, /* not in this driver's format: nothing was stored */
  SESSION_FILE_STOPPED, /* it was not looked at to the end: nothing was stored */
};
struct session_file {
  int64_t file;
  int64_t at, modified; /* as in its row (file.h) */
  const struct driver_info *driver;
  const char *device; /* "" when nobody said which instrument */
  const char *node;   /* what the worker reads, absolute */
  bool alone; /* the site says that it is this driver's: else a file too large for it is one of another format */
  bool last;  /* no other driver is left to try: also a foreign file is stored, as such */
  void (*ended)(void *arg, int64_t file, enum session_file_end end); /* later, once */
  void *arg;
};
int session_file(struct sessions *s, const struct session_file *f);

/* A reading waits in memory because the store could not take it. */
bool sessions_wait_for_store(const struct sessions *s);
unsigned sessions_running(const struct sessions *s);
/* The study's running acquisition as JSON, or NULL. */
json_t *session_json(const struct sessions *s, int64_t study);

#endif
