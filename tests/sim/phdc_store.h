/*
 * phdc_store: the PM-store of a simulated personal health device: segments of entries, each an absolute time and the
 * values of its objects, as IEEE 11073-20601 sends them. Pure.
 */
#ifndef ASALEED_SIM_PHDC_STORE_H
#define ASALEED_SIM_PHDC_STORE_H

#include "phdc_model.h"

#define STORE_SEGMENTS 4u
#define STORE_ENTRIES 250u
#define STORE_ENTRY_MAX 32u

struct phdc_segment {
  uint16_t instance;
  unsigned n;
  int64_t from_us, to_us; /* local time of the first and the last entry */
  uint8_t entries[STORE_ENTRIES][STORE_ENTRY_MAX];
};

struct phdc_store {
  struct phdc_segment segments[STORE_SEGMENTS];
  unsigned n;
  uint16_t instance; /* last given out */
  size_t entry;      /* bytes of one */
  /* A transfer that the manager asked for: the next entry of this segment; NULL when there is none. */
  struct phdc_segment *transfer;
  unsigned next, sent; /* sent: by the event whose answer is awaited */
};

void phdc_store_init(struct phdc_store *s);
/* A new segment for what comes; the oldest makes room. */
void phdc_store_open(struct phdc_store *s);
/* values: one behind the other, in the order of the objects. A full segment keeps what it has. */
void phdc_store_add(struct phdc_store *s, int64_t local_us, const uint8_t *values, size_t n);

/* Attributes of the store for GET; returns how many. */
unsigned phdc_store_put(struct mder *m, const struct phdc_store *s, uint16_t only);
/* Action answers, with their length. selection: as received. Unknown selections choose nothing. */
void phdc_store_put_info(struct mder *m, const struct phdc_store *s, const struct phdc_device *d,
                         struct mder_in selection);
void phdc_store_clear(struct phdc_store *s, struct mder_in selection);
void phdc_store_put_transfer(struct mder *m, struct phdc_store *s, uint16_t instance);
/* The info of the next segment data event, with its length. */
void phdc_store_put_data(struct mder *m, struct phdc_store *s);
/* The manager's answer to it; the transfer goes on or is over. */
void phdc_store_confirm(struct phdc_store *s, struct mder_in info);

#endif
