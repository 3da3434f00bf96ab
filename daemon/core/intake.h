/* What becomes of files that were taken in: each is looked at by a process of its own, with the driver of its
 * instrument; without one, with each driver in turn until one knows its format, those whose pattern fits its name
 * first. Pending files are known from the database alone, so that a daemon that was killed goes on where it was. */
#ifndef ASALEED_INTAKE_H
#define ASALEED_INTAKE_H

#include "file.h"
#include "session.h"

struct intake;

struct intake_parts {
  sd_event *event;
  struct store *store;
  struct artefacts *artefacts;
  struct devices *devices;
  struct sessions *sessions;
  const char *export_program;
};
int intake_open(const struct intake_parts *parts, struct intake **ret);
void intake_close(struct intake *i);

/* A file came, or is to be decoded again, or the drivers are known now. */
void intake_wake(struct intake *i);
/* Begins no more; what runs ends with the sessions. */
void intake_stop(struct intake *i);
/* The file is being looked at now. */
bool intake_is_busy(const struct intake *i, int64_t file);

#endif
