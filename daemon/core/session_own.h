/* One acquisition or redecode under way, shared by the two files that know its inside: session.c has its life,
 * session_end.c what its end leaves in the store. */
#ifndef ASALEED_SESSION_OWN_H
#define ASALEED_SESSION_OWN_H

#include "blobs.h"
#include "session.h"
#include "str.h"
#include "worker.h"

#define PROGRAM ASALEED_VERSION

struct session {
  struct sessions *all;
  struct session *next;
  int64_t id, study;           /* acquisition row, study row; both 0 while a file is decoded */
  char name[STR_REF_MAX + 16]; /* for the log: "acquisition A-5", "file F-12" */
  bool redecode, cancelled, finishing;
  int64_t replaces;         /* of a redecode: the study's record whose place the new one takes, */
  int part;                 /* and which of the capture's records that is */
  struct session_file file; /* of a file's decoding; its texts are not looked at once it runs */
  int64_t filled;           /* acquisition that waits, and that this file is for; 0 = none */
  enum problem aside;       /* why a file's reading is not for the order that waits; of that order: the last one's */
  bool has_received, fills; /* the order that waits got its reading, and all that it waited for */
  bool waiting;             /* for files; there is no worker */
  enum problem waited;      /* once ended: why, P_OK when it received what it waited for */
  unsigned received;        /* readings */
  sd_event_source *until;   /* the end of the waiting */
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

/* The order that waits for this instrument's files, or NULL. */
struct session *session_waiting_of(const struct sessions *s, const char *device);

struct sessions {
  struct sessions_parts parts;
  struct session *list;
  sd_event_source *recover; /* while what an earlier run left open cannot be stored */
};

/* What the worker's end means, before anything of it is looked at. */
enum problem session_end_problem(const struct session *x);
/* Inside an act, once the blobs are artefacts: the whole end of an acquisition. P_OK when it is stored; *ret_failure is
 * what became of the reading itself. */
enum problem session_end_store(struct session *x, struct study *study, enum problem *ret_failure);
/* The same of a redecode, which adds its record beside the others and moves nothing; it supersedes the one it is of. */
enum problem session_end_redecode(struct session *x);
/* The same of a file: its reading goes to the tray, and from there to the order that waits for it if all agrees.
 * *ret_received: it did. */
enum problem session_end_file(struct session *x, bool *ret_received);
/* The end of an acquisition that waited for files. */
enum problem session_end_waiting(struct session *x, enum problem outcome, struct study *study);

#endif
