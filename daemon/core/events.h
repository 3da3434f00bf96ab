/* What happens to a study while people watch: server-sent events (WHATWG HTML, 9.2). The last EVENTS_KEPT of each
 * watched or acquiring study are kept, so that a reader who comes back with Last-Event-ID misses nothing recent. */
#ifndef ASALEED_EVENTS_H
#define ASALEED_EVENTS_H

#include "json.h"
#include <sys/types.h>

#define EVENTS_KEPT 256

struct hub;
struct hub_reader;

int hub_open(struct hub **ret);
void hub_close(struct hub *h);

/* Adds an event to the study's stream and wakes its readers; steals data. Without memory the event is lost: what
 * matters is in the store, and every reader can ask for it. */
void hub_publish(struct hub *h, int64_t study, const char *name, json_t *data);
/* Forgets a study's events once nobody reads them. */
void hub_rest(struct hub *h, int64_t study);
bool hub_has_readers(const struct hub *h);
/* A comment line to every reader, so that a dead connection is noticed. */
void hub_keep_alive(struct hub *h);

/* Reads what comes after event `last` (0 = only what comes from now on); curves and pictures ("preview", "picture")
 * only when it is to see what is `acquired`. `hello` (stolen, may be NULL) is sent first, as a "state" event. wake() is
 * called when there is something to read. */
int hub_subscribe(struct hub *h, int64_t study, uint64_t last, bool acquired, json_t *hello, void (*wake)(void *arg),
                  void *arg, struct hub_reader **ret);
void hub_unsubscribe(struct hub_reader *r);
/* Up to max bytes; 0 = nothing now. */
size_t hub_read(struct hub_reader *r, char *bytes, size_t max);

#endif
