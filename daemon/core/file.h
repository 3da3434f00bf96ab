/* Files that were taken in: each once, by what it holds (SHA-256), whatever its name and wherever it came from. The
 * bytes are an artefact; a driver decodes them into a row of the tray (unmatched.h). */
#ifndef ASALEED_FILE_H
#define ASALEED_FILE_H

#include "artefact.h"
#include "json.h"
#include "problem.h"

enum file_source { FILE_UPLOAD, FILE_FOLDER, FILE_STICK };
const char *file_source_name(enum file_source s); /* "upload", "folder", "stick" */

#define FILE_NAME_MAX 256 /* bytes of a name with its NUL */
#define FILE_DEVICE_MAX 64

struct file {
  int64_t id, at, modified; /* modified: as its file system said, 0 = unknown */
  uint64_t bytes;
  char sha256[HASH_TEXT], name[FILE_NAME_MAX];
  char device[FILE_DEVICE_MAX]; /* of the site, "" when nobody said which */
  char by[64];                  /* who took it in; "asaleed" for a collector */
  enum file_source source;
  bool pending;
};

/* Inside an act, once its bytes are the artefact of its hash: adds the row, pending, with the artefact's. *ret_known:
 * it was there already, and *ret_id is that one. */
int file_add(struct store *s, const struct file *file, int64_t *ret_id, bool *ret_known);

enum problem file_find(struct store *s, int64_t id, struct file *ret);
/* The pending file after this id; P_not_found when there is none. */
enum problem file_next_pending(struct store *s, int64_t after, struct file *ret);

/* {"at","bytes","by","device"|null,"failure":{"code","detail"}|null,"id","name","sha256","source",
 *  "state":"waiting|unmatched|attached|discarded|refused","study":"S-3"|null,"unmatched":"U-5"|null}
 * name and sha256 only with `texts`: the first is a text that the instrument or somebody chose, the second tells
 * whether two files hold the same. */
int file_json(struct store *s, int64_t id, bool texts, json_t **ret);
/* The newest first, those before the id; state NULL: all. An array; *ret_last as unmatched_list(). */
int file_list(struct store *s, int64_t before, const char *state, int limit, bool texts, json_t **ret,
              int64_t *ret_last);

#endif
