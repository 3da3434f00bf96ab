/* The store of an agent (PM-store): readings kept in segments, asked for one after the other. Nothing here ever empties
 * a store.
 *
 *   list          count u16, length u16 of: instance u16; count u16, length u16 of attributes
 *   segment map   header u16 (which times stand before each entry), count u16, length u16 of:
 *                 class u16, type (partition u16, code u16), handle u16, value map
 *   data          instance u16, first entry u32, entries u32, status u16; octet string of the entries
 *   entry         its times, then the values of each object of the map
 *
 * Source: README.md beside this file. */
#ifndef IEEE11073_PHDC_SEGMENT_H
#define IEEE11073_PHDC_SEGMENT_H

#include "clock.h"
#include "report.h"

#define PHD_SEGMENTS_MAX 32 /* that one acquisition asks for */
#define PHD_ELEMENTS_MAX 8

enum { /* the status of segment data */
       SEGMENT_LAST = 0x4000,
       SEGMENT_AGENT_ABORT = 0x0800,
       SEGMENT_MANAGER_CONFIRM = 0x0080,
};
#define SEGMENT_DESCRIPTION 12 /* bytes: what is repeated in the confirmation */

struct phd_segment {
  uint16_t store, instance; /* the store's handle */
  uint16_t person;
  struct phd_stamp start, end;
  uint32_t usage; /* its entries, as the list counts them; 0 where it does not */
  uint16_t header;
  unsigned n_elements;
  struct phd_element {
    uint16_t handle;
    struct phd_map map;
  } elements[PHD_ELEMENTS_MAX];
  uint32_t entries; /* so far */
  bool last;        /* its last entry came */
};

struct phd_segments {
  unsigned n;
  struct phd_segment at[PHD_SEGMENTS_MAX];
};

/* Adds the segments of a list that are fresh: those that end after the acquisition began, or do not tell; the others
 * are counted in the store's object. One that was listed before and has grown since begins anew. -EPROTO with d->why.
 */
int phd_segments_read(struct phd_dim *d, uint16_t store, struct acq_cur info, const struct phd_clocks *clocks,
                      struct phd_segments *ret);

struct phd_segment_data {
  struct phd_segment *segment;
  uint32_t first, count;
  uint16_t status;
  const uint8_t *description; /* SEGMENT_DESCRIPTION bytes */
  struct acq_cur entries;
};

/* The information of a segment data event; -EPROTO when the segment was never asked for, or entries are missing before
 * these. Moves the segment on. */
int phd_segment_data_read(struct phd_dim *d, struct phd_segments *s, uint16_t store, struct acq_cur info,
                          struct phd_segment_data *ret);

/* Each observation of the entries. */
int phd_segment_entries(struct phd_dim *d, const struct phd_segment_data *data, phd_observe *observe, void *context);

#endif
