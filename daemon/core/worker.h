/* One worker process (asaleed-driver run): born with a control socket and two memory files, watched, bounded in time,
 * killed when it does not end. What it wrote survives it. */
#ifndef ASALEED_WORKER_H
#define ASALEED_WORKER_H

#include <asalee/wire.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

struct worker;

enum worker_outcome { WORKER_RECORD, WORKER_FAIL, WORKER_CRASH, WORKER_DEADLINE };

/* Bytes belong to the worker and live until worker_free(). */
struct worker_end {
  enum worker_outcome outcome;
  struct wire_fail fail; /* of WORKER_FAIL */
  const char *capture;   /* whole, with its end line; NULL when nothing was captured */
  size_t capture_bytes;
  int blobs; /* the file with the blobs that the capture names */
  struct worker_record {
    const char *json; /* NULL: no such record */
    size_t json_bytes;
    const void *data;
    size_t data_bytes;
    const void *previews; /* of its pictures, one after the other */
    size_t preview_bytes;
  } records[WIRE_RECORDS]; /* of WORKER_RECORD */
};

struct worker_calls {
  void (*said)(void *arg, const struct wire_message *message); /* OPENED .. CONTACTS */
  void (*ended)(void *arg, const struct worker_end *end);      /* once, last; may worker_free() */
};

/* Starts the program with this order. `capture` (may be NULL) is what a decode-only order decodes. `blobs` is the file
 * that takes the blobs, or holds those of `capture`; it is the worker's from now on, whatever this returns. The worker
 * is killed once `seconds` have passed. */
int worker_start(sd_event *event, const char *program, const struct wire_order *order, const char *capture,
                 size_t capture_bytes, int blobs, uint32_t seconds, const struct worker_calls *calls, void *arg,
                 struct worker **ret);
int worker_begin(struct worker *w);  /* sends START */
int worker_finish(struct worker *w); /* sends FINISH */
/* Sends CANCEL; the worker has grace_ms to put the instrument back and end. */
void worker_cancel(struct worker *w, uint32_t grace_ms);
void worker_free(struct worker *w); /* kills it when it runs */

#endif
