/* The blobs of one capture on their way from the file that the worker filled to artefacts of their own, a slice a turn
 * of the loop; and back, for a capture that is decoded again. */
#ifndef ASALEED_BLOBS_H
#define ASALEED_BLOBS_H

#include "artefact.h"
#include <stdbool.h>
#include <systemd/sd-event.h>

struct blobs;

/* The blobs that the capture's text names; they lie one after the other in `file` (borrowed, -1 when they are artefacts
 * already). 0, -ENOMEM, -EFBIG for more than an acquisition makes, -EUCLEAN when the file does not hold what is named.
 */
int blobs_new(struct artefacts *a, const char *capture, size_t n, int file, struct blobs **ret);
void blobs_free(struct blobs *b); /* takes NULL */
size_t blobs_count(const struct blobs *b);

/* Makes those that are not yet into artefacts; `done` is told 0 once all would survive a power cut, or a negative
 * errno: then it may be called again, and goes on with the one that failed. */
int blobs_store(struct blobs *b, sd_event *event, void (*done)(void *arg, int result), void *arg);
bool blobs_stored(const struct blobs *b); /* all of them */

int blobs_add_rows(const struct blobs *b, struct store *s, int64_t at); /* inside an act */
bool blobs_have(const struct blobs *b, const char *sha256);

/* Writes all of them from their artefacts into a file, as they lay. */
int blobs_fill(const struct blobs *b, int file);

#endif
