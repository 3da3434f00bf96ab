/* The practice's figures of one month, for who evaluates the protocol: what was done, repeated, returned, read, and how
 * long it took. Nobody's name or number is in them, and no figure of 1 to 4.
 *
 * A month is the practice's: from the first local midnight of it to that of the next. Of one that has ended the report
 * is the same bytes whenever it is asked for: it follows from rows that are never changed, with the protocol, the GP
 * and the nurse's structure as they were at the time, and says nothing of when it was made. (Until a patient who was
 * part of it is erased.)
 *
 *   {"ended":bool, "from":"<RFC 3339>", "groups":[FIGURES + {"finess"}..], "month":"2026-11", "schema":1,
 *    "totals":[FIGURES..], "until":"<RFC 3339>"}
 *   FIGURES: {"act","protocol", "done","interpreted","overdue","repeated","returned","unreadable",
 *             "hours_median","hours_p90", "suppressed":bool}
 *
 * A group is an act under a protocol by the nurses of one structure: `finess` is that of the nurse whose follow-up it
 * was; protocol and finess are null of what was ordered before there were follow-ups. Ordered by act, protocol, finess.
 *
 *   done         accepted in the month
 *   repeated     set aside by who acquired, and acquired again: how often, whatever the number of records
 *   returned     given back by the reader
 *   interpreted  signed, amendments not counted; unreadable: those of them that were concluded "uninterpretable"
 *   hours_*      from the acceptance to that signature: median and 90th percentile by nearest rank, a text in hours
 * with one decimal, halves up overdue      signed later than the protocol's delay, or that delay had passed when the
 * month ended (or now, of the running one) and it waited still. A study is overdue in each month of which that is true.
 *
 * A figure of 1 to 4 is null, and so are the hours of so few; 0 stays 0. A total is null when one of the figures that
 * it sums is: none can be computed from the others. "suppressed" says that there is such a null. Of the running month
 * unreadable and hours_* are null, whatever they are: by asking before and after a signature one would learn it. */
#ifndef ASALEED_REPORT_H
#define ASALEED_REPORT_H

#include "buf.h"
#include "json.h"
#include "store.h"

#define REPORT_FEWEST 5 /* the least figure that is told, but for 0 */

/* -EINVAL: not "YYYY-MM" from 2000 on; -ERANGE: the month has not begun. */
int report_monthly(struct store *s, const char *month, int64_t now_us, json_t **ret);

/* {"public_key","report","signature"}: Ed25519 by the site's key, in hexadecimal, over the canonical JSON of "report".
 */
json_t *report_signed(const struct site_key *key, json_t *report);

/* The groups as a table that a French spreadsheet opens: RFC 4180 with semicolons, UTF-8 with its mark, decimal commas.
 * A figure that is not told is "s" (secret statistique), hours of nothing are empty; totals are left out. */
int report_csv(const json_t *report, struct buf *b);

/* The value at a percentile by nearest rank: of n values (1 or more) in ascending order, the smallest that at least
 * `percent` (1 to 100) of them do not exceed. */
int64_t report_rank(const int64_t *values, size_t n, unsigned percent);

#endif
