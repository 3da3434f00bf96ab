/* One acquisition or redecode under way, shared by the two files that know its inside: session.c has its life,
 * session_end.c what its end leaves in the store. */
#ifndef ASALEED_SESSION_OWN_H
#define ASALEED_SESSION_OWN_H

#include "blobs.h"
#include "session.h"
#include "worker.h"

#define PROGRAM ASALEED_VERSION

struct session {
  struct sessions *all;
  struct session *next;
  int64_t id, study; /* acquisition row, study row */
  bool redecode, cancelled, finishing;
  struct wire_order order;
  struct driver_info driver;
  char device_id[64];
  struct device *device; /* NULL for a redecode */
  struct worker *worker;
  struct worker_end end; /* once ended, until it is stored */
  bool ended;
  bool identified;
  struct acq_identity identity;
  uint64_t next_preview, next_progress; /* monotonic microseconds */
  char label[CONF_TEXT_MAX];
  struct wire_progress progress;
  char *capture; /* of a redecode: owned until the worker has it */
  size_t capture_bytes;
  char capture_sha[HASH_TEXT];
  struct blobs *blobs; /* of the capture; NULL until it is there */
  int filling;         /* of a redecode: its blobs on their way to the worker; -1 for none */
  sd_event_source *retry;
  char by[PERSON_NAME_MAX], acting_for[PERSON_NAME_MAX];
};

struct sessions {
  struct sessions_parts parts;
  struct session *list;
  sd_event_source *recover; /* while what an earlier run left open cannot be stored */
};

/* What the worker's end means, before anything of it is looked at. */
enum problem session_end_problem(const struct session *x);
bool session_has_records(struct store *store, int64_t study);

/* Inside an act, once the blobs are artefacts: the whole end of an acquisition. P_OK when it is stored; *ret_failure is
 * what became of the reading itself. */
enum problem session_end_store(struct session *x, struct study *study, enum problem *ret_failure);
/* The same of a redecode, which adds its record beside the others and moves nothing; it supersedes the record of the
 * same capture. */
enum problem session_end_redecode(struct session *x);

#endif
