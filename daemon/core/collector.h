/* Where files come from by themselves: folders that are watched, sticks that are gone through once. A collector is a
 * process (asaleed-driver collect) that copies files and looks at none; what it announces becomes an artefact and a row
 * here, each file once. Who mounts a stick says so (collectors_media) and unmounts it when all is copied. */
#ifndef ASALEED_COLLECTOR_H
#define ASALEED_COLLECTOR_H

#include "intake.h"

struct collectors;

struct collectors_parts {
  sd_event *event;
  struct store *store;
  struct artefacts *artefacts;
  struct devices *devices;
  struct intake *intake;
  const char *driver_program, *media; /* media: the folder in which sticks are mounted */
};
int collectors_open(const struct collectors_parts *parts, struct collectors **ret);
void collectors_close(struct collectors *c);

/* The drivers are known now: the folders are watched from here on. Again later: nothing new. */
void collectors_start(struct collectors *c);

#define MEDIA_NAME_MAX 32 /* of a block device: "sda1" */

/* A stick whose block device has this name was mounted under it: its files are copied. P_not_found: the site declares
 * no instrument on it. The same while it is being copied: nothing new. */
enum problem collectors_media(struct collectors *c, const char *name);
/* {"devices":["ecg-1"],"failure":{"code","detail"}|null,"known":N,"matching":N,"name":"sda1",
 *  "state":"idle|copying|done|failed","taken":N}, of the last time it was copied. */
enum problem collectors_media_json(struct collectors *c, const char *name, json_t **ret);

#endif
