/* Artefacts: files named by the SHA-256 of their contents, never changed once there.
 *
 * artefact_put() returns when the bytes would survive a power cut: written under a temporary name, fsynced, renamed,
 * directory fsynced. The row that names the artefact is the caller's, in the same act as what refers to it; a file
 * without a row is harmless and found again by the next put of the same bytes.
 */
#ifndef ASALEED_ARTEFACT_H
#define ASALEED_ARTEFACT_H

#include "hash.h"
#include "store.h"

struct artefacts;

int artefacts_open(const char *dir, struct artefacts **ret); /* <dir>/artefacts, made when missing */
/* The same to get artefacts from, beside who has it open: makes nothing, writes nothing. */
int artefacts_look(const char *dir, struct artefacts **ret);
void artefacts_close(struct artefacts *a);
const char *artefacts_store(const struct artefacts *a); /* <dir>, absolute */

/* Stores the bytes and adds the artefact's row (inside the caller's act); kind as the schema lists. */
int artefact_put(struct artefacts *a, struct store *s, const char *kind, const void *bytes, size_t n, int64_t at,
                 char ret_sha256[static HASH_TEXT]);

/* The row alone, for bytes that are there already (artefact_writer). */
int artefact_add(struct store *s, const char *sha256, const char *kind, size_t n, int64_t at);

/* Large artefacts, a slice at a time, so that whoever waits for the loop does not wait for the disk: copies n bytes of
 * `source` (borrowed) from `offset` on. */
struct artefact_writer;
int artefact_writer_start(struct artefacts *a, int source, int64_t offset, size_t n, struct artefact_writer **ret);
/* One slice: 1 when there is more to do, 0 when the artefact would survive a power cut, a negative errno (-EUCLEAN: the
 * source is shorter). After an error nothing of it stays. */
int artefact_writer_step(struct artefact_writer *w);
const char *artefact_writer_sha256(const struct artefact_writer *w); /* once it is done */
void artefact_writer_free(struct artefact_writer *w);                /* takes NULL */

/* A file without a name on the same disk, or in memory where the disk takes none, which ends with its descriptor: for
 * bytes that may become artefacts. */
int artefacts_scratch(struct artefacts *a);

/* A folder into which one collector writes files (wire.h), on the same disk: a descriptor of one's own, and its name
 * for what follows. What is left of one when the daemon starts is removed. */
#define ARTEFACT_FOLDER_MAX 16
int artefacts_incoming(struct artefacts *a, char ret_name[static ARTEFACT_FOLDER_MAX]);
void artefacts_incoming_remove(struct artefacts *a, const char *name); /* with all that is still in it */
/* A file of such a folder ("c1/7") becomes the artefact of its hash, which is the collector's word until somebody reads
 * it: its n bytes are on the disk already, its name survives a power cut after artefacts_settle(). The same again is no
 * error; an artefact that is there stays as it is. -EPROTO: that is no file of n bytes. */
int artefact_take(struct artefacts *a, const char *name, const char *sha256, uint64_t n);
int artefacts_settle(struct artefacts *a);
void artefact_discard(struct artefacts *a, const char *name); /* or is removed */

#define ARTEFACT_NAME_MAX 32
/* A file on the same disk for whoever opens it by its path; artefact_discard() removes it. A descriptor. */
int artefacts_temporary(struct artefacts *a, char ret_name[static ARTEFACT_NAME_MAX]);
int artefacts_temporary_path(const struct artefacts *a, const char *name, char *ret, size_t size);

/* Where it lies, absolute, for a process that opens one file by its name. */
int artefact_path(const struct artefacts *a, const char *sha256, char *ret, size_t size);

/* The contents to read from, not checked: for whoever checks them himself. A descriptor; -EINVAL, -ENOENT. */
int artefact_open(struct artefacts *a, const char *sha256);

/* The whole contents, malloc()ed, once their hash has been checked: -EUCLEAN when they are not what was stored,
 * among them anything that is no file or is larger than max; -ENOENT when it is gone. */
int artefact_get(struct artefacts *a, const char *sha256, size_t max, uint8_t **ret, size_t *ret_n);

/* Its row goes, inside the caller's act and under an erasure that is not done (-EPERM, as while another row refers to
 * it); its file goes once that is durable: after artefact_erase() it would not come back. A file that is gone is no
 * error. */
int artefact_forget(struct store *s, const char *sha256);
int artefact_erase(struct artefacts *a, const char *sha256);

#endif
