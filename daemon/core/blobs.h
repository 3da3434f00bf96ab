/* The blobs of one capture on their way from the file that the worker filled to artefacts of their own, a slice a turn
 * of the loop; and back, for a capture that is decoded again. */
#ifndef ASALEED_BLOBS_H
#define ASALEED_BLOBS_H

#include "artefact.h"
#include <stdbool.h>
#include <systemd/sd-event.h>

struct blobs;

/* The blobs that the capture's text names; they lie one after the other in `file` (borrowed, -1 when they are artefacts
 * already). 0, -ENOMEM, -EFBIG for more than an acquisition makes
 * (CAPTURE_BLOBS_MAX, ACQ_BLOBS_BYTES_MAX), -EUCLEAN when the file does not hold what is named.
 */
int blobs_new(struct artefacts *a, const char *capture, size_t n, int file, struct blobs **ret);
void blobs_free(struct blobs *b); /* takes NULL */
size_t blobs_count(const struct blobs *b);
const char *blobs_sha256(const struct blobs *b, size_t i); /* as the capture names it; once stored, as it is */

/* Makes those that are not yet into artefacts; `done` is told 0 once all would survive a power cut, or a negative
 * errno: then it may be called again, and goes on with the one that failed. */
int blobs_store(struct blobs *b, sd_event *event, void (*done)(void *arg, int result), void *arg);
bool blobs_stored(const struct blobs *b); /* all of them */

int blobs_add_rows(const struct blobs *b, struct store *s, int64_t at); /* inside an act */
bool blobs_have(const struct blobs *b, const char *sha256, size_t n);   /* such a whole one, of n bytes */

/* Writes all of them from their artefacts into an empty file (borrowed), as they lay; `done` is told likewise. What
 * they hold is for the reader of the capture to check. Not while blobs_store() works. */
int blobs_fill(struct blobs *b, int file, sd_event *event, void (*done)(void *arg, int result), void *arg);

#endif
