/* How long a patient's data is kept: in the active base while there is contact and [retention] active-months after,
 * then in an archive that the practice keeps apart for archive-months more (CNIL, délibération 2020-081: 5 and 15
 * years). The archive is exported, then the patient is erased here.
 *
 * What stays of an erased patient says that something was done, not to whom nor what came of it: the practice
 * software's id; orders, studies, follow-ups and the acquisitions of instruments (act, times, who acted), without their
 * free texts; the list of archives; and the audit trail, whose chain goes on verifying, with the reasons that people
 * gave for what they did (they go with the trail). Readings, pictures, interpretations, drafts, files and the identity
 * are gone. What is another patient's as well stays as that patient's: a recording that a reading of another comes
 * from too, or that lies in the tray; what was written at another patient's study when a reading moved; the minutes of
 * a meeting as a whole.
 *
 * An archive is a tar (POSIX ustar): patient.jsonl, one canonical JSON object a line, {"row":{column:value..},"table"},
 * blobs in hexadecimal, and artefacts/<SHA-256>, the files that the rows name, or that captures and readings among
 * those do. What is erased is in it. */
#ifndef ASALEED_RETENTION_H
#define ASALEED_RETENTION_H

#include "artefact.h"
#include "conf.h"
#include "patient.h"

/* {"due":[..],"erased":[..]}, each at most limit: those whose time is over, the longest ago first,
 * {"last_contact","patient"}; and those that were erased, the newest first, {"archive","archive_until","by","erased",
 * "patient"}: when the archive is to be destroyed too. */
int retention_list(struct store *s, const struct conf *conf, int limit, json_t **ret);

/* The archive of the patient as of now, to be read part by part; its length is known from the beginning. P_not_found;
 * P_artefact_corrupt: a file that is needed to know what belongs to it is damaged or gone. */
struct retention_archive;
enum problem retention_archive_start(struct store *s, struct artefacts *a, const char *patient,
                                     struct retention_archive **ret);
uint64_t retention_archive_bytes(const struct retention_archive *x);
/* The next bytes, 0 at the end; negative: a file is damaged or gone, and the archive is worth nothing. */
ssize_t retention_archive_read(struct retention_archive *x, char *bytes, size_t max);
/* Of what was read so far: once that is all of it, the archive's. */
void retention_archive_sha256(const struct retention_archive *x, char ret[static HASH_TEXT]);
void retention_archive_free(struct retention_archive *x); /* takes NULL */
/* Inside an act: it was exported. P_archive_missing: it has not been read to its end. */
enum problem retention_archived(struct store *s, const struct caller *c, const struct retention_archive *x);

/* Inside an act, one patient an act. P_not_found: nobody, or erased already; P_retention_not_due: there was contact, or
 * something is being acquired or decoded; P_archive_missing: no archive with this hash was exported, or something of
 * the patient changed since; P_overloaded: of the one before the files have not gone yet. ret_files: how many will go.
 */
enum problem retention_erase(struct store *s, struct artefacts *a, const struct conf *conf, const struct caller *c,
                             const char *patient, const char *sha256, int64_t *ret_files);
/* Removes the files of those who were erased, outside an act: once that is durable, and at the start, for a run that
 * was ended between the two. A file that cannot be removed stays listed for the next time; says so, and returns why. */
int retention_sweep(struct store *s, struct artefacts *a);

#endif
