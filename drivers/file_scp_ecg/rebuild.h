/* What section 4 says of the beats, and how a lead is rebuilt from its two abridged forms.
 *
 *   section 4   length of the reference beat ms u16, its fiducial sample u16, number of beats u16; of each beat: type
 * u16, first sample of the subtraction zone u32, fiducial sample u32, last sample u32; then of each beat the first and
 * last sample of its protected zone, u32 each (before 1.2: the subtraction zone). Sample numbers count from 1 at the
 * rate of the whole signal. Both lists are there only where they are needed. bimodal     outside the protected zones
 * one value stands for `factor` samples: a gap of n samples has n / factor such means, then the n % factor last samples
 * as they are. Between two means samples are interpolated, the first half of the first and the last half of the last
 * are the mean itself; then all of the gap are smoothed: the mean of a sample and its neighbours, but not across the
 * end of a subtraction zone. subtracted  from the samples of each beat of type 0 the reference beat was taken away,
 * fiducial on fiducial
 *
 * Numbers are rounded to the nearest, halves away from zero. */
#ifndef FILE_SCP_ECG_REBUILD_H
#define FILE_SCP_ECG_REBUILD_H

#include <asalee/bytes.h>

struct scp_beat {
  uint16_t type;
  uint32_t first, fiducial, last; /* of the subtraction zone */
};

struct scp_zone {
  uint32_t first, last;
};

#define SCP_BEATS_MAX 65535

struct scp_beats {
  uint16_t length_ms, fiducial;
  size_t n, n_zones;
  struct scp_beat beat[SCP_BEATS_MAX];
  struct scp_zone zone[SCP_BEATS_MAX]; /* protected, in order, none empty */
};

/* Reads section 4. -EPROTO with *ret_why where zones overlap, run backwards or are not there although needed. */
int scp_beats_read(struct acq_cur body, uint8_t protocol, bool bimodal, struct scp_beats *ret, const char **ret_why);

/* A lead: n samples, numbered from `first`. */
struct scp_range {
  uint32_t first;
  size_t n;
};

/* How many values stand for the lead in its bimodal form. */
size_t scp_bimodal_values(const struct scp_beats *b, struct scp_range lead, unsigned factor);
/* Makes the lead's samples of them. `subtracted`: there are subtraction zones, too. */
void scp_bimodal_expand(const struct scp_beats *b, struct scp_range lead, unsigned factor, bool subtracted,
                        const int32_t *values, int32_t *samples);

/* The reference beat of a lead; a step of it is `factor` / `divisor` steps of the lead. */
struct scp_reference {
  const int32_t *samples;
  size_t n;
  int32_t factor, divisor;
};

/* Puts the beats back; false when a zone reaches outside the reference beat, where nothing is put. */
bool scp_add_beats(const struct scp_beats *b, struct scp_range lead, struct scp_reference reference, int32_t *samples);

#endif
