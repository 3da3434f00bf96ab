/* How long a patient's data is kept: in the active base while there is contact and [retention] active-months after,
 * then in an archive that the practice keeps apart for archive-months more (CNIL, délibération 2020-081: 5 and 15
 * years). The archive is exported, then the patient is erased here.
 *
 * What stays of an erased patient says that something was done, not to whom nor what came of it: the practice
 * software's id, orders, studies and acquisitions (act, times, who acted), and the audit trail, whose chain goes on
 * verifying. Readings, pictures, interpretations, drafts, free texts and the identity are gone, unless a reading of the
 * same recording is another patient's.
 *
 * An archive is a tar (POSIX ustar): patient.jsonl, one canonical JSON object a line, {"row":{column:value..},"table"},
 * and artefacts/<SHA-256>, the files that the rows name. */
#ifndef ASALEED_RETENTION_H
#define ASALEED_RETENTION_H

#include "artefact.h"
#include "conf.h"
#include "patient.h"

/* Those whose time is over, the longest ago first: {"last_contact","patient"}; and those that were erased, with
 * "archive_until": when the archive is to be destroyed too. */
int retention_list(struct store *s, const struct conf *conf, int limit, json_t **ret);

/* The archive, as it is read part by part. Its length is known from the beginning. */
struct retention_archive;
enum problem retention_archive_start(struct store *s, struct artefacts *a, const char *patient,
                                     struct retention_archive **ret);
uint64_t retention_archive_bytes(const struct retention_archive *x);
/* The next bytes, 0 at the end; negative: a file is damaged or gone, and the archive is worth nothing. */
ssize_t retention_archive_read(struct retention_archive *x, char *bytes, size_t max);
/* Once all of it was read. */
void retention_archive_sha256(const struct retention_archive *x, char ret[static HASH_TEXT]);
void retention_archive_free(struct retention_archive *x);
/* Inside an act: it was exported whole. */
enum problem retention_archived(struct store *s, const struct caller *c, const char *patient, const char *sha256,
                                uint64_t bytes);

/* Inside an act. P_retention_not_due; P_archive_missing: the archive with this hash was not exported, or the patient's
 * data changed since. The artefacts' files go once that is durable: `gone` lists them. */
enum problem retention_erase(struct store *s, const struct conf *conf, const struct caller *c, const char *patient,
                             const char *sha256, json_t **ret_gone);

#endif
